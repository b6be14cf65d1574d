"""Ones'-complement sums as BPF helpers compute them (RFC 1071, RFC 1624; include/net/checksum.h, net/core/utils.c).

Sums run over 16-bit words in memory order, so on a little-endian machine the first byte is the low one. A 32-bit sum stands for its
folded 16 bits; additions carry around, so that a sum is 0 only if everything added was.
"""

from __future__ import annotations

U16 = 0xFFFF
U32 = 0xFFFFFFFF


def add(left: int, right: int) -> int:
    """The 32-bit sum of two 32-bit sums."""
    total = (left & U32) + (right & U32)
    return (total + (total >> 32)) & U32


def sub(left: int, right: int) -> int:
    """The 32-bit difference."""
    return add(left, ~right)


def partial(data: bytes, start: int = 0) -> int:
    """The 32-bit sum of bytes (csum_partial); a last odd byte counts as a low one."""
    total = start & U32
    for at in range(0, len(data), 4):
        total += int.from_bytes(data[at : at + 4], "little")
    while total > U32:
        total = (total & U32) + (total >> 32)
    return total


def shift(total: int, offset: int) -> int:
    """A 32-bit sum of bytes as part of a sum in which they start at ``offset`` (csum_shift)."""
    total &= U32
    return (total >> 8 | total << 24) & U32 if offset & 1 else total


def fold16(total: int) -> int:
    """A 32-bit sum as 16 bits (csum_from32to16)."""
    total = (total & U16) + (total >> 16 & U16)
    return (total + (total >> 16)) & U16


def fold(total: int) -> int:
    """The checksum of a 32-bit sum: its folded complement (csum_fold)."""
    return ~fold16(total) & U16


def replace2(check: int, old: int, new: int) -> int:
    """A checksum after a 16-bit word changed (csum_replace2, RFC 1624 equation 3)."""

    def add16(left: int, right: int) -> int:
        total = left + right
        return (total + (total >> 16)) & U16

    return ~add16(add16(~check & U16, ~old & U16), new & U16) & U16


def replace4(check: int, old: int, new: int) -> int:
    """A checksum after a 32-bit word changed (csum_replace4)."""
    return fold(add(sub(~check & U32, old), new))


def replace_by_diff(check: int, diff: int) -> int:
    """A checksum after the data's sum changed by ``diff`` (csum_replace_by_diff)."""
    return fold(add(diff, ~check & U32))
