"""Comparisons on the scalar domain: whether they are decided, and what their outcome tells about both sides.

Both questions are asked for the width of the comparison; what a 32-bit comparison tells reaches the 64-bit ranges through ``sync``.
A refinement may find that no value is left on one side: the path is dead, and its bounds are inconsistent. Mirrors
is_scalar_branch_taken and regs_refine_cond_op of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.bounds import CACHE, U32_MAX, U64_MAX, Bounds, forget_ranges, signed32, signed64, sync
from bpfcrypto.verifier.tnum import MASK32

FLIPPED: Final[Mapping[Op, Op]] = {
    Op.JEQ: Op.JEQ,
    Op.JNE: Op.JNE,
    Op.JSET: Op.JSET,
    Op.JGE: Op.JLE,
    Op.JGT: Op.JLT,
    Op.JLE: Op.JGE,
    Op.JLT: Op.JGT,
    Op.JSGE: Op.JSLE,
    Op.JSGT: Op.JSLT,
    Op.JSLE: Op.JSGE,
    Op.JSLT: Op.JSGT,
}
"""``a op b`` is ``b FLIPPED[op] a``."""

NEGATED: Final[Mapping[Op, Op]] = {
    Op.JEQ: Op.JNE,
    Op.JNE: Op.JEQ,
    Op.JGE: Op.JLT,
    Op.JGT: Op.JLE,
    Op.JLE: Op.JGT,
    Op.JLT: Op.JGE,
    Op.JSGE: Op.JSLT,
    Op.JSGT: Op.JSLE,
    Op.JSLE: Op.JSGT,
    Op.JSLT: Op.JSGE,
}
"""``a op b`` fails exactly where ``a NEGATED[op] b`` holds. The negation of JSET is no instruction."""

_GREATER: Final = frozenset({Op.JGE, Op.JGT, Op.JSGE, Op.JSGT})


@lru_cache(CACHE)
def taken(a: Bounds, b: Bounds, op: Op, bits: int) -> bool | None:
    """Whether ``a op b`` holds for all values, for none (False), or for some (None)."""
    if op is Op.JEQ or op is Op.JNE:
        equal = _equal(a, b, bits)
        return equal if equal is None or op is Op.JEQ else not equal
    if op is Op.JSET:
        return _any_bit(a, b, bits)
    if op in _GREATER:
        a, b, op = b, a, FLIPPED[op]
    if op is Op.JLT or op is Op.JLE:
        ends = (a.umin, a.umax, b.umin, b.umax) if bits == 64 else (a.u32_min, a.u32_max, b.u32_min, b.u32_max)
    else:
        ends = (a.smin, a.smax, b.smin, b.smax) if bits == 64 else (a.s32_min, a.s32_max, b.s32_min, b.s32_max)
    a_min, a_max, b_min, b_max = ends
    if op is Op.JLT or op is Op.JSLT:
        return True if a_max < b_min else False if a_min >= b_max else None
    return True if a_max <= b_min else False if a_min > b_max else None


def _equal(a: Bounds, b: Bounds, bits: int) -> bool | None:
    x, y = (a.var_off, b.var_off) if bits == 64 else (tnum.low32(a.var_off), tnum.low32(b.var_off))
    if not x.mask and not y.mask:
        return x.value == y.value
    apart = (
        not tnum.overlap(x, y)
        or (bits == 64 and (a.umin > b.umax or a.umax < b.umin or a.smin > b.smax or a.smax < b.smin))
        or a.u32_min > b.u32_max
        or a.u32_max < b.u32_min
        or a.s32_min > b.s32_max
        or a.s32_max < b.s32_min
    )
    return False if apart else None


def _any_bit(a: Bounds, b: Bounds, bits: int) -> bool | None:
    x, y = (a.var_off, b.var_off) if bits == 64 else (tnum.low32(a.var_off), tnum.low32(b.var_off))
    if y.mask:
        x, y = y, x
    if y.mask:
        return None
    if x.value & y.value:
        return True
    return None if (x.value | x.mask) & y.value else False


@lru_cache(CACHE)
def refine(a: Bounds, b: Bounds, op: Op, bits: int, holds: bool) -> tuple[Bounds, Bounds]:
    """Both sides, knowing that ``a op b`` holds or fails; synchronised, and inconsistent where that cannot be.

    Args:
        a: the left side.
        b: the right side.
        op: a comparison of Kind.BRANCH.
        bits: 32 or 64.
        holds: the outcome.
    """
    if op is Op.JSET:
        a, b = _refine_set(a, b, bits) if holds else _refine_clear(a, b, bits)
        return sync(a), sync(b)
    if not holds:
        op = NEGATED[op]
    swapped = op in _GREATER
    if swapped:
        a, b, op = b, a, FLIPPED[op]
    if op is Op.JEQ:
        a, b = _refine_equal(a, b, bits)
    elif op is Op.JNE:
        a, b = _refine_unequal(a, b, bits)
    else:
        a, b = _refine_less(a, b, op, bits)
    a, b = sync(a), sync(b)
    return (b, a) if swapped else (a, b)


def refine_itself(a: Bounds, op: Op, bits: int, holds: bool) -> Bounds:
    """One register compared with itself. The kernel refines it as either side, so that ``a < a`` loses both of its ends."""
    if op in (Op.JEQ, Op.JNE, Op.JSET):
        return sync(a)
    if not holds:
        op = NEGATED[op]
    left, right = _refine_less(a, a, FLIPPED[op] if op in _GREATER else op, bits)
    smaller = {
        name: getattr(side, name)
        for side, name in (
            (left, "umax"),
            (right, "umin"),
            (left, "smax"),
            (right, "smin"),
            (left, "u32_max"),
            (right, "u32_min"),
            (left, "s32_max"),
            (right, "s32_min"),
        )
    }
    return sync(sync(a._replace(**smaller)))


def _is_const(a: Bounds, bits: int) -> bool:
    return not a.var_off.mask & (U64_MAX if bits == 64 else MASK32)


def _const_value(a: Bounds, bits: int) -> int:
    return a.var_off.value if bits == 64 else a.var_off.value & MASK32


def _refine_equal(a: Bounds, b: Bounds, bits: int) -> tuple[Bounds, Bounds]:
    if bits == 64:
        common = {
            "umin": max(a.umin, b.umin),
            "umax": min(a.umax, b.umax),
            "smin": max(a.smin, b.smin),
            "smax": min(a.smax, b.smax),
        }
        var = tnum.intersect(a.var_off, b.var_off)
        return a._replace(var_off=var, **common), b._replace(var_off=var, **common)
    common = {
        "u32_min": max(a.u32_min, b.u32_min),
        "u32_max": min(a.u32_max, b.u32_max),
        "s32_min": max(a.s32_min, b.s32_min),
        "s32_max": min(a.s32_max, b.s32_max),
    }
    low = tnum.intersect(tnum.low32(a.var_off), tnum.low32(b.var_off))
    return (
        a._replace(var_off=tnum.with_low32(a.var_off, low), **common),
        b._replace(var_off=tnum.with_low32(b.var_off, low), **common),
    )


def _refine_unequal(a: Bounds, b: Bounds, bits: int) -> tuple[Bounds, Bounds]:
    """An end of a range that is the other side's only value is cut off."""
    if not _is_const(b, bits):
        if not _is_const(a, bits):
            return a, b
        b, a = _refine_unequal(b, a, bits)
        return a, b
    value = _const_value(b, bits)
    if bits == 64:
        signed = signed64(value)
        return (
            a._replace(
                umin=a.umin + 1 & U64_MAX if a.umin == value else a.umin,
                umax=a.umax - 1 & U64_MAX if a.umax == value else a.umax,
                smin=signed64(a.smin + 1 & U64_MAX) if a.smin == signed else a.smin,
                smax=signed64(a.smax - 1 & U64_MAX) if a.smax == signed else a.smax,
            ),
            b,
        )
    signed = signed32(value)
    return (
        a._replace(
            u32_min=a.u32_min + 1 & U32_MAX if a.u32_min == value else a.u32_min,
            u32_max=a.u32_max - 1 & U32_MAX if a.u32_max == value else a.u32_max,
            s32_min=signed32(a.s32_min + 1 & U32_MAX) if a.s32_min == signed else a.s32_min,
            s32_max=signed32(a.s32_max - 1 & U32_MAX) if a.s32_max == signed else a.s32_max,
        ),
        b,
    )


def _refine_less(a: Bounds, b: Bounds, op: Op, bits: int) -> tuple[Bounds, Bounds]:
    """``a < b`` or ``a <= b``: neither's greatest reaches over the other's, neither's least under it."""
    gap = 1 if op in (Op.JLT, Op.JSLT) else 0
    if op in (Op.JLT, Op.JLE):
        if bits == 64:
            low, high = max(a.umin + gap & U64_MAX, b.umin), min(a.umax, b.umax - gap & U64_MAX)
            return a._replace(umax=high), b._replace(umin=low)
        low, high = max(a.u32_min + gap & U32_MAX, b.u32_min), min(a.u32_max, b.u32_max - gap & U32_MAX)
        return a._replace(u32_max=high), b._replace(u32_min=low)
    if bits == 64:
        low, high = max(signed64(a.smin + gap & U64_MAX), b.smin), min(a.smax, signed64(b.smax - gap & U64_MAX))
        return a._replace(smax=high), b._replace(smin=low)
    low, high = max(signed32(a.s32_min + gap & U32_MAX), b.s32_min), min(a.s32_max, signed32(b.s32_max - gap & U32_MAX))
    return a._replace(s32_max=high), b._replace(s32_min=low)


def _refine_set(a: Bounds, b: Bounds, bits: int) -> tuple[Bounds, Bounds]:
    """Some bit is in both: certain only where one side is a single bit."""
    if not _is_const(b, bits):
        if not _is_const(a, bits):
            return a, b
        b, a = _refine_set(b, a, bits)
        return a, b
    value = _const_value(b, bits)
    if value == 0 or value & value - 1:
        return a, b
    return a._replace(var_off=tnum.bit_or(a.var_off, tnum.const(value))), b


def _refine_clear(a: Bounds, b: Bounds, bits: int) -> tuple[Bounds, Bounds]:
    """No bit is in both: the bits of a constant side are 0 in the other, whose ranges are found anew from its bits."""
    if not _is_const(b, bits):
        if not _is_const(a, bits):
            return a, b
        b, a = _refine_clear(b, a, bits)
        return a, b
    cleared = tnum.bit_and(a.var_off, tnum.const(~_const_value(b, bits)))
    return forget_ranges(a._replace(var_off=cleared)), b
