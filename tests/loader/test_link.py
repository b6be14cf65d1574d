"""loader.link and loader.functions: programs with the subprograms that they reach."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from bpfcrypto.btf.types import DeclTag, Func, FuncProto, Linkage
from bpfcrypto.errors import BtfError, ElfError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CoreKind, CoreReloc, FuncInfo, LineInfo
from support.elfwriter import LOCAL, R_64_32, RETURN_1, SECTION, ElfWriter, TypeBuilder, program

EXIT = Insn(0x95)
CALL = Insn(0x85, src=1, imm=-1)


def graph(calls: dict[str, list[str]], *programs: str) -> ElfWriter:
    """An object whose functions call each other as listed; programs are in ``tc``, all others in ``.text``."""
    elf = ElfWriter()
    code: dict[str, list[Insn]] = {"tc": [], ".text": []}
    places: dict[str, tuple[int, int]] = {}
    for name, callees in calls.items():
        section = "tc" if name in programs else ".text"
        places[name] = (1 if section == "tc" else 2, 8 * len(code[section]))
        code[section] += [*[CALL] * len(callees), EXIT]
    elf.code("tc", code["tc"])
    elf.code(".text", code[".text"])
    symbols = {
        name: elf.function(name, index, value=at, size=8 * len(calls[name]) + 8) for name, (index, at) in places.items()
    }
    for name, callees in calls.items():
        index, at = places[name]
        for number, callee in enumerate(callees):
            elf.reloc(index, at + 8 * number, symbols[callee], R_64_32)
    return elf


def linked(calls: dict[str, list[str]]) -> list[str]:
    found = load_spec(graph(calls, "main").to_bytes()).programs["main"]
    starts = {f.index: f.name for f in found.funcs}
    for func, following in zip(found.funcs, [*found.funcs[1:], None], strict=True):
        end = following.index if following else len(found.insns)
        called = [starts[i + 1 + found.insns[i].imm] for i in range(func.index, end) if found.insns[i].code == 0x85]
        assert called == calls[func.name]
    return [f.name for f in found.funcs]


@pytest.mark.parametrize(
    ("calls", "order"),
    [
        ({"main": []}, ["main"]),
        ({"main": ["a"], "a": [], "unused": []}, ["main", "a"]),
        ({"main": ["b", "a"], "a": [], "b": []}, ["main", "b", "a"]),
        ({"main": ["a", "c"], "a": ["b"], "b": ["c"], "c": []}, ["main", "a", "b", "c"]),
        ({"main": ["a", "a"], "a": []}, ["main", "a"]),
        ({"main": ["a"], "a": ["b"], "b": ["a"]}, ["main", "a", "b"]),
        ({"main": ["main"]}, ["main"]),
        ({"main": ["a", "d"], "a": ["b", "c"], "b": [], "c": [], "d": ["b"]}, ["main", "a", "b", "c", "d"]),
    ],
)
def test_order(calls: dict[str, list[str]], order: list[str]) -> None:
    """Each function that is reached is there once, when it is first met, and every call leads to its function."""
    assert linked(calls) == order


def test_a_long_chain() -> None:
    """A chain of thousands of calls is no problem for the linker."""
    names = ["main", *(f"f{i}" for i in range(3000))]
    calls = {name: [following] for name, following in pairwise(names)} | {names[-1]: []}

    assert linked(calls) == names


def test_each_program_is_complete() -> None:
    """A subprogram that two programs call is in both."""
    spec = load_spec(graph({"one": ["shared"], "two": ["shared"], "shared": []}, "one", "two").to_bytes())

    assert [[f.name for f in p.funcs] for p in spec.programs.values()] == [["one", "shared"], ["two", "shared"]]


def test_records_move_with_their_function() -> None:
    """Types, lines and CO-RE relocations are counted from the program's start."""
    elf = program(insns=[CALL, EXIT])
    text = elf.code(".text", [*RETURN_1, *RETURN_1])
    elf.function("unused", text)
    sub = elf.function("sub", text, value=16)
    elf.reloc(1, 0, sub, R_64_32)
    types = TypeBuilder()
    prototype = types.add(FuncProto(types.int, ()))
    main = types.add(Func("main", prototype, Linkage.GLOBAL))
    helper = types.add(Func("sub", prototype, Linkage.STATIC))
    types.add(DeclTag("first", main))
    types.add(DeclTag("of an argument", main, 0))
    types.add(DeclTag("second", main))
    name, line, access = types.string("a.c"), types.string("return 1;"), types.string("0")
    xdp, dot_text = types.string("xdp"), types.string(".text")
    funcs = struct.pack("<9I", 8, xdp, 1, 0, main, dot_text, 1, 16, helper)
    lines = struct.pack("<13I", 16, xdp, 1, 8, name, line, 5 << 10 | 2, dot_text, 1, 24, name, line, 9 << 10)
    core = struct.pack("<7I", 16, dot_text, 1, 16, types.u32, access, 8)
    head = struct.pack(
        "<HBBI6I", 0xEB9F, 1, 0, 32, 0, len(funcs), len(funcs), len(lines), len(funcs + lines), len(core)
    )
    elf.section(".BTF", types.to_bytes(), flags=0)
    elf.section(".BTF.ext", head + funcs + lines + core, flags=0)

    found = load_spec(elf.to_bytes()).programs["main"]

    assert found.funcs == (FuncInfo(0, "main", main, True), FuncInfo(2, "sub", helper, True))
    assert found.lines == (LineInfo(1, "a.c", 5, 2, "return 1;"), LineInfo(3, "a.c", 9, 0, "return 1;"))
    assert found.core == (CoreReloc(2, CoreKind.TYPE_EXISTS, types.u32, "0"),)
    assert found.tags == ("first", "second")


def with_ext(table: int, *words: int) -> ElfWriter:
    """A program whose .BTF.ext has one table (0: func_info, 2: core_relo) for its section."""
    elf, types = program(), TypeBuilder()
    data = struct.pack(f"<{len(words) + 3}I", 8 if table == 0 else 16, types.string("xdp"), 1, *words)
    places = [0, 0, 0, 0, 0, 0]
    places[2 * table + 1] = len(data)
    elf.section(".BTF", types.to_bytes(), flags=0)
    elf.section(".BTF.ext", struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *places) + data, flags=0)
    return elf


def test_records_that_contradict_the_code() -> None:
    """A function's type must be a function; a CO-RE relocation must be of a known kind."""
    with pytest.raises(BtfError, match="gives function 'main' type 1, which is not a function"):
        load_spec(with_ext(0, 0, 1).to_bytes())
    with pytest.raises(BtfError, match="CO-RE relocation of unknown kind 77") as caught:
        load_spec(with_ext(2, 0, 1, 0, 77).to_bytes())
    assert (caught.value.section, caught.value.offset) == ("xdp", 0)


@pytest.mark.parametrize(
    ("value", "size", "words"),
    [(4, 8, "no code"), (0, 0, "no code"), (8, 16, "no code"), (0, 12, "no multiple of 8"), (1 << 40, 8, "no code")],
)
def test_functions_that_do_not_fit(value: int, size: int, words: str) -> None:
    """A symbol must cover whole instructions of its section."""
    elf = ElfWriter()
    elf.function("main", elf.code("xdp", RETURN_1), value=value, size=size)

    with pytest.raises(ElfError, match=words) as caught:
        load_spec(elf.to_bytes(), "x.o")
    assert (caught.value.source, caught.value.section) == ("x.o", "xdp")


def test_half_an_lddw() -> None:
    """An lddw at a function's end lacks its second half; the offset is that of the instruction."""
    with pytest.raises(ElfError, match=r"'main'.*second half") as caught:
        load_spec(program(insns=[EXIT, Insn(0x18)]).to_bytes())
    assert caught.value.offset == 8


def test_code_without_symbols() -> None:
    """A program section whose symbols were stripped cannot be cut into programs."""
    elf = ElfWriter()
    elf.code("xdp", RETURN_1)

    with pytest.raises(ElfError, match="without a function's symbol"):
        load_spec(elf.to_bytes())


def test_two_names_for_one_function() -> None:
    """The visible name wins over a static alias."""
    elf = ElfWriter()
    section = elf.code("xdp", RETURN_1)
    elf.function("alias", section, bind=LOCAL)
    elf.function("main", section)
    elf.symbol("", section, kind=SECTION, bind=LOCAL)

    assert list(load_spec(elf.to_bytes()).programs) == ["main"]
