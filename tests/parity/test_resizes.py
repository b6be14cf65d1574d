"""Packets that get other sizes and headers, step by step: the interpreter, machine code and the kernel leave the same packet and results.

Some steps are machine code, others are Python's in the embedded engine; they come in any order, so that each finds what the other left.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.natives import calls_into_python
from support.packets import ipv4, ipv6, payload, sample, udp
from support.ways import embedded_ways, three_ways

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection

OBJECT = Path(__file__).parents[1] / "bpf" / "resizes.bpf.o"
STEPS = 24
ROUNDS = 120
LOAD, STORE, PULL, TAIL, PROTO, LOOK, DIRECT, HASH, HAND_OVER, HEAD, ROOM, PUSH, POP, LEVEL = range(14)
NATIVE = (LOAD, STORE, PULL, TAIL, PROTO, LOOK, DIRECT)
V4, V6 = 0x0008, 0xDD86

Step = tuple[int, int, int, int]


def size_near(draw: random.Random, size: int) -> int:
    """A length or an offset: in the packet, at its borders and cache lines, or far off."""
    return draw.choice(
        (
            draw.randrange(size + 1),
            max(size + draw.randint(-70, 140), 0),
            size + draw.choice((-1, 0, 1, 63, 64, 65)),
            draw.choice((0, 13, 14, 15, 34, 54)),
            draw.choice((3712, 4000, 16063, 16064, 16065, 0xFFFF, 1 << 31, (1 << 32) - 1, draw.randrange(16100))),
        )
    )


def step(draw: random.Random, size: int, actions: tuple[int, ...]) -> Step:
    """One step on a packet that may still have that size."""
    action = draw.choice(actions)
    first, second, flags = size_near(draw, size), draw.randrange(64), draw.choice((0, 0, 0, 1, 2, 3, 4))
    if action == TAIL:
        flags = draw.choice((0,) * 12 + (1,))
    elif action == PROTO:
        first, flags = draw.choice((V4, V6, V4, V6, 0, 0x10000 | V6)), draw.choice((0,) * 9 + (1,))
    elif action == HEAD:
        first = draw.choice((0, 1, 14, 60, 65, 300))
    elif action == ROOM:
        first = draw.choice((4, 20, 40, 100, -4, -20, -40)) & 0xFFFFFFFF
        second, flags = draw.choice((0, 1)), draw.choice((0, 0, 2, 4, 2 | 8, 2 | 16))
    elif action == PUSH:
        first = draw.choice((0x0081, 0xA888))
    elif action == LEVEL:
        first = draw.randrange(4)
    return action, first, second, flags


def steps(draw: random.Random, size: int, actions: tuple[int, ...]) -> list[Step]:
    """Up to 24, most of them around the size that the packet has."""
    made: list[Step] = []
    for _ in range(draw.randint(1, STEPS)):
        made.append(step(draw, size, actions))
        if made[-1][0] == TAIL and 14 <= made[-1][1] <= 16064:
            size = made[-1][1]
    return made


def give(collection: Collection, wanted: list[Step]) -> None:
    """Tell the program what to do."""
    variables = collection.variables
    variables["steps"].bytes = b"".join(struct.pack("<4I", *each) for each in wanted).ljust(16 * STEPS, b"\0")
    variables["count"].value = len(wanted)
    variables["pattern"].bytes = payload(64)


def outcome(collection: Collection, data: bytes, wanted: list[Step]) -> tuple[object, ...]:
    """Verdict, packet and what each step gave."""
    give(collection, wanted)
    result = collection.programs["take_steps"].run(data)
    return result.retval, result.data, collection.variables["results"].bytes[: 8 * len(wanted)]


@pytest.fixture(scope="module")
def two() -> Iterator[list[Collection]]:
    """One collection with the interpreter, and one with machine code."""
    with embedded_ways(OBJECT) as collections:
        yield collections


@pytest.fixture(scope="module")
def three() -> Iterator[list[Collection]]:
    """One collection on each."""
    with three_ways(OBJECT) as collections:
        yield collections


def packets() -> list[bytes]:
    """Small and large ones, up to the largest that test runs take."""
    sizes = (0, 1, 5, 22, 23, 500, 1372, 1400, 3000, 3650)
    large = [make(udp(payload(size)), 17) for size in sizes for make in (ipv4, ipv6)]
    return [*sample().values(), *large, ipv4(payload(3712 - 34), 17)]


@pytest.mark.kernel
@pytest.mark.parametrize("actions", [NATIVE, (TAIL, LOAD, STORE), tuple(range(14))], ids=["native", "tail", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_same_packets(three: list[Collection], actions: tuple[int, ...], seed: int) -> None:
    """One packet after the other, so that each finds what the last one left where it lies."""
    draw = random.Random(f"{actions} {seed}")
    for _ in range(ROUNDS):
        data = draw.choice(packets())
        wanted = steps(draw, len(data), actions)
        interpreter, machine, kernel = (outcome(each, data, wanted) for each in three)
        assert interpreter == kernel, (data, wanted)
        assert machine == kernel, (data, wanted)


@pytest.mark.parametrize("actions", [NATIVE, tuple(range(14))], ids=["native", "all"])
def test_many_and_repeated(two: list[Collection], actions: tuple[int, ...]) -> None:
    """Many packets in one call, and several runs on one packet, give what the interpreter gives."""
    draw = random.Random(5)
    for _ in range(20):
        some = draw.sample(packets(), 8)
        wanted = steps(draw, len(some[0]), actions)
        seen = []
        for each in two:
            give(each, wanted)
            results = each.programs["take_steps"].run_many(some)
            repeated = [each.programs["take_steps"].run(data, repeat=3) for data in some]
            many = list(results.retvals), list(results.errnos), [bytes(one) for one in results.packets]
            seen.append((many, [(one.retval, one.data) for one in repeated]))
        assert seen[0] == seen[1], wanted


def test_no_python(two: list[Collection]) -> None:
    """Packets of any size grow and shrink in machine code, as far as they may; their bytes are read and written there, too."""
    draw = random.Random(6)
    collection = two[1]
    with calls_into_python(collection.programs["take_steps"]) as calls:
        for _ in range(ROUNDS):
            data = draw.choice(packets())
            wanted = [each for each in steps(draw, len(data), NATIVE) if each[0] != PROTO]
            outcome(collection, data, wanted)
        for data, kind in ((ipv4(udp(payload(9)), 17), V6), (ipv6(udp(payload(9)), 17), V4)):
            outcome(
                collection, data, [(PROTO, kind, 0, 0), (TAIL, 1500, 0, 0), (STORE, 1400, 50, 3), (LOAD, 1400, 50, 0)]
            )
    assert calls.number == 0


def test_python_takes_part(two: list[Collection]) -> None:
    """The count sees what is Python's."""
    with calls_into_python(two[1].programs["take_steps"]) as calls:
        outcome(two[1], packets()[0], [(TAIL, 500, 0, 0), (HASH, 1, 0, 0), (TAIL, 600, 0, 0), (HAND_OVER, 590, 0, 0)])
    assert calls.number == 2


@pytest.mark.kernel
def test_frame_grows_between(three: list[Collection]) -> None:
    """A helper in Python reaches what machine code has added to an xdp frame since the one before."""
    seen = []
    for each in three:
        result = each.programs["grow_between"].run(payload(64))
        seen.append((result.retval, result.data, each.variables["longer"].value))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == 2
