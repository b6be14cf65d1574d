"""The domain against the kernel: random programs, and the text of every register that the kernel's log prints."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.spec import MapSpec
from support.domain import Replay, replay
from support.domain_programs import disassembled, random_pointer_program, random_program

pytestmark = pytest.mark.kernel

PROGRAMS = 25


@pytest.fixture(scope="module")
def values() -> Iterator[Fd]:
    """A map whose lookups may fail."""
    with_values = bpf.map_create(MapType.HASH, 4, 48, 4, name="values")
    yield with_values
    with_values.close()


def check(result: Replay) -> None:
    if result.mismatches:
        pytest.fail("\n".join([*result.mismatches, *disassembled(result.insns)]), pytrace=False)


@pytest.mark.parametrize("seed", range(0, 100, PROGRAMS))
def test_scalars(seed: int) -> None:
    """Random programs of ALU instructions and branches on scalars have the kernel's states, letter for letter."""
    compared = 0
    for number in range(seed, seed + PROGRAMS):
        rng = random.Random(number)
        result = replay(random_program(rng, rng.randrange(4, 40)))
        check(result)
        compared += result.compared
    assert compared > 40 * PROGRAMS


@pytest.mark.parametrize("seed", [300024, 300362, 300373, 301209, 301753, 304679])
def test_dead_paths(seed: int) -> None:
    """Where ranges contradict each other, because no value takes that way, both sides note the same and go on with the same."""
    rng = random.Random(seed)
    result = replay(random_program(rng, rng.randrange(20, 60)))
    check(result)
    assert "REG INVARIANTS VIOLATION" in result.log


def test_scalars_and_the_stack_pointer() -> None:
    """The same with r10 among the operands, which most programs do not survive: same verdict, same message."""
    rejected = 0
    for number in range(PROGRAMS * 3):
        rng = random.Random(number)
        result = replay(random_program(rng, rng.randrange(4, 40), pointers=True))
        check(result)
        rejected += result.errno != 0
    assert rejected


def test_pointers(values: Fd) -> None:
    """Random programs on packet pointers, map values and NULL have the kernel's states and verdicts."""
    spec = MapSpec("values", MapType.HASH, 4, 48, 4)
    rejected = 0
    for number in range(PROGRAMS * 2):
        rng = random.Random(number)
        result = replay(random_pointer_program(rng, values.fileno(), rng.randrange(4, 24)), spec)
        check(result)
        rejected += result.errno != 0
    assert 0 < rejected < PROGRAMS * 2
