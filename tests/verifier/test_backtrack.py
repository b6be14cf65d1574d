"""Precision: a value that matters is compared when states are, one that does not is not."""

from __future__ import annotations

import pytest
from tests.support.asm_programs import collection_of, program_of, verdict_on
from tests.support.verdicts import compare

# Two values of r7 meet; what is done with it then decides whether the second path is pruned at the branch behind.
MEET = """
call bpf_get_prandom_u32#7
r6 = r0
r7 = 1
if r6 > 5 goto pc+1
r7 = 2
{way}
call bpf_get_prandom_u32#7
if r0 > 1 goto pc+0
call bpf_get_prandom_u32#7
if r0 > 2 goto pc+0
call bpf_get_prandom_u32#7
if r0 > 3 goto pc+0
{use}
r0 = 0
exit
"""

WAYS = {
    "itself": ("r8 = 0", "r7"),
    "a copy": ("r8 = r7", "r8"),
    "a sum": ("r8 = r7\nr8 += 4", "r8"),
    "a spill": ("*(u64 *)(r10 -16) = r7\nr8 = *(u64 *)(r10 -16)", "r8"),
    "half a spill": ("*(u32 *)(r10 -16) = r7\nw8 = 0\nr8 = *(u32 *)(r10 -16)", "r8"),
    "arithmetic with another": ("r9 = 3\nr9 += r7\nr8 = r9", "r8"),
    "the low half": ("w8 = w7", "r8"),
}
OFFSET = "r1 = r10\nr2 = {reg}\nr2 = -r2\nr1 += r2\n*(u8 *)(r1 -1) = 0"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_matters_keeps_paths_apart(way: tuple[str, str]) -> None:
    """A value that becomes an offset is followed back to where the paths differ; one that is only copied is not."""
    code, reg = way
    matters = verdict_on(MEET.format(way=code, use=OFFSET.format(reg=reg)))
    unused = verdict_on(MEET.format(way=code, use=f"r1 = {reg}"))

    assert matters.accepted
    assert unused.accepted
    assert unused.insns_processed < matters.insns_processed


@pytest.mark.kernel
@pytest.mark.parametrize("use", [OFFSET, "r1 = {reg}", "if {reg} == 1 goto pc+0"], ids=["offset", "copy", "branch"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_counts_are_the_kernels(way: tuple[str, str], use: str) -> None:
    """The kernel visits as many instructions and keeps as many states."""
    code, reg = way
    (pair,) = compare(collection_of(program_of(MEET.format(way=code, use=use.format(reg=reg)))))

    assert pair.disagreement() == ""
    assert pair.ours.log.splitlines()[-1] == pair.theirs.log.splitlines()[-1]


def test_a_missed_difference_would_be_unsound() -> None:
    """The second path is not pruned by the first although only the value of a scalar differs, and its fault is found."""
    text = MEET.format(way="r8 = r7\nr8 *= 300", use=OFFSET.format(reg="r8"))
    verdict = verdict_on(text)

    assert not verdict.accepted
    assert "invalid write to stack R1 off=-601 size=1" in verdict.log
