"""When exploration stops: loops that end, loops that do not, limits, and the counts of the kernel."""

from __future__ import annotations

from errno import E2BIG, EINVAL

import pytest
from tests.support.asm_programs import collection_of, program_of, verdict_on
from tests.support.verdicts import compare

BOUNDED = "r6 = 0\nr6 += 1\nif r6 < {} goto pc-2\nr0 = 0\nexit"
CIRCLE = "r0 = 0\nr1 = 1\nif r1 != 5 goto pc-2\nexit"
MAY_GOTO = "r6 = 0\nmay_goto pc+2\nr6 += 1\ngoto pc-3\nr0 = 0\nexit"

PROGRAMS = {
    "a bounded loop": BOUNDED.format(100),
    "a circle": CIRCLE,
    "a loop that may_goto ends": MAY_GOTO,
    "a nested loop": "r6 = 0\nr7 = 0\nr7 += 1\nif r7 < 7 goto pc-2\nr6 += 1\nif r6 < 9 goto pc-5\nr0 = 0\nexit",
    "branches that meet": "\n".join(
        ["call bpf_get_prandom_u32#7", "r6 = r0", "r7 = 0"]
        + [line for value in range(12) for line in (f"if r6 == {value} goto pc+1", "r7 += 1")]
        + ["r0 = 0", "exit"]
    ),
    "a value that matters": "\n".join(
        [
            "call bpf_get_prandom_u32#7",
            "r7 = -8",
            "if r0 > 5 goto pc+1",
            "r7 = -16",
            "*(u64 *)(r10 -8) = r0",
            "*(u64 *)(r10 -16) = r0",
            *["r1 = r7"] * 8,
            "if r0 > 9 goto pc+0",
            "if r0 > 8 goto pc+0",
            "r2 = r10",
            "r2 += r7",
            "r0 = *(u64 *)(r2 +0)",
            "exit",
        ]
    ),
    "a static function in a loop": "r6 = 0\nr1 = r6\ncall pc+4\nr6 += 1\nif r6 < 5 goto pc-4\nr0 = 0\nexit\nr0 = r1\nr0 += 3\nexit",
    "a function that returns what matters": "\n".join(
        [
            "r1 = 3",
            "call pc+5",
            "r2 = r10",
            "r2 -= r0",
            "*(u8 *)(r2 +0) = 1",
            "r0 = 0",
            "exit",
            "r0 = r1",
            "r0 += 5",
            "exit",
        ]
    ),
    "recursion": "call pc+1\nexit\ncall pc-1\nexit",
}


@pytest.mark.kernel
@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_counts_are_the_kernels(text: str) -> None:
    """Verdict, last line and all counts of the last line are the kernel's."""
    program = program_of(text)
    (pair,) = compare(collection_of(program))

    assert pair.disagreement() == ""
    assert pair.ours.log.splitlines()[-1] == pair.theirs.log.splitlines()[-1]


@pytest.mark.kernel
@pytest.mark.parametrize(
    "text", [CIRCLE, "r0 = r5\nexit", "r1 = *(u64 *)(r10 +8)\nexit"], ids=["circle", "read", "stack"]
)
def test_logs_are_the_kernels(text: str) -> None:
    """The whole log of a rejection is the kernel's."""
    (pair,) = compare(collection_of(program_of(text)))

    assert pair.ours.log == pair.theirs.log


def test_circle() -> None:
    """A program that comes back to the same state runs for ever."""
    verdict = verdict_on(CIRCLE)

    assert (verdict.accepted, verdict.errno) == (False, EINVAL)
    assert "infinite loop detected at insn 1" in verdict.log


def test_too_many_paths() -> None:
    """No more than 8192 paths are put aside."""
    text = "r6 = 0\ncall bpf_get_prandom_u32#7\nr6 += 1\nif r0 == 7 goto pc+1\ngoto pc-4\nr0 = r6\nexit"
    verdict = verdict_on(text, log_level=0)

    assert not verdict.accepted
    assert verdict.message == "The sequence of 8193 jumps is too complex."


def test_progress_is_told() -> None:
    """A long verification says how far it is."""
    from bpfcrypto.verifier.verify import verify

    told: list[int] = []
    program = program_of(BOUNDED.format(15_000))
    verdict = verify(program, collection_of(program), progress=told.append)

    assert verdict.accepted
    assert told == [20_000]


def test_call_depth() -> None:
    """Nine frames are one too many."""
    verdict = verdict_on("call pc+1\nexit\ncall pc-1\nexit")

    assert (verdict.errno, verdict.message) == (E2BIG, "the call stack of 9 frames is too deep")
