"""The scalar domain: a tnum and four ranges (unsigned and signed, 64 and 32 bits) that describe one value together.

Each of the five parts is sound alone: the value lies in every one of them. What one part knows sharpens the others (``sync``), and
what the operations lose differs from part to part, which is why all five are kept. Mirrors the range fields of bpf_reg_state and
the functions around reg_bounds_sync of kernel/bpf/verifier.c in 6.18: how sharp a range is decides verdicts, so the deductions and
their order are the kernel's.
"""

from __future__ import annotations

from typing import NamedTuple

from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.tnum import MASK32, MASK64, SIGN32, SIGN64, Tnum

U64_MAX = MASK64
U32_MAX = MASK32
S64_MIN, S64_MAX = -SIGN64, SIGN64 - 1
S32_MIN, S32_MAX = -SIGN32, SIGN32 - 1


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


def const(value: int) -> Bounds:
    """Exactly one value, taken modulo 2**64."""
    value &= MASK64
    low = value & MASK32
    s64, s32 = signed64(value), signed32(low)
    return Bounds(Tnum(value, 0), s64, s64, value, value, s32, s32, low, low)


UNKNOWN = Bounds(tnum.UNKNOWN, S64_MIN, S64_MAX, 0, U64_MAX, S32_MIN, S32_MAX, 0, U32_MAX)
ZERO = const(0)
