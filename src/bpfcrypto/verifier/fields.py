"""Instructions whose opcode exists but whose fields fit none of its forms: what is said when a path comes to one.

The kernel looks at fields only when it executes an instruction, so such an instruction is harmless where no path comes to it.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.opcode import CALL, EXIT, MAY_GOTO, Class, Mode
from bpfcrypto.verifier import alu, branch
from bpfcrypto.verifier.state import Rejected

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

_ATOMIC_IMMEDIATES: Final = frozenset({0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1})
_SKB_PROGRAMS: Final = frozenset({ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT})


def complaint(env: Environment, state: State, insn: Insn) -> Rejected:
    """The rejection of an instruction that has no row in the opcode table."""
    kind = insn.code & 7
    if kind in (Class.ALU, Class.ALU64):
        return alu.reserved(insn)
    if kind in (Class.JMP, Class.JMP32):
        return _jump(state, insn)
    return _memory(env, insn)


def _jump(state: State, insn: Insn) -> Rejected:
    if insn.code == CALL:
        return Rejected(EINVAL, "BPF_CALL uses reserved fields")
    if insn.code == EXIT:
        return Rejected(EINVAL, "BPF_EXIT uses reserved fields")
    if not insn.code & 0xF0:
        return Rejected(EINVAL, "BPF_JA uses reserved fields")
    if insn.code != MAY_GOTO:
        state.frames[-1].read(insn.dst)
    return branch.reserved(insn)


def _memory(env: Environment, insn: Insn) -> Rejected:
    kind, mode = insn.code & 7, insn.code & 0xE0
    if kind == Class.STX and mode == Mode.ATOMIC:
        if insn.imm in _ATOMIC_IMMEDIATES:
            return Rejected(EINVAL, "invalid atomic operand size")
        return Rejected(EINVAL, f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}")
    if kind in (Class.STX, Class.ST):
        return Rejected(EINVAL, f"BPF_{Class(kind).name} uses reserved fields")
    if kind == Class.LD and mode in (Mode.ABS, Mode.IND):
        if env.program.type not in _SKB_PROGRAMS:
            return Rejected(EINVAL, "BPF_LD_[ABS|IND] instructions not allowed for this program type")
        return Rejected(EINVAL, "BPF_LD_[ABS|IND] uses reserved fields")
    if insn.off:
        return Rejected(EINVAL, "BPF_LD_IMM64 uses reserved fields")
    return Rejected(EINVAL, f"unknown opcode {insn.code:02x}")
