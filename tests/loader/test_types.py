"""loader.types: an object's BTF, completed."""

from __future__ import annotations

import pytest

from bpfcrypto.btf.types import DataSec, Func, FuncProto, Kind, Linkage, SecVar, Var
from bpfcrypto.errors import BtfError
from bpfcrypto.loader.elf import read_elf
from bpfcrypto.loader.load import load_spec
from bpfcrypto.loader.types import read_types
from support.elfwriter import ALLOC, FUNC, HIDDEN, NOBITS, OBJECT, ElfWriter, TypeBuilder, program


def test_data_sections_get_their_layout() -> None:
    """Size from the section, offsets from the symbols, and the order that the kernel wants."""
    elf, types = ElfWriter(), TypeBuilder()
    bss = elf.section(".bss", kind=NOBITS, size=24)
    elf.symbol("late", bss, value=16, size=8, kind=OBJECT)
    elf.symbol("early", bss, value=8, size=4, kind=OBJECT)
    late, early, static = (
        types.variable("late", types.u64),
        types.variable("early", types.u32),
        types.variable("s", types.u32),
    )
    section = types.section(".bss", (late, 0, 8), (early, 0, 4), (static, 4, 4))
    elf.section(".BTF", types.to_bytes(), flags=0)

    btf = read_types(read_elf(elf.to_bytes(), "x.o"))

    assert btf is not None
    assert btf[section] == DataSec(".bss", 24, (SecVar(static, 4, 4), SecVar(early, 8, 4), SecVar(late, 16, 8)))


def test_externs_are_left_alone() -> None:
    """A section that is not in the file, such as .ksyms, stays as it is."""
    elf, types = ElfWriter(), TypeBuilder()
    section = types.section(".ksyms", (types.variable("x", types.u32), 0, 4))
    elf.section(".BTF", types.to_bytes(), flags=0)
    btf = read_types(read_elf(elf.to_bytes(), "x.o"))

    assert btf is not None
    assert btf.raw == types.to_bytes()
    assert btf[section] == DataSec(".ksyms", 0, (SecVar(section - 1, 0, 4),))


def test_hidden_things_become_static() -> None:
    """Nobody outside the object can call a hidden function or read a hidden variable."""
    elf, types = program(), TypeBuilder()
    text = elf.code(".text", list(load_spec(program().to_bytes()).programs["main"].insns))
    elf.symbol("helper", text, size=16, kind=FUNC, visibility=HIDDEN)
    data = elf.section(".data", bytes(4), flags=ALLOC)
    elf.symbol("shade", data, size=4, kind=OBJECT, visibility=HIDDEN)
    prototype = types.add(FuncProto(types.int, ()))
    helper = types.add(Func("helper", prototype, Linkage.GLOBAL))
    main = types.add(Func("main", prototype, Linkage.GLOBAL))
    shade = types.variable("shade", types.u32)
    types.section(".data", (shade, 0, 4))
    elf.section(".BTF", types.to_bytes(), flags=0)

    btf = load_spec(elf.to_bytes()).btf

    assert btf is not None
    assert btf[helper] == Func("helper", prototype, Linkage.STATIC)
    assert btf[main] == Func("main", prototype, Linkage.GLOBAL)
    assert btf[shade] == Var("shade", types.u32, Linkage.STATIC)
    assert btf.find("helper", Kind.FUNC) == helper


def test_a_variable_outside_its_section() -> None:
    """A size that the section does not have is an error with the place."""
    elf, types = program(), TypeBuilder()
    elf.section(".data", bytes(8))
    types.section(".data", (types.variable("wide", types.u64), 4, 8))
    elf.section(".BTF", types.to_bytes(), flags=0)

    with pytest.raises(BtfError, match=r"'wide' at 0x4\.\.0xc reaches beyond the section's 0x8 bytes") as caught:
        load_spec(elf.to_bytes(), "x.o")
    assert (caught.value.source, caught.value.section, caught.value.offset) == ("x.o", ".data", 4)


def test_damaged_types_name_the_file() -> None:
    """An error of the reader carries the file's name."""
    elf = program()
    elf.section(".BTF", b"\x9f\xeb", flags=0)

    with pytest.raises(BtfError, match=r"^x\.o: section '\.BTF'"):
        load_spec(elf.to_bytes(), "x.o")
