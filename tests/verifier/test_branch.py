"""Conditional jumps: what each way knows of scalars, linked scalars, pointers that may be NULL, and packets."""

from __future__ import annotations

from errno import EACCES, EINVAL

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import Op
from bpfcrypto.spec import MapSpec
from bpfcrypto.verifier import bounds, branch
from bpfcrypto.verifier.state import (
    AT_PKT_END,
    BEYOND_PKT_END,
    SCALAR_ZERO,
    Flag,
    MapTarget,
    MemTarget,
    Reg,
    RegType,
    scalar,
    scalar_const,
)
from support.domain import explore, registers, replay

RANDOM = "call get_prandom_u32#7\n"
PACKET = "r2 = *(u32 *)(r1 +76)\nr3 = *(u32 *)(r1 +80)\nr4 = r2\nr4 += 14\n"
HASH = MapSpec("values", MapType.HASH, 4, 48, 4)

FALLS_THROUGH = {
    # program -> register, its text where no branch is taken
    RANDOM + "if r0 > 0x64 goto pc+0": (0, "scalar(smin=smin32=0,smax=umax=smax32=umax32=100,var_off=(0x0; 0x7f))"),
    RANDOM + "if w0 s< 0x0 goto pc+0": (
        0,
        "scalar(smax=0x7fffffff7fffffff,umax=0xffffffff7fffffff,smin32=0,umax32=0x7fffffff,"
        "var_off=(0x0; 0xffffffff7fffffff))",
    ),
    RANDOM + "r2 = r0\nif r2 != 0x7 goto pc+0\nr3 = r0": (0, "7"),
    RANDOM + "r2 = r0\nr2 += 5\nif r0 > 0xa goto pc+0\nr3 = r2": (
        2,
        "scalar(id=2,smin=umin=smin32=umin32=5,smax=umax=smax32=umax32=15,var_off=(0x0; 0xf))",
    ),
    RANDOM + "w0 = w0\nr2 = r0\nw2 += 5\nif r0 > 0xa goto pc+0\nr3 = r2": (
        2,
        "scalar(id=2,smin=umin=smin32=umin32=5,smax=umax=smax32=umax32=15,var_off=(0x0; 0xf))",
    ),
    RANDOM + "if r0 & 0x1 goto pc+0": (
        0,
        "scalar(smax=0x7ffffffffffffffe,umax=0xfffffffffffffffe,smax32=0x7ffffffe,umax32=0xfffffffe,"
        "var_off=(0x0; 0xfffffffffffffffe))",
    ),
    PACKET + "if r4 > r3 goto pc+0": (2, "pkt(r=14)"),
    PACKET + "if r4 >= r3 goto pc+0": (2, "pkt(r=15)"),
    PACKET + "if r3 < r4 goto pc+0": (4, "pkt(off=14,r=14)"),
    PACKET + "if r4 < r3 goto pc+0": (4, "pkt(off=14,r=0xffffffffffffffff)"),
    PACKET + "if r4 <= r3 goto pc+0": (4, "pkt(off=14,r=0xfffffffffffffffe)"),
    "r2 = *(u32 *)(r1 +140)\nr3 = *(u32 *)(r1 +76)\nr4 = r2\nr4 += 8\nif r4 > r3 goto pc+0": (2, "pkt_meta(r=8)"),
}


@pytest.mark.parametrize("text", FALLS_THROUGH)
def test_what_the_next_instruction_knows(text: str) -> None:
    """Where the branch is not taken, registers are refined as the table says."""
    number, expected = FALLS_THROUGH[text]
    assert registers(assemble(text + "\nexit"))[number] == expected


@pytest.mark.kernel
@pytest.mark.parametrize("text", FALLS_THROUGH)
def test_what_the_kernel_knows(text: str) -> None:
    """The kernel prints the same on both ways of the same programs."""
    result = replay(assemble(text + "\nr0 = 0\nexit"))
    assert not result.errno
    assert not result.mismatches
    assert result.compared


VALUE = Reg(RegType.MAP_VALUE, target=MapTarget(HASH))
MAYBE = VALUE._replace(flags=Flag.MAYBE_NULL, id=1)
PKT = Reg(RegType.PACKET)
PKT_END = Reg(RegType.PACKET_END)


@pytest.mark.parametrize(
    ("left", "op", "right", "expected"),
    [
        (scalar_const(5), Op.JGT, scalar_const(4), True),
        (scalar(bounds.from_unsigned(0, 9)), Op.JGT, scalar_const(9), False),
        (scalar(bounds.from_unsigned(0, 9)), Op.JGT, scalar_const(8), None),
        (VALUE, Op.JEQ, SCALAR_ZERO, False),
        (VALUE, Op.JNE, SCALAR_ZERO, True),
        (SCALAR_ZERO, Op.JNE, VALUE, True),
        (VALUE, Op.JEQ, scalar_const(1), None),
        (VALUE, Op.JGT, SCALAR_ZERO, None),
        (MAYBE, Op.JEQ, SCALAR_ZERO, None),
        (VALUE, Op.JEQ, VALUE, None),
        (Reg(RegType.BTF_ID), Op.JEQ, SCALAR_ZERO, None),
        (Reg(RegType.BTF_ID, Flag.TRUSTED), Op.JEQ, SCALAR_ZERO, False),
        (Reg(RegType.BTF_ID, Flag.TRUSTED | Flag.RCU), Op.JEQ, SCALAR_ZERO, None),
        (Reg(RegType.BTF_ID, ref_obj_id=2), Op.JEQ, SCALAR_ZERO, False),
        (Reg(RegType.MEM, target=MemTarget(8)), Op.JEQ, SCALAR_ZERO, False),
        (Reg(RegType.MEM, Flag.UNTRUSTED, target=MemTarget(8)), Op.JEQ, SCALAR_ZERO, None),
        (PKT, Op.JGT, PKT_END, None),
        (PKT._replace(range=BEYOND_PKT_END), Op.JGT, PKT_END, True),
        (PKT._replace(range=BEYOND_PKT_END), Op.JLE, PKT_END, False),
        (PKT_END, Op.JLT, PKT._replace(range=BEYOND_PKT_END), True),
        (PKT._replace(range=AT_PKT_END), Op.JGE, PKT_END, True),
        (PKT._replace(range=AT_PKT_END), Op.JLT, PKT_END, False),
        (PKT._replace(range=AT_PKT_END), Op.JGT, PKT_END, None),
        (PKT, Op.JGT, PKT, None),
    ],
)
def test_decisions(left: Reg, op: Op, right: Reg, expected: bool | None) -> None:
    """Whether a comparison is decided, for each kind of operands."""
    assert branch.taken(left, right, op, 64) is expected


LOOKUP = (
    Insn(0x62, 10, 0, -4, 0),  # *(u32 *)(r10 -4) = 0
    Insn(0x18, 1, 1),
    Insn(0),
    *assemble("r2 = r10\nr2 += -4\ncall map_lookup_elem#1\nr6 = r0"),
)


def test_null_is_decided_for_all_copies() -> None:
    """A pointer that was compared with NULL is valid, or 0, in every register that shares its id."""
    checked = registers((*LOOKUP, *assemble("if r0 == 0x0 goto pc+1\nexit\nexit")), HASH)
    assert (checked[0], checked[6]) == ("map_value(map=values,ks=4,vs=48)",) * 2
    null = registers((*LOOKUP, *assemble("if r0 != 0x0 goto pc+1\nexit\nexit")), HASH)
    assert (null[0], null[6]) == ("0", "0")


def test_a_pointer_equal_to_a_valid_one_is_valid() -> None:
    """Comparing a pointer that may be NULL with one that is not tells about the register compared, and not about its copies."""
    code = "r7 = *(u32 *)(r9 +76)\nif r0 != r7 goto pc+1\nexit\nexit"
    start = assemble("r9 = r1")
    found = registers((*start, *LOOKUP, *assemble(code)), HASH)
    assert found[0] == "map_value(id=1,map=values,ks=4,vs=48)"
    assert found[6] == "map_value_or_null(id=1,map=values,ks=4,vs=48)"


def test_arithmetic_before_the_check_is_refused() -> None:
    """A pointer that may be NULL takes no offset."""
    found = explore((*LOOKUP, *assemble("r6 += 8\nexit")), HASH)
    assert found == (EACCES, "R6 pointer arithmetic on map_value_or_null prohibited, null-check it first")


COPIES = RANDOM + "".join(f"r{number} = r0\n" for number in range(1, 10))
USES = "".join(f"r0 += r{number}\n" for number in range(1, 10))


def test_more_links_than_one_branch_follows() -> None:
    """Of the registers with an id that are still needed the seventh loses it, and keeps what was known before."""
    found = registers(assemble(COPIES + "if r0 > 0xa goto pc+0\nexit\n"))
    assert found[9] == "scalar(id=1)"  # nobody needs it any more
    found = registers(assemble(COPIES + "if r0 > 0xa goto pc+1\nexit\n" + USES + "exit"))
    assert found[5] == found[0] == "scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=10,var_off=(0x0; 0xf))"
    assert found[6] == "scalar()"


@pytest.mark.kernel
def test_the_kernel_follows_as_many_links() -> None:
    """The kernel prints the same where there are too many links, on both ways."""
    result = replay(assemble(COPIES + "if r0 > 0xa goto pc+1\nr1 = 1\n" + USES + "exit"))
    assert not result.mismatches
    assert result.compared > 30


@pytest.mark.parametrize(
    ("insn", "message"),
    [
        (Insn(0x15, 0, 1), "BPF_JMP/JMP32 uses reserved fields"),
        (Insn(0xE5, 1), "invalid may_goto imm 0"),
        (Insn(0xF5), "invalid BPF_JMP/JMP32 opcode f0"),
    ],
)
def test_instructions_without_a_row(insn: Insn, message: str) -> None:
    """A jump with a reserved field that is not 0 is refused."""
    rejected = branch.reserved(insn)
    assert (rejected.errno, rejected.message) == (EINVAL, message)
