"""loader.reloc: what instructions refer to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.btf.types import Func, FuncProto, Linkage
from bpfcrypto.errors import RelocationError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.loader.doubts import doubts
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef, ProgramSpec
from support.elfwriter import (
    LOCAL,
    NOBITS,
    OBJECT,
    R_64_32,
    R_64_64,
    R_ABS64,
    R_NODYLD32,
    RETURN_1,
    SECTION,
    WEAK,
    ElfWriter,
    TypeBuilder,
    place_map,
    program,
)

EXIT = Insn(0x95)


def lddw(imm: int = 0, dst: int = 1, src: int = 0) -> tuple[Insn, Insn]:
    return Insn(0x18, dst, src, 0, imm), Insn(0)


def call(imm: int = -1) -> Insn:
    return Insn(0x85, src=1, imm=imm)


def load(elf: ElfWriter) -> ProgramSpec:
    return load_spec(elf.to_bytes(), "x.o").programs["main"]


def externs(
    elf: ElfWriter, section: str, *names: str, functions: bool = True, linkage: Linkage = Linkage.EXTERN
) -> None:
    """Type information that lists externs in a section."""
    types = TypeBuilder()
    prototype = types.add(FuncProto(0, ()))
    rows = []
    for name in names:
        entry = types.add(Func(name, prototype, linkage)) if functions else types.variable(name, types.u32, linkage)
        rows.append((entry, 0, 0 if functions else 4))
    types.section(section, *rows)
    elf.section(".BTF", types.to_bytes(), flags=0)


def test_addresses_of_variables() -> None:
    """By symbol, or by the section's symbol and an addend in the instruction."""
    elf = program(insns=[*lddw(), *lddw(12), EXIT])
    bss = elf.section(".bss", kind=NOBITS, size=16)
    named = elf.symbol("v", bss, value=8, size=4, kind=OBJECT)
    section = elf.symbol("", bss, kind=SECTION, bind=LOCAL)
    elf.reloc(1, 0, named, R_64_64)
    elf.reloc(1, 16, section, R_64_64)
    found = load(elf)

    assert found.refs == {0: MapValueRef(".bss", 8), 2: MapValueRef(".bss", 12)}
    assert found.insns[:4] == (Insn(0x18, 1, 2), Insn(0, imm=8), Insn(0x18, 1, 2), Insn(0, imm=12))


def test_addresses_of_maps() -> None:
    """A map is named by the offset of its definition."""
    elf = program(insns=[*lddw(), EXIT])
    types = TypeBuilder()
    place_map(elf, types, types.definition(type=types.number(2)))
    elf.reloc(1, 0, 2, R_64_64)
    found = load(elf)

    assert found.refs == {0: MapRef("m")}
    assert found.insns[0] == Insn(0x18, 1, 1)


def test_kfuncs() -> None:
    """Calls and addresses of externs in .ksyms; a weak symbol makes a weak reference."""
    elf = program(insns=[call(), *lddw(), call(), EXIT])
    strong, weak = elf.symbol("strong"), elf.symbol("weak", bind=WEAK)
    externs(elf, ".ksyms", "strong", "weak")
    elf.reloc(1, 0, strong, R_64_32)
    elf.reloc(1, 8, weak, R_64_64)
    elf.reloc(1, 24, weak, R_64_32)
    found = load(elf)

    assert found.refs == {0: KfuncRef("strong"), 1: KfuncRef("weak", weak=True), 3: KfuncRef("weak", weak=True)}
    assert found.insns == (Insn(0x85, src=2), Insn(0x18, 1, 3), Insn(0), Insn(0x85, src=2), EXIT)


def subprograms() -> tuple[ElfWriter, int]:
    """A program that calls both functions of .text, by symbol and by section plus distance, and takes an address."""
    elf = program(insns=[call(), call(1), *lddw(16), EXIT])
    text = elf.code(".text", [*RETURN_1, *RETURN_1])
    elf.function("a", text)
    elf.function("b", text, value=16, bind=LOCAL)
    section = elf.symbol("", text, kind=SECTION, bind=LOCAL)
    elf.reloc(1, 0, 2, R_64_32)
    elf.reloc(1, 8, section, R_64_32)
    elf.reloc(1, 16, section, R_64_64)
    return elf, text


def test_calls_into_text() -> None:
    """Both forms of a call, and the address of a callback, lead to the right function."""
    elf, _ = subprograms()
    found = load(elf)

    assert [(f.name, f.index, f.is_global) for f in found.funcs] == [
        ("main", 0, True),
        ("a", 5, True),
        ("b", 7, False),
    ]
    assert found.insns[0] == call(5 - 0 - 1)
    assert found.insns[1] == call(7 - 1 - 1)
    assert found.insns[2] == Insn(0x18, 1, 4, 0, 7 - 2 - 1)
    assert found.refs == {}


def test_calls_within_a_section() -> None:
    """A call of a static function in the same section has no relocation, only a distance."""
    elf = ElfWriter()
    index = elf.code("tc", [call(1), EXIT, *RETURN_1, call(-3), EXIT])
    elf.function("main", index, size=16)
    elf.function("local", index, value=16, bind=LOCAL)
    elf.function("other", index, value=32)
    spec = load_spec(elf.to_bytes())

    assert list(spec.programs) == ["main", "other"]
    for found in spec.programs.values():
        assert found.insns == (call(1), EXIT, *RETURN_1)
        assert [f.name for f in found.funcs][1:] == ["local"]


def case(insns: list[Insn], kind: int, symbol: Callable[[ElfWriter], int], offset: int = 0) -> Callable[[], ElfWriter]:
    def make() -> ElfWriter:
        elf = program(insns=[*insns, EXIT])
        elf.reloc(1, offset, symbol(elf), kind)
        return elf

    return make


def undefined(elf: ElfWriter) -> int:
    return elf.symbol("lost")


def in_section(name: str, value: int = 0, flags: int = 2) -> Callable[[ElfWriter], int]:
    return lambda elf: elf.symbol("thing", elf.section(name, bytes(8), flags=flags), value=value)


def in_text(elf: ElfWriter) -> int:
    text = elf.code(".text", RETURN_1)
    elf.function("a", text)
    return elf.symbol("", text, kind=SECTION, bind=LOCAL)


def extern(section: str, *, functions: bool = True) -> Callable[[ElfWriter], int]:
    def make(elf: ElfWriter) -> int:
        externs(elf, section, "lost", functions=functions)
        return elf.symbol("lost")

    return make


def typed_map(elf: ElfWriter) -> int:
    types = TypeBuilder()
    place_map(elf, types, types.definition(type=types.number(2)))
    return 2


DEFECTS = {
    "not defined": (case([call()], R_64_32, undefined), "'lost' is not defined in this object"),
    "kernel variable": (
        case([*lddw()], R_64_64, extern(".ksyms", functions=False)),
        "'lost' is a kernel variable",
    ),
    "other section": (case([*lddw()], R_64_64, in_section(".odd")), r"'thing' is in section '\.odd'"),
    "absolute": (case([*lddw()], R_64_64, lambda e: e.symbol("thing", 0xFFF1)), "in section 'index 65521'"),
    "call of data": (case([call()], R_64_32, in_section(".data")), "a call of 'thing', which is not a function"),
    "beyond a variable": (case([*lddw()], R_64_64, in_section(".data", 9)), r"offset 0x9 of '\.data'"),
    "no map there": (case([*lddw(8)], R_64_64, typed_map), r"offset 0x8 of '\.maps', where no map starts"),
    "middle of a function": (case([call(0)], R_64_32, in_text), r"slot 1 of section '\.text'"),
    "middle of an instruction": (case([*lddw(4)], R_64_64, in_text), "not the start of an instruction"),
    "an add": (case([Insn(0x07)], R_64_64, in_section(".data")), "opcode 0x07, which takes no address"),
    "an address twice": (case([*lddw(src=1)], R_64_64, in_section(".data")), "opcode 0x18"),
    "odd offset": (case([*lddw()], R_64_64, in_section(".data"), 4), "not at an instruction"),
    "beyond the code": (case([*lddw()], R_64_64, in_section(".data"), 800), "not at an instruction"),
    "type 2": (case([*lddw()], R_ABS64, in_section(".data")), "relocation type 2"),
    "type 4": (case([*lddw()], R_NODYLD32, in_section(".data")), "relocation type 4"),
    "plain call beyond": (lambda: program(insns=[call(5), EXIT]), "slot 6 of section 'xdp'"),
    "plain call back": (lambda: program(insns=[call(-9), EXIT]), "slot -8 of section 'xdp'"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects(name: str) -> None:
    """Each reference that cannot be resolved is named with its place."""
    make, words = DEFECTS[name]

    with pytest.raises(RelocationError, match=words) as caught:
        load(make())

    assert caught.value.source == "x.o"
    assert caught.value.section == "xdp"
    assert caught.value.offset is not None


def test_no_relocation() -> None:
    """R_BPF_NONE asks for nothing."""
    elf = program()
    elf.reloc(1, 0, undefined(elf), 0)

    assert load(elf).refs == {}


def test_addresses_in_variables() -> None:
    """A variable that is initialised with an address keeps the bytes of the file, and the object says so."""
    elf = program()
    data = elf.section(".data", bytes(24))
    elf.reloc(data, 16, 1, R_ABS64)

    spec = load_spec(elf.to_bytes())

    assert spec.maps[".data"].data == bytes(24)
    assert spec.unfilled == ((".data", 16, "main"),)
    assert doubts(spec) == ("variable at offset 0x10 of '.data': the address of 'main' is not filled in",)


def test_debug_sections_are_left_alone() -> None:
    """Relocations of sections that are not loaded do not matter."""
    elf = program()
    debug = elf.section(".debug_info", bytes(8), flags=0)
    elf.reloc(debug, 0, undefined(elf), R_ABS64)

    assert load(elf).insns == RETURN_1
