"""The scalar domain: a tnum and four ranges (unsigned and signed, 64 and 32 bits) that describe one value together.

Each of the five parts is sound alone: the value lies in every one of them. What one part knows sharpens the others (``sync``), and
what the operations lose differs from part to part, which is why all five are kept. Mirrors the range fields of bpf_reg_state and
the functions around reg_bounds_sync of kernel/bpf/verifier.c in 6.18: how sharp a range is decides verdicts, so the deductions and
their order are the kernel's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.tnum import HIGH32, MASK32, MASK64, SIGN32, SIGN64, Tnum

U64_MAX = MASK64
U32_MAX = MASK32
S64_MIN, S64_MAX = -SIGN64, SIGN64 - 1
S32_MIN, S32_MAX = -SIGN32, SIGN32 - 1


CACHE = 1 << 13
"""Results kept by each cached function of the domain: the same few values come again and again along a program's paths."""


class Bounds(NamedTuple):
    """What is known of a scalar, or of the variable part of a pointer's offset. Immutable.

    Attributes:
        var_off: its bits.
        smin, smax: signed 64-bit range.
        umin, umax: unsigned 64-bit range.
        s32_min, s32_max: signed range of the lower 32 bits.
        u32_min, u32_max: unsigned range of the lower 32 bits.
    """

    var_off: Tnum
    smin: int
    smax: int
    umin: int
    umax: int
    s32_min: int
    s32_max: int
    u32_min: int
    u32_max: int

    @property
    def is_const(self) -> bool:
        """Whether it is one value (by its bits, as the kernel decides it)."""
        return not self.var_off.mask

    @property
    def is_const32(self) -> bool:
        """Whether the lower 32 bits are one value."""
        return not self.var_off.mask & MASK32


def signed64(value: int) -> int:
    """An unsigned 64-bit integer as a signed one."""
    return value - (1 << 64) if value & SIGN64 else value


def signed32(value: int) -> int:
    """An unsigned 32-bit integer as a signed one."""
    return value - (1 << 32) if value & SIGN32 else value


@lru_cache(CACHE)
def const(value: int) -> Bounds:
    """Exactly one value, taken modulo 2**64."""
    value &= MASK64
    low = value & MASK32
    s64, s32 = signed64(value), signed32(low)
    return Bounds(Tnum(value, 0), s64, s64, value, value, s32, s32, low, low)


UNKNOWN = Bounds(tnum.UNKNOWN, S64_MIN, S64_MAX, 0, U64_MAX, S32_MIN, S32_MAX, 0, U32_MAX)
ZERO = const(0)


def is_consistent(b: Bounds) -> bool:
    """Whether no range is empty and constants agree with their ranges (reg_bounds_sanity_check). False only on dead paths."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    if umin > umax or smin > smax or u32_min > u32_max or s32_min > s32_max:
        return False
    value = var[0]
    if not var[1]:
        signed = value - (1 << 64) if value & SIGN64 else value
        if umin != value or umax != value or smin != signed or smax != signed:
            return False
    if not var[1] & MASK32:
        low = value & MASK32
        signed = low - (1 << 32) if low & SIGN32 else low
        return u32_min == low == u32_max and s32_min == signed == s32_max
    return True


def describe_violation(b: Bounds) -> str:
    """The log's words for bounds that are not consistent, after what they belong to."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    if umin > umax or smin > smax or u32_min > u32_max or s32_min > s32_max:
        reason = "range bounds violation"
    elif not var[1] and (umin != var[0] or umax != var[0] or smin != signed64(var[0]) or smax != signed64(var[0])):
        reason = "const tnum out of sync with range bounds"
    else:
        reason = "const subreg tnum out of sync with range bounds"
    return (
        f"{reason} u64=[{umin:#x}, {umax:#x}] s64=[{smin & MASK64:#x}, {smax & MASK64:#x}] u32=[{u32_min:#x}, {u32_max:#x}] "
        f"s32=[{s32_min & MASK32:#x}, {s32_max & MASK32:#x}] var_off=({var[0]:#x}, {var[1]:#x})"
    )


def forget_ranges(b: Bounds) -> Bounds:
    """The bits alone, with every range full."""
    return Bounds(b.var_off, S64_MIN, S64_MAX, 0, U64_MAX, S32_MIN, S32_MAX, 0, U32_MAX)


def from_unsigned(low: int, high: int) -> Bounds:
    """A value in an unsigned 64-bit range."""
    return sync(Bounds(tnum.UNKNOWN, S64_MIN, S64_MAX, low, high, S32_MIN, S32_MAX, 0, U32_MAX))


def with_const32(b: Bounds, value: int) -> Bounds:
    """The same with a lower half that is known, not yet synchronised (__mark_reg32_known)."""
    low = value & MASK32
    signed = signed32(low)
    var = tnum.with_low32(b.var_off, Tnum(low, 0))
    return b._replace(var_off=var, s32_min=signed, s32_max=signed, u32_min=low, u32_max=low)


def clamp_signed32(b: Bounds, low: int, high: int) -> Bounds:
    """What is known, and that the value lies in a signed 32-bit range (__mark_reg_s32_range)."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    return sync(
        Bounds(
            var, max(smin, low), min(smax, high), umin, umax, max(s32_min, low), min(s32_max, high), u32_min, u32_max
        )
    )


def learn32(b: Bounds) -> Bounds:
    """The 32-bit ranges, cut to what the bits allow."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    value, mask = var[0] & MASK32, var[1] & MASK32
    least, greatest = value | mask & SIGN32, value | mask & S32_MAX
    if least & SIGN32:
        least -= 1 << 32
    if greatest & SIGN32:
        greatest -= 1 << 32
    return Bounds(
        var,
        smin,
        smax,
        umin,
        umax,
        least if least > s32_min else s32_min,
        greatest if greatest < s32_max else s32_max,
        value if value > u32_min else u32_min,
        value | mask if value | mask < u32_max else u32_max,
    )


def learn(b: Bounds) -> Bounds:
    """All ranges, cut to what the bits allow (__update_reg_bounds).

    Where the unsigned range and the bits share one value only, it is that one.
    """
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = learn32(b)
    value, mask = var
    top = value | mask
    least, greatest = value | mask & SIGN64, value | mask & S64_MAX
    if least & SIGN64:
        least -= 1 << 64
    if greatest & SIGN64:
        greatest -= 1 << 64
    if least > smin:
        smin = least
    if greatest < smax:
        smax = greatest
    if value > umin:
        umin = value
    if top < umax:
        umax = top
    following = tnum.next_above(var, umin)
    if umin & ~mask == value:
        if following > umax:
            return const(umin)
    elif following == top or (following <= umax < tnum.next_above(var, following)):
        return const(following)
    return Bounds(var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max)


def _across_signs(umin: int, umax: int, smin: int, smax: int, ones: int, sign: int) -> tuple[int, int, int, int]:
    """What an unsigned and a signed range of the same bits tell each other; ``ones`` and ``sign`` are masks of their width."""
    # A range that does not cross the sign is the same for both.
    low, high = (umin ^ sign) - sign, (umax ^ sign) - sign
    if low <= high:
        if low > smin:
            smin = low
        if high < smax:
            smax = high
    low, high = smin & ones, smax & ones
    if low <= high:
        if low > umin:
            umin = low
        if high < umax:
            umax = high
    # A signed range that crosses the sign has two unsigned ends; if the unsigned range meets one of them only, it is that end.
    elif umax < low:
        smin = (umin ^ sign) - sign
        if high < umax:
            umax = high
    elif high < umin:
        smax = (umax ^ sign) - sign
        if low > umin:
            umin = low
    return umin, umax, smin, smax


def _deduce(b: Bounds) -> Bounds:
    """One round of what the ranges tell each other (__reg_deduce_bounds): 64 to 32 bits, between signs, 32 to 64 bits."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    # A 64-bit range is an unsigned 32-bit range if its upper half is constant; it is a signed one if it then does not cross the
    # sign, or if the upper half counts up by one exactly as the lower half passes from -1 to 0.
    for low, high, unsigned in ((umin, umax, True), (smin, smax, False)):
        step = (high >> 32) - (low >> 32) & MASK32
        if step > 1:
            continue
        low, high = low & MASK32, high & MASK32
        if step == 0 and (unsigned or low <= high):
            if low > u32_min:
                u32_min = low
            if high < u32_max:
                u32_max = high
        low, high = (low ^ SIGN32) - SIGN32, (high ^ SIGN32) - SIGN32
        if (low <= high) if step == 0 else (low < 0 <= high):
            if low > s32_min:
                s32_min = low
            if high < s32_max:
                s32_max = high
    u32_min, u32_max, s32_min, s32_max = _across_signs(u32_min, u32_max, s32_min, s32_max, MASK32, SIGN32)
    umin, umax, smin, smax = _across_signs(umin, umax, smin, smax, MASK64, SIGN64)

    # The ends of a 64-bit range have lower halves that the 32-bit range allows.
    umin, umax = max(umin, umin & HIGH32 | u32_min), min(umax, umax & HIGH32 | u32_max)
    smin, smax = max(smin, smin & ~MASK32 | u32_min), min(smax, smax & ~MASK32 | u32_max)
    # After a sign extension the upper half is all sign: a lower half that is not negative then is the whole.
    if s32_min >= 0 and smin >= S32_MIN and smax <= S32_MAX:
        smin, smax = s32_min, s32_max
        umin, umax = s32_min, s32_max & MASK64  # on a dead path the end may be negative
        var = tnum.intersect(var, tnum.from_range(umin, umax))
    return Bounds(var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max)


def _narrow_bits(b: Bounds) -> Bounds:
    """The bits, cut to what the unsigned ranges allow (__reg_bound_offset): bits above the highest that differs are known."""
    var, smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max = b
    open64 = (1 << (umin ^ umax).bit_length()) - 1
    open32 = (1 << (u32_min ^ u32_max).bit_length()) - 1
    mask = var[1] & open64
    value = (var[0] | umin & ~open64) & ~mask
    mask &= HIGH32 | open32
    value = (value | u32_min & ~open32) & ~mask
    return Bounds(Tnum(value, mask), smin, smax, umin, umax, s32_min, s32_max, u32_min, u32_max)


@lru_cache(CACHE)
def sync(b: Bounds) -> Bounds:
    """What the parts tell each other, in the order of reg_bounds_sync: bits to ranges, ranges thrice, ranges to bits, bits to ranges."""
    value, mask = b[0]
    if not mask and contains(b, value):
        return const(value)
    b = learn(b)
    for _ in range(3):
        before, b = b, _deduce(b)
        if b == before:
            break
    return learn(_narrow_bits(b))


def zero_extend32(b: Bounds) -> Bounds:
    """The lower half with an upper half of 0, not yet synchronised (zext_32_to_64)."""
    low, high = (b.s32_min, b.s32_max) if b.s32_min >= 0 and b.s32_max >= 0 else (0, U32_MAX)
    return b._replace(var_off=tnum.low32(b.var_off), smin=low, smax=high, umin=b.u32_min, umax=b.u32_max)


@lru_cache(CACHE)
def low32(b: Bounds) -> Bounds:
    """The lower half with an upper half of 0: what a 32-bit move copies."""
    return sync(zero_extend32(b))


@lru_cache(CACHE)
def truncate(b: Bounds, size: int) -> Bounds:
    """The lower ``size`` bytes, zero-extended: a load, or half of a conversion of byte order (coerce_reg_to_size)."""
    ones = (1 << size * 8) - 1
    low, high = (b.umin & ones, b.umax & ones) if b.umin & ~ones == b.umax & ~ones else (0, ones)
    b = b._replace(var_off=tnum.truncate(b.var_off, size), smin=signed64(low), smax=signed64(high), umin=low, umax=high)
    if size < 4:
        b = b._replace(s32_min=S32_MIN, s32_max=S32_MAX, u32_min=0, u32_max=U32_MAX)
    return sync(b)


@lru_cache(CACHE)
def sign_extend(b: Bounds, size: int) -> Bounds:
    """The lower ``size`` bytes, sign-extended to 64 bits (coerce_reg_to_size_sx)."""
    sign = 1 << size * 8 - 1
    ones = 2 * sign - 1
    if b.is_const:
        return const(((b.var_off.value & ones) ^ sign) - sign)
    if b.smin & ~ones == b.smax & ~ones:
        ends = ((b.smin & ones) ^ sign) - sign, ((b.smax & ones) ^ sign) - sign
        low, high = min(ends), max(ends)
        if (low >= 0) == (high >= 0):
            u64, u32 = (low & MASK64, high & MASK64), (low & MASK32, high & MASK32)
            return Bounds(tnum.from_range(*u64), low, high, *u64, low, high, *u32)
    return Bounds(tnum.UNKNOWN, -sign, sign - 1, 0, U64_MAX, -sign, sign - 1, 0, U32_MAX)


@lru_cache(CACHE)
def sign_extend32(b: Bounds, size: int) -> Bounds:
    """The lower ``size`` bytes (1 or 2), sign-extended to 32 bits and zero-extended to 64 (coerce_subreg_to_size_sx)."""
    sign = 1 << size * 8 - 1
    ones = 2 * sign - 1
    if b.is_const:
        value = ((b.var_off.value & ones) ^ sign) - sign
        u32 = value & MASK32
        return sync(
            zero_extend32(b._replace(var_off=tnum.const(value), s32_min=value, s32_max=value, u32_min=u32, u32_max=u32))
        )
    low, high, var = -sign, sign - 1, Tnum(0, MASK32)
    if b.s32_min & ~ones == b.s32_max & ~ones:
        ends = ((b.s32_min & ones) ^ sign) - sign, ((b.s32_max & ones) ^ sign) - sign
        if (ends[0] >= 0) == (ends[1] >= 0):
            low, high = min(ends), max(ends)
            var = tnum.low32(tnum.from_range(low & MASK64, high & MASK64))
            low32, high32 = low & MASK32, high & MASK32
            return sync(
                zero_extend32(b._replace(var_off=var, s32_min=low, s32_max=high, u32_min=low32, u32_max=high32))
            )
    return sync(zero_extend32(b._replace(var_off=var, s32_min=low, s32_max=high, u32_min=0, u32_max=U32_MAX)))


def contains(b: Bounds, value: int) -> bool:
    """Whether an unsigned 64-bit value agrees with every part."""
    low = value & MASK32
    return (
        value in b.var_off
        and b.umin <= value <= b.umax
        and b.smin <= signed64(value) <= b.smax
        and b.u32_min <= low <= b.u32_max
        and b.s32_min <= signed32(low) <= b.s32_max
    )
