"""Reads map definitions of the old form: structs of numbers in the section ``maps``.

A definition starts with five 32-bit numbers: type, sizes of key and value, number of elements, flags (struct bpf_map_def of old libbpf).
That of iproute2 (struct bpf_elf_map) goes on with an id, whether to pin, and two numbers of inner maps. There are no types, and nothing
says how long a definition is but where the next one starts.
"""

from __future__ import annotations

import struct
from typing import Final

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.errors import ElfError
from bpfcrypto.loader.elf import ElfObject, Section, Symbol, SymbolType
from bpfcrypto.loader.maps import PlacedMap
from bpfcrypto.spec import MapSpec

SECTION: Final = "maps"
_NUMBERS: Final = 5
_WORDS: Final = 9
"""Numbers that mean something; what follows has to be 0."""


def read_legacy_maps(elf: ElfObject) -> tuple[PlacedMap, ...]:
    """All maps of the old form, in the order of their definitions.

    Raises:
        ElfError: a definition that is too short, or that asks for what nobody knows.
    """
    section = elf.by_name.get(SECTION)
    if section is None or not section.size:
        return ()
    symbols = {
        symbol.value: symbol
        for symbol in elf.symbols
        if symbol.section == section.index and symbol.type in (SymbolType.OBJECT, SymbolType.NOTYPE) and symbol.name
    }
    starts = sorted(symbols)
    ends = [*starts[1:], section.size]
    return tuple(
        PlacedMap(section.index, start, _definition(elf, section, symbols[start], end))
        for start, end in zip(starts, ends, strict=True)
    )


def _definition(elf: ElfObject, section: Section, symbol: Symbol, end: int) -> MapSpec:
    def fail(message: str) -> ElfError:
        text = f"map '{symbol.name}': {message}"
        return ElfError(
            text,
            source=elf.source,
            section=section.name,
            offset=symbol.value,
            hint="define maps in section '.maps' with __uint() and __type()",
        )

    data = section.data[symbol.value : end]
    count = len(data) // 4
    if count < _NUMBERS:
        raise fail(f"a definition of {len(data)} bytes is too short")
    words = struct.unpack_from(f"<{count}I", data)
    kind, key_size, value_size, entries, flags = words[:_NUMBERS]
    _, pinned, *inner = (*words[_NUMBERS:_WORDS], 0, 0, 0, 0)[: _WORDS - _NUMBERS]
    if any(inner) or any(words[_WORDS:]):
        raise fail("inner maps, and what else stands behind the flags, are not loaded from a definition of this form")
    try:
        return MapSpec(
            name=symbol.name,
            type=MapType(kind),
            key_size=key_size,
            value_size=value_size,
            max_entries=entries,
            flags=MapFlag(flags),
            pinning=Pinning.BY_NAME if pinned else Pinning.NONE,
        )
    except ValueError:
        raise fail(f"map type {kind} is not known") from None
