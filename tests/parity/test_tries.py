"""Look-ups in LPM tries: a model, the interpreter, machine code and the kernel give the same, whatever the size of keys and the prefixes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import KeyNotFoundError, MapError
from support.natives import calls_into_python
from support.ways import three_ways

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection

OBJECT = Path(__file__).parents[1] / "bpf" / "tries.bpf.o"
SIZES = {"byte": 1, "v4": 4, "odd": 5, "v6": 16, "wide": 61, "widest": 256}
KEYS = 32
FRAME = bytes(64)
ADDRESSES = (
    "10.0.0.1",
    "10.0.1.200",
    "10.128.0.1",
    "192.0.2.1",
    "fd00::1",
    "fd00::ffff:1",
    "2001:db8::1",
    "::1",
    "::ffff:0:0",
)

Prefix = tuple[int, bytes]
"""Length in bits, and all bits."""


class Model:
    """What a trie is: for a key, the longest of its prefixes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: dict[tuple[int, int], int] = {}

    def name(self, prefix: Prefix) -> tuple[int, int]:
        length, bits = prefix
        return length, int.from_bytes(bits, "big") >> 8 * self.size - length

    def find(self, key: Prefix) -> int:
        length, bits = key
        if length > 8 * self.size:
            return 0
        names = (self.name((shorter, bits)) for shorter in range(length, -1, -1))
        return next((self.values[each] for each in names if each in self.values), 0)


def packed(prefix: Prefix) -> bytes:
    """A key of the map."""
    return prefix[0].to_bytes(4, "little") + prefix[1]


@pytest.fixture(scope="module")
def three() -> Iterator[list[Collection]]:
    """One collection on each."""
    with three_ways(OBJECT) as collections:
        yield collections


def look(collection: Collection, name: str, keys: list[Prefix]) -> list[int]:
    """What a program finds."""
    found: list[int] = []
    size = 4 + SIZES[name]
    for at in range(0, len(keys), KEYS):
        some = keys[at : at + KEYS]
        collection.variables[f"{name}_keys"].bytes = b"".join(map(packed, some)).ljust(KEYS * size, b"\0")
        collection.variables["count"].value = len(some)
        assert collection.programs[f"look_{name}"].run(FRAME).retval == 0
        found += collection.variables["found"].value[: len(some)]
    return found


def by_program(collection: Collection, name: str, action: str, key: Prefix, value: int = 0, flags: int = 0) -> int:
    """What a program's change gives."""
    variables = collection.variables
    variables[f"{name}_keys"].bytes = packed(key).ljust(KEYS * (4 + SIZES[name]), b"\0")
    variables["value"].value, variables["flags"].value = value, flags
    assert collection.programs[f"{action}_{name}"].run(FRAME).retval == 0
    result: int = variables["result"].value
    return result


def empty(collection: Collection, name: str) -> None:
    for key in list(collection.maps[name].keys()):
        collection.maps[name].delete(key)


def related(size: int) -> st.SearchStrategy[Prefix]:
    """Prefixes that often hold one another: bits of a few patterns, one of them turned."""

    def make(fill: int, length: int, turned: int | None) -> Prefix:
        bits = int.from_bytes(bytes([fill]) * size, "big")
        if turned is not None:
            bits ^= 1 << turned
        return length, bits.to_bytes(size, "big")

    width = 8 * size
    lengths = st.one_of(st.integers(0, width), st.sampled_from((0, 1, width - 1, width, width // 2)))
    return st.builds(make, st.sampled_from((0, 0xFF, 0xA5)), lengths, st.none() | st.integers(0, width - 1))


@st.composite
def addresses(draw: st.DrawFn) -> Prefix:
    """Networks of both versions, with IPv4 as part of IPv6."""
    address = ip_address(draw(st.sampled_from(ADDRESSES)))
    v4 = isinstance(address, IPv4Address)
    bits = int(address) | 0xFFFF << 32 if v4 else int(address)
    length = draw(st.sampled_from((96, 104, 112, 120, 128) if v4 else (0, 8, 32, 48, 64, 96, 127, 128)))
    bits ^= draw(st.sampled_from((0, 0, 1, 1 << 8, 1 << 31, 1 << 64)))
    return length, bits.to_bytes(16, "big")


def tries() -> st.SearchStrategy[tuple[str, list[Prefix], list[Prefix]]]:
    """A map, prefixes to put in (and every third of them out again), and keys to look for."""

    def of(name: str, prefixes: st.SearchStrategy[Prefix]) -> st.SearchStrategy[tuple[str, list[Prefix], list[Prefix]]]:
        return st.tuples(st.just(name), st.lists(prefixes, max_size=40), st.lists(prefixes, min_size=1, max_size=40))

    return st.one_of(*(of(name, related(size)) for name, size in SIZES.items()), of("v6", addresses()))


@pytest.mark.kernel
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=tries())
def test_longest_prefix(three: list[Collection], case: tuple[str, list[Prefix], list[Prefix]]) -> None:
    """Puts, replaces and deletes in turns; then every prefix and every other key is looked for, whole and with its length."""
    name, prefixes, keys = case
    size = SIZES[name]
    model = Model(size)
    for each in three:
        empty(each, name)
    for number, prefix in enumerate(prefixes, 1):
        model.values[model.name(prefix)] = number
        for each in three:
            each.maps[name].update(packed(prefix), number.to_bytes(4, "little"))
        if number % 3 == 0:
            gone = prefixes[number // 2]
            there = model.values.pop(model.name(gone), None)
            for each in three:
                try:
                    each.maps[name].delete(packed(gone))
                    assert there is not None
                except KeyNotFoundError:
                    assert there is None
    wanted = [
        *keys,
        *prefixes,
        *((8 * size, bits) for _, bits in keys),
        (8 * size + 1, bytes(size)),
        (2**32 - 1, bytes(size)),
    ]
    expected = [model.find(each) for each in wanted]
    for each in three:
        assert look(each, name, wanted) == expected


@pytest.mark.kernel
@pytest.mark.parametrize("name", SIZES)
def test_changes_in_turns(three: list[Collection], name: str) -> None:
    """Programs and user space change the same trie until it is full and empty again."""
    draw = random.Random(name)
    size = SIZES[name]
    for each in three:
        empty(each, name)
    keys = [(draw.choice((0, 3, 8, 4 * size, 8 * size)), draw.randbytes(size)) for _ in range(90)]
    keys.append((8 * size + 1, bytes(size)))
    for number in range(300):
        key, flags = draw.choice(keys), draw.choice((0, 0, 0, 1, 2, 3, 4))
        action = draw.choice(("put", "put", "take", "update", "delete") if number % 100 < 70 else ("take", "delete"))
        seen = []
        for each in three:
            outcome: object
            if action in ("put", "take"):
                outcome = by_program(each, name, action, key, number, flags)
            else:
                try:
                    m = each.maps[name]
                    if action == "update":
                        m.update(packed(key), number.to_bytes(4, "little"), UpdateFlag(flags & 3))
                    else:
                        m.delete(packed(key))
                    outcome = 0
                except MapError as error:
                    outcome = error.errno
            seen.append((outcome, look(each, name, draw_of(number, keys)), list(each.maps[name].items())))
        assert seen[0] == seen[2], (number, "interpreter and kernel")
        assert seen[1] == seen[2], (number, "machine code and kernel")


def draw_of(number: int, keys: list[Prefix]) -> list[Prefix]:
    """The same few keys for every engine."""
    return random.Random(number).sample(keys, 12)


@pytest.mark.parametrize("name", SIZES)
def test_no_python(name: str) -> None:
    """Machine code looks up by itself, also what is not there."""
    with EmbeddedEngine(jit=True).load(OBJECT, programs=[f"look_{name}"]) as collection:
        size = SIZES[name]
        collection.maps[name].update(packed((3, bytes(size))), bytes([7, 0, 0, 0]))
        with calls_into_python(collection.programs[f"look_{name}"]) as calls:
            assert look(collection, name, [(8 * size, bytes(size)), (2, bytes(size)), (5, b"\xff" * size)]) == [7, 0, 0]
        assert calls.number == 0
