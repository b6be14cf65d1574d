"""Grace periods: what waits for whom."""

from __future__ import annotations

import threading

import pytest

from bpfcrypto.embedded.rcu import Rcu


def test_without_readers() -> None:
    """With nobody inside, a call is made at once."""
    rcu, done = Rcu(), []

    rcu.call(lambda: done.append(1))

    assert (done, rcu.pending) == ([1], 0)


def test_waits_for_earlier_readers_only() -> None:
    """A call waits for every reader of that moment, and for none that came later."""
    rcu, done = Rcu(), []
    first, second = rcu.enter(), rcu.enter()
    rcu.call(lambda: done.append("a"))
    late = rcu.enter()
    rcu.call(lambda: done.append("b"))

    rcu.leave(first)
    assert done == []
    rcu.leave(second)
    assert done == ["a"]
    rcu.leave(late)
    assert done == ["a", "b"]


def test_reading_leaves_on_error() -> None:
    """A run that raises stops being a reader."""
    rcu, done = Rcu(), []

    def fail() -> None:
        with rcu.reading():
            rcu.call(lambda: done.append(1))
            assert done == []
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert done == [1]


def test_calls_that_a_call_defers() -> None:
    """They are made as soon as no reader is left."""
    rcu, done = Rcu(), []
    token = rcu.enter()
    rcu.call(lambda: rcu.call(lambda: done.append("inner")))
    rcu.leave(token)

    assert done == ["inner"]


def test_threads() -> None:
    """Readers and calls from several threads: every call is made exactly once."""
    rcu, done = Rcu(), []

    def work() -> None:
        for _ in range(300):
            with rcu.reading():
                rcu.call(lambda: done.append(1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(done), rcu.pending) == (1200, 0)
