"""Dynptrs and interrupt flags: objects that live in stack slots and that only calls may touch.

A dynptr takes two slots, of which the first (at the higher address) stands for it. Both carry the id of the dynptr, which its slices
carry too, and the reference where it owns one. Overwriting a part of it destroys it, and its slices with it; one that owns a
reference cannot be overwritten. A callback gets a dynptr as a register instead. Mirrors the functions around dynptr_get_spi,
mark_stack_slots_dynptr, process_dynptr_func and process_irq_flag of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.verifier import refs
from bpfcrypto.verifier.state import (
    EMPTY_SLOT,
    REG_SIZE,
    DynptrKind,
    DynptrTarget,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    Slot,
    SlotKind,
)
from bpfcrypto.verifier.typename import DYNPTR_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, State

SLOTS: Final = 2
SIZE: Final = SLOTS * REG_SIZE

MISPLACED: Final = -1
UNTOUCHED: Final = -2
"""What ``object_slot`` gives instead of a slot: no object can be there; the stack is not that deep yet."""

FLAGS: Final = {
    DynptrKind.LOCAL: Flag.DYNPTR_LOCAL,
    DynptrKind.RINGBUF: Flag.DYNPTR_RINGBUF,
    DynptrKind.SKB: Flag.DYNPTR_SKB,
    DynptrKind.XDP: Flag.DYNPTR_XDP,
    DynptrKind.SKB_META: Flag.DYNPTR_SKB_META,
}
"""The flag that a slice of a dynptr of each kind carries."""

_KINDS: Final = bytes([SlotKind.DYNPTR] * REG_SIZE)
_IRQ_KINDS: Final = bytes([SlotKind.IRQ_FLAG] * REG_SIZE)
_DYNPTR: Final = int(SlotKind.DYNPTR)


@dataclass(frozen=True, slots=True)
class Dynptr:
    """An initialised dynptr, as an argument.

    Attributes:
        kind: what it is over.
        id: what its slices carry.
        ref_obj_id: the reference that it owns, 0 for none.
    """

    kind: DynptrKind
    id: int
    ref_obj_id: int


def object_slot(env: Environment, state: State, reg: Reg, what: str, count: int) -> int:
    """The first of ``count`` slots of the object that a stack pointer points to; MISPLACED or UNTOUCHED where there is none."""
    if reg.num.var_off.mask:
        env.note(f"{what} has to be at a constant offset")
        return MISPLACED
    off = reg.off + reg.num.smin
    # The division rounds towards zero in C: the frame pointer itself passes for slot 0 here and fails when it is accessed.
    spi = (-off - 1) // REG_SIZE if off < 0 else -1 if off else 0
    if off % REG_SIZE or spi + 1 < count:
        env.note(f"cannot pass in {what} at an offset={off}")
        return MISPLACED
    return spi if spi < len(state.frames[reg.frameno].stack) else UNTOUCHED


def destroy(env: Environment, state: State, frame: Frame, spi: int) -> None:
    """A dynptr that has a part in this slot is overwritten (destroy_if_dynptr_stack_slot).

    Raises:
        Rejected: EINVAL where it owns a reference.
    """
    slot = frame.stack[spi]
    if slot.kinds[0] != _DYNPTR:
        return
    if not slot.reg.dynptr.first_slot:
        spi += 1
        slot = frame.stack[spi]
    if slot.reg.dynptr.kind is DynptrKind.RINGBUF:
        raise Rejected(EINVAL, "cannot overwrite referenced dynptr", id="dynptr-overwrite")
    env.touched_slots |= 3 << (spi - 1)
    number = slot.reg.id
    gone = refs.forgotten(env)

    def is_slice(reg: Reg) -> bool:
        # Only slices without flags are forgotten here: those of packets go when the packet's data may have moved.
        return (
            reg.type is RegType.MEM
            and not reg.flags & ~Flag.MAYBE_NULL
            and isinstance(reg.target, MemTarget)
            and reg.target.dynptr_id == number
        )

    frame.stack[spi] = frame.stack[spi - 1] = EMPTY_SLOT
    refs.change_registers(state, is_slice, lambda _: gone)
    env.stack_written(state, frame.frameno, 3 << (spi - 1))


def find(env: Environment, state: State, reg: Reg) -> Dynptr | None:
    """The initialised dynptr that an argument points to, or is; None where there is none."""
    if reg.type is RegType.DYNPTR:
        return Dynptr(reg.dynptr.kind, reg.id, reg.ref_obj_id)
    spi = object_slot(env, state, reg, "dynptr", SLOTS)
    if spi < 0:
        return None
    stack = state.frames[reg.frameno].stack
    first, second = stack[spi], stack[spi - 1]
    if first.kinds != _KINDS or second.kinds != _KINDS or not first.reg.dynptr.first_slot:
        return None
    return Dynptr(first.reg.dynptr.kind, first.reg.id, first.reg.ref_obj_id)


def check_argument(
    env: Environment, state: State, regno: int, *, kind: DynptrKind | None = None, mutates: bool = True
) -> Dynptr:
    """An initialised dynptr as an argument (process_dynptr_func).

    Args:
        env: the verification.
        state: the path.
        regno: the argument's register.
        kind: what it has to be over; None for anything.
        mutates: whether the call may change the dynptr itself.
    """
    reg = state.regs[regno]
    _check_pointer(reg, regno)
    if reg.type is RegType.DYNPTR and mutates:
        raise Rejected(
            EINVAL, "cannot pass pointer to const bpf_dynptr, the helper mutates it", register=regno, id="dynptr-const"
        )
    found = find(env, state, reg)
    if found is None:
        raise Rejected(
            EINVAL, f"Expected an initialized dynptr as arg #{regno - 1}", register=regno, id="dynptr-uninit"
        )
    if kind is not None and found.kind is not kind:
        text = f"Expected a dynptr of type {DYNPTR_NAMES[kind]} as arg #{regno - 1}"
        raise Rejected(EINVAL, text, register=regno, id="dynptr-kind")
    if reg.type is RegType.STACK:
        mark_read(env, state, reg, SLOTS)
    return found


def mark_read(env: Environment, state: State, reg: Reg, count: int) -> None:
    """The ``count`` slots of an object are read (mark_stack_slot_obj_read)."""
    spi = max(-(reg.off + reg.num.smin) - 1, 0) // REG_SIZE
    mask = (1 << count) - 1 << (spi - count + 1)
    env.stack_read(state, reg.frameno, mask)
    env.touched_slots |= mask


def check_uninitialised(
    env: Environment,
    state: State,
    regno: int,
    kind: DynptrKind,
    index: int,
    write: Callable[[int], None],
    owner: int = 0,
) -> None:
    """A place where a call makes a dynptr, and the dynptr.

    Args:
        env: the verification.
        state: the path.
        regno: the argument's register.
        kind: what the dynptr is over.
        index: the call.
        write: checks that eight bytes at an offset from the register may be written, and marks them as written.
        owner: the reference that a clone shares with its parent; 0 for a new one.
    """
    reg = state.regs[regno]
    _check_pointer(reg, regno)
    if reg.type is RegType.DYNPTR or object_slot(env, state, reg, "dynptr", SLOTS) == MISPLACED:
        raise Rejected(EINVAL, "Dynptr has to be an uninitialized dynptr", register=regno, id="dynptr-place")
    for off in range(0, SIZE, REG_SIZE):
        write(off)
    frame = state.frames[reg.frameno]
    spi = object_slot(env, state, reg, "dynptr", SLOTS)
    destroy(env, state, frame, spi)
    destroy(env, state, frame, spi - 1)
    number = env.new_id()
    held = 0
    if kind is DynptrKind.RINGBUF:
        held = owner or refs.acquire(env, state, index)
    for at, first in ((spi, True), (spi - 1, False)):
        made = Reg(RegType.DYNPTR, id=number, ref_obj_id=held, target=DynptrTarget(kind, first))
        frame.stack[at] = Slot(_KINDS, made)
    env.stack_written(state, frame.frameno, 3 << (spi - 1))
    env.touched_slots |= 3 << (spi - 1)


def release(env: Environment, state: State, regno: int) -> bool:
    """A call gives the memory of a dynptr back: it, its clones and its slices are gone. False where the reference is not held."""
    reg = state.regs[regno]
    frame = state.frames[reg.frameno]
    spi = object_slot(env, state, reg, "dynptr", SLOTS)
    first = frame.stack[spi].reg
    held = first.ref_obj_id
    if first.dynptr.kind is not DynptrKind.RINGBUF:
        _clear(env, state, frame, spi)
        return True
    known = refs.release(env, state, held)
    for i in range(1, len(frame.stack)):
        slot = frame.stack[i]
        if slot.kinds[0] == _DYNPTR and slot.reg.ref_obj_id == held and slot.reg.dynptr.first_slot:
            _clear(env, state, frame, i)
    return known


def _clear(env: Environment, state: State, frame: Frame, spi: int) -> None:
    frame.stack[spi] = frame.stack[spi - 1] = EMPTY_SLOT
    env.stack_written(state, frame.frameno, 3 << (spi - 1))
    env.touched_slots |= 3 << (spi - 1)


def _check_pointer(reg: Reg, regno: int) -> None:
    if reg.type not in (RegType.STACK, RegType.DYNPTR) or reg.flags:
        text = f"arg#{regno - 1} expected pointer to stack or const struct bpf_dynptr"
        raise Rejected(EINVAL, text, register=regno, id="dynptr-type")


def save_irq(
    env: Environment, state: State, regno: int, index: int, write: Callable[[int], None], by_lock: bool
) -> None:
    """Interrupts are switched off and their flags kept in a stack slot.

    Args:
        env: the verification.
        state: the path.
        regno: the argument's register.
        index: the call.
        write: checks that eight bytes at an offset from the register may be written, and marks them as written.
        by_lock: whether a lock does it, in which case only its unlock may restore them.
    """
    reg = state.regs[regno]
    spi = object_slot(env, state, reg, "irq_flag", 1)
    frame = state.frames[reg.frameno]
    taken = spi >= 0 and int(SlotKind.IRQ_FLAG) in frame.stack[spi].kinds
    if spi == MISPLACED or taken:
        raise Rejected(EINVAL, f"expected uninitialized irq flag as arg#{regno - 1}", register=regno, id="irq-place")
    write(0)
    spi = object_slot(env, state, reg, "irq_flag", 1)
    number = refs.acquire_irq(env, state, index)
    # The kernel has no register type for it either; ``range`` tells who switched interrupts off.
    frame.stack[spi] = Slot(_IRQ_KINDS, Reg(RegType.STACK, ref_obj_id=number, range=int(by_lock)))
    env.stack_written(state, frame.frameno, 1 << spi)
    env.touched_slots |= 1 << spi


def restore_irq(env: Environment, state: State, regno: int, by_lock: bool) -> None:
    """Interrupt flags that a stack slot keeps are restored."""
    reg = state.regs[regno]
    spi = object_slot(env, state, reg, "irq_flag", 1)
    frame = state.frames[reg.frameno]
    slot = frame.stack[spi] if spi >= 0 else EMPTY_SLOT
    if slot.kinds != _IRQ_KINDS or not slot.reg.ref_obj_id:
        raise Rejected(EINVAL, f"expected an initialized irq flag as arg#{regno - 1}", register=regno, id="irq-uninit")
    mark_read(env, state, reg, 1)
    if bool(slot.reg.range) is not by_lock:
        names = ("native", "lock")
        text = f"irq flag acquired by {names[slot.reg.range]} kfuncs cannot be restored with {names[by_lock]} kfuncs"
        raise Rejected(EINVAL, text, register=regno, id="irq-order")
    refs.release_irq(state, slot.reg.ref_obj_id)
    frame.stack[spi] = EMPTY_SLOT
    env.stack_written(state, frame.frameno, 1 << spi)
    env.touched_slots |= 1 << spi
