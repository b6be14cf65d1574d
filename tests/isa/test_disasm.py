"""Instructions as text: the kernel log's form, compared with the kernel."""

from __future__ import annotations

import random
import re

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.disasm import disassemble, format_insn
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, EXIT, LDDW, OPCODES, Kind, Opcode, PseudoCall, PseudoImm
from support.need import skip_or_fail

TEXTS = {
    Insn(0xB7, 1, imm=5): "r1 = 5",
    Insn(0xBC, 0, 1): "w0 = w1",
    Insn(0x79, 0, 1, 8): "r0 = *(u64 *)(r1 +8)",
    Insn(0x65, 1, off=3, imm=5): "if r1 s> 0x5 goto pc+3",
    Insn(0x66, 1, off=-3, imm=-5): "if w1 s> 0xfffffffb goto pc-3",
    Insn(CALL, src=PseudoCall.BPF, imm=4): "call pc+4",
    Insn(CALL, imm=7777): "call unknown#7777",
    Insn(CALL, src=PseudoCall.KFUNC, imm=7777): "call kfunc#7777",
    Insn(0xE5, off=2): "may_goto pc+2",
    Insn(0x06, imm=1): "gotol pc+1",
    Insn(0xDB, 1, 2, 0, 0x100): "r1 = load_acquire((u64 *)(r2 +0))",
    Insn(0xC3, 1, 2, 0, 0): "lock *(u32 *)(r1 +0) += r2",
    Insn(0xDB, 1, 2, 8, 1): "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)",
    Insn(0xC3, 1, 2, 8, 0xF1): "r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)",
    Insn(0xBF, 1, 2, 8): "r1 = (s8)r2",
    Insn(0xD7, 1, imm=16): "r1 = bswap16 r1",
    Insn(0x3F, 1, 2, 1): "r1 s/= r2",
    Insn(0xBF, 1, 2, 1, 1): "r1 = addr_space_cast(r2, 0, 1)",
    Insn(0x50, src=7, imm=-4): "r0 = *(u8 *)skb[r7 + -4]",
    Insn(EXIT): "exit",
    Insn(0xFF, 1, 2, 3, -4): ".insn 0xff, 1, 2, 3, -4",
    Insn(0x07, 1, 0, 3, 4): ".insn 0x07, 1, 0, 3, 4",
    Insn(LDDW, 1): ".insn 0x18, 1, 0, 0, 0",
}


def test_texts() -> None:
    """One text of every form; what the kernel does not print is given field by field."""
    assert {insn: format_insn([insn], 0) for insn in TEXTS} == TEXTS


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (PseudoImm.VALUE, "r1 = 0xfffffffe00000005"),
        (PseudoImm.MAP_VALUE, "r1 = map[fd:5][0]+4294967294"),
        (PseudoImm.BTF_ID, "r1 = btf_id[5:4294967294]"),
        (PseudoImm.MAP_IDX_VALUE, "r1 = map[idx:5][0]+4294967294"),
    ],
)
def test_lddw(source: PseudoImm, text: str) -> None:
    """An lddw names what its immediate stands for, both halves of it."""
    assert format_insn((Insn(LDDW, 1, source, imm=5), Insn(0, imm=-2)), 0) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [(PseudoImm.MAP_FD, "map[fd:5]"), (PseudoImm.FUNC, "subprog[+5]"), (PseudoImm.MAP_IDX, "map[idx:5]")],
)
def test_lddw_of_one_half(source: PseudoImm, text: str) -> None:
    """Where the second half means nothing it must be 0, or the two halves are printed as they are."""
    lddw = Insn(LDDW, 1, source, imm=5)
    assert format_insn((lddw, Insn(0)), 0) == f"r1 = {text}"
    assert list(disassemble((lddw, Insn(0, imm=1)))) == [
        f"0: (18) .insn 0x18, 1, {source}, 0, 5",
        "1: (00) .insn 0x00, 0, 0, 0, 1",
    ]


def test_names() -> None:
    """Names stand for helpers, kfuncs and lddw operands."""
    program = (Insn(CALL, imm=1), Insn(CALL, src=2, imm=63731), Insn(LDDW, 3, 1, imm=5), Insn(0), Insn(EXIT))
    names = {0: "bpf_map_lookup_elem", 1: "bpf_crypto_ctx_create", 2: "map 'flows'"}

    assert list(disassemble(program, names=lambda slot, _insn: names.get(slot))) == [
        "0: (85) call bpf_map_lookup_elem#1",
        "1: (85) call bpf_crypto_ctx_create#63731",
        "2: (18) r3 = map 'flows'",
        "4: (95) exit",
    ]


def sample(row: Opcode, choose: random.Random) -> list[Insn]:
    """An instruction of a row that the kernel prints before it looks at registers and memory; jumps lead to the next one."""
    fixed = row.fixed
    is_jump = row.kind in (Kind.BRANCH, Kind.GOTO, Kind.MAY_GOTO)
    imm = 0 if row.kind is Kind.GOTO else choose.choice([0, 1, -1, 5, -7, 0x7FFFFFFF, -(1 << 31)])
    insn = Insn(
        row.code,
        fixed.get("dst", choose.randint(0, 9)),
        fixed.get("src", choose.randint(0, 10)),
        fixed.get("off", 0 if is_jump else choose.randint(-(1 << 15), (1 << 15) - 1)),
        fixed.get("imm", 5 if row.kind is Kind.CALL else imm),
    )
    return [insn, Insn(0, imm=choose.choice([0, 1, -1]))][: row.slots]


def kernel_texts(prog_type: ProgType, program: list[Insn]) -> dict[int, str]:
    """Slot -> text, from the table of live registers that the verifier prints before it starts."""
    from bpfcrypto.kernel import bpf

    flags = ProgFlag.SLEEPABLE if prog_type is ProgType.SYSCALL else 0
    request = bpf.LoadRequest(prog_type, encode(program), name="texts", flags=flags)
    outcome = bpf.prog_load(request, log_level=2)
    assert "func#0" in outcome.log
    lines = re.findall(r"^ *(\d+): [0-9.]{10} \([0-9a-f]{2}\) (.*)$", outcome.log, re.MULTILINE)
    if not lines:
        skip_or_fail("this kernel's log has no table of live registers")
    return {int(slot): text for slot, text in lines}


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(3))
def test_kernel_prints_the_same(seed: int) -> None:
    """Every instruction that can stand in a program for the kernel's printer has the very text the kernel gives it."""
    choose = random.Random(seed)
    elsewhere = {Kind.EXIT}
    rows = [
        row
        for row in OPCODES
        if row.kind not in elsewhere
        and not (row.kind is Kind.CALL and row.fixed["src"])
        and not (row.kind is Kind.LDDW and row.fixed["src"])
    ]
    choose.shuffle(rows)
    program = [*(insn for row in rows for insn in sample(row, choose)), Insn(EXIT)]

    theirs = kernel_texts(ProgType.SCHED_CLS, program)

    names = {5: "bpf_ktime_get_ns"}
    ours = {slot: format_insn(program, slot, names=lambda _slot, insn: names.get(insn.imm)) for slot in theirs}
    assert len(theirs) == len(rows) + 1
    assert ours == theirs


@pytest.mark.kernel
def test_kernel_prints_calls_the_same() -> None:
    """Calls of subprograms and kfuncs have the kernel's text."""
    from bpfcrypto.kernel.btf import kernel_btf

    name = "bpf_crypto_ctx_release"
    number = kernel_btf().func_id(name)
    assert number is not None
    program = [
        Insn(CALL, src=PseudoCall.BPF, imm=2),
        Insn(CALL, src=PseudoCall.KFUNC, imm=number),
        Insn(EXIT),
        Insn(0xB7),
        Insn(EXIT),
    ]
    theirs = kernel_texts(ProgType.SYSCALL, program)
    ours = {
        s: format_insn(program, s, names=lambda _s, insn: name if insn.src == PseudoCall.KFUNC else None)
        for s in theirs
    }
    assert theirs[1] == f"call {name}#{number}"
    assert ours == theirs


@pytest.mark.kernel
def test_kernel_prints_maps_as_addresses() -> None:
    """The kernel prints an lddw of a map as an address, which a name callback can supply."""
    from bpfcrypto.kernel import bpf

    with bpf.map_create(MapType.ARRAY, 4, 8, 1) as fd:
        program = [Insn(LDDW, 1, PseudoImm.MAP_FD, imm=fd.fileno()), Insn(0), Insn(0xB7), Insn(EXIT)]
        text = kernel_texts(ProgType.SCHED_CLS, program)[0]

    assert re.fullmatch(r"r1 = 0x[0-9a-f]{16}", text)
    assert format_insn(program, 0, names=lambda _s, _i: text.removeprefix("r1 = ")) == text
