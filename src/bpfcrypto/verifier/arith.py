"""Arithmetic on the scalar domain: what an ALU instruction makes of two bounds.

The five parts of a Bounds are computed each for itself, then synchronised. Addition, subtraction, multiplication and the bitwise
operations track the 64-bit and the 32-bit ranges independently, whatever the width of the instruction, which keeps most when
widths are mixed; a 64-bit shift mixes the halves, so that its 32-bit ranges come from the bits again. Division and modulo, and
shifts by what is not a constant below the width, give no knowledge at all. Mirrors adjust_scalar_min_max_vals of
kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.bounds import (
    CACHE,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32_MAX,
    U64_MAX,
    UNKNOWN,
    ZERO,
    Bounds,
    const,
    forget_ranges,
    learn,
    learn32,
    signed32,
    signed64,
    sync,
    truncate,
    zero_extend32,
)
from bpfcrypto.verifier.tnum import MASK32, MASK64, Tnum

Range = tuple[int, int]


def _signed(low: int, high: int, least: int, greatest: int) -> Range:
    """A signed range of ideal results; everything where an end does not fit."""
    return (low, high) if least <= low <= greatest and least <= high <= greatest else (least, greatest)


def _wrapped(low: int, high: int, ones: int) -> Range:
    """An unsigned range of ideal results modulo ``ones + 1``; everything where one end alone wraps."""
    first, last = low & ones, high & ones
    return (first, last) if (low == first) == (high == last) else (0, ones)


def add(a: Bounds, b: Bounds) -> Bounds:
    """Sums, both widths; not synchronised."""
    return Bounds(
        tnum.add(a.var_off, b.var_off),
        *_signed(a.smin + b.smin, a.smax + b.smax, S64_MIN, S64_MAX),
        *_wrapped(a.umin + b.umin, a.umax + b.umax, U64_MAX),
        *_signed(a.s32_min + b.s32_min, a.s32_max + b.s32_max, S32_MIN, S32_MAX),
        *_wrapped(a.u32_min + b.u32_min, a.u32_max + b.u32_max, U32_MAX),
    )


def sub(a: Bounds, b: Bounds) -> Bounds:
    """Differences, both widths; not synchronised."""
    return Bounds(
        tnum.sub(a.var_off, b.var_off),
        *_signed(a.smin - b.smax, a.smax - b.smin, S64_MIN, S64_MAX),
        *_wrapped(a.umin - b.umax, a.umax - b.umin, U64_MAX),
        *_signed(a.s32_min - b.s32_max, a.s32_max - b.s32_min, S32_MIN, S32_MAX),
        *_wrapped(a.u32_min - b.u32_max, a.u32_max - b.u32_min, U32_MAX),
    )


def _product(a: Range, b: Range, least: int, greatest: int) -> Range:
    products = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    return _signed(min(products), max(products), least, greatest)


def _mul(a: Bounds, b: Bounds) -> Bounds:
    u64 = (a.umin * b.umin, a.umax * b.umax)
    u32 = (a.u32_min * b.u32_min, a.u32_max * b.u32_max)
    return Bounds(
        tnum.mul(a.var_off, b.var_off),
        *_product((a.smin, a.smax), (b.smin, b.smax), S64_MIN, S64_MAX),
        *(u64 if u64[1] <= U64_MAX else (0, U64_MAX)),
        *_product((a.s32_min, a.s32_max), (b.s32_min, b.s32_max), S32_MIN, S32_MAX),
        *(u32 if u32[1] <= U32_MAX else (0, U32_MAX)),
    )


def _bitwise(var: Tnum, known: bool, known32: bool, u64: Range, u32: Range) -> Bounds:
    """The result of a bitwise operation from its bits and unsigned ranges.

    Args:
        var: its bits.
        known: whether both the second operand and the result are constants; ``known32`` likewise for the lower half.
        known32: see ``known``.
        u64: its unsigned range.
        u32: that of the lower half.
    """
    if known:
        return const(var.value)
    if known32:
        low = var.value & MASK32
        u32, s32 = (low, low), (signed32(low), signed32(low))
    else:
        s32 = (signed32(u32[0]), signed32(u32[1]))
        if s32[0] > s32[1]:
            s32 = (S32_MIN, S32_MAX)
    s64 = (signed64(u64[0]), signed64(u64[1]))
    if s64[0] > s64[1]:
        s64 = (S64_MIN, S64_MAX)
    return learn(Bounds(var, *s64, *u64, *s32, *u32))


def _and(a: Bounds, b: Bounds) -> Bounds:
    var = tnum.bit_and(a.var_off, b.var_off)
    # The least is what is certain; the greatest is no greater than either operand.
    return _bitwise(
        var,
        not b.var_off.mask and not var.mask,
        not (b.var_off.mask | var.mask) & MASK32,
        (var.value, min(a.umax, b.umax)),
        (var.value & MASK32, min(a.u32_max, b.u32_max)),
    )


def _or(a: Bounds, b: Bounds) -> Bounds:
    var = tnum.bit_or(a.var_off, b.var_off)
    top = var.value | var.mask
    return _bitwise(
        var,
        not b.var_off.mask and not var.mask,
        not (b.var_off.mask | var.mask) & MASK32,
        (max(a.umin, b.umin), top),
        (max(a.u32_min, b.u32_min), top & MASK32),
    )


def _xor(a: Bounds, b: Bounds) -> Bounds:
    var = tnum.bit_xor(a.var_off, b.var_off)
    top = var.value | var.mask
    return _bitwise(
        var,
        not b.var_off.mask and not var.mask,
        not (b.var_off.mask | var.mask) & MASK32,
        (var.value, top),
        (var.value & MASK32, top & MASK32),
    )


_FULL64 = {"smin": S64_MIN, "smax": S64_MAX, "umin": 0, "umax": U64_MAX}
_FULL32 = {"s32_min": S32_MIN, "s32_max": S32_MAX, "u32_min": 0, "u32_max": U32_MAX}


def _shift_left_u32(a: Bounds, shift: int) -> Range:
    if shift > 31 or a.u32_max > 1 << 31 - shift:
        return 0, U32_MAX
    return a.u32_min << shift, a.u32_max << shift


def _lsh(a: Bounds, shift: int) -> Bounds:
    smin, smax = S64_MIN, S64_MAX
    if shift == 32:  # half of a sign extension: the signs of the lower half become those of the whole
        smin, smax = a.s32_min << 32, a.s32_max << 32
    u64 = (0, U64_MAX) if a.umax > 1 << 63 - shift else (a.umin << shift, a.umax << shift)
    var = tnum.shift_left(a.var_off, shift)
    return learn(Bounds(var, smin, smax, *u64, S32_MIN, S32_MAX, *_shift_left_u32(a, shift)))


def _lsh32(a: Bounds, shift: int) -> Bounds:
    u32_min, u32_max = _shift_left_u32(a, shift)
    var = tnum.low32(tnum.shift_left(tnum.low32(a.var_off), shift))
    return learn32(
        a._replace(var_off=var, s32_min=S32_MIN, s32_max=S32_MAX, u32_min=u32_min, u32_max=u32_max, **_FULL64)
    )


def _rsh(a: Bounds, shift: int) -> Bounds:
    var = tnum.shift_right(a.var_off, shift)
    umin, umax = a.umin >> shift, a.umax >> shift
    return learn(a._replace(var_off=var, smin=S64_MIN, smax=S64_MAX, umin=umin, umax=umax, **_FULL32))


def _rsh32(a: Bounds, shift: int) -> Bounds:
    u32_min, u32_max = a.u32_min >> shift, a.u32_max >> shift
    var = tnum.shift_right(tnum.low32(a.var_off), shift)
    return learn32(
        a._replace(var_off=var, s32_min=S32_MIN, s32_max=S32_MAX, u32_min=u32_min, u32_max=u32_max, **_FULL64)
    )


def _arsh(a: Bounds, shift: int) -> Bounds:
    var = tnum.shift_right_signed(a.var_off, shift, 64)
    smin, smax = a.smin >> shift, a.smax >> shift
    return learn(a._replace(var_off=var, smin=smin, smax=smax, umin=0, umax=U64_MAX, **_FULL32))


def _arsh32(a: Bounds, shift: int) -> Bounds:
    var = tnum.shift_right_signed(a.var_off, shift, 32)
    s32_min, s32_max = a.s32_min >> shift, a.s32_max >> shift
    return learn32(a._replace(var_off=var, s32_min=s32_min, s32_max=s32_max, u32_min=0, u32_max=U32_MAX, **_FULL64))


_EACH: Mapping[Op, Callable[[Bounds, Bounds], Bounds]] = {
    Op.ADD: add,
    Op.SUB: sub,
    Op.MUL: _mul,
    Op.AND: _and,
    Op.OR: _or,
    Op.XOR: _xor,
}
_SHIFTS: Mapping[tuple[Op, int], Callable[[Bounds, int], Bounds]] = {
    (Op.LSH, 64): _lsh,
    (Op.LSH, 32): _lsh32,
    (Op.RSH, 64): _rsh,
    (Op.RSH, 32): _rsh32,
    (Op.ARSH, 64): _arsh,
    (Op.ARSH, 32): _arsh32,
}


def _shift_of(b: Bounds, bits: int) -> int | None:
    """The constant that a shift instruction shifts by; None where it is no constant below the width."""
    if b.umax >= bits:
        return None
    if bits == 64:
        known = not b.var_off.mask and b.smin == b.smax and b.umin == b.umax
    else:
        known = not b.var_off.mask & MASK32 and b.s32_min == b.s32_max and b.u32_min == b.u32_max
    return b.umin if known else None


def is_computable(op: Op, bits: int, b: Bounds) -> bool:
    """Whether the domain can follow ``op`` with that second operand; else nothing is known of the result."""
    return op in _EACH or ((op, bits) in _SHIFTS and _shift_of(b, bits) is not None)


@lru_cache(CACHE)
def binary(op: Op, bits: int, a: Bounds, b: Bounds) -> Bounds:
    """What ``a op= b`` leaves in ``a``, synchronised.

    Args:
        op: an operation of Kind.ALU.
        bits: 32 or 64; a 32-bit result is zero-extended.
        a: the destination.
        b: the second operand, whole.
    """
    each = _EACH.get(op)
    if each is not None:
        result = each(a, b)
    else:
        shift = _shift_of(b, bits)
        function = _SHIFTS.get((op, bits))
        if shift is None or function is None:
            return UNKNOWN
        result = function(a, shift)
    return sync(zero_extend32(result) if bits == 32 else result)


@lru_cache(CACHE)
def negate(a: Bounds, bits: int) -> Bounds:
    """Two's complements."""
    result = sub(ZERO, a)
    return sync(zero_extend32(result) if bits == 32 else result)


@lru_cache(CACHE)
def byte_order(a: Bounds, bits: int, swap: bool) -> Bounds:
    """A conversion of byte order of the lower ``bits`` (16, 32, 64) bits on a little-endian machine.

    Args:
        a: the register.
        bits: the width; narrower results are zero-extended.
        swap: False for a conversion to little-endian, which only truncates.
    """
    if swap:
        a = forget_ranges(a._replace(var_off=tnum.swap_bytes(a.var_off, bits // 8)))
    if bits < 64:
        a = truncate(a, bits // 8)
    return sync(a)


def add_constant(a: Bounds, value: int) -> Bounds:
    """Sums with a signed constant, not synchronised: how a linked scalar follows its base."""
    return add(a, const(value & MASK64))
