"""Tristate numbers: what is known of each bit of a 64-bit value.

A bit is 0, 1 or unknown. A tnum stands for the set of all values that agree with its known bits: ``value`` has the known ones,
``mask`` the unknown bits, and no bit is in both. Each operation gives a tnum whose set holds every result that the operands' sets
can give (soundness). For addition and subtraction, the bitwise operations and shifts by constants it is the smallest such tnum; for
multiplication it is not, and how much is lost can decide a verdict, so that what is lost has to be what kernel/bpf/tnum.c loses
in 6.18.
"""

from __future__ import annotations

from typing import NamedTuple

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1
HIGH32 = MASK64 ^ MASK32
SIGN64 = 1 << 63
SIGN32 = 1 << 31


class Tnum(NamedTuple):
    """A set of 64-bit values, given by their common bits.

    Attributes:
        value: the bits known to be 1, unsigned 64-bit.
        mask: the bits that are not known, unsigned 64-bit; disjoint from ``value``.
    """

    value: int
    mask: int

    @property
    def is_const(self) -> bool:
        """Whether it is one value."""
        return not self.mask

    def __contains__(self, item: object) -> bool:
        """Whether an unsigned 64-bit integer is in the set."""
        return isinstance(item, int) and item & ~self.mask == self.value


UNKNOWN = Tnum(0, MASK64)
ZERO = Tnum(0, 0)


def const(value: int) -> Tnum:
    """The tnum of one value, taken modulo 2**64."""
    return Tnum(value & MASK64, 0)


def from_range(low: int, high: int) -> Tnum:
    """The smallest tnum that holds the unsigned range ``low..high`` (inclusive)."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return Tnum(low & ~delta, delta)


def add(a: Tnum, b: Tnum) -> Tnum:
    """Sums. A bit is unknown where an operand's is, or where the carries of the least and the greatest sum differ."""
    low = a[0] + b[0]
    unknown = ((low + a[1] + b[1]) ^ low) | a[1] | b[1]
    return Tnum(low & ~unknown & MASK64, unknown & MASK64)


def sub(a: Tnum, b: Tnum) -> Tnum:
    """Differences, by the borrows of the greatest and the least one."""
    middle = a[0] - b[0]
    unknown = ((middle + a[1]) ^ (middle - b[1])) | a[1] | b[1]
    return Tnum(middle & ~unknown & MASK64, unknown & MASK64)


def neg(a: Tnum) -> Tnum:
    """Two's complements."""
    return sub(ZERO, a)


def bit_and(a: Tnum, b: Tnum) -> Tnum:
    """Conjunctions: a bit is unknown if it can be 1 in both and is not certain in both."""
    value = a[0] & b[0]
    return Tnum(value, (a[0] | a[1]) & (b[0] | b[1]) & ~value)


def bit_or(a: Tnum, b: Tnum) -> Tnum:
    """Disjunctions: a bit that is certain in one is certain."""
    value = a[0] | b[0]
    return Tnum(value, (a[1] | b[1]) & ~value)


def bit_xor(a: Tnum, b: Tnum) -> Tnum:
    """Differences of bits."""
    mask = a[1] | b[1]
    return Tnum((a[0] ^ b[0]) & ~mask, mask)


def shift_left(a: Tnum, shift: int) -> Tnum:
    """By a constant below 64."""
    return Tnum(a[0] << shift & MASK64, a[1] << shift & MASK64)


def shift_right(a: Tnum, shift: int) -> Tnum:
    """Logically, by a constant below 64."""
    return Tnum(a[0] >> shift, a[1] >> shift)


def shift_right_signed(a: Tnum, shift: int, bits: int) -> Tnum:
    """Arithmetically, by a constant below ``bits``, on the lower ``bits`` bits; the upper ones are 0."""
    ones, sign = (1 << bits) - 1, 1 << (bits - 1)
    value, mask = a[0] & ones, a[1] & ones
    # An unknown sign bit fills with unknown bits, a known one with itself: both are shifted as signed numbers.
    value = (value ^ sign) - sign >> shift
    mask = (mask ^ sign) - sign >> shift
    return Tnum(value & ones, mask & ones)


def mul(a: Tnum, b: Tnum) -> Tnum:
    """Products, by the schoolbook method over the bits of ``a``: an unknown bit joins the sums with and without its addend."""
    if not a[1] and not b[1]:
        return Tnum(a[0] * b[0] & MASK64, 0)
    a_value, a_mask = a
    value, mask = 0, 0
    b_value, b_mask = b
    while a_value or a_mask:
        if (a_value | a_mask) & 1:
            low = value + b_value
            unknown = (((low + mask + b_mask) ^ low) | mask | b_mask) & MASK64
            low &= ~unknown & MASK64
            if a_value & 1:
                value, mask = low, unknown
            else:
                mask = (value ^ low) | mask | unknown
                value = value & low & ~mask
        a_value >>= 1
        a_mask >>= 1
        b_value = b_value << 1 & MASK64
        b_mask = b_mask << 1 & MASK64
    return Tnum(value, mask)


def swap_bytes(a: Tnum, size: int) -> Tnum:
    """The lower ``size`` bytes in reverse order, the upper ones 0."""
    ones = (1 << size * 8) - 1
    value = int.from_bytes((a[0] & ones).to_bytes(size, "little"), "big")
    return Tnum(value, int.from_bytes((a[1] & ones).to_bytes(size, "little"), "big"))


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What both say. Where they contradict each other, the bit is 1: no value is in both, and the result means nothing."""
    mask = a[1] & b[1]
    return Tnum((a[0] | b[0]) & ~mask, mask)


def overlap(a: Tnum, b: Tnum) -> bool:
    """Whether any value is in both."""
    return not (a[0] ^ b[0]) & ~(a[1] | b[1])


def is_aligned(a: Tnum, size: int) -> bool:
    """Whether every value is a multiple of ``size``, a power of two (or 0, which everything is)."""
    return not size or not (a[0] | a[1]) & (size - 1)


def truncate(a: Tnum, size: int) -> Tnum:
    """The lower ``size`` bytes."""
    ones = (1 << size * 8) - 1
    return Tnum(a[0] & ones, a[1] & ones)


def low32(a: Tnum) -> Tnum:
    """The lower half."""
    return Tnum(a[0] & MASK32, a[1] & MASK32)


def with_low32(a: Tnum, low: Tnum) -> Tnum:
    """The upper half of ``a`` and the lower half of ``low``."""
    return Tnum(a[0] & HIGH32 | low[0] & MASK32, a[1] & HIGH32 | low[1] & MASK32)


def next_above(a: Tnum, value: int) -> int:
    """The least member above an unsigned value; the greatest member where there is none (the kernel's tnum_step)."""
    least, mask = a
    greatest = least | mask
    if value >= greatest:
        return greatest
    if value < least:
        return least
    # Members are ``least`` plus a subset of the mask's bits: count up within the mask, after the excess over ``least``. Bits below
    # the highest bit of the excess that lies outside the mask do not count any more: the increment has to carry past that bit.
    excess = value - least
    outside = (1 << (excess & ~mask).bit_length()) - 1
    return least | ((excess | outside | ~mask) + 1) & mask


def text(a: Tnum) -> str:
    """As the kernel's log prints it: one value as a number, else value and mask."""
    value, mask = a
    if mask:
        return f"({value:#x}; {mask:#x})"
    return str(value) if value <= 0xFFFF else f"{value:#x}"
