"""Tristate numbers against what the operations do to every value that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.tnum import MASK32, MASK64, Tnum

WIDTH = 4
POSITIONS = (0, 14, 30, 60)
"""Where the open bits of the exhaustive tests lie: at the bottom, across bytes, across the halves, at the top."""


def narrow(position: int) -> list[Tnum]:
    """Every tnum whose bits outside a window of WIDTH bits are 0."""
    masks = range(1 << WIDTH)
    return [Tnum(value << position, mask << position) for mask in masks for value in masks if not value & mask]


def members(a: Tnum) -> Iterator[int]:
    """Every value in the set."""
    subset = a.mask
    while True:
        yield a.value | subset
        if not subset:
            return
        subset = (subset - 1) & a.mask


def smallest(values: set[int]) -> Tnum:
    """The smallest tnum that holds all of them."""
    open_bits = reduce(lambda seen, value: seen | value ^ next(iter(values)), values, 0)
    return Tnum(next(iter(values)) & ~open_bits, open_bits)


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


Binary = tuple[Callable[[Tnum, Tnum], Tnum], Callable[[int, int], int]]
BINARY: dict[str, Binary] = {
    "add": (tnum.add, lambda a, b: a + b & MASK64),
    "sub": (tnum.sub, lambda a, b: a - b & MASK64),
    "and": (tnum.bit_and, lambda a, b: a & b),
    "or": (tnum.bit_or, lambda a, b: a | b),
    "xor": (tnum.bit_xor, lambda a, b: a ^ b),
    "mul": (tnum.mul, lambda a, b: a * b & MASK64),
}
EXACT = [name for name in BINARY if name != "mul"]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operations_hold_every_result(name: str, position: int) -> None:
    """For all pairs of 4-bit tnums the result holds the result of every pair of values, and no tnum smaller than it does (but for mul)."""
    abstract, concrete = BINARY[name]
    for a, b in product(narrow(position), repeat=2):
        got = abstract(a, b)
        results = {concrete(x, y) for x, y in product(members(a), members(b))}
        assert not got.value & got.mask
        assert all(result in got for result in results), (a, b, got)
        if name in EXACT:
            assert got == smallest(results), (a, b)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("shift", [0, 1, 2, 7, 31, 32, 33, 62, 63])
def test_shifts_hold_every_result(shift: int, position: int) -> None:
    """Shifts by constants give the smallest tnum of all results, for 64 bits and (signed, to the right) for 32."""
    for a in narrow(position):
        values = list(members(a))
        assert tnum.shift_left(a, shift) == smallest({value << shift & MASK64 for value in values})
        assert tnum.shift_right(a, shift) == smallest({value >> shift for value in values})
        results = {signed(value, 64) >> shift & MASK64 for value in values}
        assert tnum.shift_right_signed(a, shift, 64) == smallest(results)
        if shift < 32:
            results = {signed(value & MASK32, 32) >> shift & MASK32 for value in values}
            assert tnum.shift_right_signed(a, shift, 32) == smallest(results)


@pytest.mark.parametrize("position", POSITIONS)
def test_unary_operations_hold_every_result(position: int) -> None:
    """Negation, byte order and truncation give the smallest tnum of all results."""
    for a in narrow(position):
        values = list(members(a))
        assert tnum.neg(a) == smallest({-value & MASK64 for value in values})
        for size in (2, 4, 8):
            ones = (1 << size * 8) - 1
            swapped = {int.from_bytes((value & ones).to_bytes(size, "little"), "big") for value in values}
            assert tnum.swap_bytes(a, size) == smallest(swapped)
            assert tnum.truncate(a, size) == smallest({value & ones for value in values})


def test_ranges_are_covered_tightly() -> None:
    """``from_range`` holds the range and is the smallest tnum that does, for all ranges of five bits."""
    for low in range(32):
        for high in range(low, 32):
            assert tnum.from_range(low, high) == smallest(set(range(low, high + 1)))
    assert tnum.from_range(1, 1 << 63) == tnum.UNKNOWN


def test_relations_agree_with_sets() -> None:
    """Membership, overlap, intersection and the next member are those of the sets, for all pairs of 4-bit tnums."""
    window = narrow(0)
    for a in window:
        inside = set(members(a))
        for value in range(1 << WIDTH + 1):
            assert (value in a) == (value in inside)
            above = [member for member in inside if member > value]
            assert tnum.next_above(a, value) == (min(above) if above else max(inside))
        for size in (1, 2, 4, 8):
            assert tnum.is_aligned(a, size) == all(value % size == 0 for value in inside)
        for b in window:
            other = set(members(b))
            assert tnum.overlap(a, b) == bool(inside & other)
            if inside & other:
                assert set(members(tnum.intersect(a, b))) == inside & other


def with_members() -> st.SearchStrategy[tuple[Tnum, int]]:
    """A 64-bit tnum and a value in it."""
    bits = st.integers(0, MASK64)
    return st.builds(lambda value, mask: (Tnum(value & ~mask, mask), value), bits, bits)


@given(with_members(), with_members())
def test_wide_operations_hold_the_result(left: tuple[Tnum, int], right: tuple[Tnum, int]) -> None:
    """At 64 bits each operation on two tnums holds its result on a member of each."""
    (a, x), (b, y) = left, right
    for abstract, concrete in BINARY.values():
        assert concrete(x, y) in abstract(a, b)


@given(with_members(), st.integers(0, MASK64))
def test_the_next_member_is_next(item: tuple[Tnum, int], value: int) -> None:
    """No member lies between a value and the next member above it."""
    a, member = item
    following = tnum.next_above(a, value)
    assert following in a
    if following > value:
        assert not value < member < following
    else:
        assert member <= value


@given(with_members(), with_members())
def test_halves_are_put_together(left: tuple[Tnum, int], right: tuple[Tnum, int]) -> None:
    """``with_low32`` takes one half of each."""
    (a, x), (b, y) = left, right
    assert (x & ~MASK32 | y & MASK32) in tnum.with_low32(a, b)
    assert tnum.low32(tnum.with_low32(a, b)) == tnum.low32(b)


def test_text_is_the_kernels() -> None:
    """Constants are decimal up to 16 bits, everything else is hexadecimal."""
    assert tnum.text(Tnum(0, 0xFF)) == "(0x0; 0xff)"
    assert tnum.text(tnum.const(0xFFFF)) == "65535"
    assert tnum.text(tnum.const(-1)) == "0xffffffffffffffff"
