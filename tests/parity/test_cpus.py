"""Runs on chosen CPUs: per-CPU maps, spin locks and atomic operations leave the same on both engines."""

from __future__ import annotations

import os
import random
import threading
from errno import ENXIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel.maps import possible_cpus
from bpfcrypto.loader.load import load_spec
from support.packets import sample
from support.parity import Step, play

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = Path(__file__).parents[1] / "bpf/cpus.bpf.o"
SPEC = load_spec(OBJECT.read_bytes())
FRAME = sample()["udp4-64"]
STEPS = 60

two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")


def steps(seed: int) -> list[Step]:
    """Programs in random order, each on a random CPU, with inputs that often hit the same elements."""
    draw = random.Random(seed)
    names = list(SPEC.programs)
    return [
        Step(
            name,
            b"" if SPEC.programs[name].type is ProgType.SYSCALL else FRAME,
            variables={
                "key": draw.randrange(5),
                "flags": draw.choice((0, 0, 1, 2, 4)),
                "operand": draw.choice((1, 2, 1 << 40, (1 << 64) - 1)),
                "given": {"runs": draw.randrange(9), "low": draw.randrange(1 << 16), "sum": draw.randrange(1 << 64)},
            },
            cpu=draw.randrange(2),
        )
        for name in draw.choices(names, k=STEPS)
    ]


@two_cpus
@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(12))
def test_two_cpus(kernel_engine: KernelEngine, seed: int) -> None:
    """Return values, variables (the CPU's number too) and each CPU's copies are equal after every CPU had its turns."""
    scene = steps(seed)
    with EmbeddedEngine(cpus=possible_cpus()) as embedded:
        here, there = play(embedded, OBJECT, scene), play(kernel_engine, OBJECT, scene)

    assert here.differences(there) == []


@two_cpus
def test_each_cpu_has_its_copy(engine: Engine) -> None:
    """Runs on CPU 0 and CPU 1 count apart, and repeating stays on the CPU."""
    with engine.load(OBJECT, programs=["own_counters"]) as collection:
        for cpu, repeat in ((0, 3), (1, 5), (0, 1)):
            collection.programs["own_counters"].run(FRAME, repeat=repeat, cpu=cpu)
            assert collection.variables["cpu"].value == cpu
        values = collection.maps["m_own"].typed[0]

    assert [value["runs"] for value in values[:2]] == [4, 5]
    assert [value["low"] for value in values[:2]] == [12, 15]


@pytest.mark.parametrize("cpu", [1 << 14, 1 << 40, -1])
def test_a_cpu_that_does_not_exist(engine: Engine, cpu: int) -> None:
    """The error names it, and the number is the one that the kernel has for it."""
    with engine.load(OBJECT, programs=["own_counters"]) as collection:
        with pytest.raises(SyscallError, match=f"there is no CPU {cpu}") as caught:
            collection.programs["own_counters"].run(FRAME, cpu=cpu)

        assert caught.value.errno == ENXIO
        assert caught.value.hint
        assert collection.variables["cpu"].value == 0


@two_cpus
@pytest.mark.kernel
def test_the_thread_gets_its_cpus_back(kernel_engine: KernelEngine) -> None:
    """A run binds the thread that calls, for the length of the call, and no other thread; a failing one too."""
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    with kernel_engine.load(OBJECT, programs=["own_counters"]) as collection:
        run = collection.programs["own_counters"].run
        thread = threading.Thread(
            target=lambda: [run(FRAME, repeat=20_000, cpu=1), seen.append(os.sched_getaffinity(0))]
        )
        thread.start()
        seen.append(os.sched_getaffinity(0))
        thread.join()
        with pytest.raises(SyscallError):
            run(b"", cpu=1)

    assert [*seen, os.sched_getaffinity(0)] == [before] * 3
