"""What ALU instructions and comparisons do to numbers: the measure of the verifier's domain, written without a look at it."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import bounds
from bpfcrypto.verifier.bounds import Bounds
from bpfcrypto.verifier.tnum import Tnum

ONES = {32: (1 << 32) - 1, 64: (1 << 64) - 1}
U64 = st.integers(0, ONES[64])


def signed(value: int, bits: int) -> int:
    """A number of ``bits`` bits as a signed one."""
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def _divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_ALU: dict[Op, Callable[[int, int, int], int]] = {
    Op.ADD: lambda a, b, _: a + b,
    Op.SUB: lambda a, b, _: a - b,
    Op.MUL: lambda a, b, _: a * b,
    Op.AND: lambda a, b, _: a & b,
    Op.OR: lambda a, b, _: a | b,
    Op.XOR: lambda a, b, _: a ^ b,
    Op.LSH: lambda a, b, bits: a << b % bits,
    Op.RSH: lambda a, b, bits: a >> b % bits,
    Op.ARSH: lambda a, b, bits: signed(a, bits) >> b % bits,
    Op.DIV: lambda a, b, _: a // b if b else 0,
    Op.MOD: lambda a, b, _: a % b if b else a,
    Op.SDIV: lambda a, b, bits: _divide(signed(a, bits), signed(b, bits)) if b else 0,
    Op.SMOD: lambda a, b, bits: (
        signed(a, bits) - signed(b, bits) * _divide(signed(a, bits), signed(b, bits)) if b else a
    ),
}
ALU = tuple(_ALU)


def alu(op: Op, bits: int, a: int, b: int) -> int:
    """What ``a op= b`` leaves in a register."""
    return _ALU[op](a & ONES[bits], b & ONES[bits], bits) & ONES[bits]


_COMPARE: dict[Op, Callable[[int, int, int], bool]] = {
    Op.JEQ: lambda a, b, _: a == b,
    Op.JNE: lambda a, b, _: a != b,
    Op.JGT: lambda a, b, _: a > b,
    Op.JGE: lambda a, b, _: a >= b,
    Op.JLT: lambda a, b, _: a < b,
    Op.JLE: lambda a, b, _: a <= b,
    Op.JSET: lambda a, b, _: bool(a & b),
    Op.JSGT: lambda a, b, bits: signed(a, bits) > signed(b, bits),
    Op.JSGE: lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    Op.JSLT: lambda a, b, bits: signed(a, bits) < signed(b, bits),
    Op.JSLE: lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}
COMPARISONS = tuple(_COMPARE)


def compare(op: Op, bits: int, a: int, b: int) -> bool:
    """Whether ``a op b``."""
    return _COMPARE[op](a & ONES[bits], b & ONES[bits], bits)


# -- bounds with a member --------------------------------------------------------------------------------------------------------

_EDGES = [0, 1, 0x7F, 0x80, 0xFF, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 32) - 1, 1 << 63, (1 << 63) - 1, ONES[64]]
_VALUES = st.one_of(U64, st.sampled_from(_EDGES), st.integers(0, 300), st.integers(ONES[64] - 300, ONES[64]))


@st.composite
def bounds_with_member(draw: st.DrawFn) -> tuple[Bounds, int]:
    """Bounds as a path may have gathered them, unsynchronised, and an unsigned value that agrees with every part."""
    value = draw(_VALUES)
    mask = draw(st.one_of(st.just(ONES[64]), U64, st.sampled_from([0, 0xFF, ONES[32], ONES[64] ^ ONES[32]])))
    low = value & ONES[32]

    def around(center: int, least: int, greatest: int) -> tuple[int, int]:
        if draw(st.booleans()):
            return least, greatest
        reach = st.one_of(st.integers(0, 40), st.integers(0, greatest - least))
        return max(least, center - draw(reach)), min(greatest, center + draw(reach))

    return (
        Bounds(
            Tnum(value & ~mask, mask),
            *around(signed(value, 64), -(1 << 63), (1 << 63) - 1),
            *around(value, 0, ONES[64]),
            *around(signed(low, 32), -(1 << 31), (1 << 31) - 1),
            *around(low, 0, ONES[32]),
        ),
        value,
    )


def window(base: int, width: int) -> list[Bounds]:
    """The bounds of every range within ``base .. base + 2**width - 1``, as numbers modulo 2**64."""
    found = []
    for low in range(base, base + (1 << width)):
        for high in range(low, base + (1 << width)):
            full = bounds.UNKNOWN
            if low >= 0 or high < 0:
                full = full._replace(umin=low & ONES[64], umax=high & ONES[64])
            if high < 1 << 63:
                full = full._replace(smin=low, smax=high)
            found.append(bounds.sync(full))
    return found


def every(a: Bounds, base: int, width: int) -> list[int]:
    """The members of bounds that ``window`` made."""
    return [value & ONES[64] for value in range(base, base + (1 << width)) if bounds.contains(a, value & ONES[64])]


__all__ = ["ALU", "COMPARISONS", "ONES", "U64", "alu", "bounds_with_member", "compare", "every", "signed", "window"]
