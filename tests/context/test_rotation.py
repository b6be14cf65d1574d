"""Rotation while programs use the context: no packet meets an empty place, nothing fails, nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bpfcrypto import CryptoContext
from bpfcrypto.context.ciphers import probe
from bpfcrypto.embedded.engine import EmbeddedEngine
from support import rotator
from support.ciphers import cipher_users, driver_users
from support.context_maps import FRAME, SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bpfcrypto.engine import Collection
    from bpfcrypto.kernel.engine import KernelEngine

SECONDS, INTERVAL = 10, 0.01
DRIVER = "ecb(aes-generic)"


def counter(engine: KernelEngine) -> tuple[str, Callable[[], int]]:
    """An algorithm, and how many transforms of it there are; one that nobody else is using, if there is such a one."""
    if probe(engine, [DRIVER])[DRIVER] == 0:
        return DRIVER, lambda: driver_users(DRIVER)
    return "ecb(aes)", lambda: cipher_users("ecb(aes)")


def settled(count: Callable[[], int], wanted: int, seconds: float) -> bool:
    """Whether a count comes back within a time; contexts are freed after a grace period."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if count() == wanted:
            return True
        time.sleep(0.02)
    return count() == wanted


def numbers(collection: Collection) -> tuple[int, int]:
    return collection.variables["missing"].value, collection.variables["failed"].value


@pytest.mark.kernel
def test_a_pinned_context_under_load(kernel_engine: KernelEngine, compile_bpf: object, bpf_directory: Path) -> None:
    """Another process rotates it every 10 ms for 10 s, while packets go through: 0 without a context, 0 errors, 0 transforms left."""
    algorithm, users = counter(kernel_engine)
    pin = bpf_directory / "contexts"
    with kernel_engine.load(compile_bpf(SOURCE), programs=["use"]) as loaded:  # type: ignore[operator]
        loaded.maps["m_array"].pin(pin)
        time.sleep(1)  # what others have released, such as the probe, is freed after a grace period
        before = users()
        with subprocess.Popen(
            [sys.executable, rotator.__file__, str(pin), algorithm, str(SECONDS), str(INTERVAL)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            use = loaded.programs["use"]
            while process.poll() is None:
                assert use.run(FRAME, repeat=2000).retval == 0
            rotations, longest = process.stdout.read().split()
        assert settled(users, before + 1, 1), "of all those contexts the last one is left, in the map"
        assert numbers(loaded) == (0, 0)
        print(
            f"{loaded.variables['used'].value} packets, {rotations} rotations, the longest took {float(longest):.2f} ms"
        )
        assert int(rotations) >= SECONDS / INTERVAL - 1
        assert use.run(FRAME).retval == 0, "the context outlives the process that made it"
        with CryptoContext.open(kernel_engine, loaded.maps["m_array"], 1, "cctx") as found:
            assert found.references == 2
    pin.unlink()
    assert settled(users, before, 1)


def test_a_context_under_load(compile_bpf: object, each_way: str) -> None:
    """The same within one process, on the embedded engine."""
    with EmbeddedEngine(cpus=3) as engine, engine.load(compile_bpf(SOURCE), programs=["use"]) as loaded:  # type: ignore[operator]
        with CryptoContext.create(engine, "ecb(aes)", bytes(16)) as context:
            context.place(loaded.maps["m_array"], 1, "cctx")
            stop = threading.Event()

            def traffic() -> None:
                while not stop.is_set():
                    loaded.programs["use"].run(FRAME, repeat=20)

            threads = [threading.Thread(target=traffic) for _ in range(2)]
            for thread in threads:
                thread.start()
            for number in range(100):
                context.rotate(bytearray(number.to_bytes(16, "big")))
                time.sleep(INTERVAL)
            stop.set()
            for thread in threads:
                thread.join()
            assert context.references == 2
            made = context._home._collection
        assert made.live_contexts == 1  # type: ignore[attr-defined]
        assert numbers(loaded) == (0, 0)
        assert loaded.variables["used"].value > 100
    assert (made.live_contexts, made.leaks()) == (0, 0)  # type: ignore[attr-defined]
