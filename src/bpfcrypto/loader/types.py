"""Reads an object's ``.BTF`` and completes what the compiler left open for a linker.

clang writes a DATASEC before it knows the layout of the section: the size is 0 and each variable's offset is 0, or for a static
variable its offset, and none of it is sorted. The kernel wants all three right. It also takes linkage for visibility: a hidden
global function is one that no one else can call, so the verifier may treat it as static, and a hidden variable is private to the
programs. All are patched in place, as libbpf does, so that ids stay what they were.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bpfcrypto.btf.reader import SECTION, LazyBtf, read_btf
from bpfcrypto.btf.types import Btf, DataSec, Func, Kind, Linkage, Var
from bpfcrypto.errors import BtfError
from bpfcrypto.loader.elf import ElfObject, Symbol, SymbolType

_WORD = struct.Struct("<I")
_PART = struct.Struct("<III")
_PARTS_AT = 12
_INFO_AT, _SIZE_AT = 4, 8
_VLEN_MASK = 0xFFFF

Patch = tuple[int, bytes]


def read_types(elf: ElfObject) -> Btf | None:
    """The object's types, completed; None where it has none.

    Raises:
        BtfError: damaged types, or a variable that does not lie in its section.
    """
    section = elf.by_name.get(SECTION)
    if section is None:
        return None
    try:
        btf = read_btf(section.data, source=elf.source)
        assert isinstance(btf, LazyBtf)
        raw = bytearray(btf.raw)
        for at, data in [*_datasecs(elf, btf), *_hidden(elf, btf)]:
            raw[at : at + len(data)] = data
        return btf if raw == btf.raw else read_btf(bytes(raw), source=elf.source)
    except BtfError as error:
        error.source = elf.source
        raise


def _datasecs(elf: ElfObject, btf: LazyBtf) -> Iterator[Patch]:
    symbols = {
        (symbol.section, symbol.name): symbol
        for symbol in elf.symbols
        if symbol.type not in (SymbolType.SECTION, SymbolType.FILE)
    }
    for type_id in btf.ids_of(Kind.DATASEC):
        record = btf[type_id]
        section = elf.by_name.get(record.name)
        if not isinstance(record, DataSec) or section is None:
            continue  # .ksyms and .kconfig: names of things outside the object
        at = btf.offset_of(type_id)
        rows = []
        for variable in record.variables:
            named = btf[variable.type_id].name
            symbol = symbols.get((section.index, named))
            offset = symbol.value if symbol else variable.offset
            if offset + variable.size > section.size:
                raise BtfError(
                    f"variable '{named}' at {offset:#x}..{offset + variable.size:#x} reaches beyond the section's "
                    f"{section.size:#x} bytes",
                    section=section.name,
                    offset=offset,
                )
            rows.append((offset, variable.type_id, variable.size))
        yield at + _SIZE_AT, _WORD.pack(section.size)
        yield at + _PARTS_AT, b"".join(_PART.pack(which, offset, size) for offset, which, size in sorted(rows))


def _hidden(elf: ElfObject, btf: LazyBtf) -> Iterator[Patch]:
    """Static linkage for functions and variables that are hidden."""
    for symbol in elf.symbols:
        if not symbol.hidden or symbol.undefined:
            continue
        for type_id in btf.find_all(symbol.name):
            record = btf[type_id]
            at = btf.offset_of(type_id)
            if isinstance(record, Func) and symbol.type == SymbolType.FUNC and record.linkage is Linkage.GLOBAL:
                info = _WORD.unpack_from(btf.raw, at + _INFO_AT)[0] & ~_VLEN_MASK
                yield at + _INFO_AT, _WORD.pack(info | Linkage.STATIC)
            elif isinstance(record, Var) and record.linkage is Linkage.GLOBAL:
                yield at + _PARTS_AT, _WORD.pack(Linkage.STATIC)


def is_global(symbol: Symbol) -> bool:
    """Whether the verifier proves the function on its own: neither static nor hidden."""
    return symbol.bind != 0 and not symbol.hidden
