"""ALU instructions: what they leave in registers, and what they refuse, in the kernel's words."""

from __future__ import annotations

from errno import EACCES, EINVAL

import pytest

from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.verifier import alu
from support.domain import explore, registers, replay

RANDOM = "call get_prandom_u32#7\n"
END = "\nr0 = 0\nexit\n"

REFUSED = {
    "r0 = r3": (EACCES, "R3 !read_ok"),
    "r0 += 1": (EACCES, "R0 !read_ok"),
    "r10 = 1": (EACCES, "frame pointer is read only"),
    "r10 += 8": (EACCES, "frame pointer is read only"),
    "r10 = -r10": (EACCES, "frame pointer is read only"),
    "r0 = r11": (EINVAL, "R11 is invalid"),
    "r12 = 1": (EINVAL, "R12 is invalid"),
    "r0 = 1\nr0 /= 0": (EINVAL, "div by zero"),
    "r0 = 1\nw0 %= 0": (EINVAL, "div by zero"),
    "r0 = 1\nr0 <<= 64": (EINVAL, "invalid shift 64"),
    "r0 = 1\nw0 s>>= 32": (EINVAL, "invalid shift 32"),
    "r0 = 1\nr0 >>= -1": (EINVAL, "invalid shift -1"),
    "r0 = addr_space_cast(r1, 0, 1)": (
        EINVAL,
        "addr_space_cast insn can only be used in a program that has an associated arena",
    ),
    "r0 = r10\nr0 &= -8": (EACCES, "R0 bitwise operator &= on pointer prohibited"),
    "r0 = r10\nr0 |= 1": (EACCES, "R0 bitwise operator |= on pointer prohibited"),
    "r0 = r1\nr0 ^= 1": (EACCES, "R0 bitwise operator ^= on pointer prohibited"),
    "r0 = r10\nr0 *= 2": (EACCES, "R0 pointer arithmetic with *= operator prohibited"),
    "r0 = r10\nr0 s/= 2": (EACCES, "R0 pointer arithmetic with /= operator prohibited"),
    "r0 = r10\nr0 s>>= 2": (EACCES, "R0 pointer arithmetic with s>>= operator prohibited"),
    "r0 = r10\nw0 += 1": (EACCES, "R0 32-bit pointer arithmetic prohibited"),
    "r0 = r10\nr0 -= 8": (EACCES, "R0 subtraction from stack pointer prohibited"),
    "r0 = 8\nr0 -= r10": (EACCES, "R0 tried to subtract pointer from scalar"),
    "r0 = r1\nr0 += r10": (EACCES, "R0 pointer += pointer prohibited"),
    "r0 = r1\nr0 &= r10": (EACCES, "R0 pointer &= pointer prohibited"),
    "r0 = *(u32 *)(r1 +80)\nr0 += 1": (EACCES, "R0 pointer arithmetic on pkt_end prohibited"),
    "r0 = r10\nr0 += 0x1fffffff\nr0 += 1": (EINVAL, "fp pointer offset 536870912 is not allowed"),
    "r0 = r10\nr0 += -0x20000000": (EINVAL, "math between fp pointer and -536870912 is not allowed"),
    "r0 = r10\nr2 = 0x100000000\nr0 += r2": (EINVAL, "math between fp pointer and 4294967296 is not allowed"),
    RANDOM + "r2 = r10\nr2 += r0": (
        EINVAL,
        "math between fp pointer and register with unbounded min value is not allowed",
    ),
    RANDOM + "r0 |= 0x40000000\nr0 &= 0x7fffffff\nr2 = r10\nr2 += r0": (
        EINVAL,
        "value 1073741824 makes fp pointer be out of bounds",
    ),
}

LEFT = {
    "r0 = 5": "5",
    "w0 = -1": "0xffffffff",
    "r0 = -1": "-1",
    RANDOM: "scalar()",
    RANDOM + "w0 = w0": "scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))",
    RANDOM + "r0 &= 0xff": "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))",
    RANDOM + "r0 = (s8)r0": "scalar(smin=smin32=-128,smax=smax32=127)",
    RANDOM + "w0 = (s16)w0": "scalar(smin=0,smax=umax=0xffffffff,smin32=-32768,smax32=32767,var_off=(0x0; 0xffffffff))",
    RANDOM + "r0 = be16 r0": "scalar(smin=smin32=0,smax=umax=smax32=umax32=0xffff,var_off=(0x0; 0xffff))",
    RANDOM + "r0 /= 3": "scalar()",
    "r0 = 6\nr0 = -r0": "-6",
    "r0 = r10\nr0 += -8": "fp-8",
    "r0 = -8\nr0 += r10": "fp-8",
    RANDOM + "r0 &= 7\nr2 = r10\nr2 += -16\nr2 += r0\nr0 = r2": (
        "fp(off=-16,smin=smin32=0,smax=umax=smax32=umax32=7,var_off=(0x0; 0x7))"
    ),
    "r0 = r10\nr0 -= r10": "scalar()",
    "r0 = r10\nw0 -= 1": "scalar()",
    "r0 = r10\nr0 = (s8)r0": "scalar()",
    "r0 = r10\nr0 = -r0": "scalar()",
    "r0 = *(u32 *)(r1 +76)\nr0 += 14": "pkt(off=14,r=0)",
    RANDOM + "r2 = r0\nr0 += 5": "scalar(id=1+5)",
    RANDOM + "r2 = r0\nr0 -= 5": "scalar(id=1-5)",
    RANDOM + "r2 = r0\nr0 += 5\nr0 += 5": "scalar()",
    RANDOM + "r2 = r0\nr0 = le64 r0": "scalar(id=1)",
    RANDOM + "r2 = r0\nr0 = be64 r0": "scalar()",
    RANDOM + "r2 = r0\nr2 += 4\nr3 = r2\nr0 = r3": "scalar(id=2)",
    RANDOM + "r0 s>>= 63\nr0 &= 6": "6",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text: str) -> None:
    """What an instruction must not do is refused with the errno and the words that the table gives."""
    assert explore(assemble(text + END)) == REFUSED[text]


@pytest.mark.kernel
@pytest.mark.parametrize("text", REFUSED)
def test_refusals_are_the_kernels(text: str) -> None:
    """The kernel refuses the same programs with the same words."""
    result = replay(assemble(text + END))
    assert (result.errno, result.log.splitlines()[-2]) == REFUSED[text]


@pytest.mark.parametrize("text", LEFT)
def test_results(text: str) -> None:
    """The register that an instruction leaves has the text that the table gives."""
    assert registers(assemble(text + "\nexit"))[0] == LEFT[text]


@pytest.mark.kernel
@pytest.mark.parametrize("text", LEFT)
def test_results_are_the_kernels(text: str) -> None:
    """The kernel prints the same registers on the same programs."""
    result = replay(assemble(text + END))
    assert not result.errno
    assert not result.mismatches
    assert result.compared


@pytest.mark.parametrize(
    ("insn", "message"),
    [
        (Insn(0x87, 0, 1), "BPF_NEG uses reserved fields"),
        (Insn(0xD4, 0, 0, 0, 8), "BPF_END uses reserved fields"),
        (Insn(0xB7, 0, 1), "BPF_MOV uses reserved fields"),
        (Insn(0x07, 0, 1), "BPF_ALU uses reserved fields"),
        (Insn(0xE7), "invalid BPF_ALU opcode e0"),
    ],
)
def test_instructions_without_a_row(insn: Insn, message: str) -> None:
    """An instruction with a reserved field that is not 0 is refused by its name."""
    rejected = alu.reserved(insn)
    assert (rejected.errno, rejected.message) == (EINVAL, message)
