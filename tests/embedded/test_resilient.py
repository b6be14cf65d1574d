"""Resilient locks between runs: waiting, giving up, and deadlocks of two."""

from __future__ import annotations

import threading
import time
from errno import EDEADLK, ETIMEDOUT

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded import resilient
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.spinlock import SpinLock
from bpfcrypto.embedded.state import RunState
from bpfcrypto.spec import ProgramSpec


def run() -> RunState:
    return RunState(Memory(), ProgramSpec("test", "tc", ProgType.SCHED_CLS, ()))


def test_a_lock_is_given_to_one_after_the_other() -> None:
    """The second run gets it once the first has given it back."""
    one, two, lock = run(), run(), SpinLock(0x1000)
    assert resilient.acquire(one, lock) == 0
    threading.Timer(0.02, resilient.release, (one, lock)).start()

    assert resilient.acquire(two, lock) == 0
    assert (one.resilient, two.resilient) == ([], [lock])


def test_its_own_lock_is_a_deadlock() -> None:
    """It is said at once."""
    one, lock = run(), SpinLock(0x1000)
    assert resilient.acquire(one, lock) == 0

    assert resilient.acquire(one, lock) == EDEADLK
    assert one.resilient == [lock]


def test_a_lock_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends, and nothing is held but what was."""
    monkeypatch.setattr(resilient, "TIMEOUT", 0.02)
    one, two, lock = run(), run(), SpinLock(0x1000)
    assert resilient.acquire(one, lock) == 0
    start = time.monotonic()

    assert resilient.acquire(two, lock) == ETIMEDOUT
    assert time.monotonic() - start < 1
    assert two.resilient == []


def test_two_that_wait_for_each_other() -> None:
    """At least one of them is told, before the time is up, and then the other gets its lock."""
    one, two, first, second = run(), run(), SpinLock(0x1000), SpinLock(0x2000)
    assert resilient.acquire(one, first) == 0
    assert resilient.acquire(two, second) == 0
    answers: dict[str, int] = {}

    def go(name: str, who: RunState, lock: SpinLock) -> None:
        answers[name] = resilient.acquire(who, lock)
        resilient.release_all(who)

    threads = [threading.Thread(target=go, args=each) for each in (("one", one, second), ("two", two, first))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert EDEADLK in answers.values()
    assert set(answers.values()) <= {0, EDEADLK}


def test_locks_come_off_in_the_opposite_order() -> None:
    """A program that was not verified is stopped where it does otherwise."""
    one, first, second = run(), SpinLock(0x1000), SpinLock(0x2000)
    assert resilient.acquire(one, first) == resilient.acquire(one, second) == 0

    with pytest.raises(AccessFault, match="took last"):
        resilient.release(one, first)
    resilient.release_all(one)
    assert one.resilient == []
