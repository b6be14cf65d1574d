"""Calls, returns, the depth of the stack, and instructions whose fields fit no form, beside the kernel."""

from __future__ import annotations

import pytest
from tests.support.asm_programs import collection_of, program_of, verdict_on
from tests.support.verdicts import compare

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.insn import Insn
from bpfcrypto.verifier.env import Options
from bpfcrypto.verifier.verify import verify

EXIT = Insn(0x95)
ZERO = Insn(0xB7)

FIELDS = {
    "alu with a source and an immediate": Insn(0x0F, 0, 1, 0, 5),
    "alu with an offset": Insn(0x07, 0, 0, 2, 5),
    "mov with an offset": Insn(0xBF, 0, 1, 7),
    "negation with an immediate": Insn(0x87, 0, 0, 0, 1),
    "a swap of 8 bits": Insn(0xD7, 0, 0, 0, 8),
    "ldx with an immediate": Insn(0x79, 0, 10, -8, 1),
    "stx with an immediate": Insn(0x7B, 10, 1, -8, 1),
    "st with a source": Insn(0x7A, 10, 1, -8, 1),
    "atomics of 16 bits": Insn(0xCB, 10, 1, -8, 0),
    "an atomic operation that does not exist": Insn(0xDB, 10, 1, -8, 0x70),
    "a call with a register": Insn(0x85, 1, 0, 0, 5),
    "a call of a kind that does not exist": Insn(0x85, 0, 5, 0, 5),
    "an exit with a register": Insn(0x95, 1),
    "a jump with an immediate": Insn(0x05, 0, 0, 0, 1),
    "a conditional jump with both operands": Insn(0x1D, 1, 1, 0, 1),
    "a comparison of what was never written": Insn(0x1D, 5, 1, 0, 1),
    "may_goto with an immediate": Insn(0xE5, 0, 0, 0, 1),
    "ld_abs with a register": Insn(0x30, 1, 0, 0, 0),
    "an opcode that does not exist": Insn(0xFF),
    "a jump of class 6 to an exit": Insn(0x96),
    "a register that does not exist": Insn(0xBF, 0, 12),
    "the frame pointer as destination": Insn(0xB7, 10),
    "lddw with an offset": Insn(0x18, 0, 0, 1),
}


@pytest.mark.kernel
@pytest.mark.parametrize("insn", FIELDS.values(), ids=FIELDS)
def test_fields(insn: Insn) -> None:
    """An instruction with a field that is reserved is refused with the kernel's words."""
    half = (Insn(0),) if insn.code == 0x18 else ()
    program = program_of("", insns=(ZERO, insn, *half, ZERO, EXIT))
    (pair,) = compare(collection_of(program))

    assert not pair.ours.accepted
    assert pair.disagreement() == ""


def test_reserved_fields_harm_only_where_they_are_reached() -> None:
    """Fields are looked at when a path comes to the instruction; one behind a branch that is never taken is never looked at."""
    program = program_of("", insns=(ZERO, Insn(0x15, 0, 0, 1), Insn(0x0F, 0, 1, 0, 5), EXIT))

    assert verify(program, collection_of(program), options=Options()).accepted


PROGRAMS = {
    "an uninitialised r0": "call pc+2\nr0 = 0\nexit\nexit",
    "a returned stack pointer": "call pc+2\nr0 = 0\nexit\nr0 = r10\nexit",
    "r1 after a call": "r1 = 1\ncall pc+2\nr0 = r1\nexit\nr0 = 0\nexit",
    "r6 in a callee": "r6 = 1\ncall pc+2\nr0 = 0\nexit\nr0 = r6\nexit",
    "the caller's stack": "*(u64 *)(r10 -8) = 5\nr1 = r10\nr1 += -8\ncall pc+2\nr0 = 0\nexit\nr0 = *(u64 *)(r1 +0)\nexit",
    "a stack pointer in the caller's frame": "r1 = r10\ncall pc+2\nr0 = 0\nexit\n*(u64 *)(r1 -8) = r10\nr0 = 0\nexit",
    "512 bytes in two frames": "*(u8 *)(r10 -256) = 1\ncall pc+1\nexit\n*(u8 *)(r10 -256) = 1\nr0 = 0\nexit",
    "528 bytes in two frames": "*(u8 *)(r10 -256) = 1\ncall pc+1\nexit\n*(u8 *)(r10 -257) = 1\nr0 = 0\nexit",
    "520 bytes in one frame": "*(u8 *)(r10 -513) = 1\nr0 = 0\nexit",
    "a function that is never returned from": "call pc+2\nr0 = 0\nexit\nr0 = 0\ngoto pc-2\nexit",
}


@pytest.mark.kernel
@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_calls_and_returns(text: str) -> None:
    """Frames, their registers and stacks: the kernel's verdict, words and counts."""
    (pair,) = compare(collection_of(program_of(text)))

    assert pair.disagreement() == ""
    assert pair.ours.log.splitlines()[-1] == pair.theirs.log.splitlines()[-1]


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [ProgType.SYSCALL, ProgType.XDP])
def test_who_may_sleep(kind: ProgType) -> None:
    """Syscall programs have to be loaded as sleepable."""
    (pair,) = compare(collection_of(program_of("r0 = 0\nexit", kind=kind)))

    assert pair.disagreement() == ""


def test_facts_for_machine_code() -> None:
    """What all paths share is known before each instruction; what no path comes to is dead code."""
    facts = verdict_on("r6 = r1\nr7 = 3\nr0 = 0\nif r7 == 3 goto pc+1\nr0 = 1\nr0 += r7\nexit").facts

    assert facts is not None
    assert not facts.is_reached(4)
    assert facts.before(5, 7).num.umin == 3
    assert facts.before(1, 6).type.value == "?"  # dead: nobody reads r6
