"""When a path need not be followed: the running state is covered by an earlier one that led to no fault.

Covered means that whatever can happen from the new state could happen from the old one. For pointers that is nearly equality; for
scalars it depends on how much was learnt of the old state:

* ``NOT_EXACT``: the old state is finished. What no path from it needed (dead registers, imprecise scalars) may be anything, and a
  precise scalar of the new state must lie within the old one's range.
* ``RANGE_WITHIN``: the old state is part of a loop that is still being explored, so that nothing is known to be unneeded: every
  scalar must lie within the old range.
* ``EXACT``: the same in every respect, but for the numbers of ids: the program runs in circles.

Ids are names: two states may use different ones for the same relations. While states are compared a one-to-one mapping is built.

Source: kernel/bpf/verifier.c of 6.18 (states_equal, func_states_equal, regsafe, stacksafe, refsafe, check_ids).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from bpfcrypto.verifier.state import (
    ADD_CONST,
    EMPTY_SLOT,
    FP,
    REG_SIZE,
    SCALAR_UNKNOWN,
    RefKind,
    RegType,
    SlotKind,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.verifier.bounds import Bounds
    from bpfcrypto.verifier.state import Frame, Reg, Slot, State

_INVALID, _SPILL, _MISC, _ZERO = (
    int(SlotKind.INVALID),
    int(SlotKind.SPILL),
    int(SlotKind.MISC),
    int(SlotKind.ZERO),
)
_DYNPTR, _ITER, _IRQ = int(SlotKind.DYNPTR), int(SlotKind.ITER), int(SlotKind.IRQ_FLAG)
_NOTHING, _NO_DATA = bytes([_INVALID]), bytes([_INVALID, _MISC])
_LOCKS = frozenset({RefKind.LOCK, RefKind.RES_LOCK, RefKind.RES_LOCK_IRQ})
_RANGED = frozenset({RegType.MAP_KEY, RegType.MAP_VALUE, RegType.MEM, RegType.BUF, RegType.TP_BUFFER})
_PACKET = frozenset({RegType.PACKET, RegType.PACKET_META})


class Exact(Enum):
    """How much alike two states have to be."""

    NOT_EXACT = "not exact"
    EXACT = "exact"
    RANGE_WITHIN = "range within"


class IdMap:
    """The mapping of ids of the old state to ids of the new one.

    Args:
        last_id: the last id that was given out; those above are free for values that have none.
    """

    __slots__ = ("_backward", "_forward", "_last")

    def __init__(self, last_id: int) -> None:
        self._forward: dict[int, int] = {}
        self._backward: dict[int, int] = {}
        self._last = last_id

    def match(self, old: int, new: int) -> bool:
        """Whether two ids can name the same thing; both or neither must be 0."""
        if not old or not new:
            return old == new
        known = self._forward.get(old)
        if known is not None:
            return known == new
        if new in self._backward:
            return False
        self._forward[old] = new
        self._backward[new] = old
        return True

    def match_scalars(self, old: int, new: int) -> bool:
        """The same for scalars: an old one without an id was linked to nothing, and so covers one that is; a new one without has its own."""
        if not old:
            return True
        if not new:
            self._last += 1
            new = self._last
        return self.match(old, new)


def range_within(old: Bounds, new: Bounds) -> bool:
    """Whether every value of ``new`` is one of ``old``, by their ranges and bits."""
    return old is new or (
        old.umin <= new.umin
        and old.umax >= new.umax
        and old.smin <= new.smin
        and old.smax >= new.smax
        and old.u32_min <= new.u32_min
        and old.u32_max >= new.u32_max
        and old.s32_min <= new.s32_min
        and old.s32_max >= new.s32_max
        and not new.var_off.mask & ~old.var_off.mask
        and new.var_off.value & ~old.var_off.mask == old.var_off.value
    )


def same_value(old: Reg, new: Reg) -> bool:
    """Whether two registers are equal but for their ids, frame and precision."""
    return (
        old.type is new.type
        and old.flags == new.flags
        and old.off == new.off
        and old.range == new.range
        and (old.num is new.num or old.num == new.num)
        and (old.target is new.target or old.target == new.target)
    )


def registers_equal(old: Reg, new: Reg, ids: IdMap) -> bool:
    """Whether two registers are equal, their ids by the mapping (regs_exact)."""
    return same_value(old, new) and ids.match(old.id, new.id) and ids.match(old.ref_obj_id, new.ref_obj_id)


def register_covered(old: Reg, new: Reg, ids: IdMap, exact: Exact) -> bool:
    """Whether the new register is covered by the old one (regsafe)."""
    if exact is Exact.EXACT:
        return registers_equal(old, new, ids)
    kind = old.type
    if kind is RegType.NOT_INIT:
        return True
    if kind is not new.type or old.flags != new.flags:
        return False
    if kind is RegType.SCALAR:
        return (not old.precise and exact is Exact.NOT_EXACT) or _scalar_covered(old, new, ids)
    if kind in _RANGED:
        return (
            old.off == new.off
            and (old.target is new.target or old.target == new.target)
            and range_within(old.num, new.num)
            and ids.match(old.id, new.id)
            and ids.match(old.ref_obj_id, new.ref_obj_id)
        )
    if kind in _PACKET:
        return (
            old.range <= new.range
            and old.off == new.off
            and ids.match(old.id, new.id)
            and range_within(old.num, new.num)
        )
    if kind is RegType.STACK:
        return old.frameno == new.frameno and registers_equal(old, new, ids)
    return kind is RegType.ARENA or registers_equal(old, new, ids)


def _scalar_covered(old: Reg, new: Reg, ids: IdMap) -> bool:
    if old.id and (old.id & ADD_CONST) != (new.id & ADD_CONST):
        return False
    if old.id & ADD_CONST and old.off != new.off:
        return False
    return range_within(old.num, new.num) and ids.match_scalars(old.id, new.id)


def _scalar_in(slot: Slot) -> Reg | None:
    """What a load of the whole slot gives, where that is a scalar."""
    if slot.kinds[0] == _SPILL:
        return slot.reg if slot.reg.type is RegType.SCALAR else None
    return None if slot.kinds.strip(b"\x00\x02") else SCALAR_UNKNOWN


def slot_covered(old: Slot, new: Slot | None, ids: IdMap, exact: Exact, *, uninit: bool) -> bool:
    """Whether a slot of the new stack is covered by the old one's (stacksafe).

    Args:
        old: the slot of the earlier state.
        new: that of the running one, None where its stack does not reach so far.
        ids: the mapping.
        exact: how much alike they have to be.
        uninit: whether stack that was never written may be read.
    """
    if exact is not Exact.NOT_EXACT and (new is None or old.kinds != new.kinds):
        return False
    ignored = _NO_DATA if uninit else _NOTHING
    if not old.kinds.strip(ignored):
        return True
    if new is None:
        return False
    scalars = (_scalar_in(old), _scalar_in(new)) if uninit or _all_misc(old, new) else (None, None)
    if scalars[0] is not None and scalars[1] is not None:
        return register_covered(scalars[0], scalars[1], ids, exact)
    if old.kinds != new.kinds:
        for before, now in zip(old.kinds, new.kinds, strict=True):
            if before in ignored or before == now or (before == _MISC and now == _ZERO):
                continue
            return False
    return old.kinds[REG_SIZE - 1] in ignored or _content_covered(old, new, ids, exact)


def _all_misc(old: Slot, new: Slot) -> bool:
    """Whether neither slot has bytes that were never written."""
    return _INVALID not in old.kinds and _INVALID not in new.kinds


def _content_covered(old: Slot, new: Slot, ids: IdMap, exact: Exact) -> bool:
    kind = old.kinds[REG_SIZE - 1]
    if kind == _SPILL:
        return register_covered(old.reg, new.reg, ids, exact)
    if kind == _DYNPTR:
        return old.reg.target == new.reg.target and ids.match(old.reg.ref_obj_id, new.reg.ref_obj_id)
    if kind == _ITER:
        # The depth is not compared: it differs from iteration to iteration.
        return (
            old.reg.iter.btf is new.reg.iter.btf
            and old.reg.iter.id == new.reg.iter.id
            and old.reg.iter.state is new.reg.iter.state
            and ids.match(old.reg.ref_obj_id, new.reg.ref_obj_id)
        )
    if kind == _IRQ:
        return old.reg.target == new.reg.target and ids.match(old.reg.ref_obj_id, new.reg.ref_obj_id)
    return True


def _references_covered(old: State, new: State, ids: IdMap) -> bool:
    if (
        len(old.refs) != len(new.refs)
        or old.active_locks != new.active_locks
        or old.active_preempt_locks != new.active_preempt_locks
        or old.active_rcu_lock != new.active_rcu_lock
        or old.active_lock_ptr is not new.active_lock_ptr
        or not ids.match(old.active_irq_id, new.active_irq_id)
        or not ids.match(old.active_lock_id, new.active_lock_id)
    ):
        return False
    for before, now in zip(old.refs, new.refs, strict=True):
        if before.kind is not now.kind or not ids.match(before.id, now.id):
            return False
        if before.kind in _LOCKS and before.ptr is not now.ptr:
            return False
    return True


def _frame_covered(old: Frame, new: Frame, ids: IdMap, exact: Exact, live: Sequence[int], *, uninit: bool) -> bool:
    if old.callback_depth > new.callback_depth:
        return False
    before, now = old.regs, new.regs
    for regno in live:
        if not register_covered(before[regno], now[regno], ids, exact):
            return False
    stack = new.stack
    for number, slot in enumerate(old.stack):
        if slot is EMPTY_SLOT and exact is Exact.NOT_EXACT:
            continue
        other = stack[number] if number < len(stack) else None
        if not slot_covered(slot, other, ids, exact, uninit=uninit):
            return False
    return True


def covered(old: State, new: State, exact: Exact, live: Sequence[Sequence[int]], last_id: int, *, uninit: bool) -> bool:
    """Whether the new state is covered by the old one (states_equal).

    Args:
        old: the earlier state.
        new: the running one, at the same instruction.
        exact: how much alike they have to be.
        live: the registers that are live before each instruction.
        last_id: the last id that was given out.
        uninit: whether stack that was never written may be read.
    """
    depth = len(old.frames)
    if depth != len(new.frames) or (old.speculative and not new.speculative) or old.in_sleepable != new.in_sleepable:
        return False
    ids = IdMap(last_id)
    if not _references_covered(old, new, ids):
        return False
    for number in range(depth):
        before, now = old.frames[number], new.frames[number]
        if before.callsite != now.callsite:
            return False
        index = old.index if number == depth - 1 else old.frames[number + 1].callsite
        if not _frame_covered(before, now, ids, exact, live[index], uninit=uninit):
            return False
    return True


def may_loop(old: State, new: State) -> bool:
    """A cheap look before the exact comparison: whether the running functions' registers are the same, ids included."""
    if len(old.frames) != len(new.frames):
        return False
    before, now = old.frames[-1].regs, new.frames[-1].regs
    for regno in range(FP):
        one, other = before[regno], now[regno]
        if one is not other and not (
            same_value(one, other) and one.id == other.id and one.ref_obj_id == other.ref_obj_id
        ):
            return False
    return True


def iterators_moved(old: State, new: State) -> bool:
    """Whether an active iterator of the old state has been advanced in the new one (iter_active_depths_differ)."""
    for before, now in zip(old.frames, new.frames, strict=True):
        for number, slot in enumerate(before.stack):
            if slot.kinds[0] != _ITER or slot.reg.iter.state.name != "ACTIVE":
                continue
            other = now.stack[number].reg if number < len(now.stack) else None
            if other is None or now.stack[number].kinds[0] != _ITER or other.iter.depth != slot.reg.iter.depth:
                return True
    return False
