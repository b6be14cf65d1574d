"""What a program owns and has to give back: references, locks and interrupt flags.

Everything that is owned is one list on the path, in order of acquisition: leaks are reported in that order, and locks and interrupt
flags have to be given back in the reverse one. A register that holds a reference, or descends from one, carries its id; giving the
reference back forgets every register and spilled register that carries it. Mirrors acquire_reference, release_reference,
acquire_lock_state, release_lock_state, acquire_irq_state, release_irq_state and check_resource_leak of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Any, Final

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.verifier.state import (
    NOT_INIT,
    SCALAR_UNKNOWN,
    Flag,
    Reference,
    RefKind,
    RegType,
    Rejected,
    SlotKind,
)

if TYPE_CHECKING:
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Reg, State

LOCKS: Final = frozenset({RefKind.LOCK, RefKind.RES_LOCK, RefKind.RES_LOCK_IRQ})

_PACKET: Final = frozenset({RegType.PACKET, RegType.PACKET_META, RegType.PACKET_END})
_PACKET_SLICE: Final = Flag.DYNPTR_SKB | Flag.DYNPTR_XDP | Flag.DYNPTR_SKB_META
_SPILLED: Final = frozenset({SlotKind.SPILL})
_SPILLED_OR_ITER: Final = frozenset({SlotKind.SPILL, SlotKind.ITER})


def change_registers(
    state: State,
    applies: Callable[[Reg], bool],
    change: Callable[[Reg], Reg],
    kinds: frozenset[SlotKind] = _SPILLED,
) -> None:
    """Replace every register and spilled register, in all frames, to which something applies."""
    for frame in state.frames:
        regs = frame.regs
        for i, reg in enumerate(regs):
            if applies(reg):
                regs[i] = change(reg)
        stack = frame.stack
        for i, slot in enumerate(stack):
            if slot.kinds[7] in kinds and applies(slot.reg):
                stack[i] = slot._replace(reg=change(slot.reg))


def forgotten(env: Environment) -> Reg:
    """What becomes of a register whose pointer is no longer valid (mark_reg_invalid)."""
    return SCALAR_UNKNOWN if env.options.allow_ptr_leaks else NOT_INIT


def acquire(env: Environment, state: State, index: int) -> int:
    """A new reference, acquired by the instruction at ``index``: its id."""
    number = env.new_id()
    state.refs.append(Reference(RefKind.PTR, number, index))
    return number


def is_held(state: State, number: int) -> bool:
    """Whether anything of that id is owned."""
    return any(ref.id == number for ref in state.refs)


def drop(state: State, number: int) -> bool:
    """Take a reference off the list and leave the registers alone; False where it is not held."""
    for i, ref in enumerate(state.refs):
        if ref.kind is RefKind.PTR and ref.id == number:
            del state.refs[i]
            return True
    return False


def release(env: Environment, state: State, number: int) -> bool:
    """Give a reference back and forget every register that carries it; False where it is not held."""
    if not drop(state, number):
        return False
    gone = forgotten(env)
    change_registers(state, lambda reg: reg.ref_obj_id == number, lambda _: gone)
    return True


def forget_packet_pointers(env: Environment, state: State) -> None:
    """Packet data may have moved: pointers into it, and slices of packet dynptrs, are no longer valid (clear_all_pkt_pointers)."""
    gone = forgotten(env)
    change_registers(
        state,
        lambda reg: reg.type in _PACKET or (reg.type is RegType.MEM and reg.flags & _PACKET_SLICE != 0),
        lambda _: gone,
    )


def forget_borrowed(env: Environment, state: State) -> None:
    """A lock was given back: pointers borrowed under it are no longer valid (invalidate_non_owning_refs)."""
    gone = forgotten(env)
    alloc = Flag.ALLOC | Flag.NON_OWN_REF
    change_registers(state, lambda reg: reg.flags & alloc == alloc, lambda _: gone)


def leave_rcu(state: State) -> None:
    """An RCU section ends: what it protected, iterators included, is no longer trusted."""
    keep = ~(Flag.RCU | Flag.MAYBE_NULL)
    change_registers(
        state,
        lambda reg: reg.flags & Flag.RCU != 0,
        lambda reg: reg._replace(flags=reg.flags & keep | Flag.UNTRUSTED),
        _SPILLED_OR_ITER,
    )


def acquire_lock(state: State, kind: RefKind, number: int, ptr: Any, index: int) -> None:
    """A lock is taken: the one in the object that ``number`` and ``ptr`` (its map or types) tell apart from others."""
    state.refs.append(Reference(kind, number, index, ptr))
    state.active_locks += 1
    state.active_lock_id, state.active_lock_ptr = number, ptr


def find_lock(state: State, kinds: frozenset[RefKind], number: int, ptr: Any) -> bool:
    """Whether that lock is held."""
    return any(ref.kind in kinds and ref.id == number and ref.ptr is ptr for ref in state.refs)


def release_lock(state: State, kind: RefKind, number: int, ptr: Any) -> bool:
    """Give a lock back; False where it is not held. The lock taken before it becomes the innermost one."""
    outer: tuple[int, Any] = (0, None)
    for i, ref in enumerate(state.refs):
        if ref.kind is kind and ref.id == number and ref.ptr is ptr:
            del state.refs[i]
            state.active_locks -= 1
            state.active_lock_id, state.active_lock_ptr = outer
            return True
        if ref.kind in LOCKS:
            outer = ref.id, ref.ptr
    return False


def acquire_irq(env: Environment, state: State, index: int) -> int:
    """Interrupts are off until the saved flags of this id are restored."""
    number = env.new_id()
    state.refs.append(Reference(RefKind.IRQ, number, index))
    state.active_irq_id = number
    return number


def release_irq(state: State, number: int) -> None:
    """Saved interrupt flags are restored.

    Raises:
        Rejected: EACCES where others were saved after them.
    """
    if number != state.active_irq_id:
        index = next((ref.insn for ref in state.refs if ref.id == state.active_irq_id), 0)
        raise Rejected(
            EACCES,
            f"cannot restore irq state out of order, expected id={state.active_irq_id} acquired at insn_idx={index}",
            id="irq-order",
        )
    outer = 0
    for i, ref in enumerate(state.refs):
        if ref.kind is not RefKind.IRQ:
            continue
        if ref.id == number:
            del state.refs[i]
            state.active_irq_id = outer
            return
        outer = ref.id


def check_leaks(env: Environment, state: State, what: str, *, throws: bool = False, locks: bool = True) -> None:
    """That the path may leave the program here.

    Args:
        env: the verification.
        state: the path.
        what: what leaves, as the message names it.
        throws: whether it leaves through an exception, from whatever frame.
        locks: whether sections that are still open count, too.

    Raises:
        Rejected: EINVAL where something is still owned or a section is still open.
    """
    if locks and state.active_locks:
        raise Rejected(EINVAL, f"{what} cannot be used inside bpf_spin_lock-ed region", id="lock-held")
    if throws or state.frame.frameno == 0:
        owned = [ref for ref in state.refs if ref.kind is RefKind.PTR]
        if owned and env.program.type is not ProgType.STRUCT_OPS:
            lines = [f"Unreleased reference id={ref.id} alloc_insn={ref.insn}" for ref in owned]
            raise Rejected(EINVAL, "\n".join((*lines, f"{what} would lead to reference leak")), id="ref-leak")
    if not locks:
        return
    for is_open, section in (
        (state.active_irq_id, "bpf_local_irq_save"),
        (state.active_rcu_lock, "bpf_rcu_read_lock"),
        (state.active_preempt_locks, "bpf_preempt_disable"),
    ):
        if is_open:
            raise Rejected(EINVAL, f"{what} cannot be used inside {section}-ed region", id="section-open")
