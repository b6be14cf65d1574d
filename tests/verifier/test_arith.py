"""Arithmetic on the scalar domain against arithmetic on numbers."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import arith, bounds
from bpfcrypto.verifier.bounds import UNKNOWN, Bounds
from support.concrete import ALU, ONES, alu, bounds_with_member, every, window

SHIFTS = (Op.LSH, Op.RSH, Op.ARSH)
FOLLOWED = (Op.ADD, Op.SUB, Op.MUL, Op.AND, Op.OR, Op.XOR)
DIVISIONS = (Op.DIV, Op.MOD, Op.SDIV, Op.SMOD)
PLACES = (0, -2, (1 << 31) - 2, (1 << 32) - 2, (1 << 63) - 4)
"""Where the small ranges of the exhaustive tests lie: at 0 and across the signs and the halves."""


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("op", FOLLOWED)
def test_small_ranges_hold_every_result(op: Op, bits: int) -> None:
    """For all pairs of ranges within four numbers, at all pairs of places, the result holds every result."""
    for left, right in product(PLACES, repeat=2):
        for a, b in product(window(left, 2), window(right, 2)):
            got = arith.binary(op, bits, a, b)
            for x, y in product(every(a, left, 2), every(b, right, 2)):
                assert bounds.contains(got, alu(op, bits, x, y)), (a, b, x, y)


@pytest.mark.parametrize("op", FOLLOWED)
def test_all_ranges_of_three_bits(op: Op) -> None:
    """For all pairs of ranges within 0..7 and within -4..3 the result holds every result."""
    for base in (0, -4):
        members = [(a, every(a, base, 3)) for a in window(base, 3)]
        for (a, xs), (b, ys) in product(members, repeat=2):
            got = arith.binary(op, 64, a, b)
            for x, y in product(xs, ys):
                assert bounds.contains(got, alu(op, 64, x, y)), (a, b, x, y)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("op", SHIFTS)
def test_shifts_of_small_ranges_hold_every_result(op: Op, bits: int) -> None:
    """For all ranges within four numbers and all shifts the result holds every result."""
    for base in PLACES:
        for a in window(base, 2):
            for shift in range(bits):
                got = arith.binary(op, bits, a, bounds.const(shift))
                assert all(bounds.contains(got, alu(op, bits, x, shift)) for x in every(a, base, 2)), (a, shift)


def test_sums_of_small_ranges_are_exact() -> None:
    """Where nothing wraps, sums and differences have the ranges of their ends."""
    for a, b in product(window(8, 2), window(0, 3)):
        total, rest = arith.binary(Op.ADD, 64, a, b), arith.binary(Op.SUB, 64, a, b)
        assert (total.umin, total.umax) == (a.umin + b.umin, a.umax + b.umax)
        assert (rest.smin, rest.smax) == (a.smin - b.smax, a.smax - b.smin)


@given(bounds_with_member(), bounds_with_member(), st.sampled_from(ALU), st.sampled_from([32, 64]))
def test_every_operation_holds_the_result(
    left: tuple[Bounds, int], right: tuple[Bounds, int], op: Op, bits: int
) -> None:
    """At full width, with bounds as paths gather them, the result of each operation on two members is a member."""
    a, b = bounds.sync(left[0]), bounds.sync(right[0])
    assert bounds.contains(arith.binary(op, bits, a, b), alu(op, bits, left[1], right[1]))


@given(bounds_with_member(), st.integers(0, 63), st.sampled_from(SHIFTS), st.sampled_from([32, 64]))
def test_every_shift_holds_the_result(item: tuple[Bounds, int], shift: int, op: Op, bits: int) -> None:
    """The same for shifts by constants, also by more than the width, which give no knowledge."""
    a = bounds.sync(item[0])
    got = arith.binary(op, bits, a, bounds.const(shift))
    assert bounds.contains(got, alu(op, bits, item[1], shift))
    assert arith.is_computable(op, bits, bounds.const(shift)) == (shift < bits)


@given(bounds_with_member(), st.sampled_from([32, 64]))
def test_negation_holds_the_result(item: tuple[Bounds, int], bits: int) -> None:
    """Negation of a member is a member."""
    got = arith.negate(bounds.sync(item[0]), bits)
    assert bounds.contains(got, -item[1] & ONES[bits])


@given(bounds_with_member(), st.sampled_from([16, 32, 64]))
def test_byte_order_holds_the_result(item: tuple[Bounds, int], bits: int) -> None:
    """Conversions of byte order hold the converted member."""
    a, value = bounds.sync(item[0]), item[1] & (1 << bits) - 1
    swapped = int.from_bytes(value.to_bytes(bits // 8, "little"), "big")
    assert bounds.contains(arith.byte_order(a, bits, swap=True), swapped)
    assert bounds.contains(arith.byte_order(a, bits, swap=False), value)


@pytest.mark.parametrize("op", DIVISIONS)
def test_divisions_give_no_knowledge(op: Op) -> None:
    """As in 6.18, what a division leaves is unknown, whatever was divided."""
    assert arith.binary(op, 64, bounds.const(6), bounds.const(3)) == UNKNOWN


@given(bounds_with_member(), st.integers(-(1 << 31), (1 << 31) - 1))
def test_linked_scalars_follow_by_a_constant(item: tuple[Bounds, int], distance: int) -> None:
    """Adding a constant holds the sum."""
    got = bounds.sync(arith.add_constant(bounds.sync(item[0]), distance))
    assert bounds.contains(got, item[1] + distance & ONES[64])
