"""Decides what of a compiler's ELF output is kept: everything but DWARF, unwind tables and file symbols.

BTF needs ``-g``, and ``-g`` brings DWARF, which is most of an object's bytes and is read by no loader. The LLVM tools that
could remove it are not part of the pinned compiler, so the file is taken apart into sections here and put together again:
dropped sections change section indices, dropped symbols change symbol indices, and both are rewritten wherever they occur
(section links, the symbol table, relocation entries).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from bpfcrypto.errors import ElfError

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_IDENT = b"\x7fELF\x02\x01\x01"  # 64-bit, little-endian, version 1

_SHT_SYMTAB, _SHT_STRTAB, _SHT_NOBITS, _SHT_REL = 2, 3, 8, 9
_SHN_LORESERVE = 0xFF00
_STT_FILE = 4
_DROPPED = (".debug_", ".eh_frame", ".llvm_addrsig", ".llvm.call-graph-profile", ".comment", ".note.GNU-stack")
_UNLINKED = (".BTF", ".BTF.ext")  # their relocations serve a static linker only; loaders take the offsets as they stand


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    flags: int
    address: int
    size: int
    link: int
    info: int
    align: int
    entsize: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    info: int
    other: int
    section: int
    value: int
    size: int


def strip_debug(elf: bytes, *, source: str = "<bytes>") -> bytes:
    """Remove debug sections from a relocatable ELF64 little-endian object; ``.BTF`` and ``.BTF.ext`` stay, without relocations.

    Args:
        elf: the object file.
        source: its name, for messages.

    Returns:
        The object without DWARF and unwind sections, their relocations and symbols, and without file symbols.

    Raises:
        ElfError: it is not such an object, or a kept relocation refers to something that goes.
    """
    try:
        return _strip(elf, source)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise ElfError(f"damaged object file: {error}", source=source) from error


def _strip(elf: bytes, source: str) -> bytes:
    if not elf.startswith(_IDENT):
        raise ElfError("not an ELF64 little-endian file", source=source)
    header = _EHDR.unpack_from(elf)
    sections = _read_sections(elf, header)
    kept = [index for index, section in enumerate(sections) if not _is_dropped(section, sections)]
    section_map = {old: new for new, old in enumerate(kept)}
    symtab = next((index for index in kept if sections[index].type == _SHT_SYMTAB), None)
    symbols = _read_symbols(sections, symtab) if symtab is not None else []
    kept_symbols = [index for index, symbol in enumerate(symbols) if _keeps_symbol(symbol, section_map)]
    symbol_map = {old: new for new, old in enumerate(kept_symbols)}
    names = _Names()
    out = []
    for index in kept:
        section = replace(sections[index], link=section_map.get(sections[index].link, 0))
        if index == symtab:
            chosen = [symbols[number] for number in kept_symbols]
            data = b"".join(_pack_symbol(symbol, names, section_map) for symbol in chosen)
            section = replace(section, data=data, size=len(data), info=sum(symbol.info >> 4 == 0 for symbol in chosen))
        elif section.type == _SHT_REL:
            data = _renumber(section, symbol_map, source)
            section = replace(section, data=data, info=section_map[section.info])
        out.append(section)
    offsets = [names.offset(section.name) for section in out]
    table = names.to_bytes()
    out = [replace(one, data=table, size=len(table)) if one.type == _SHT_STRTAB else one for one in out]
    return _write(header, out, offsets, section_map[header[13]])


def _read_sections(elf: bytes, header: tuple[int, ...]) -> list[_Section]:
    rows = [_SHDR.unpack_from(elf, header[6] + index * header[11]) for index in range(header[12])]
    names_at, names_size = rows[header[13]][4:6]
    names = elf[names_at : names_at + names_size]
    sections = []
    for name, kind, flags, address, offset, size, link, info, align, entsize in rows:
        data = b"" if kind == _SHT_NOBITS else elf[offset : offset + size]
        sections.append(_Section(_text(names, name), kind, flags, address, size, link, info, align, entsize, data))
    return sections


def _is_dropped(section: _Section, sections: list[_Section]) -> bool:
    if section.type == _SHT_REL:
        section = sections[section.info]
        if section.name in _UNLINKED:
            return True
    return section.name.startswith(_DROPPED)


def _read_symbols(sections: list[_Section], symtab: int) -> list[_Symbol]:
    strings = sections[sections[symtab].link].data
    return [_Symbol(_text(strings, name), *rest) for name, *rest in _SYM.iter_unpack(sections[symtab].data)]


def _keeps_symbol(symbol: _Symbol, section_map: dict[int, int]) -> bool:
    if symbol.info & 0xF == _STT_FILE:
        return False
    return symbol.section >= _SHN_LORESERVE or symbol.section in section_map


def _pack_symbol(symbol: _Symbol, names: _Names, section_map: dict[int, int]) -> bytes:
    section = section_map.get(symbol.section, symbol.section)
    return _SYM.pack(names.offset(symbol.name), symbol.info, symbol.other, section, symbol.value, symbol.size)


def _renumber(section: _Section, symbol_map: dict[int, int], source: str) -> bytes:
    entries = []
    for offset, info in _REL.iter_unpack(section.data):
        symbol = info >> 32
        if symbol not in symbol_map:
            raise ElfError(
                f"relocation refers to symbol {symbol}, which belongs to a debug section",
                source=source,
                section=section.name,
                offset=offset,
            )
        entries.append(_REL.pack(offset, symbol_map[symbol] << 32 | info & 0xFFFFFFFF))
    return b"".join(entries)


def _write(header: tuple[int, ...], sections: list[_Section], names: list[int], name_section: int) -> bytes:
    body = bytearray(_EHDR.size)
    table = bytearray()
    for section, name in zip(sections, names, strict=True):
        body += bytes(-len(body) % max(section.align, 1))
        row = (name, section.type, section.flags, section.address, len(body), section.size)
        table += _SHDR.pack(
            *(row if section.type else (0,) * 6), section.link, section.info, section.align, section.entsize
        )
        body += section.data
    body += bytes(-len(body) % 8)
    _EHDR.pack_into(body, 0, *header[:6], len(body), *header[7:12], len(sections), name_section)
    return bytes(body + table)


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()


class _Names:
    """A string table under construction."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {"": 0}
        self._data = bytearray(b"\0")

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self._data)
            self._data += name.encode() + b"\0"
        return self._offsets[name]

    def to_bytes(self) -> bytes:
        return bytes(self._data)
