"""Reads the ELF container: sections, symbols and relocations of a 64-bit little-endian BPF object, as plain values.

pyelftools finds the sections. It was written for files that tools made, and answers damaged ones with whatever exception the
damage leads to; here every one becomes an ElfError. Symbol and relocation tables are arrays of fixed-size records and are unpacked
directly.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from io import BytesIO
from typing import Any

from bpfcrypto.errors import ElfError

EM_BPF = 247
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_LARGEST_SECTION = 1 << 28  # 256 MiB: a .bss says its size without having bytes, so something must bound it


class SymbolType(IntEnum):
    """The low half of st_info."""

    NOTYPE = 0
    OBJECT = 1
    FUNC = 2
    SECTION = 3
    FILE = 4


class Bind(IntEnum):
    """The high half of st_info."""

    LOCAL = 0
    GLOBAL = 1
    WEAK = 2


class RelocType(IntEnum):
    """Relocation types of BPF (Documentation/bpf/llvm_reloc.rst)."""

    R_BPF_NONE = 0
    R_BPF_64_64 = 1
    R_BPF_64_ABS64 = 2
    R_BPF_64_ABS32 = 3
    R_BPF_64_NODYLD32 = 4
    R_BPF_64_32 = 10


SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 1, 2, 4, 0x800
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00
HIDDEN_VISIBILITIES = frozenset({1, 2})  # STV_INTERNAL, STV_HIDDEN


@dataclass(frozen=True, slots=True)
class Section:
    """A section; ``data`` is b"" for SHT_NOBITS, whose ``size`` counts all the same."""

    index: int
    name: str
    type: str
    flags: int
    size: int
    data: bytes = field(repr=False)

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; ``section`` is the index of the section it is defined in, 0 where it is not, or a reserved index."""

    name: str
    value: int
    size: int
    type: int
    bind: int
    hidden: bool
    section: int

    @property
    def undefined(self) -> bool:
        return self.section == SHN_UNDEF


@dataclass(frozen=True, slots=True)
class Reloc:
    """A relocation: what it is and which bytes of the section it patches."""

    offset: int
    type: int
    symbol: Symbol


@dataclass(frozen=True)
class ElfObject:
    """The container's content.

    Attributes:
        source: the file's name.
        sections: by index; the first one is empty.
        symbols: in the order of the table.
        relocs: by the index of the section that they patch.
    """

    source: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocs: Mapping[int, tuple[Reloc, ...]]

    @cached_property
    def by_name(self) -> Mapping[str, Section]:
        """Sections by name; of several with one name, the first."""
        return {section.name: section for section in reversed(self.sections)}


def read_elf(data: bytes, source: str) -> ElfObject:
    """Read the container.

    Raises:
        ElfError: not a BPF object, or a damaged one.
    """
    _check_identity(data, source)
    sections, links = _sections(data, source)
    symbols = _symbols(sections, links, source)
    relocs: dict[int, tuple[Reloc, ...]] = {}
    for section in sections:
        if section.type == "SHT_REL":
            target = links[section.index][1]
            if not 0 < target < len(sections):
                raise ElfError(
                    f"relocations for section {target}, which is not there", source=source, section=section.name
                )
            relocs[target] = relocs.get(target, ()) + _relocs(section, symbols, source)
        elif section.type == "SHT_RELA" and section.size:
            raise ElfError(
                "relocations with addends; BPF objects have none",
                source=source,
                section=section.name,
                hint="compile with clang for the BPF target",
            )
    return ElfObject(source, sections, symbols, relocs)


def _check_identity(data: bytes, source: str) -> None:
    hint = "compile with 'bpfcrypto build' or 'clang -target bpfel -O2 -g -c'"
    if data[:4] != b"\x7fELF":
        raise ElfError("not an ELF file", source=source, offset=0, hint=hint)
    if len(data) < 64:
        raise ElfError(f"the ELF header is cut short: {len(data)} of 64 bytes", source=source, offset=len(data))
    if data[4] != 2:
        raise ElfError("a 32-bit ELF file; BPF objects are 64-bit", source=source, offset=4, hint=hint)
    if data[5] != 1:
        raise ElfError("a big-endian ELF file; only little-endian is supported", source=source, offset=5, hint=hint)
    kind, machine = struct.unpack_from("<HH", data, 16)
    if machine not in (0, EM_BPF):  # clang before 6 wrote EM_NONE
        raise ElfError(f"an ELF file for machine {machine}, not BPF ({EM_BPF})", source=source, offset=18, hint=hint)
    if kind != 1:
        raise ElfError(f"an ELF file of type {kind}, not a relocatable object (1)", source=source, offset=16, hint=hint)


def _sections(data: bytes, source: str) -> tuple[tuple[Section, ...], dict[int, tuple[int, int]]]:
    """All sections, and for each index its sh_link and sh_info."""
    from elftools.elf.elffile import ELFFile

    sections: list[Section] = []
    links: dict[int, tuple[int, int]] = {}
    try:
        for index, found in enumerate(ELFFile(BytesIO(data)).iter_sections()):
            sections.append(_section(data, index, found.name, found.header, source))
            links[index] = (found.header["sh_link"], found.header["sh_info"])
    except ElfError:
        raise
    except Exception as error:  # pyelftools promises no error tree: see the module's docstring
        raise ElfError(
            f"the section table is damaged at section {len(sections)}: {type(error).__name__}: {error}",
            source=source,
            hint="the file may be cut short",
        ) from error
    return tuple(sections), links


def _section(data: bytes, index: int, name: str, header: Mapping[str, Any], source: str) -> Section:
    kind, flags, start, size = str(header["sh_type"]), header["sh_flags"], header["sh_offset"], header["sh_size"]
    if size > _LARGEST_SECTION:
        raise ElfError(f"a section of {size} bytes; at most {_LARGEST_SECTION} are read", source=source, section=name)
    if kind in ("SHT_NOBITS", "SHT_NULL"):
        return Section(index, name, kind, flags, size, b"")
    if start + size > len(data):
        raise ElfError(
            f"its bytes {start:#x}..{start + size:#x} reach beyond the file's {len(data):#x}",
            source=source,
            section=name,
            offset=max(0, len(data) - start),
            hint="the file may be cut short",
        )
    return Section(index, name, kind, flags, size, data[start : start + size])


def _symbols(sections: Sequence[Section], links: Mapping[int, tuple[int, int]], source: str) -> tuple[Symbol, ...]:
    table = next((section for section in sections if section.type == "SHT_SYMTAB"), None)
    if table is None:
        return ()
    strings = links[table.index][0]
    if not 0 < strings < len(sections):
        raise ElfError(f"names are in section {strings}, which is not there", source=source, section=table.name)
    if table.size % _SYMBOL.size:
        raise ElfError(f"{table.size} bytes are no whole symbols", source=source, section=table.name, offset=table.size)
    names = sections[strings].data
    found = []
    for row, (name, info, other, section, value, size) in enumerate(_SYMBOL.iter_unpack(table.data)):
        kind = info & 0xF
        if section >= len(sections) and section < SHN_LORESERVE:
            raise ElfError(
                f"symbol {row} is in section {section}, which is not there",
                source=source,
                section=table.name,
                offset=row * _SYMBOL.size,
            )
        if kind == SymbolType.SECTION and section < len(sections):
            text = sections[section].name
        else:
            text = _name(names, name, row, table.name, source)
        found.append(Symbol(text, value, size, kind, info >> 4, other & 3 in HIDDEN_VISIBILITIES, section))
    return tuple(found)


def _name(names: bytes, start: int, row: int, section: str, source: str) -> str:
    end = names.find(b"\0", start) if start < len(names) else -1
    try:
        if end >= 0:
            return names[start:end].decode()
    except UnicodeDecodeError:
        pass
    raise ElfError(f"symbol {row} has no readable name", source=source, section=section, offset=row * _SYMBOL.size)


def _relocs(section: Section, symbols: Sequence[Symbol], source: str) -> tuple[Reloc, ...]:
    if section.size % _REL.size:
        raise ElfError(f"{section.size} bytes are no whole relocations", source=source, section=section.name)
    found = []
    for row, (offset, info) in enumerate(_REL.iter_unpack(section.data)):
        symbol = info >> 32
        if symbol >= len(symbols):
            raise ElfError(
                f"relocation {row} is about symbol {symbol} of {len(symbols)}",
                source=source,
                section=section.name,
                offset=row * _REL.size,
            )
        found.append(Reloc(offset, info & 0xFFFFFFFF, symbols[symbol]))
    return tuple(found)
