"""Threads in machine code and threads in Python on the same map: nothing is lost, nothing torn, and no one sees what is not there.

Machine code runs without the interpreter's lock, so the threads really run at the same time. The kernel is asked the same.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.errors import MapFullError
from support.threads import together

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Collection, Engine

OBJECT = Path(__file__).parent / "bpf" / "map_threads.bpf.o"
TIMES = 25
REPEAT = 200
RECORDS = 3000


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads of Python take turns far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def runner(
    collection: Collection,
    name: str,
    thread: int,
    done: threading.Semaphore | None = None,
    *,
    times: int = TIMES,
    repeat: int = 1,
) -> Callable[[], None]:
    """Runs a program many times as the given thread."""

    def work() -> None:
        try:
            for _ in range(times):
                assert collection.programs[name].run(bytes([thread]) * 64, repeat=repeat).retval == 0
        finally:
            if done is not None:
                done.release()

    return work


def repeats(engine: Engine) -> int:
    """How often a run repeats: an interpreter is a thousand times slower, and needs no more to be interrupted."""
    return 1 if engine.name == "embedded" and not engine.capabilities.jit else REPEAT


def until(done: threading.Semaphore, step: Callable[[int], object]) -> Callable[[], None]:
    """Takes steps until a runner has ended."""

    def work() -> None:
        number = 0
        while not done.acquire(blocking=False):
            step(number)
            number += 1

    return work


def sums(collection: Collection) -> dict[str, Any]:
    return {name: collection.variables[name].value for name in ("missing", "wrong", "failed", "torn")}


NOTHING = {"missing": 0, "wrong": 0, "failed": 0, "torn": 0}


@pytest.mark.parametrize("name", ["hash", "lazy", "lru"])
def test_elements_come_and_go(engine: Engine, name: str) -> None:
    """Two threads insert, replace and delete in machine code and one in Python, each with keys of its own; in the end the map is empty,
    and as many elements fit as ever."""
    with engine.load(OBJECT, programs=[f"churn_{name}"]) as collection:
        m, done = collection.maps[f"m_{name}"], threading.Semaphore(0)

        def meddle(number: int) -> None:
            key = struct.pack("<I", 9000 + number % 5)
            m.update(key, struct.pack("<Q", number), UpdateFlag.NOEXIST)
            assert m.lookup(key) == struct.pack("<Q", number)
            m.update(key, struct.pack("<Q", number + 1), UpdateFlag.EXIST)
            assert key in list(m.keys())
            assert m.lookup_and_delete(key) == struct.pack("<Q", number + 1)

        slow = name == "lru" and engine.name == "embedded"  # Python decides what an LRU map evicts
        repeat = 1 if slow else repeats(engine)
        together(
            *(runner(collection, f"churn_{name}", each, done, repeat=repeat) for each in (0, 1)), until(done, meddle)
        )
        assert sums(collection) == NOTHING
        assert list(m.keys()) == []
        if name != "lru":
            for key in range(16):
                m.update(struct.pack("<I", key), bytes(8))
            with pytest.raises(MapFullError):
                m.update(struct.pack("<I", 16), bytes(8))
            assert len(list(m.keys())) == 16


def test_what_is_there_is_found(engine: Engine) -> None:
    """Elements that stay are found at any time, while others come and go in the same buckets and they themselves keep their place."""
    with engine.load(OBJECT, programs=["look", "churn_hash"]) as collection:
        m = collection.maps["m_hash"]
        for key in range(8):
            m.update(struct.pack("<I", key), bytes(8))

        def meddle(number: int) -> None:
            key = struct.pack("<I", 9000 + number % 5)
            m.update(key, bytes(8))
            m.delete(key)

        looking, churning = threading.Semaphore(0), runner(collection, "churn_hash", 1, times=1, repeat=repeats(engine))
        together(
            runner(collection, "look", 0, looking, times=4 * TIMES, repeat=repeats(engine)),
            until(looking, lambda number: (meddle(number), churning())),
        )
        assert sums(collection) == NOTHING


def test_some_longer_prefix_is_found(engine: Engine) -> None:
    """A prefix comes before another of its addresses' goes: whoever looks finds one or the other, never the shorter one that holds both."""
    with engine.load(OBJECT, programs=["look_trie"]) as collection:
        m = collection.maps["m_trie"]
        lengths = (16, 9, 24, 12)

        def key(length: int) -> bytes:
            return struct.pack("<I4B", length, 10, 0, 0, 0)

        def other(number: int) -> bytes:
            return struct.pack("<I4B", 24 + number % 9, 11, 1, 1, number % 7)

        m.update(key(8), struct.pack("<Q", 1))
        m.update(key(lengths[0]), struct.pack("<Q", 2))

        def meddle(number: int) -> None:
            m.update(key(lengths[(number + 1) % 4]), struct.pack("<Q", 2), UpdateFlag.NOEXIST)
            m.update(other(number), struct.pack("<Q", 3))
            m.update(key(8), struct.pack("<Q", 1), UpdateFlag.EXIST)
            m.delete(key(lengths[number % 4]))
            m.delete(other(number))

        done = threading.Semaphore(0)
        work = runner(collection, "look_trie", 0, done, times=4 * TIMES, repeat=repeats(engine))
        together(work, until(done, meddle))
        assert sums(collection) == NOTHING


def test_spin_locks_exclude_both_sides(engine: Engine) -> None:
    """Two values under a lock are equal to whoever holds it, in machine code and in updates by user space with BPF_F_LOCK."""
    with engine.load(OBJECT, programs=["pair"]) as collection:
        m, done = collection.maps["m_pair"], threading.Semaphore(0)

        def reset(number: int) -> None:
            m.update(bytes(4), struct.pack("<IIQQ", 0, 0, number, number), UpdateFlag.LOCK)

        together(
            *(runner(collection, "pair", each, done, repeat=repeats(engine)) for each in (0, 1)), until(done, reset)
        )
        lock, _, first, second = struct.unpack("<IIQQ", m.lookup(bytes(4)))
        assert (lock, first) == (0, second)
        assert sums(collection) == NOTHING


def test_no_increment_is_lost_under_a_lock(engine: Engine) -> None:
    """Increments that are no atomic operations add up."""
    with engine.load(OBJECT, programs=["pair"]) as collection:
        together(*(runner(collection, "pair", each, repeat=repeats(engine)) for each in (0, 1, 2)))
        _, _, first, second = struct.unpack("<IIQQ", collection.maps["m_pair"].lookup(bytes(4)))
        assert first == second == 3 * TIMES * repeats(engine) * 400


def test_ring_loses_nothing(engine: Engine) -> None:
    """Two threads write records in machine code and one reads them: each writer's come whole, once, and in order."""
    with engine.load(OBJECT, programs=["produce"]) as collection:
        ring: Any = collection.maps["ring"]
        done, seen = threading.Semaphore(0), {0: 0, 1: 0}

        def sent(thread: int) -> int:
            number: int = collection.maps["m_sent"].typed[thread]
            return number

        def write(thread: int) -> None:
            while sent(thread) < RECORDS:
                collection.programs["produce"].run(bytes([thread]) * 64)
            done.release()

        def read(_number: int) -> None:
            ring.wait(0.01)
            for record in ring.records():
                thread, number = struct.unpack_from("<II", record)
                assert number == seen[thread]
                assert record[8:] == bytes(number + at & 0xFF for at in range(40))
                seen[thread] += 1

        def read_all() -> None:
            for _ in range(2):  # until both have ended
                until(done, read)()

        together(lambda: write(0), lambda: write(1), read_all)
        read(0)
        assert seen == {0: sent(0), 1: sent(1)}
        assert ring.ring.available == 0


def test_python_finds_what_is_there(embedded_engine: EmbeddedEngine) -> None:
    """The interpreter's lookup takes no lock, and elements are used again in other buckets while it is on its way."""
    with embedded_engine.load(OBJECT, programs=["churn_hash"]) as collection:
        m, done = collection.maps["m_hash"], threading.Semaphore(0)
        keys = [struct.pack("<I", key) for key in range(8)]
        for key in keys:
            m.update(key, bytes(8))
        addresses = [m.lookup_address(key, 0) for key in keys]

        def look(_number: int) -> None:
            assert [m.lookup_address(key, 0) for key in keys] == addresses

        together(
            *(runner(collection, "churn_hash", each, done, repeat=repeats(embedded_engine)) for each in (0, 1)),
            until(done, look),
        )
