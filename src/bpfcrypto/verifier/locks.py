"""Spin locks: which one a pointer leads to, and whether it may be taken or given back here.

A lock is known by the map, or the types, of the object that holds it and by the id of the pointer, which every lookup gives anew.
Only one ``bpf_spin_lock`` may be held; resilient ones nest, and are given back in reverse order. Mirrors process_spin_lock of
kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING, Any, Final

from bpfcrypto.btf.record import FieldKind, SpecialField, special_fields
from bpfcrypto.verifier import refs
from bpfcrypto.verifier.state import Flag, RefKind, RegType, Rejected

if TYPE_CHECKING:
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Reg, State

_PLAIN: Final = frozenset({RefKind.LOCK})
_RESILIENT: Final = frozenset({RefKind.RES_LOCK, RefKind.RES_LOCK_IRQ})


def record_of(env: Environment, reg: Reg) -> tuple[SpecialField, ...]:
    """The special fields of what a register points to (reg_btf_record)."""
    if reg.type is RegType.MAP_VALUE and not reg.flags:
        return env.record(reg.map.spec)
    if reg.type is RegType.BTF_ID and reg.flags & Flag.ALLOC:
        return special_fields(reg.btf.btf, reg.btf.id)
    return ()


def identity(reg: Reg) -> Any:
    """What tells the lock of one object from those of others, beside the id of the pointer."""
    return reg.map.spec if reg.type is RegType.MAP_VALUE else reg.btf.btf


def _refuse(text: str, regno: int) -> Rejected:
    return Rejected(EINVAL, text, register=regno, id="lock")


def check_place(env: Environment, reg: Reg, regno: int, *, resilient: bool) -> None:
    """That a pointer leads to a lock."""
    name = "bpf_res_spin" if resilient else "bpf_spin"
    if reg.num.var_off.mask:
        text = f"R{regno} doesn't have constant offset. {name}_lock has to be at the constant offset"
        raise _refuse(text, regno)
    is_map = reg.type is RegType.MAP_VALUE
    if is_map and (env.spec.btf is None or not reg.map.spec.value_type):
        raise _refuse(f"map '{reg.map.spec.name}' has to have BTF in order to use {name}_lock", regno)
    wanted = FieldKind.RES_SPIN_LOCK if resilient else FieldKind.SPIN_LOCK
    field = next((field for field in record_of(env, reg) if field.kind is wanted), None)
    if field is None:
        owner = f"map '{reg.map.spec.name}'" if is_map else "local 'kptr'"
        raise _refuse(f"{owner} has no valid {name}_lock", regno)
    off = reg.num.smin + reg.off
    if off != field.offset:
        raise _refuse(f"off {off} doesn't point to 'struct {name}_lock' that is at {field.offset}", regno)


def take(env: Environment, state: State, regno: int, index: int, *, resilient: bool = False, irq: bool = False) -> None:
    """A lock is taken."""
    reg = state.regs[regno]
    check_place(env, reg, regno, resilient=resilient)
    ptr = identity(reg)
    if state.active_locks:
        # The kernel looks for a lock of no object here, which never is held: a second plain lock is refused as a call under a lock.
        if not resilient and refs.find_lock(state, _PLAIN, 0, None):
            raise _refuse("Locking two bpf_spin_locks are not allowed", regno)
        if resilient and refs.find_lock(state, _RESILIENT, reg.id, ptr):
            raise _refuse("Acquiring the same lock again, AA deadlock detected", regno)
    refs.acquire_lock(state, _kind(resilient, irq), reg.id, ptr, index)


def give_back(env: Environment, state: State, regno: int, *, resilient: bool = False, irq: bool = False) -> None:
    """A lock is given back, and with it what was borrowed under it."""
    reg = state.regs[regno]
    check_place(env, reg, regno, resilient=resilient)
    name = "bpf_res_spin" if resilient else "bpf_spin"
    ptr, kind = identity(reg), _kind(resilient, irq)
    if not state.active_locks:
        raise _refuse(f"{name}_unlock without taking a lock", regno)
    if not refs.find_lock(state, frozenset({kind}), reg.id, ptr):
        raise _refuse(f"{name}_unlock of different lock", regno)
    if reg.id != state.active_lock_id or ptr is not state.active_lock_ptr:
        raise _refuse(f"{name}_unlock cannot be out of order", regno)
    refs.release_lock(state, kind, reg.id, ptr)
    refs.forget_borrowed(env, state)


def _kind(resilient: bool, irq: bool) -> RefKind:
    if not resilient:
        return RefKind.LOCK
    return RefKind.RES_LOCK_IRQ if irq else RefKind.RES_LOCK
