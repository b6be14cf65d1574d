"""loader.load: whole objects, from several compilers, and damaged ones."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.abi.progs import AttachType, ProgFlag, ProgType
from bpfcrypto.btf.format import type_name
from bpfcrypto.errors import ElfError, ObjectError
from bpfcrypto.isa.opcode import CALL, LDDW, PseudoCall, PseudoImm
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, CoreKind, KfuncRef, MapRef, MapSpec, MapValueRef
from support.elfwriter import RETURN_1, ElfWriter, program

TESTDATA = Path(__file__).parent / "testdata"
COMPILERS = ["clang-14", "clang-19", "zig"]


def raw(compiler: str) -> bytes:
    return (TESTDATA / f"rich.{compiler}.o").read_bytes()


@cache
def rich(compiler: str) -> CollectionSpec:
    return load_spec(raw(compiler), "rich.o")


every_compiler = pytest.mark.parametrize("compiler", COMPILERS)


@every_compiler
def test_programs(compiler: str) -> None:
    """Names, sections, types, flags and tags of all programs, in the order of the file."""
    found = [(p.name, p.section, p.type, p.attach_type, p.flags, p.autoload) for p in rich(compiler).programs.values()]

    assert found == [
        ("tail", "xdp", ProgType.XDP, AttachType.XDP, ProgFlag(0), True),
        ("setup", "syscall", ProgType.SYSCALL, None, ProgFlag.SLEEPABLE, True),
        ("second", "syscall", ProgType.SYSCALL, None, ProgFlag.SLEEPABLE, True),
        ("classify", "tc", ProgType.SCHED_CLS, None, ProgFlag(0), True),
        ("parse", "?xdp.frags", ProgType.XDP, AttachType.XDP, ProgFlag.XDP_HAS_FRAGS, False),
        ("egress", "tcx/egress", ProgType.SCHED_CLS, AttachType.TCX_EGRESS, ProgFlag(0), True),
    ]
    assert rich(compiler).programs["setup"].tags == ("prog one", "prog two")
    assert rich(compiler).license == "Dual BSD/GPL"
    assert rich(compiler).source == "rich.o"


@every_compiler
def test_maps(compiler: str) -> None:
    """Every attribute of a map definition arrives; so do the sections of variables."""
    maps = rich(compiler).maps
    plain = {name: replace(spec, key_type=0, value_type=0, inner=None) for name, spec in maps.items()}

    assert plain["slots"] == MapSpec("slots", MapType.ARRAY, 4, 16, 4)
    assert plain["pinned"] == MapSpec(
        "pinned", MapType.HASH, 8, 8, 16, MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE, pinning=Pinning.BY_NAME
    )
    assert plain["bloom"] == MapSpec("bloom", MapType.BLOOM_FILTER, 0, 4, 8, map_extra=3)
    assert plain["outer"] == MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 4, slots={1: "inner_a", 3: "inner_b"})
    assert plain["jumps"] == MapSpec("jumps", MapType.PROG_ARRAY, 4, 4, 2, slots={1: "tail"})
    inner = maps["outer"].inner
    assert inner is not None
    assert (inner.name, replace(inner, name="inner_a")) == ("outer.inner", maps["inner_a"])
    assert plain[".rodata"] == MapSpec(
        ".rodata",
        MapType.ARRAY,
        4,
        8,
        1,
        MapFlag.RDONLY_PROG | MapFlag.MMAPABLE,
        data=b"\3\0\0\0\1\2\3\4",
        frozen=True,
    )
    assert plain[".bss"] == MapSpec(".bss", MapType.ARRAY, 4, 48, 1, MapFlag.MMAPABLE, data=bytes(48))
    assert maps[".data"].data == b"\5\0\0\0label".ljust(20, b"\0")
    assert maps[".rodata.str1.1"].data == b"hello\0"
    assert maps[".rodata.str1.1"].flags == MapFlag.RDONLY_PROG
    assert set(maps) - {"slots", "pinned", "bloom", "outer", "jumps", "inner_a", "inner_b"} == {
        ".data",
        ".bss",
        ".rodata",
        ".rodata.str1.1",
        ".data.custom",
        ".bss.custom",
        ".rodata.custom",
        ".bss.kp",
    }


@pytest.mark.parametrize(
    ("compiler", "flags"), [("clang-14", MapFlag.MMAPABLE), ("clang-19", MapFlag(0)), ("zig", MapFlag(0))]
)
def test_a_section_with_a_kptr_is_not_mapped(compiler: str, flags: MapFlag) -> None:
    """The kernel refuses to map it. Clang 14 writes no type tags, so there it is a section like any other."""
    assert rich(compiler).maps[".bss.kp"].flags == flags


@every_compiler
def test_variables(compiler: str) -> None:
    """Where each variable is and what its type is called, static ones and those inside functions included."""
    spec = rich(compiler)
    assert spec.btf is not None
    found = {v.name: (v.map, v.offset, v.size, type_name(spec.btf, v.type_id)) for v in spec.variables.values()}

    assert found == {
        "counter": (".data", 0, 4, "u32"),
        "label": (".data", 4, 16, "char[16]"),
        "limit": (".rodata", 0, 4, "u32"),
        "table": (".rodata", 4, 4, "u8[4]"),
        "custom_data": (".data.custom", 0, 8, "u64"),
        "custom_bss": (".bss.custom", 0, 8, "u64"),
        "custom_rodata": (".rodata.custom", 0, 4, "u32"),
        "held": (".bss.kp", 0, 8, "struct bpf_crypto_ctx *"),
        "zeroed": (".bss", 0, 8, "u64"),
        "hits": (".bss", 8, 4, "u32"),
        "key": (".bss", 12, 32, "u8[32]"),
        "count.calls": (".bss", 44, 4, "u32"),
    }


@every_compiler
def test_a_program_with_its_subprograms(compiler: str) -> None:
    """The program comes first, then each subprogram once, when it is first met; a hidden one counts as static."""
    program = rich(compiler).programs["setup"]
    funcs = [(f.name, f.is_global) for f in program.funcs]

    assert funcs == [("setup", True), ("step", False), ("global_sub", True), ("count", False), ("hidden_sub", False)]
    assert program.funcs[0].index == 0
    assert [f.name for f in rich(compiler).programs["classify"].funcs] == [
        "classify",
        "local",
        "recursive_a",
        "recursive_b",
    ]


@every_compiler
def test_calls_and_callbacks_go_where_they_should(compiler: str) -> None:
    """Each call and each address of a function leads to the start of the right one."""
    program = rich(compiler).programs["setup"]
    starts = {f.index: f.name for f in program.funcs}
    calls, callbacks = [], []
    for slot, insn in enumerate(program.insns):
        if insn.code == CALL and insn.src == PseudoCall.BPF:
            calls.append(starts[slot + 1 + insn.imm])
        elif insn.code == LDDW and insn.src == PseudoImm.FUNC:
            callbacks.append(starts[slot + 1 + insn.imm])

    assert sorted(calls) == ["count", "global_sub", "hidden_sub"]
    assert callbacks == ["step"]


@every_compiler
def test_references(compiler: str) -> None:
    """Maps, variables and kfuncs are referred to by name, and the instruction says of what kind the reference is."""
    program = rich(compiler).programs["setup"]

    assert set(program.refs.values()) == {
        MapRef("slots"),
        KfuncRef("bpf_crypto_ctx_acquire"),
        KfuncRef("bpf_crypto_ctx_release"),
        KfuncRef("bpf_no_such_kfunc", weak=True),
        MapValueRef(".bss", 8),
        MapValueRef(".bss", 44),
        MapValueRef(".bss.custom", 0),
        MapValueRef(".bss.kp", 0),
        MapValueRef(".data", 0),
        MapValueRef(".data.custom", 0),
        MapValueRef(".rodata", 0),
        MapValueRef(".rodata", 4),
    }
    forms = {
        MapRef: {(LDDW, PseudoImm.MAP_FD)},
        MapValueRef: {(LDDW, PseudoImm.MAP_VALUE)},
        KfuncRef: {(CALL, PseudoCall.KFUNC), (LDDW, PseudoImm.BTF_ID)},
    }
    for slot, ref in program.refs.items():
        insn = program.insns[slot]
        assert (insn.code, insn.src) in forms[type(ref)]
        assert insn.imm == 0
        if isinstance(ref, MapValueRef):
            assert program.insns[slot + 1].imm == ref.offset


@every_compiler
def test_source_lines_and_types(compiler: str) -> None:
    """Lines belong to their functions, and every function has its type."""
    spec = rich(compiler)
    assert spec.btf is not None
    program = spec.programs["setup"]
    start = next(f.index for f in program.funcs if f.name == "hidden_sub")
    inside = [line for line in program.lines if line.index >= start]

    assert {"return x * (int)counter + custom_rodata;"} <= {line.text.strip() for line in inside}
    assert {line.file for line in program.lines} in ({"./rich.bpf.c"}, {"rich.bpf.c"})
    assert [line.index for line in program.lines] == sorted(line.index for line in program.lines)
    assert [spec.btf[f.type_id].name for f in program.funcs] == [f.name for f in program.funcs]


@every_compiler
def test_core_relocations_are_kept(compiler: str) -> None:
    """The access to a kernel struct is recorded, not applied."""
    spec = rich(compiler)
    assert spec.btf is not None
    (reloc,) = spec.programs["setup"].core

    assert (reloc.kind, reloc.access) == (CoreKind.FIELD_BYTE_OFFSET, "0:0")
    assert spec.btf[reloc.type_id].name == "bpf_crypto_ctx"


@every_compiler
def test_the_same_bytes_give_an_equal_spec(compiler: str) -> None:
    """Loading twice gives equal blueprints."""
    assert load_spec(raw(compiler), "rich.o") == rich(compiler)
    assert load_spec(raw(compiler), "other.o") != rich(compiler)


def test_loading_is_quick() -> None:
    """A typical object loads in well under the 15 ms that anyone would notice (three times that on a busy machine)."""
    data = raw("zig")
    load_spec(data)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        load_spec(data)
        times.append(time.perf_counter() - start)

    assert min(times) < 0.045


def test_an_object_without_types() -> None:
    """BTF is optional: a program and the variables that the symbols show."""
    elf = program()
    data = elf.section(".data", b"\1\2\3\4")
    elf.symbol("four", data, size=4, kind=1)
    spec = load_spec(elf.to_bytes())

    assert spec.btf is None
    assert spec.programs["main"].type is ProgType.XDP
    assert spec.maps[".data"].data == b"\1\2\3\4"
    assert spec.maps[".data"].flags == MapFlag(0)
    assert spec.variables["four"].type_id == 0
    assert spec.license == ""


def test_an_object_without_programs() -> None:
    """An object may hold only maps or nothing at all."""
    spec = load_spec(ElfWriter().to_bytes())

    assert (spec.programs, spec.maps, spec.variables) == ({}, {}, {})


def test_licences() -> None:
    """The text ends at its NUL; what is not text is an error."""
    elf = program()
    elf.section("license", b"GPL\0junk")
    assert load_spec(elf.to_bytes()).license == "GPL"

    elf = program()
    elf.section("license", b"\xff\xfe\0")
    with pytest.raises(ElfError, match="licence is not text"):
        load_spec(elf.to_bytes())


def test_two_programs_of_one_name() -> None:
    """Names are the keys of a collection, so they must differ."""
    elf = program()
    elf.code("tc", RETURN_1)
    elf.function("main", 2)

    with pytest.raises(ElfError, match="two programs are called 'main'"):
        load_spec(elf.to_bytes())


def attempt(data: bytes) -> None:
    """Load; only ObjectError may come of it, and its text must form."""
    try:
        load_spec(data, "fuzz.o")
    except ObjectError as error:
        assert str(error).startswith("fuzz.o")


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes: a spec or an ObjectError that names the file."""
    attempt(data)
    attempt(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x01\x00\xf7\x00" + data)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_mutated_objects(data: st.DataObject) -> None:
    """Real objects with flipped bits, changed words, or their end cut off: a spec or an ObjectError."""
    original = raw(data.draw(st.sampled_from(COMPILERS)))
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(changed) - 4))
        if data.draw(st.booleans()):
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            word = st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\0\0"]) | st.binary(min_size=4, max_size=4)
            changed[at : at + 4] = data.draw(word)
    attempt(bytes(changed))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len((TESTDATA / "rich.zig.o").read_bytes()) - 1))
def test_truncated_objects(length: int) -> None:
    """A file that ends early is an ObjectError at every length."""
    with pytest.raises(ObjectError):
        load_spec(raw("zig")[:length])


def test_committed_objects_name_no_machine() -> None:
    """Test objects must be the same wherever they are built: no absolute path may be in them."""
    for compiler in COMPILERS:
        for prefix in (b"/home/", b"/root/", b"/tmp/", b"/usr/", b"/Users/"):
            assert prefix not in raw(compiler)
