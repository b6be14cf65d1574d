"""Loops by callbacks: explored as by 6.18, and explored again where that would accept what breaks a rule."""

from __future__ import annotations

import pytest

from bpfcrypto.verifier import prune
from bpfcrypto.verifier.loops import CallbackAudit, Unjustified
from support.progtext import assembled
from support.verdicts import judge

# The first path of the callback comes to ``join`` with 0 in the caller's slot and on to the call, where it ends: the slot is what it
# was. That another path uses the slot as an offset is not known at ``join`` when the last path comes there with 1000 in the slot; it is
# the next round that would write beyond the stack. Linux before 6.19 accepts the program: it is never to be run.
UNJUSTIFIED = """type tc
*(u64 *)(r10 -8) = {first}
r1 = 10
r2 = subprog[each]
r3 = r10
r3 += -8
r4 = 0
call bpf_loop
r0 = 0
exit
func each callback
r6 = r2
call bpf_get_prandom_u32
if r0 == 1 goto third
if r0 == 2 goto second
r1 = 1
r1 = 1
r1 = 1
if r0 == 3 goto more
r1 = 1
more:
r1 = 1
r1 = 1
r1 = 1
r1 = 1
r1 = 1
r1 = 1
if r0 == 4 goto join
r1 = 1
if r0 == 5 goto join
r1 = 1
join:
r0 = 0
exit
second:
r1 = *(u64 *)(r6 +0)
r2 = r10
r2 += -8
r2 += r1
*(u8 *)(r2 +0) = 0
r0 = 0
exit
third:
r1 = {later}
*(u64 *)(r6 +0) = r1
goto join
"""


@pytest.fixture
def refuted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry whenever an exploration turns out to be unjustified."""
    found: list[str] = []

    class Watched(CallbackAudit):
        def leave(self, state: object) -> None:
            try:
                super().leave(state)  # type: ignore[arg-type]
            except Unjustified:
                found.append("refuted")
                raise

    monkeypatch.setattr(prune, "CallbackAudit", Watched)
    return found


def test_value_of_the_next_round(refuted: list[str]) -> None:
    """A value that one round leaves for the next is not lost where two rounds look alike."""
    spec = assembled(UNJUSTIFIED.format(first=0, later=1000))
    verdict = judge(spec.programs["main"], spec)

    assert not verdict.accepted
    assert verdict.message == "invalid write to stack R2 off=992 size=1"
    assert refuted == ["refuted"]


def test_value_that_does_no_harm(refuted: list[str]) -> None:
    """The same program with a value that stays the same is accepted at the first attempt."""
    spec = assembled(UNJUSTIFIED.format(first=0, later=0))
    verdict = judge(spec.programs["main"], spec)

    assert verdict.accepted
    assert refuted == []
