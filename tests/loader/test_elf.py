"""loader.elf: the container."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.errors import ElfError
from bpfcrypto.loader.elf import read_elf
from support.elfwriter import ALLOC, NOBITS, R_64_64, RELA, ElfWriter, program


def test_sections_symbols_and_relocations() -> None:
    """What was put in comes out."""
    elf = program()
    data = elf.section(".data", b"abcd")
    symbol = elf.symbol("four", data, value=1, size=2, kind=1, visibility=2)
    elf.section(".bss", kind=NOBITS, size=99)
    elf.reloc(1, 8, symbol, R_64_64)
    found = read_elf(elf.to_bytes(), "x.o")

    assert [s.name for s in found.sections[:4]] == ["", "xdp", ".data", ".bss"]
    assert (found.sections[2].data, found.sections[3].data, found.sections[3].size) == (b"abcd", b"", 99)
    assert found.sections[1].executable
    assert not found.sections[2].executable
    (reloc,) = found.relocs[1]
    assert (reloc.offset, reloc.type, reloc.symbol.name) == (8, R_64_64, "four")
    assert (reloc.symbol.value, reloc.symbol.size, reloc.symbol.hidden, reloc.symbol.section) == (1, 2, True, 2)
    assert found.by_name[".data"].index == 2


def header(**changes: object) -> Callable[[], bytes]:
    def make() -> bytes:
        elf = program()
        for name, value in changes.items():
            setattr(elf, name, value)
        return elf.to_bytes()

    return make


def patched(offset: int, value: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        data = bytearray(program().to_bytes())
        data[offset : offset + len(value)] = value
        return bytes(data)

    return make


def relocation_section(kind: int, data: bytes = bytes(16)) -> Callable[[], bytes]:
    def make() -> bytes:
        elf = program()
        elf.section(".relx", data, kind=kind, flags=0)
        return elf.to_bytes()

    return make


def reloc_to(symbol: int) -> Callable[[], bytes]:
    def make() -> bytes:
        elf = program()
        elf.reloc(1, 0, symbol, R_64_64)
        return elf.to_bytes()

    return make


def symbol_in(section: int) -> Callable[[], bytes]:
    def make() -> bytes:
        elf = program()
        elf.symbol("lost", section)
        return elf.to_bytes()

    return make


def bad_name() -> bytes:
    elf = program()
    elf.symbols[1] = b"\xff\xff\xff\0" + elf.symbols[1][4:]
    return elf.to_bytes()


def too_large() -> bytes:
    elf = program()
    elf.section(".bss", kind=NOBITS, flags=ALLOC, size=1 << 40)
    return elf.to_bytes()


def beyond() -> bytes:
    elf = program()
    elf.section(".data", b"abc", size=1 << 20)
    return elf.to_bytes()


DEFECTS = {
    "empty": (lambda: b"", "not an ELF file"),
    "text": (header(magic=b"#inc"), "not an ELF file"),
    "short": (lambda: b"\x7fELF\x02\x01", "header is cut short: 6 of 64 bytes"),
    "32 bits": (header(bits=1), "32-bit ELF"),
    "big-endian": (header(order=2), "big-endian ELF"),
    "x86-64": (header(machine=62), r"for machine 62, not BPF \(247\)"),
    "executable": (header(kind=2), "of type 2, not a relocatable object"),
    "section table": (patched(40, b"\xff\xff\xff\xff\xff\xff\xff\x7f"), "section table is damaged"),
    "names section": (patched(62, b"\xff\x00"), "section table is damaged"),
    "addends": (relocation_section(RELA), "relocations with addends"),
    "relocations of nothing": (relocation_section(9), "for section 0, which is not there"),
    "relocation of a symbol beyond": (reloc_to(77), "about symbol 77 of 2"),
    "symbol in a section beyond": (symbol_in(99), "symbol 2 is in section 99"),
    "symbol without name": (bad_name, "symbol 1 has no readable name"),
    "section too large": (too_large, "a section of 1099511627776 bytes"),
    "section beyond the file": (beyond, "reach beyond the file"),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_defects(case: str) -> None:
    """Each defect is named, with the file."""
    make, words = DEFECTS[case]

    with pytest.raises(ElfError, match=words) as caught:
        read_elf(make(), "x.o")

    assert str(caught.value).startswith("x.o")


def test_reserved_section_indices() -> None:
    """Absolute symbols are in no section of the table, and that is no error."""
    elf = program()
    elf.symbol("absolute", 0xFFF1, value=5)

    assert read_elf(elf.to_bytes(), "x.o").symbols[-1].section == 0xFFF1


def test_no_symbols() -> None:
    """A file without a symbol table is read; what is missing shows later."""
    assert read_elf(ElfWriter().to_bytes(), "x.o").symbols[1:] == ()
