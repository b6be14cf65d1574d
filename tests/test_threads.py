"""Threads on one collection, on each engine: no counter loses an update, and no context is lost or freed too early."""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.engine_collection import EmbeddedCollection
from bpfcrypto.embedded.jit.compile import is_available
from support.ciphers import cipher_users, ecb
from support.packets import sample
from support.threads import together

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection, Engine

BPF = Path(__file__).parent / "bpf"
FRAME = sample()["udp4-64"]
BLANK = FRAME[:14] + bytes(64)
"""A frame whose 64 bytes behind the Ethernet header are zero. Its type is not IP."""

two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads take turns far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def rounds(engine: Engine, embedded: int, kernel: int) -> int:
    """How often to do something: an interpreter is slower, and needs fewer rounds to be interrupted."""
    return embedded if engine.name == "embedded" else kernel


def worker(collection: Collection, names: tuple[str, ...], repeat: int, cpu: int | None = None) -> Callable[[], None]:
    """Runs programs in turns."""

    def work() -> None:
        for _ in range(4):
            for name in names:
                collection.programs[name].run(FRAME, repeat=repeat, cpu=cpu)

    return work


def test_shared_counters_lose_no_update(engine: Engine) -> None:
    """Atomic additions, a maximum by compare and exchange, and two counters under a spin lock, from three threads."""
    repeat, threads = rounds(engine, 60, 20_000), 3
    names = ("atomic_counters", "locked_counters", "locked_hash", "hash_counters")
    with engine.load(BPF / "cpus.bpf.o", programs=[*names, "churn"]) as collection:
        churn = worker(collection, ("churn",), repeat)
        together(churn, *(worker(collection, names, repeat) for _ in range(threads)))
        total = 4 * repeat * threads
        values = {name: variable.value for name, variable in collection.variables.items()}
        shared = [collection.maps[name].typed[0] for name in ("m_shared", "m_shared_hash")]
        counted = [collection.maps[name].typed[0] for name in ("m_hash", "m_lru")]

    assert (values["added"], values["fetched"], values["narrow"], values["highest"]) == (total,) * 4
    assert values["lossy"] <= total
    assert values["missed"] == 0
    assert [(each["first"], each["second"], each["unlocked"]) for each in shared] == [(total, total, 0)] * 2
    assert counted == [total, total]


@two_cpus
def test_per_cpu_counters_need_no_atomics(engine: Engine) -> None:
    """Two CPUs count at the same time without any care, each in its own copy."""
    repeat = rounds(engine, 150, 50_000)
    names = ("own_counters", "own_counters_xdp")
    with engine.load(BPF / "cpus.bpf.o", programs=[*names, "update_own_hash", "update_own_lru"]) as collection:
        for name in ("update_own_hash", "update_own_lru"):
            collection.programs[name].run(FRAME)
        together(*(worker(collection, names, repeat, cpu) for cpu in (0, 1)))
        maps = {name: collection.maps[name].typed[0][:2] for name in ("m_own", "m_own_hash", "m_own_lru")}
        missed = collection.variables["missed"].value

    assert missed == 0
    for name, values in maps.items():
        expected = 4 * repeat * (1 if name == "m_own_lru" else 2)
        assert [each["runs"] for each in values] == [expected] * 2, name
        assert [each["sum"] for each in values] == [expected] * 2, name


def test_user_space_and_programs_share_a_map(engine: Engine) -> None:
    """While programs count in a hash, another thread inserts, reads, lists and deletes elements: each has its own value or none."""
    repeat = rounds(engine, 100, 20_000)
    with engine.load(BPF / "cpus.bpf.o", programs=["hash_counters", "churn"]) as collection:
        m_lru, done = collection.maps["m_lru"], threading.Event()

        def count() -> None:
            worker(collection, ("hash_counters", "churn"), repeat)()
            done.set()

        def meddle() -> None:
            key = 0
            while not done.is_set():
                key = 1000 + (key + 1) % 50
                m_lru.update(struct.pack("<I", key), struct.pack("<Q", key))
                assert m_lru.lookup(struct.pack("<I", key)) == struct.pack("<Q", key)
                assert {k for k, v in m_lru.typed.items() if k >= 1000 and v != k} == set()
                m_lru.delete(struct.pack("<I", key))

        together(count, meddle)
        counted = [collection.maps[name].typed[0] for name in ("m_hash", "m_lru")]
        missed = collection.variables["missed"].value

    assert missed == 0
    assert counted == [4 * repeat] * 2


@two_cpus
def test_a_context_is_put_into_its_slot_at_once() -> None:
    """Not a moment in which another thread could see an empty slot: the same pointer is stored over itself while machine code reads."""
    with EmbeddedEngine(cpus=2) as engine, engine.load(BPF / "rotation.bpf.o") as collection:
        assert collection.programs["rotate"].run().retval == 0
        values, done = collection.maps["m_slot"].values, threading.Event()
        pointer = values.exchange(values.region.base, 0)
        values.exchange(values.region.base, pointer)
        repeat = 400_000 if is_available() else 500

        def use() -> None:
            collection.programs["use"].run(BLANK, repeat=repeat)
            done.set()

        def store() -> None:
            while not done.is_set():
                values.exchange(values.region.base, pointer)

        together(use, store)
        missing = collection.variables["missing"].value

    assert missing == 0


def test_contexts_rotate_while_others_encrypt(engine: Engine) -> None:
    """Every block is encrypted right, no slot is ever seen empty, and in the end every context is gone."""
    users = cipher_users("ecb(aes)") if engine.name == "kernel" else 0
    times, repeat = rounds(engine, 150, 2000), rounds(engine, 10, 1000)
    with engine.load(BPF / "rotation.bpf.o") as collection:
        run = {name: program.run for name, program in collection.programs.items()}
        collection.variables["expected"].bytes = ecb(bytes([*range(1, 9), *bytes(8)]), bytes(16))
        assert run["rotate"]().retval == 0
        stop = threading.Event()

        def rotate() -> None:
            for turn in range(times):
                assert [run[name]().retval for name in ("rotate", "keep", "scatter")[: 1 + turn % 3]].count(0)
            stop.set()

        def use() -> None:
            while not stop.is_set():
                run["use"](BLANK, repeat=repeat)

        together(rotate, rotate, use, use)
        values = {name: variable.value for name, variable in collection.variables.items()}
        empty_slots(collection)
        if isinstance(collection, EmbeddedCollection):
            assert collection.live_contexts == 0
    assert (values["wrong"], values["failed"], values["missing"]) == (0, 0, 0)
    assert values["encrypted"] > 0
    assert values["rotations"] > 2 * times
    assert values["kept"] > 0
    if isinstance(collection, EmbeddedCollection):
        assert collection.leaks() == 0
    else:
        assert settles(lambda: cipher_users("ecb(aes)") <= users + 10)


def empty_slots(collection: Collection) -> None:
    """Drop every context that a map holds: by update in the array, by deletion in the others."""
    collection.maps["m_slot"].update(bytes(4), bytes(16))
    for name in ("m_hash", "m_lru"):
        for key in list(collection.maps[name].keys()):
            collection.maps[name].delete(key)


def settles(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within a few seconds: the kernel frees contexts after a grace period."""
    deadline = time.monotonic() + 3
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_closing_waits_for_programs(embedded_engine: Engine) -> None:
    """A collection that is closed while programs run lets them end; later runs are refused, and no context is left."""
    from bpfcrypto.errors import SyscallError

    collection = embedded_engine.load(BPF / "rotation.bpf.o")
    assert isinstance(collection, EmbeddedCollection)
    collection.programs["rotate"].run()
    started, ended = threading.Barrier(4), []

    def use() -> None:
        started.wait()
        try:
            while True:
                collection.programs["use"].run(BLANK, repeat=5)
                collection.programs["rotate"].run()
        except SyscallError as error:
            ended.append(error.errno)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.05)
    together(collection.close, collection.close)
    for thread in threads:
        thread.join()

    assert ended == [9] * 3
    assert collection.live_contexts == 0
    assert collection.leaks() == 0
