"""Calls of kfuncs: who may call what and where, the sections they open and close, and what r0 holds afterwards.

Mirrors check_kfunc_call and check_special_kfunc of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EACCES, EFAULT, EINVAL, ESRCH
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.kfuncs import CURRENT as KFUNCS
from bpfcrypto.abi.kfuncs import Kfunc, KfuncFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.types import Composite, Func, FuncProto, Kind, Void
from bpfcrypto.errors import BtfError
from bpfcrypto.spec import KfuncRef
from bpfcrypto.verifier import bounds, callbacks, dynptr, graph, kfunc_args, local, mem_region, refs
from bpfcrypto.verifier.branch import may_hold_lock
from bpfcrypto.verifier.calls import clobber
from bpfcrypto.verifier.cfg import PACKET_CHANGING_KFUNCS
from bpfcrypto.verifier.kfunc_args import Meta
from bpfcrypto.verifier.state import (
    SCALAR_UNKNOWN,
    SCALAR_ZERO,
    BtfTarget,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
    scalar,
)
from bpfcrypto.verifier.typename import is_pointer, is_scalar

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, State

_F = KfuncFlag
_MAX_ERRNO: Final = 4095
_POISONED: Final = 2002000000
"""The helper number that a call of a weak kfunc becomes which the kernel does not have, plus its place among those."""

_UNDER_LOCK: Final = graph.USES | {
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_res_spin_lock",
    "bpf_res_spin_unlock",
    "bpf_res_spin_lock_irqsave",
    "bpf_res_spin_unlock_irqrestore",
}
_TAKES_LOCK: Final = frozenset({"bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"})
_PERCPU_LIMIT: Final = 512
"""Bytes of a per-CPU object (BPF_GLOBAL_PERCPU_MA_MAX_SIZE)."""

_S32: Final = (-(1 << 31), (1 << 31) - 1)
_DEFERS: Final = {
    "bpf_wq_set_callback_impl": (callbacks.timer, (0, 0)),
    "bpf_task_work_schedule_signal_impl": (callbacks.task_work, _S32),
    "bpf_task_work_schedule_resume_impl": (callbacks.task_work, _S32),
}
"""kfuncs that register a callback that may sleep: how it is entered, and what it may return."""

_KERNEL_CONTEXTS: Final = {ProgType.SCHED_CLS: "sk_buff", ProgType.SCHED_ACT: "sk_buff", ProgType.XDP: "xdp_buff"}


def call(env: Environment, state: State, _: Insn, index: int) -> None:
    """Execute a call of a kfunc.

    Raises:
        Rejected: the kfunc may not be called here, or an argument does not fit.
    """
    meta = _permitted(env, state, index)
    kfunc = meta.kfunc
    name = kfunc.name
    if name in _TAKES_LOCK:
        _branch_off_failure(env, state, index)
    elif name == "__bpf_trap":
        text = "unexpected __bpf_trap() due to uninitialized variable?"
        raise Rejected(EFAULT, text, id="trap")
    if kfunc.flags & _F.SLEEPABLE and not env.in_sleepable(state):
        text = f"program must be sleepable to call sleepable kfunc {name}"
        raise Rejected(EACCES, text, id="not-sleepable")
    kfunc_args.check(env, state, meta, index)
    if name == "bpf_rbtree_add_impl":
        _order(env, state, meta, index)
    elif name in _DEFERS:
        enter, allowed = _DEFERS[name]
        callbacks.call_back_later(env, state, meta.subprog, index, enter, sleepable=True, allowed=allowed)
    _rcu_section(env, state, kfunc)
    _preempt_section(state, kfunc)
    if state.active_irq_id and kfunc.flags & _F.SLEEPABLE:
        text = f"kernel func {name} is sleepable within IRQ-disabled region"
        raise Rejected(EACCES, text, id="not-sleepable")
    if kfunc.flags & _F.RCU_PROTECTED and not env.in_rcu(state):
        text = f"kernel func {name} requires RCU critical section protection"
        raise Rejected(EACCES, text, id="rcu-section")
    if meta.release:
        _release(env, state, meta, state.regs[meta.release].ref_obj_id, meta.release)
    if name in graph.INSERTS:
        graph.lend(env, state, state.regs[2].ref_obj_id)
    clobber(state.frames[-1])
    result = _result(_Call(env, state, meta, index))
    if result is not None:
        state.regs[0] = result
    if name in PACKET_CHANGING_KFUNCS:
        refs.forget_packet_pointers(env, state)
    if meta.iterator is not None and kfunc.flags & _F.ITER_NEXT:
        callbacks.next_iteration(env, state, index, *meta.iterator)


def check_known(env: Environment) -> None:
    """That the kernel has every kfunc that the program cannot do without, whether a path leads there or not."""
    needed = {ref.name for ref in env.program.refs.values() if isinstance(ref, KfuncRef) and not ref.weak}
    if missing := sorted(needed - KFUNCS.keys()):
        raise _absent(env, missing[0], weak=False)


def _permitted(env: Environment, state: State, index: int) -> Meta:
    """The kfunc and its prototype, where it may be called at all."""
    ref = env.program.refs.get(index)
    name = ref.name if isinstance(ref, KfuncRef) else ""
    if not name:
        raise not_modelled("a call of a kernel function by its number")
    if state.active_locks and name not in _UNDER_LOCK:
        raise Rejected(EINVAL, "function calls are not allowed while holding a lock", id="call-while-locked")
    kfunc = KFUNCS.get(name)
    if kfunc is None:
        raise _absent(env, name, weak=isinstance(ref, KfuncRef) and ref.weak)
    if name.startswith("bpf_xdp_metadata_rx_"):  # our programs are bound to no device
        raise Rejected(EINVAL, "metadata kfuncs require device-bound program", id="device-bound")
    if name == "bpf_iter_css_task_new" and env.program.type not in kfunc.types:
        text = "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs"
        raise Rejected(EINVAL, text, id="kfunc-not-allowed")
    if env.program.type not in kfunc.types:
        text = f"calling kernel function {name} is not allowed"
        raise Rejected(EACCES, text, id="kfunc-not-allowed")
    proto = _prototype(env.kernel_types, name) if env.kernel_types is not None else None
    if proto is None:
        raise not_modelled(f"{name} without its prototype")
    return Meta(kfunc, proto)


@lru_cache(len(KFUNCS))
def _prototype(types: Btf, name: str) -> FuncProto | None:
    number = types.find(name, Kind.FUNC)
    func = types[number] if number is not None else None
    proto = types[func.type_id] if isinstance(func, Func) else None
    return proto if isinstance(proto, FuncProto) else None


def _absent(env: Environment, name: str, *, weak: bool) -> Rejected:
    """A kfunc that the table does not have: what the kernel, which may have it, lets packet and syscall programs call is all there."""
    if not weak:
        return Rejected(ESRCH, f"kfunc '{name}' is not known", id="kfunc-unknown")
    missing = sorted({ref.name for ref in env.program.refs.values() if isinstance(ref, KfuncRef)} - KFUNCS.keys())
    return Rejected(EINVAL, f"invalid func unknown#{_POISONED + missing.index(name)}", id="kfunc-unknown")


def _branch_off_failure(env: Environment, state: State, index: int) -> None:
    """A resilient lock may not be had: a path on which it is not held goes on with an error."""
    failed = env.push_branch(state, index + 1, index)
    clobber(failed.frames[-1])
    failed.regs[0] = scalar(bounds.clamp_signed32(bounds.UNKNOWN, -_MAX_ERRNO, -1))


def _order(env: Environment, state: State, meta: Meta, index: int) -> None:
    held = meta.root
    assert held is not None

    def enter(_: Environment, __: Frame, callee: Frame) -> None:
        node = graph.borrowed(state, held.element())
        callee.regs[1:6] = graph.arguments_of_less(node)

    callbacks.call_back(env, state, meta.subprog, index, enter)


def _rcu_section(env: Environment, state: State, kfunc: Kfunc) -> None:
    name = kfunc.name
    opens, closes = name == "bpf_rcu_read_lock", name == "bpf_rcu_read_unlock"
    if not state.active_rcu_lock:
        if opens:
            state.active_rcu_lock = True
        elif closes:
            text = f"unmatched rcu read unlock (kernel function {name})"
            raise Rejected(EINVAL, text, id="rcu-section")
        return
    if (opens or closes) and graph.in_less(env, state):
        text = "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback"
        raise Rejected(EACCES, text, id="rcu-section")
    if opens:
        text = f"nested rcu read lock (kernel function {name})"
        raise Rejected(EINVAL, text, id="rcu-section")
    if closes:
        refs.leave_rcu(state)
        state.active_rcu_lock = False
    elif kfunc.flags & _F.SLEEPABLE:
        text = f"kernel func {name} is sleepable within rcu_read_lock region"
        raise Rejected(EACCES, text, id="not-sleepable")


def _preempt_section(state: State, kfunc: Kfunc) -> None:
    name = kfunc.name
    if name == "bpf_preempt_disable":
        state.active_preempt_locks += 1
    elif name == "bpf_preempt_enable":
        if not state.active_preempt_locks:
            text = f"unmatched attempt to enable preemption (kernel function {name})"
            raise Rejected(EINVAL, text, id="preempt-section")
        state.active_preempt_locks -= 1
    elif state.active_preempt_locks and kfunc.flags & _F.SLEEPABLE:
        text = f"kernel func {name} is sleepable within non-preemptible region"
        raise Rejected(EACCES, text, id="not-sleepable")


def _release(env: Environment, state: State, meta: Meta, number: int, regno: int) -> None:
    if not refs.release(env, state, number):
        types = env.kernel_types
        btf_id = types.find(meta.kfunc.name, Kind.FUNC) if types is not None else 0
        text = f"kfunc {meta.kfunc.name}#{btf_id} reference has not been acquired before"
        raise Rejected(EINVAL, text, register=regno, id="ref-missing")


# -- results ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """A call whose arguments are fine."""

    env: Environment
    state: State
    meta: Meta
    index: int

    @property
    def types(self) -> Btf:
        types = self.env.kernel_types
        assert types is not None
        return types


def _result(call: _Call) -> Reg | None:
    """What r0 holds after the call; None where it holds nothing."""
    kfunc, types = call.meta.kfunc, call.types
    record = types[types.resolve(call.meta.proto.returns)]
    if kfunc.name in _TAKES_LOCK:
        return SCALAR_ZERO
    if is_scalar(record):
        return SCALAR_UNKNOWN
    if not is_pointer(record):
        if isinstance(record, Void):
            return None
        raise not_modelled(f"the result of {kfunc.name}")
    pointee = types.resolve(record.type_id)  # type: ignore[union-attr]
    special = _SPECIAL.get(kfunc.name)
    if special is not None:
        reg = special(call)
    elif isinstance(types[pointee], Void):
        reg = SCALAR_UNKNOWN
    elif isinstance(types[pointee], Composite):
        reg = _object(call, pointee)
    else:
        reg = _memory(call, pointee)
    return _numbered(call, reg)


def _numbered(call: _Call, reg: Reg) -> Reg:
    """The pointer with its ids: of NULL checks, of the reference, and of the lock in what it points to."""
    env, flags = call.env, call.meta.kfunc.flags
    may_be_null = flags & _F.RET_NULL and not (call.meta.kfunc.name == "bpf_refcount_acquire_impl" and call.meta.owns)
    if may_be_null:
        reg = reg._replace(flags=reg.flags | Flag.MAYBE_NULL, id=env.new_id())
    if flags & _F.ACQUIRE:
        number = refs.acquire(env, call.state, call.index)
        reg = reg._replace(ref_obj_id=number)
        if may_be_null:
            reg = reg._replace(id=number)
    elif call.meta.root is not None:
        reg = graph.borrowed(call.state, reg)
    if not reg.id and may_hold_lock(env, reg):
        reg = reg._replace(id=env.new_id())
    return reg


def _memory(call: _Call, pointee: int) -> Reg:
    """A pointer to a number: memory that may be read."""
    try:
        size = call.types.size_of(pointee)
    except BtfError:
        raise not_modelled(f"the result of {call.meta.kfunc.name}") from None
    flags = Flag.RDONLY | (Flag.RCU if call.meta.kfunc.flags & _F.RCU_PROTECTED else 0)
    return Reg(RegType.MEM, flags, ref_obj_id=call.meta.ref_obj_id, target=MemTarget(size))


def _object(call: _Call, pointee: int) -> Reg:
    """A pointer to a kernel struct."""
    kfunc, flags = call.meta.kfunc, 0
    if kfunc.name == "bpf_get_kmem_cache":
        flags = Flag.UNTRUSTED
    elif kfunc.flags & _F.RCU_PROTECTED:
        flags = Flag.RCU
    if kfunc.flags & _F.ITER_NEXT and call.meta.iterator is not None:
        frameno, spi = call.meta.iterator
        iterator = call.state.frames[frameno].stack[spi].reg
        flags |= Flag.RCU if iterator.flags & Flag.RCU else Flag.TRUSTED
    return Reg(RegType.BTF_ID, flags, target=BtfTarget(call.types, pointee))


def _new_object(call: _Call) -> Reg:
    """An object of a struct of the program, for everyone or for each CPU."""
    env, number = call.env, call.meta.constant or 0
    types = env.spec.btf
    percpu = call.meta.kfunc.name == "bpf_percpu_obj_new_impl"
    if number >> 32:
        raise Rejected(EINVAL, "local type ID argument must be in range [0, U32_MAX]", register=1, id="local-type")
    if types is None:
        raise Rejected(EINVAL, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF", id="local-type")
    record = types[number] if number < len(types) else None
    if not isinstance(record, Composite) or record.kind is not Kind.STRUCT:
        text = "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct"
        raise Rejected(EINVAL, text, register=1, id="local-type")
    if percpu:
        _check_percpu(env, types, number, record)
    flags = Flag.ALLOC | (Flag.PERCPU if percpu else 0)
    return Reg(RegType.BTF_ID, flags, target=BtfTarget(types, number))


def _check_percpu(env: Environment, types: Btf, number: int, record: Composite) -> None:
    text = ""
    if record.size > _PERCPU_LIMIT:
        text = f"bpf_percpu_obj_new type size ({record.size}) is greater than {_PERCPU_LIMIT}"
    elif not kfunc_args.is_plain(env, types, number):
        text = "bpf_percpu_obj_new type ID argument must be of a struct of scalars"
    elif local.fields(types, number):
        text = "bpf_percpu_obj_new type ID argument must not contain special fields"
    if text:
        raise Rejected(EINVAL, text, register=1, id="local-type")


def _same_object(call: _Call) -> Reg:
    found = call.meta.object
    assert found is not None
    return Reg(RegType.BTF_ID, Flag.ALLOC, target=found)


def _element(call: _Call) -> Reg:
    held = call.meta.root
    assert held is not None
    return held.element()


def _kernel_context(call: _Call) -> Reg:
    name = _KERNEL_CONTEXTS.get(call.env.program.type)
    number = call.types.find(name, Kind.STRUCT) if name else None
    if number is None:
        raise not_modelled(f"the kernel's context of {call.env.program.type.name.lower()} programs")
    return Reg(RegType.BTF_ID, Flag.TRUSTED, target=BtfTarget(call.types, number))


def _cast(call: _Call) -> Reg:
    """Any address as a pointer to a kernel struct, or to nothing in particular; loads through it are caught where they fault."""
    number, types = call.meta.constant or 0, call.types
    if number >= len(types):
        text = f"Unknown type ID {bounds.signed32(number & 0xFFFFFFFF)} passed to kfunc bpf_rdonly_cast"
        raise Rejected(EINVAL, text, register=2, id="cast-type")
    record = types[number]
    if isinstance(record, Composite):
        return Reg(RegType.BTF_ID, Flag.UNTRUSTED, target=BtfTarget(types, number))
    if isinstance(record, Void):
        return Reg(RegType.MEM, Flag.RDONLY | Flag.UNTRUSTED, target=MemTarget(0))
    text = "kfunc bpf_rdonly_cast type ID argument must be of a struct or void"
    raise Rejected(EINVAL, text, register=2, id="cast-type")


def _slice(call: _Call) -> Reg:
    """A part of a dynptr's memory, or a copy of it."""
    found, size = call.meta.dynptr, call.meta.constant
    assert found is not None
    assert size is not None
    flags = dynptr.FLAGS[found.kind]
    if call.meta.kfunc.name == "bpf_dynptr_slice":
        flags |= Flag.RDONLY
    elif not mem_region.may_touch_packet(call.env):
        text = "the prog does not allow writes to packet data"
        raise Rejected(EINVAL, text, id="packet-write")
    return Reg(RegType.MEM, flags, target=MemTarget(size & bounds.U32_MAX, found.id))


_SPECIAL: Final[Mapping[str, Callable[[_Call], Reg]]] = {
    "bpf_obj_new_impl": _new_object,
    "bpf_percpu_obj_new_impl": _new_object,
    "bpf_refcount_acquire_impl": _same_object,
    "bpf_cast_to_kern_ctx": _kernel_context,
    "bpf_rdonly_cast": _cast,
    "bpf_dynptr_slice": _slice,
    "bpf_dynptr_slice_rdwr": _slice,
    **dict.fromkeys(
        (
            "bpf_list_pop_front",
            "bpf_list_pop_back",
            "bpf_list_front",
            "bpf_list_back",
            "bpf_rbtree_first",
            "bpf_rbtree_remove",
            "bpf_rbtree_root",
            "bpf_rbtree_left",
            "bpf_rbtree_right",
        ),
        _element,
    ),
}
"""Results that the prototype does not say."""
