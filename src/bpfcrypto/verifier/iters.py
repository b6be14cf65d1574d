"""Open-coded iterators: objects of several stack slots that new, next and destroy methods work on.

The first slot stands for the iterator and holds its reference, since one that was started has to be destroyed. Mirrors
process_iter_arg, mark_stack_slots_iter and unmark_stack_slots_iter of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EINVAL, EPROTO
from typing import TYPE_CHECKING, Final

from bpfcrypto.btf.types import Composite
from bpfcrypto.verifier import dynptr, refs
from bpfcrypto.verifier.state import (
    EMPTY_SLOT,
    REG_SIZE,
    Flag,
    IterState,
    IterTarget,
    Reg,
    RegType,
    Rejected,
    Slot,
    SlotKind,
    not_modelled,
)
from bpfcrypto.verifier.typename import iter_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import BtfTarget, State

_KINDS: Final = bytes([SlotKind.ITER] * REG_SIZE)
_ITER: Final = int(SlotKind.ITER)


def slots(target: BtfTarget) -> int:
    """Stack slots of an iterator of that type."""
    record = target.btf[target.id]
    assert isinstance(record, Composite)
    if not record.size:
        raise not_modelled(f"iterators of type {iter_name(*target)}")
    return record.size // REG_SIZE


def check_pointer(reg: Reg, regno: int) -> None:
    """That an argument can be an iterator."""
    if reg.type is not RegType.STACK or reg.flags:
        text = f"arg#{regno - 1} expected pointer to an iterator on stack"
        raise Rejected(EINVAL, text, register=regno, id="iter-type")


def start(
    env: Environment,
    state: State,
    regno: int,
    target: BtfTarget,
    index: int,
    write: Callable[[int], None],
    *,
    rcu: bool,
) -> None:
    """A new method: the slots become an iterator.

    Args:
        env: the verification.
        state: the path.
        regno: the argument's register.
        target: the iterator's type.
        index: the call.
        write: checks that eight bytes at an offset from the register may be written, and marks them as written.
        rcu: whether what it gives is protected by RCU only.
    """
    reg = state.regs[regno]
    count = slots(target)
    spi = dynptr.object_slot(env, state, reg, "iter", count)
    frame = state.frames[reg.frameno]
    taken = spi >= 0 and any(_ITER in frame.stack[spi - i].kinds for i in range(count))
    if spi == dynptr.MISPLACED or taken:
        text = f"expected uninitialized iter_{iter_name(*target)} as arg #{regno - 1}"
        raise Rejected(EINVAL, text, register=regno, id="iter-place")
    for off in range(0, count * REG_SIZE, REG_SIZE):
        write(off)
    spi = dynptr.object_slot(env, state, reg, "iter", count)
    number = refs.acquire(env, state, index)
    flags = 0
    if rcu:
        flags = Flag.RCU if env.in_rcu(state) else Flag.UNTRUSTED
    made = Reg(RegType.STACK, flags, target=IterTarget(target.btf, target.id, IterState.ACTIVE, 0))
    for i in range(count):
        frame.stack[spi - i] = Slot(_KINDS, made._replace(ref_obj_id=number) if i == 0 else made)
    _touched(env, state, reg, spi, count)


def _touched(env: Environment, state: State, reg: Reg, spi: int, count: int) -> None:
    mask = (1 << count) - 1 << (spi - count + 1)
    env.stack_written(state, reg.frameno, mask)
    env.touched_slots |= mask


def use(env: Environment, state: State, regno: int, target: BtfTarget, name: str) -> int:
    """A method on an iterator that was started: its first slot.

    Args:
        env: the verification.
        state: the path.
        regno: the argument's register.
        target: the iterator's type.
        name: the method.
    """
    reg = state.regs[regno]
    count = slots(target)
    spi = dynptr.object_slot(env, state, reg, "iter", count)
    stack = state.frames[reg.frameno].stack
    if spi < 0 or not all(_is_part(stack[spi - i], target, first=i == 0) for i in range(count)):
        text = f"expected an initialized iter_{iter_name(*target)} as arg #{regno - 1}"
        if spi >= 0 and stack[spi].kinds == _KINDS and stack[spi].reg.flags & Flag.UNTRUSTED:
            raise Rejected(EPROTO, f"expected an RCU CS when using {name}", register=regno, id="iter-rcu")
        raise Rejected(EINVAL, text, register=regno, id="iter-uninit")
    dynptr.mark_read(env, state, reg, count)
    return spi


def _is_part(slot: Slot, target: BtfTarget, *, first: bool) -> bool:
    reg = slot.reg
    if reg.flags & Flag.UNTRUSTED or slot.kinds != _KINDS or bool(reg.ref_obj_id) is not first:
        return False
    return reg.iter.btf is target.btf and reg.iter.id == target.id


def destroy(env: Environment, state: State, regno: int, target: BtfTarget, spi: int) -> None:
    """A destroy method: the slots hold nothing any more."""
    reg = state.regs[regno]
    frame = state.frames[reg.frameno]
    refs.release(env, state, frame.stack[spi].reg.ref_obj_id)
    count = slots(target)
    for i in range(count):
        frame.stack[spi - i] = EMPTY_SLOT
    _touched(env, state, reg, spi, count)
