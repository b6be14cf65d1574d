"""Comparisons on the scalar domain against comparisons of numbers."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import bounds, refine
from bpfcrypto.verifier.bounds import UNKNOWN, Bounds
from support.concrete import COMPARISONS, bounds_with_member, compare, every, window

PLACES = (0, -2, (1 << 31) - 2, (1 << 32) - 2, (1 << 63) - 4)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("op", COMPARISONS)
def test_small_ranges_are_decided_and_refined_soundly(op: Op, bits: int) -> None:
    """For all pairs of ranges within four numbers, at all pairs of places: what is decided is so, and no value is lost that can be."""
    for left, right in product(PLACES, repeat=2):
        for a, b in product(window(left, 2), window(right, 2)):
            decided = refine.taken(a, b, op, bits)
            ways = {way: refine.refine(a, b, op, bits, way) for way in (True, False)}
            for x, y in product(every(a, left, 2), every(b, right, 2)):
                outcome = compare(op, bits, x, y)
                assert decided in (None, outcome), (a, b, x, y)
                assert bounds.contains(ways[outcome][0], x)
                assert bounds.contains(ways[outcome][1], y)


@pytest.mark.parametrize("op", [op for op in COMPARISONS if op is not Op.JSET])
def test_ranges_of_three_bits_are_decided_exactly(op: Op) -> None:
    """Within 0..7 every comparison of ranges that has one outcome is decided."""
    for a, b in product(window(0, 3), repeat=2):
        outcomes = {compare(op, 64, x, y) for x, y in product(every(a, 0, 3), every(b, 0, 3))}
        expected = outcomes.pop() if len(outcomes) == 1 else None
        assert refine.taken(a, b, op, 64) == expected


@given(bounds_with_member(), bounds_with_member(), st.sampled_from(COMPARISONS), st.sampled_from([32, 64]))
def test_wide_comparisons_are_sound(left: tuple[Bounds, int], right: tuple[Bounds, int], op: Op, bits: int) -> None:
    """At full width the outcome on two members is not excluded, and both stay members on the way that they take."""
    a, b = bounds.sync(left[0]), bounds.sync(right[0])
    outcome = compare(op, bits, left[1], right[1])
    assert refine.taken(a, b, op, bits) in (None, outcome)
    for refined, value in zip(refine.refine(a, b, op, bits, outcome), (left[1], right[1]), strict=True):
        assert bounds.contains(refined, value)
        assert bounds.is_consistent(refined)


@given(bounds_with_member(), st.sampled_from(COMPARISONS), st.sampled_from([32, 64]))
def test_a_register_with_itself_is_sound(item: tuple[Bounds, int], op: Op, bits: int) -> None:
    """A register compared with itself keeps its value on the way that it takes."""
    a, value = bounds.sync(item[0]), item[1]
    assert bounds.contains(refine.refine_itself(a, op, bits, compare(op, bits, value, value)), value)


def test_tables_are_about_the_same_comparison() -> None:
    """Flipping and negating a comparison is what they say, on all pairs of small numbers."""
    for op in COMPARISONS:
        for x, y in product(range(8), repeat=2):
            assert compare(op, 64, x, y) == compare(refine.FLIPPED[op], 64, y, x)
            if op is not Op.JSET:
                assert compare(op, 64, x, y) != compare(refine.NEGATED[op], 64, x, y)


def test_refinement_cuts_both_sides() -> None:
    """A comparison tells about the right side as well as about the left one."""
    a, b = refine.refine(UNKNOWN, bounds.from_unsigned(10, 20), Op.JLT, 64, True)
    assert a.umax == 19
    a, b = refine.refine(bounds.from_unsigned(10, 20), UNKNOWN, Op.JLT, 64, True)
    assert b.umin == 11
    a, b = refine.refine(bounds.from_unsigned(10, 20), UNKNOWN, Op.JEQ, 64, True)
    assert (b.umin, b.umax) == (10, 20)


def test_bits_are_learned_from_a_test_of_bits() -> None:
    """A single bit that is set is known, and all bits that are not set are known."""
    mask = bounds.const(0x8)
    assert refine.refine(UNKNOWN, mask, Op.JSET, 64, True)[0].var_off.value == 0x8
    assert refine.refine(UNKNOWN, bounds.const(0xC), Op.JSET, 64, True)[0] == UNKNOWN
    assert refine.refine(UNKNOWN, bounds.const(~0xF), Op.JSET, 64, False)[0].umax == 0xF


def test_an_end_that_is_excluded_is_cut_off() -> None:
    """Inequality with a constant moves an end of the range, and nothing else."""
    a = bounds.from_unsigned(0, 9)
    assert refine.refine(a, bounds.const(0), Op.JNE, 64, True)[0].umin == 1
    assert refine.refine(a, bounds.const(9), Op.JEQ, 64, False)[0].umax == 8
    assert refine.refine(a, bounds.const(5), Op.JNE, 64, True)[0] == a
