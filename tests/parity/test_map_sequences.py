"""What programs and user space do to one map in turns: the interpreter, machine code and the kernel give the same answers.

After every run all three hold the same elements in the same order. Keys are few, so that buckets are shared and maps are full.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import MapError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.maps import possible_cpus
from support.cpus import on_one_cpu

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection, Map

OBJECT = Path(__file__).parents[1] / "bpf" / "map_sequences.bpf.o"
STEPS = 64
RUNS = 30
FRAME = bytes(64)
MAPS = (
    "array",
    "percpu_array",
    "hash",
    "lazy_hash",
    "odd_hash",
    "wide_hash",
    "narrow_hash",
    "percpu_hash",
    "lazy_percpu_hash",
    "lru_hash",
    "lru_percpu_hash",
)


@pytest.fixture(scope="module")
def three() -> Iterator[list[Any]]:
    """The interpreter, machine code and the kernel."""
    with (
        on_one_cpu(),
        EmbeddedEngine(cpus=possible_cpus(), jit=False) as interpreter,
        EmbeddedEngine(cpus=possible_cpus(), jit=True) as machine,
        KernelEngine() as kernel,
    ):
        yield [interpreter, machine, kernel]


def key_of(m: Map, seed: int) -> bytes:
    """A key as the programs make it."""
    size = m.spec.key_size
    return seed.to_bytes(4, "little") if size == 4 else bytes(seed * (i + 1) & 0xFF for i in range(size))


def random_steps(draw: random.Random) -> bytes:
    """Up to 64 steps: action, key, value, flags."""
    steps = bytearray()
    for _ in range(draw.randint(1, STEPS)):
        action = draw.choice([0, 0, 1, 1, 1, 2, 3, 4, 5])
        flags = draw.choice([0, 1, 2, 200]) if action == 4 else draw.choice([0, 0, 0, 1, 2, 3, 4, 5, 8])
        steps += bytes((action, draw.randrange(14), draw.randrange(256), flags))
    return bytes(steps)


def run_steps(collection: Collection, name: str, steps: bytes) -> bytes:
    """Let the program do them; its results."""
    variables = collection.variables
    variables["steps"].bytes = steps.ljust(4 * STEPS, b"\0")
    variables["count"].value = len(steps) // 4
    assert collection.programs[f"run_{name}"].run(FRAME).retval == 0
    return variables["results"].bytes[: 2 * len(steps)]


def use_map(m: Map, action: str, seed: int, fill: int, flags: int) -> object:
    """What user space does between two runs; what it gets."""
    try:
        if action == "update":
            return m.update(key_of(m, seed), bytes([fill]) * m.value_bytes, flags)  # type: ignore[arg-type, func-returns-value]
        if action == "delete":
            return m.delete(key_of(m, seed))  # type: ignore[func-returns-value]
        return m.lookup(key_of(m, seed))
    except MapError as error:
        return error.errno


@pytest.mark.kernel
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("seed", range(3))
def test_same_answers(three: list[Any], name: str, seed: int) -> None:
    """Results of every step, answers to user space, elements and their order."""
    draw = random.Random(f"{name} {seed}")
    collections = [engine.load(OBJECT, programs=[f"run_{name}"]) for engine in three]
    assert collections[1].programs[f"run_{name}"].machine is not None
    try:
        for number in range(RUNS):
            steps = random_steps(draw)
            commands = [
                (
                    draw.choice(["update", "delete", "lookup"]),
                    draw.randrange(14),
                    draw.randrange(256),
                    draw.choice([0, 1, 2]),
                )
                for _ in range(draw.randrange(6))
            ]
            seen = [
                (
                    run_steps(each, name, steps),
                    [use_map(each.maps[name], *command) for command in commands],
                    list(each.maps[name].items()),
                )
                for each in collections
            ]
            assert seen[0] == seen[2], (number, "interpreter and kernel")
            assert seen[1] == seen[2], (number, "machine code and kernel")
    finally:
        for each in collections:
            each.close()


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name in MAPS if not name.startswith("lru")])
def test_both_sides_in_turn(three: list[Any], name: str) -> None:
    """One embedded map, driven by machine code and by Python alternately, keeps in step with the kernel's."""
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.state import RunState

    draw = random.Random(name)
    with (
        three[1].load(OBJECT, programs=[f"run_{name}"]) as here,
        three[2].load(OBJECT, programs=[f"run_{name}"]) as there,
    ):
        program = here.programs[f"run_{name}"]
        for number in range(RUNS):
            steps = random_steps(draw)
            theirs = run_steps(there, name, steps)
            if number % 2:
                mine = run_steps(here, name, steps)
            else:
                for variable, value in (
                    ("steps", steps.ljust(4 * STEPS, b"\0")),
                    ("count", (len(steps) // 4).to_bytes(4, "little")),
                ):
                    here.variables[variable].bytes = value
                program.interpreter.run(RunState(Memory(program.memory), program.spec), 0)
                mine = here.variables["results"].bytes[: 2 * len(steps)]
            assert mine == theirs, number
            assert list(here.maps[name].items()) == list(there.maps[name].items()), number
