"""The hash of the kernel's hash tables and Bloom filters (include/linux/jhash.h): Bob Jenkins' lookup3 with a 32-bit seed.

A map that was created with BPF_F_ZERO_SEED hashes with seed 0, so which elements share a bucket, the order of its keys and the false
positives of its filter are the same on every machine. The kernel has a second form for keys of whole words; on a little-endian
machine it gives the same numbers.
"""

from __future__ import annotations

from functools import lru_cache
from struct import unpack

_START = 0xDEADBEEF
_U32 = 0xFFFFFFFF


def jhash(data: bytes, seed: int = 0) -> int:
    """A 32-bit number.

    Args:
        data: what to hash, of any length.
        seed: a 32-bit number.
    """
    a = b = c = _START + len(data) + seed & _U32
    if not data:
        return c
    padded = data.ljust((len(data) + 11) // 12 * 12, b"\0")
    words = unpack(f"<{len(padded) // 4}I", padded)
    last = len(words) - 3
    for at in range(0, last, 3):
        a, b, c = _mix(a + words[at] & _U32, b + words[at + 1] & _U32, c + words[at + 2] & _U32)
    return _final(a + words[last] & _U32, b + words[last + 1] & _U32, c + words[last + 2] & _U32)


hash_key = lru_cache(maxsize=1 << 16)(jhash)
"""The same for keys, which come again."""


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _U32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Stir three words; reversible."""
    a, c = a - c & _U32 ^ _rotate(c, 4), c + b & _U32
    b, a = b - a & _U32 ^ _rotate(a, 6), a + c & _U32
    c, b = c - b & _U32 ^ _rotate(b, 8), b + a & _U32
    a, c = a - c & _U32 ^ _rotate(c, 16), c + b & _U32
    b, a = b - a & _U32 ^ _rotate(a, 19), a + c & _U32
    c, b = c - b & _U32 ^ _rotate(b, 4), b + a & _U32
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """Make every bit of the result depend on every bit of the words."""
    c = (c ^ b) - _rotate(b, 14) & _U32
    a = (a ^ c) - _rotate(c, 11) & _U32
    b = (b ^ a) - _rotate(a, 25) & _U32
    c = (c ^ b) - _rotate(b, 16) & _U32
    a = (a ^ c) - _rotate(c, 4) & _U32
    b = (b ^ a) - _rotate(a, 14) & _U32
    return (c ^ b) - _rotate(b, 24) & _U32
