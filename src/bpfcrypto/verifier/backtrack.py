"""Precision: which scalars mattered to the safety of a path, so that pruning must compare their values.

At first no scalar of a checkpoint is *precise*: another path may arrive with any value in its place and be pruned. Where a value
turns out to matter (as an offset, a size, the outcome of a branch), the register is followed backwards through the path, instruction
by instruction, to all that it was computed from; whatever of that a checkpoint on the way holds is marked precise in it. The walk
ends where nothing is left to follow: every value came from a constant, from memory, or from something marked before.

The running state itself needs no marks: it is compared with checkpoints, never the other way round, and before it becomes one
itself all marks are forgotten, for what follows will ask again for what it needs.

The walk knows the path from the histories of its states: an entry wherever the instruction before is not the one with the index
before, and one for each spill and fill with the slot it used. Where it meets something that it cannot follow, all scalars of all
checkpoints on the path become precise.

Source: kernel/bpf/verifier.c of 6.18 (backtrack_insn, __mark_chain_precision, propagate_precision).
"""

from __future__ import annotations

from errno import EFAULT
from functools import cache
from typing import TYPE_CHECKING

from bpfcrypto.errors import InternalError
from bpfcrypto.isa.opcode import Class, Kind, Op, PseudoCall
from bpfcrypto.verifier.cfg import TAIL_CALL, Flow, is_call
from bpfcrypto.verifier.liveness import ARGUMENTS
from bpfcrypto.verifier.state import FP, MAX_FRAMES, InsnFlag, RegType, Rejected, Slot, SlotKind, with_precision

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, Jump, State

_SPILL = int(SlotKind.SPILL)


class _CannotFollow(Exception):
    """The walk has met something that it has no rule for."""


def bits(mask: int) -> list[int]:
    """The numbers of the bits that are set."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


class Backtracker:
    """Follows values backwards.

    Args:
        env: the verification.
        flow: the program's graph.
    """

    def __init__(self, env: Environment, flow: Flow) -> None:
        self._env = env
        self._flow = flow
        self._frame = 0
        self._regs = [0] * MAX_FRAMES
        self._slots = [0] * MAX_FRAMES
        self._changed = False
        pairs = [_simple(row, insn) for row, insn in zip(env.rows, env.insns, strict=True)]
        self._moves = [move for move, _ in pairs]
        self._concerns = [concern for _, concern in pairs]

    def mark(self, state: State, regno: int) -> None:
        """A register of the running frame matters (mark_chain_precision).

        Raises:
            Rejected: it holds a pointer, which the kernel takes for a mistake of its own.
        """
        if state.frames[-1].regs[regno].type is not RegType.SCALAR:
            raise Rejected(EFAULT, "verifier bug: backtracking misuse")
        self._regs[len(state.frames) - 1] |= 1 << regno
        self._follow(state)

    def mark_slot(self, state: State, frameno: int, slot: int) -> None:
        """The scalar in a stack slot matters."""
        self._slots[frameno] |= 1 << slot
        self._follow(state)

    def propagate(self, old: State, state: State) -> bool:
        """What mattered after an equal state matters here too (propagate_precision).

        Returns:
            Whether that marked anything new.
        """
        for frame in old.frames:
            regs = slots = 0
            for regno in range(FP):
                reg = frame.regs[regno]
                if reg.precise and reg.type is RegType.SCALAR:
                    regs |= 1 << regno
            for number, slot in enumerate(frame.stack):
                if slot.reg.precise and slot.kinds[7] == _SPILL and slot.reg.type is RegType.SCALAR:
                    slots |= 1 << number
            self._regs[frame.frameno], self._slots[frame.frameno] = regs, slots
        return self._follow(state)

    def _follow(self, state: State) -> bool:
        self._changed = False
        self._frame = len(state.frames) - 1
        try:
            self._walk(state)
            if self._is_empty():
                return self._changed
        except _CannotFollow:
            pass
        mark_all_precise(state)
        self._regs, self._slots = [0] * MAX_FRAMES, [0] * MAX_FRAMES
        return self._changed

    def _is_empty(self) -> bool:
        return not any(self._regs) and not any(self._slots)

    def _walk(self, start: State) -> None:
        regs, slots, concerns, moves = self._regs, self._slots, self._concerns, self._moves
        state: State | None = start
        index, following, skip = start.index, -1, True
        while state is not None:
            if index < 0:
                self._reached_entry(state)
                return
            history, first = state.history, state.first_index
            left = len(history)
            while True:
                entry = history[left - 1] if left and history[left - 1].insn == index else None
                if skip:
                    skip = False
                elif (concern := concerns[index]) is None or (entry is not None and entry.linked):
                    self._back(index, following, entry)
                    if self._is_empty():
                        return
                elif entry is not None and entry.flags:
                    frame, slot = entry.flags & InsnFlag.FRAME_MASK, _slot_of(entry)
                    if concern & regs[self._frame] or slots[frame] >> slot & 1:
                        self._back(index, following, entry)
                        if self._is_empty():
                            return
                elif concern & (mask := regs[self._frame]):
                    move = moves[index]
                    if move is None:
                        raise _CannotFollow
                    regs[self._frame] = mask = (mask & move[0]) | move[1]
                    if not mask and self._is_empty():
                        return
                following = index
                if index == first and (not left or (left == 1 and entry is not None)):
                    break
                if entry is not None:
                    index, left = entry.previous, left - 1
                else:
                    index -= 1
            state = state.parent
            if state is not None:
                self._mark_in(state)
                if self._is_empty():
                    return
                following, index = first, state.last_index

    def _reached_entry(self, state: State) -> None:
        """The walk arrived before the first instruction: only arguments of a global function can be left."""
        frame = state.frames[0]
        if len(state.frames) > 1 or not frame.subprog or self._slots[0] or self._regs[0] & ~ARGUMENTS:
            raise InternalError(
                "precision is asked for what was never written", state=f"r{self._regs[0]:#x} s{self._slots[0]:#x}"
            )
        self._mark_registers(frame)
        self._regs[0] = 0

    def _mark_in(self, state: State) -> None:
        for number in range(min(self._frame, len(state.frames) - 1), -1, -1):
            frame = state.frames[number]
            if self._regs[number]:
                self._mark_registers(frame)
            if self._slots[number]:
                self._mark_slots(frame)

    def _mark_registers(self, frame: Frame) -> None:
        for regno in bits(self._regs[frame.frameno]):
            reg = frame.regs[regno]
            if reg.type is not RegType.SCALAR or reg.precise:
                self._regs[frame.frameno] &= ~(1 << regno)
            else:
                frame.regs[regno] = with_precision(reg, True)
                self._changed = True

    def _mark_slots(self, frame: Frame) -> None:
        for number in bits(self._slots[frame.frameno]):
            slot = frame.stack[number] if number < len(frame.stack) else None
            if slot is None or slot.kinds[7] != _SPILL or slot.reg.type is not RegType.SCALAR or slot.reg.precise:
                self._slots[frame.frameno] &= ~(1 << number)
            else:
                frame.stack[number] = Slot(slot.kinds, with_precision(slot.reg, True))
                self._changed = True

    def _back(self, index: int, following: int, entry: Jump | None) -> None:
        """One instruction backwards: from what is wanted after it to what is wanted before it."""
        insn = self._env.insns[index]
        if insn.code == 0:
            return
        self._link(entry)
        row = self._env.rows[index]
        if row is None:
            raise _CannotFollow
        match row.kind:
            case Kind.ALU | Kind.MOV | Kind.UNARY | Kind.CAST:
                self._back_alu(insn, row.kind, row.reg)
            case Kind.LOAD:
                self._back_load(insn.dst, entry)
            case Kind.ATOMIC if row.op is Op.LOAD_ACQUIRE:
                self._back_load(insn.dst, entry)
            case Kind.STORE | Kind.ATOMIC:
                self._back_store(insn, entry)
            case Kind.CALL:
                if self._back_call(insn, index, following):
                    return
            case Kind.EXIT:
                self._back_exit(following)
                return
            case Kind.BRANCH if row.reg:
                self._back_branch(insn, entry)
            case Kind.LDDW:
                self._regs[self._frame] &= ~(1 << insn.dst)
            case Kind.LEGACY:
                if self._regs[self._frame] & 1 << insn.dst:
                    raise _CannotFollow
        self._link(entry)

    def _link(self, entry: Jump | None) -> None:
        """Registers that shared an id at a branch gained their ranges together: one is wanted, all are."""
        if entry is None or not entry.linked:
            return
        wanted = any(
            (self._regs[frame] & 1 << item) if item >= 0 else (self._slots[frame] & 1 << (-1 - item))
            for frame, item in entry.linked
        )
        if wanted:
            for frame, item in entry.linked:
                if item >= 0:
                    self._regs[frame] |= 1 << item
                else:
                    self._slots[frame] |= 1 << (-1 - item)

    def _back_alu(self, insn: Insn, kind: Kind, by_register: bool) -> None:
        dst, mask = 1 << insn.dst, self._regs[self._frame]
        if not mask & dst or kind is Kind.UNARY:
            return
        if kind is not Kind.ALU:
            mask &= ~dst
        if by_register and insn.src != FP:
            mask |= 1 << insn.src
        self._regs[self._frame] = mask

    def _back_load(self, dst: int, entry: Jump | None) -> None:
        """A fill hands the wish on to the slot; a value from other memory has no history."""
        if not self._regs[self._frame] & 1 << dst:
            return
        self._regs[self._frame] &= ~(1 << dst)
        if entry is not None and entry.flags & InsnFlag.STACK_ACCESS:
            self._slots[entry.flags & InsnFlag.FRAME_MASK] |= 1 << _slot_of(entry)

    def _back_store(self, insn: Insn, entry: Jump | None) -> None:
        if self._regs[self._frame] & 1 << insn.dst:
            raise _CannotFollow
        if entry is None or not entry.flags & InsnFlag.STACK_ACCESS:
            return
        frame, slot = entry.flags & InsnFlag.FRAME_MASK, 1 << _slot_of(entry)
        if self._slots[frame] & slot:
            self._slots[frame] &= ~slot
            if insn.code & 7 == Class.STX:
                self._regs[self._frame] |= 1 << insn.src

    def _back_branch(self, insn: Insn, entry: Jump | None) -> None:
        """The outcome depends on both operands, so one is wanted, both are."""
        mask = self._regs[self._frame]
        if not mask & (1 << insn.dst | 1 << insn.src):
            return
        flags = entry.flags if entry is not None else 0
        if not flags & InsnFlag.SRC_REG_STACK:
            mask |= 1 << insn.src
        if not flags & InsnFlag.DST_REG_STACK:
            mask |= 1 << insn.dst
        self._regs[self._frame] = mask

    def _back_call(self, insn: Insn, index: int, following: int) -> bool:
        """A call; true where it was the entry of a function that the walk now leaves towards its caller."""
        if insn.src == PseudoCall.BPF:
            callee = self._flow.subprograms[self._flow.starting_at(index + insn.imm + 1)]
            if callee.is_global:
                self._expect_no_arguments()
                self._regs[self._frame] &= ~1
                return True
            left = self._regs[self._frame]
            if left & ~ARGUMENTS or self._slots[self._frame]:
                raise InternalError("a function's own registers are wanted before its entry", state=f"{left:#x}")
            self._regs[self._frame] = 0
            self._leave()
            self._regs[self._frame] |= left
            return True
        if self._flow.calls_callback[index] and index != following - 1:
            self._regs[self._frame] &= ~ARGUMENTS
            if self._regs[self._frame] or self._slots[self._frame]:
                raise InternalError("a callback's own registers are wanted before its entry")
            self._leave()
            return True
        self._regs[self._frame] &= ~1
        self._expect_no_arguments()
        if insn.src == PseudoCall.HELPER and insn.imm == TAIL_CALL and following - index != 1:
            self._enter()
        return False

    def _back_exit(self, following: int) -> None:
        """The exit of a function that was called just before ``following``, or of a callback that returned to it."""
        if following >= 0 and self._flow.calls_callback[following]:
            self._regs[self._frame] &= ~ARGUMENTS
        self._expect_no_arguments()
        returned = following >= 1 and is_call(self._env.insns[following - 1], PseudoCall.BPF)
        wanted = returned and self._regs[self._frame] & 1
        self._regs[self._frame] &= ~1
        self._enter()
        if wanted:
            self._regs[self._frame] |= 1

    def _expect_no_arguments(self) -> None:
        if self._regs[self._frame] & ARGUMENTS:
            raise InternalError(
                "precision is asked for a register that a call has clobbered", state=f"{self._regs[self._frame]:#x}"
            )

    def _enter(self) -> None:
        if self._frame == MAX_FRAMES - 1:
            raise InternalError("precision is followed into too many frames")
        self._frame += 1

    def _leave(self) -> None:
        if self._frame == 0:
            raise InternalError("precision is followed out of the first frame")
        self._frame -= 1


def _slot_of(entry: Jump) -> int:
    return entry.flags >> InsnFlag.SLOT_SHIFT & InsnFlag.SLOT_MASK


_Move = tuple[int, int]
"""What an instruction does to the wishes for registers: which it keeps, and which it adds, as masks."""


def _simple(row: Opcode | None, insn: Insn) -> tuple[_Move | None, int | None]:
    """What an instruction of which nothing is recorded does to the wishes for registers.

    Returns:
        The move, None where a wish that concerns the instruction cannot be followed; and the wishes that concern it, as a mask, None
        where there is more to it than a move.
    """
    if row is None:
        return (-1, 0), (None if insn.code else 0)
    return _move(row.kind, row.op is Op.LOAD_ACQUIRE, row.reg, insn.dst, insn.src)


@cache
def _move(kind: Kind, acquires: bool, by_register: bool, dst: int, src: int) -> tuple[_Move | None, int | None]:
    bit, other = 1 << dst, 1 << src
    operand = other if by_register and src != FP else 0
    match kind:
        case Kind.CALL | Kind.EXIT:
            return (-1, 0), None
        case Kind.ALU:
            return (-1, operand), bit if operand else 0
        case Kind.MOV | Kind.CAST:
            return (~bit, operand), bit
        case Kind.LOAD | Kind.LDDW:
            return (~bit, 0), bit
        case Kind.ATOMIC if acquires:
            return (~bit, 0), bit
        case Kind.BRANCH if by_register:
            return (-1, bit | other), bit | other
        case Kind.STORE | Kind.ATOMIC | Kind.LEGACY:
            return None, bit
    return (-1, 0), 0


def mark_all_precise(state: State) -> None:
    """Make every scalar of every checkpoint on a path precise (mark_all_scalars_precise)."""
    parent = state.parent
    while parent is not None:
        _set_precision(parent, True)
        parent = parent.parent


def forget_precision(state: State) -> None:
    """Make every scalar of a state imprecise (mark_all_scalars_imprecise)."""
    _set_precision(state, False)


def _set_precision(state: State, precise: bool) -> None:
    for frame in state.frames:
        for regno, reg in enumerate(frame.regs):
            if reg.precise is not precise and reg.type is RegType.SCALAR and regno != FP:
                frame.regs[regno] = with_precision(reg, precise)
        for number, slot in enumerate(frame.stack):
            if slot.kinds[7] == _SPILL and slot.reg.precise is not precise and slot.reg.type is RegType.SCALAR:
                frame.stack[number] = Slot(slot.kinds, with_precision(slot.reg, precise))
