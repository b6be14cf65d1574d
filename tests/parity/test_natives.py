"""Helpers that are machine code and depend on their arguments alone: the interpreter, machine code and the kernel agree on any of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from support.ways import three_ways

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection

OBJECT = Path(__file__).parents[1] / "bpf" / "natives.bpf.o"
FRAME = bytes(64)
LIMITS = (-(2**31), -(2**31) + 1, -5, -1, 0, 1, 5, 999, 8 << 20, (8 << 20) + 1, 2**31 - 1)


@pytest.fixture(scope="module")
def three() -> Iterator[list[Collection]]:
    """One collection on each."""
    with three_ways(OBJECT) as collections:
        yield collections


def results(collection: Collection, program: str, given: dict[str, object], wanted: tuple[str, ...]) -> list[object]:
    """Set variables, run, read others."""
    for name, value in given.items():
        if isinstance(value, bytes):
            collection.variables[name].bytes = value
        else:
            collection.variables[name].value = value
    assert collection.programs[program].run(FRAME).retval == 0
    return [collection.variables[name].value for name in wanted]


def agree(three: list[Collection], program: str, given: dict[str, object], wanted: tuple[str, ...]) -> list[object]:
    """What all three give."""
    interpreter, machine, kernel = (results(each, program, given, wanted) for each in three)
    assert interpreter == kernel, given
    assert machine == kernel, given
    return kernel


@pytest.mark.kernel
def test_sums(three: list[Collection]) -> None:
    """Any bytes, odd lengths, and none on either side; bytes that are all ones carry most often."""
    draw = random.Random(1)
    seen = set()
    for _ in range(300):
        fill = draw.choice([draw.randbytes, lambda size: b"\xff" * size, bytes])
        given: dict[str, object] = {
            "old": fill(256),
            "new": draw.choice([draw.randbytes(256), b"\xff" * 256]),
            "old_size": draw.choice([0, 1, 2, 3, 4, 7, 20, 255, 256, draw.randrange(257)]),
            "new_size": draw.choice([0, 1, 2, 3, 4, 7, 20, 255, 256, draw.randrange(257)]),
            "seed": draw.choice([0, 1, 0xFFFFFFFF, 0xFFFF, draw.getrandbits(32)]),
        }
        seen.add(agree(three, "sums", given, ("sum",))[0])
    assert len(seen) > 100


@pytest.mark.kernel
def test_texts(three: list[Collection]) -> None:
    """Texts that begin alike, end early, and bytes above 127."""
    draw = random.Random(2)
    seen = {
        tuple(
            agree(
                three, "texts", {"text": bytes(draw.choices(b"ab\0\xff", [9, 9, 2, 1], k=8))}, ("order", "first_of_two")
            )
        )
        for _ in range(200)
    }
    assert {first for first, _ in seen} == {-1, 0, 1}


@pytest.mark.kernel
@pytest.mark.parametrize("start", LIMITS)
def test_numbers(three: list[Collection], start: int) -> None:
    """Every pair of limits, far apart or turned round."""
    for end in LIMITS:
        agree(three, "numbers", {"start": start, "end": end, "last": 0}, ("made", "steps", "last"))


def test_chance() -> None:
    """Numbers of machine code differ from call to call, run to run and collection to collection, and every bit is as often 1 as 0."""
    numbers: list[int] = []
    with EmbeddedEngine(jit=True) as engine:
        for _ in range(2):
            with engine.load(OBJECT, programs=["chance"]) as collection:
                for _ in range(20):
                    collection.programs["chance"].run(FRAME)
                    numbers += struct.unpack("<64I", collection.variables["nd_random"].bytes)
    assert len(set(numbers)) > len(numbers) - 5
    for bit in range(32):
        assert 0.4 < sum(number >> bit & 1 for number in numbers) / len(numbers) < 0.6
