"""What each operation computes: one function per operation, for operands of 32 or 64 bits.

Operands are unsigned integers of that width. Results may be any integers: whoever stores one masks it to the width. That leaves the
functions with nothing but the arithmetic of RFC 9669: division by zero gives 0, modulo by zero leaves the dividend, the one signed
quotient that does not fit wraps, signed division truncates towards zero, and a shift uses as many bits of its count as the width
needs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from bpfcrypto.isa.opcode import Op

Binary = Callable[[int, int], int]
Unary = Callable[[int], int]
Test = Callable[[int, int], object]


def _signed(bits: int) -> Unary:
    sign = 1 << bits - 1
    return lambda a: (a ^ sign) - sign


def _arithmetic(bits: int) -> Mapping[Op, Binary]:
    signed, count = _signed(bits), bits - 1

    def quotient(a: int, b: int) -> int:
        a, b = signed(a), signed(b)
        if b == 0:
            return 0
        return abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)

    return {
        Op.ADD: operator.add,
        Op.SUB: operator.sub,
        Op.MUL: operator.mul,
        Op.DIV: lambda a, b: a // b if b else 0,
        Op.MOD: lambda a, b: a % b if b else a,
        Op.SDIV: quotient,
        Op.SMOD: lambda a, b: a - quotient(a, b) * b,
        Op.OR: operator.or_,
        Op.AND: operator.and_,
        Op.XOR: operator.xor,
        Op.LSH: lambda a, b: a << (b & count),
        Op.RSH: lambda a, b: a >> (b & count),
        Op.ARSH: lambda a, b: signed(a) >> (b & count),
    }


def _tests(bits: int) -> Mapping[Op, Test]:
    bias = 1 << bits - 1  # maps the signed order onto the unsigned one

    return {
        Op.JEQ: operator.eq,
        Op.JNE: operator.ne,
        Op.JGT: operator.gt,
        Op.JGE: operator.ge,
        Op.JLT: operator.lt,
        Op.JLE: operator.le,
        Op.JSET: operator.and_,
        Op.JSGT: lambda a, b: a ^ bias > b ^ bias,
        Op.JSGE: lambda a, b: a ^ bias >= b ^ bias,
        Op.JSLT: lambda a, b: a ^ bias < b ^ bias,
        Op.JSLE: lambda a, b: a ^ bias <= b ^ bias,
    }


ARITHMETIC: Mapping[int, Mapping[Op, Binary]] = {bits: _arithmetic(bits) for bits in (32, 64)}
"""Width -> operation -> its function."""

TESTS: Mapping[int, Mapping[Op, Test]] = {bits: _tests(bits) for bits in (32, 64)}
"""Width -> conditional jump -> whether it is taken."""


def _swap(bits: int) -> Unary:
    mask, size = (1 << bits) - 1, bits // 8
    return lambda a: int.from_bytes((a & mask).to_bytes(size, "little"), "big")


def _low(bits: int) -> Unary:
    mask = (1 << bits) - 1
    return lambda a: a & mask


UNARY: Mapping[Op, Callable[[int], Unary]] = {
    Op.NEG: lambda bits: lambda a: -a & (1 << bits) - 1,
    Op.TO_LE: _low,
    Op.TO_BE: _swap,
    Op.BSWAP: _swap,
}
"""Operation -> width -> its function; the machine is little-endian, so to_le only cuts."""


def _add(cell: memoryview, operand: int, mask: int) -> int:
    old: int = cell[0]
    cell[0] = old + operand & mask
    return old


def _or(cell: memoryview, operand: int, mask: int) -> int:
    old: int = cell[0]
    cell[0] = old | operand & mask
    return old


def _and(cell: memoryview, operand: int, _mask: int) -> int:
    old: int = cell[0]
    cell[0] = old & operand
    return old


def _xor(cell: memoryview, operand: int, mask: int) -> int:
    old: int = cell[0]
    cell[0] = old ^ operand & mask
    return old


def _exchange(cell: memoryview, operand: int, mask: int) -> int:
    old: int = cell[0]
    cell[0] = operand & mask
    return old


def compare_exchange(cell: memoryview, expected: int, new: int) -> int:
    """Store ``new`` where ``expected`` is, and nowhere else; what was there. Both are as wide as the cell."""
    old: int = cell[0]
    if old == expected:
        cell[0] = new
    return old


UPDATE: Mapping[Op, Callable[[memoryview, int, int], int]] = {
    Op.ATOMIC_ADD: _add,
    Op.ATOMIC_OR: _or,
    Op.ATOMIC_AND: _and,
    Op.ATOMIC_XOR: _xor,
    Op.XCHG: _exchange,
}
"""Atomic operation -> its function of memory (a view of one unsigned integer), operand and mask; it gives what was there.

A plain store of another thread must not fall between the load and the store of one: it would be undone. So nothing is called in
between, since calls (and jumps back) are where CPython lets other threads in.
"""
