"""Linked lists and trees of allocated objects: roots, nodes, and the lock that protects both.

An object that is inserted changes from owned to borrowed: pointers to it stay usable until the lock is given back. Mirrors
__process_kf_arg_ptr_to_graph_root, __process_kf_arg_ptr_to_graph_node and ref_convert_owning_non_owning of kernel/bpf/verifier.c in
6.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.btf.record import FieldKind
from bpfcrypto.spec import KfuncRef
from bpfcrypto.verifier import local, locks, refs
from bpfcrypto.verifier.mem_btf import struct_ids_match
from bpfcrypto.verifier.state import NOT_INIT, BtfTarget, Flag, Reg, RegType, Rejected

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

INSERTS: Final = frozenset({"bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_rbtree_add_impl"})
_TREE: Final = frozenset(f"bpf_rbtree_{name}" for name in ("add_impl", "remove", "first", "root", "left", "right"))
_LIST: Final = frozenset(
    f"bpf_list_{name}" for name in ("push_front_impl", "push_back_impl", "pop_front", "pop_back", "front", "back")
)
USES: Final = _TREE | _LIST | {"bpf_refcount_acquire_impl"}
"""Kfuncs on lists and trees, which may be called under a lock."""


@dataclass(frozen=True, slots=True)
class Held:
    """A list head or tree root whose lock is held, and the types that it is part of."""

    root: local.Root
    types: Btf

    def element(self) -> Reg:
        """A pointer to the node of an element."""
        target = BtfTarget(self.types, self.root.value_id)
        return Reg(RegType.BTF_ID, Flag.ALLOC, off=self.root.node_offset, target=target)


def in_less(env: Environment, state: State) -> bool:
    """Whether the running function orders the elements of a tree, for which the lock is held."""
    if len(state.frames) < 2 or not state.frame.in_callback:
        return False
    ref = env.program.refs.get(state.frame.callsite)
    return isinstance(ref, KfuncRef) and ref.name in _TREE


def _types_of(env: Environment, reg: Reg) -> tuple[Btf, int]:
    if reg.type is RegType.BTF_ID:
        return reg.btf
    assert env.spec.btf is not None
    return env.spec.btf, reg.map.spec.value_type


def check_root(env: Environment, state: State, regno: int, name: str) -> Held:
    """A list head or tree root as an argument; the lock beside it has to be held."""
    reg = state.regs[regno]
    if reg.num.var_off.mask:
        text = f"R{regno} doesn't have constant offset. {name} has to be at the constant offset"
        raise Rejected(EINVAL, text, register=regno, id="graph-root")
    types, type_id = _types_of(env, reg)
    off = reg.off + reg.num.smin
    found = next((root for root in local.roots(types, type_id) if root.offset == off and root.name == name), None)
    if found is None:
        raise Rejected(EINVAL, f"{name} not found at offset={off}", register=regno, id="graph-root")
    if not refs.find_lock(state, refs.LOCKS, reg.id, locks.identity(reg)):
        record = locks.record_of(env, reg)
        where = next((field.offset for field in record if field.kind is FieldKind.SPIN_LOCK), -1)
        text = f"bpf_spin_lock at off={where} must be held for {name}"
        if state.active_locks:
            text = f"held lock and object are not in the same allocation\n{text}"
        raise Rejected(EINVAL, text, register=regno, id="graph-lock")
    return Held(found, types)


def check_node(env: Environment, state: State, regno: int, held: Held) -> None:
    """An element, or one to be, as an argument: of the struct, and at the member, that the root says."""
    reg = state.regs[regno]
    root = held.root
    name = root.node
    if reg.num.var_off.mask:
        text = f"R{regno} doesn't have constant offset. {name} has to be at the constant offset"
        raise Rejected(EINVAL, text, register=regno, id="graph-node")
    off = reg.off + reg.num.smin
    found = local.fields(*reg.btf) if reg.type is RegType.BTF_ID and reg.flags & Flag.ALLOC else ()
    if not any(field.name == name and field.offset == off for field in found):
        raise Rejected(EINVAL, f"{name} not found at offset={off}", register=regno, id="graph-node")
    struct = held.types[root.value_id].name
    if not struct_ids_match(env, reg.btf, 0, BtfTarget(held.types, root.value_id), strict=True):
        text = (
            f"operation on {root.name} expects arg#1 {name} at offset={root.node_offset} in struct {struct}, "
            f"but arg is at offset={off} in struct {reg.btf.btf[reg.btf.id].name}"
        )
        raise Rejected(EINVAL, text, register=regno, id="graph-node")
    if off != root.node_offset:
        text = f"arg#1 offset={off}, but expected {name} at offset={root.node_offset} in struct {struct}"
        raise Rejected(EINVAL, text, register=regno, id="graph-node")


def lend(env: Environment, state: State, number: int) -> None:
    """An owned object was inserted: the root owns it now, and pointers to it are borrowed."""
    if not refs.is_held(state, number):
        raise Rejected(EFAULT, "verifier bug: ref state missing for ref_obj_id")
    refs.change_registers(
        state, lambda reg: reg.ref_obj_id == number, lambda reg: borrowed(state, reg._replace(ref_obj_id=0))
    )
    refs.release(env, state, number)


def borrowed(state: State, reg: Reg) -> Reg:
    """A pointer to an element, as it is while the lock is held (ref_set_non_owning)."""
    if not state.active_locks:
        raise Rejected(EFAULT, "verifier bug: ref_set_non_owning w/o active lock")
    flags = reg.flags | Flag.NON_OWN_REF
    if local.has(local.fields(*reg.btf), FieldKind.REFCOUNT.value):
        flags |= Flag.RCU
    return reg._replace(flags=flags)


def arguments_of_less(node: Reg) -> list[Reg]:
    """r1..r5 of ``less(a, b)``, which orders the elements of a tree."""
    return [node, node, NOT_INIT, NOT_INIT, NOT_INIT]
