"""What is known of each instruction's registers on every path that was explored: what machine code may rely on.

A value that differs from path to path is known by what all of them share. Registers that are dead at an instruction have no facts:
pruning does not compare them, so nothing holds for all paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.verifier.bounds import UNKNOWN
from bpfcrypto.verifier.state import NOT_INIT, SCALAR_UNKNOWN, Flag, Reg, RegType

if TYPE_CHECKING:
    from collections.abc import Sequence

SCALAR = RegType.SCALAR


_PLAIN = frozenset(
    {RegType.STACK, RegType.MAP_VALUE, RegType.MAP_KEY, RegType.PACKET, RegType.PACKET_META, RegType.MEM, RegType.BUF}
)

MEMORY = Reg(RegType.MEM, num=UNKNOWN)
"""A pointer into memory of the program's own, whichever."""


class Facts:
    """Registers by instruction.

    Args:
        live: the registers that are live before each instruction, r10 apart.

    Attributes:
        starts: the first instruction of each function, by its number.
        stack_depths: by that instruction, the bytes of stack that any path touched.
        ctx_size: bytes of a syscall program's context that some path accesses; a run with fewer is refused.
    """

    def __init__(self, live: Sequence[tuple[int, ...]]) -> None:
        self.starts: tuple[int, ...] = ()
        self.stack_depths: dict[int, int] = {}
        self.ctx_size = 0
        self._live = live
        self._regs: list[list[Reg] | None] = [None] * len(live)

    def visit(self, index: int, regs: Sequence[Reg]) -> None:
        """A path has come to an instruction with these registers."""
        known = self._regs[index]
        if known is None:
            self._regs[index] = list(regs)
            return
        for regno in self._live[index]:
            old, new = known[regno], regs[regno]
            if old is not new and old is not NOT_INIT and (old is not SCALAR_UNKNOWN or new.type is not SCALAR):
                known[regno] = join(old, new)

    def is_reached(self, index: int) -> bool:
        """Whether any path comes to the instruction; others can be left out."""
        return self._regs[index] is not None

    def before(self, index: int, regno: int) -> Reg:
        """What the register holds before the instruction on every path; NOT_INIT where nothing is known, or it is dead."""
        regs = self._regs[index]
        return regs[regno] if regs is not None and regno in self._live[index] else NOT_INIT


def _is_plain(reg: Reg) -> bool:
    return reg.type in _PLAIN and not reg.flags & Flag.UNTRUSTED


def join(old: Reg, new: Reg) -> Reg:
    """What two paths agree on: the kind of pointer and where it points, and the value where it is the same.

    Pointers of different kinds that are all memory of the program's own are just that.
    """
    if old.type is not new.type:
        return MEMORY if _is_plain(old) and _is_plain(new) else NOT_INIT
    if old.type is RegType.NOT_INIT:
        return NOT_INIT
    if old.type is SCALAR:
        return old if old.num is new.num or old.num == new.num else SCALAR_UNKNOWN
    num = old.num if old.num is UNKNOWN or old.num is new.num or old.num == new.num else UNKNOWN
    target = old.target if old.target is new.target or old.target == new.target else None
    flags = old.flags | new.flags
    off = old.off if old.off == new.off else 0
    frameno = old.frameno if old.frameno == new.frameno else -1
    if num is old.num and target is old.target and flags == old.flags and off == old.off and frameno == old.frameno:
        return old
    return Reg(old.type, flags, num, off, frameno=frameno, target=target)
