"""The scalar domain: deductions and conversions keep every value, and find what can be found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.verifier import bounds, tnum
from bpfcrypto.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32_MAX, U64_MAX, UNKNOWN, Bounds
from bpfcrypto.verifier.tnum import MASK32, MASK64, Tnum
from support.concrete import U64, bounds_with_member, signed, window


@given(bounds_with_member())
def test_sync_keeps_every_value(item: tuple[Bounds, int]) -> None:
    """What the parts tell each other never excludes a value that agrees with all of them."""
    b, value = item
    synced = bounds.sync(b)
    assert bounds.contains(synced, value)
    assert bounds.is_consistent(synced)


@given(bounds_with_member())
def test_sync_forgets_no_bit(item: tuple[Bounds, int]) -> None:
    """Bits that are known stay known. (Ranges may grow: the rule for sign-extended values sets them anew from the lower half.)"""
    before, after = item[0].var_off, bounds.sync(item[0]).var_off
    assert not after.mask & ~before.mask
    assert after.value & ~before.mask == before.value


def test_sync_finds_the_ends_of_small_ranges() -> None:
    """For every unsigned range of four bits, at several places, both 64-bit ranges are exact and the 32-bit ones where they do not wrap."""
    for base in (0, -8, S32_MAX - 7, U32_MAX - 7, S64_MAX - 15):
        for b in window(base, 4):
            assert b.umin & MASK64 <= b.umax
            if b.umin != 0 or b.umax != U64_MAX:
                assert b.umax - b.umin < 16
            assert b.smax - b.smin < 16


def test_the_one_shared_value_is_found() -> None:
    """Bits and an unsigned range that have one value in common are that value."""
    even = Tnum(0, MASK64 ^ 0xF)  # multiples of 16
    for low, high, value in ((1, 31, 16), (16, 31, 16), (17, 32, 32)):
        assert bounds.sync(UNKNOWN._replace(var_off=even, umin=low, umax=high)) == bounds.const(value)


def test_ranges_of_either_sign_sharpen_each_other() -> None:
    """A signed range that crosses 0 and an unsigned one that meets one end of it only leave that end, in both widths."""
    both = bounds.sync(UNKNOWN._replace(smin=-10, smax=20, umin=5, umax=U64_MAX - 20))
    assert (both.smin, both.smax, both.umin, both.umax) == (5, 20, 5, 20)
    low = bounds.sync(UNKNOWN._replace(s32_min=-256, s32_max=255, u32_min=0x8001, umax=U32_MAX))
    assert (low.s32_min, low.s32_max, low.u32_min, low.u32_max) == (-256, -1, U32_MAX - 255, U32_MAX)


def test_a_sign_extended_value_that_is_not_negative_is_its_lower_half() -> None:
    """A 64-bit range of 32-bit numbers whose lower half is not negative has an upper half of 0."""
    b = bounds.sync(UNKNOWN._replace(smin=S32_MIN, smax=S32_MAX, s32_min=0, s32_max=100))
    assert (b.umin, b.umax) == (0, 100)
    assert b.var_off == Tnum(0, 127)


@given(U64)
def test_constants_are_known_in_every_part(value: int) -> None:
    """A constant is one value for every part, and consistent."""
    b = bounds.const(value)
    assert b.is_const
    assert b.is_const32
    assert (b.umin, b.umax) == (value, value)
    assert (b.smin, b.smax) == (signed(value, 64), signed(value, 64))
    assert bounds.is_consistent(b)
    assert bounds.sync(b) == b


@given(bounds_with_member(), st.sampled_from([1, 2, 4]))
def test_conversions_keep_the_value(item: tuple[Bounds, int], size: int) -> None:
    """Truncation and sign extension hold the converted value."""
    b, value = bounds.sync(item[0]), item[1]
    part = value & (1 << size * 8) - 1
    assert bounds.contains(bounds.truncate(b, size), part)
    assert bounds.contains(bounds.sign_extend(b, size), signed(part, size * 8) & MASK64)
    assert bounds.contains(bounds.low32(b), value & MASK32)
    if size < 4:
        assert bounds.contains(bounds.sign_extend32(b, size), signed(part, size * 8) & MASK32)


def test_conversions_of_small_ranges_are_tight() -> None:
    """A range that fits the narrower type is the same range after the conversion."""
    b = bounds.from_unsigned(3, 100)
    for converted in (bounds.truncate(b, 1), bounds.sign_extend(b, 1), bounds.sign_extend32(b, 2), bounds.low32(b)):
        assert (converted.smin, converted.smax, converted.umin, converted.umax) == (3, 100, 3, 100)
    wide = bounds.sign_extend(bounds.from_unsigned(0, 200), 1)
    assert (wide.smin, wide.smax) == (-128, 127)
    assert wide.var_off == tnum.UNKNOWN


def test_signed_ranges_of_errors() -> None:
    """A result that is 0 or a negative errno has that range in both widths."""
    b = bounds.clamp_signed32(UNKNOWN, -4095, 0)
    assert (b.smin, b.smax, b.s32_min, b.s32_max) == (-4095, 0, -4095, 0)
    assert bounds.clamp_signed32(b, -22, -1).smin == -22


def test_empty_bounds_are_inconsistent() -> None:
    """A range whose ends are crossed, or a constant outside its range, is reported with the kernel's reason."""
    crossed = UNKNOWN._replace(umin=2, umax=1)
    assert not bounds.is_consistent(crossed)
    assert bounds.describe_violation(crossed).startswith("range bounds violation u64=[0x2, 0x1]")
    outside = bounds.const(5)._replace(umax=6)
    assert not bounds.is_consistent(outside)
    assert "const tnum out of sync" in bounds.describe_violation(outside)
    half = UNKNOWN._replace(var_off=Tnum(1, MASK64 ^ MASK32))
    assert not bounds.is_consistent(half)
    assert "const subreg tnum out of sync" in bounds.describe_violation(half)


def test_unknown_is_everything() -> None:
    """Unknown bounds have full ranges, which ``forget_ranges`` restores."""
    assert Bounds(tnum.UNKNOWN, S64_MIN, S64_MAX, 0, U64_MAX, S32_MIN, S32_MAX, 0, U32_MAX) == UNKNOWN
    assert bounds.forget_ranges(bounds.const(3)) == UNKNOWN._replace(var_off=Tnum(3, 0))
