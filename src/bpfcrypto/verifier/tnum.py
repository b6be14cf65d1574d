"""Tristate numbers: what is known of each bit of a 64-bit value.

A bit is 0, 1 or unknown. A tnum stands for the set of all values that agree with its known bits: ``value`` has the known ones,
``mask`` the unknown bits, and no bit is in both. Each operation gives a tnum whose set holds every result that the operands' sets
can give (soundness); add, sub, and, or, xor and shifts by constants give the smallest such tnum. The algorithms are those of
kernel/bpf/tnum.c in 6.18, because a verdict can depend on how much is lost.
"""

from __future__ import annotations

from typing import NamedTuple

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1
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
