"""Calls of helpers: who may call what and where, the arguments, and what r0 holds afterwards.

The rows of abi/helpers say what is common; what single helpers do beyond it, to dynptrs, locks, callbacks and packets, is a table of
functions here. Mirrors check_helper_call of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EACCES, EFAULT, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.helpers import BY_NAME, HELPERS, RESULT_STRUCTS, Helper, Ret
from bpfcrypto.abi.maps import MAX_CPUS, MapFlag, MapType
from bpfcrypto.btf.record import FieldKind
from bpfcrypto.btf.types import Composite, Kind
from bpfcrypto.verifier import bounds, call_args, call_maps, callbacks, dynptr, mem_region, mem_stack, refs
from bpfcrypto.verifier.branch import may_hold_lock
from bpfcrypto.verifier.call_args import Meta
from bpfcrypto.verifier.cfg import PACKET_CHANGING_HELPERS
from bpfcrypto.verifier.format_text import is_valid
from bpfcrypto.verifier.state import (
    NOT_INIT,
    SCALAR_UNKNOWN,
    BtfTarget,
    DynptrKind,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
    scalar,
)
from bpfcrypto.verifier.typename import reg_name

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, State

_MAX_HELPER: Final = 211
_MAX_ERRNO: Final = 4095
_SPIN_UNLOCK: Final = BY_NAME["bpf_spin_unlock"].id
_TAIL_CALL: Final = BY_NAME["bpf_tail_call"].id

_BOUNDED: Final = frozenset(
    f"bpf_{name}"
    for name in ("get_stack", "get_task_stack", "probe_read_str", "probe_read_kernel_str", "probe_read_user_str")
)
"""Helpers that return a length of at most the size of their buffer, or an error."""

_ACQUIRES: Final = frozenset({"bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp"})
_CASTS: Final = frozenset(
    {"bpf_sk_fullsock", "bpf_tcp_sock"}
    | {name for name in RESULT_STRUCTS if name.startswith("bpf_skc_to_") and name != "bpf_skc_to_unix_sock"}
)
"""Helpers whose result is the socket that they were given, so that it goes when that is released."""

_CONST_LOOKUPS: Final = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})


def clobber(frame: Frame) -> None:
    """After a call r0..r5 hold nothing."""
    frame.regs[:6] = [NOT_INIT] * 6


def helper(env: Environment, state: State, insn: Insn, index: int) -> None:
    """Execute a call of a helper.

    Raises:
        Rejected: the helper may not be called here, or an argument does not fit.
    """
    called = _permitted(env, state, insn)
    meta = Meta()
    for number in range(len(called.args)):
        call_args.check(env, state, called, number, meta, index)
    call_maps.check_writable(called, meta.spec)
    if called.id == _TAIL_CALL:
        _note_tail_call(env, state, meta)
    if meta.buffer.size:
        _fill(env, state, meta)
    if meta.release:
        _release(env, state, called, meta)
    special = _SPECIAL.get(called.name)
    call = _Call(env, state, called, meta, index)
    changes_packet = called.id in PACKET_CHANGING_HELPERS
    if special is not None and special(call):
        changes_packet = True
    clobber(state.frames[-1])
    state.regs[0] = _result(call)
    call_maps.check_type(called, meta.spec)
    if changes_packet:
        refs.forget_packet_pointers(env, state)


def _permitted(env: Environment, state: State, insn: Insn) -> Helper:
    """The helper, where it may be called at all."""
    number = insn.imm
    if state.active_locks and number != _SPIN_UNLOCK:
        raise Rejected(EINVAL, "function calls are not allowed while holding a lock", id="call-while-locked")
    if not 0 <= number <= _MAX_HELPER:
        raise Rejected(EINVAL, f"invalid func unknown#{number}", id="helper-unknown")
    found = HELPERS.get(number)
    if found is None or env.program.type not in found.types:
        name = found.name if found is not None else "unknown" if number else "bpf_unspec"
        text = f"program of this type cannot use helper {name}#{number}"
        raise Rejected(EINVAL, text, id="helper-not-allowed")
    if found.gpl_only and not env.gpl:
        text = "cannot call GPL-restricted function from non-GPL compatible program"
        raise Rejected(EINVAL, text, id="not-gpl")
    if found.sleepable:
        _check_may_sleep(env, state, found)
    return found


def _check_may_sleep(env: Environment, state: State, called: Helper) -> None:
    if not env.in_sleepable(state):
        raise Rejected(EINVAL, "helper call might sleep in a non-sleepable prog", id="not-sleepable")
    for is_open, where in (
        (state.active_rcu_lock, "rcu_read_lock region"),
        (state.active_preempt_locks, "non-preemptible region"),
        (state.active_irq_id, "IRQ-disabled region"),
    ):
        if is_open:
            text = f"sleepable helper {called.name}#{called.id} in {where}"
            raise Rejected(EINVAL, text, id="not-sleepable")


def _note_tail_call(env: Environment, state: State, meta: Meta) -> None:
    """A constant index into a program array is compiled into the jump, so that it matters to the path."""
    if meta.spec is None or meta.spec.type is not MapType.PROG_ARRAY:
        raise Rejected(EINVAL, "expected prog array map for tail call", id="map-type")
    reg = state.regs[3]
    if reg.is_const and reg.num.umin < meta.spec.max_entries:
        env.mark_precise(state, 3)


def _fill(env: Environment, state: State, meta: Meta) -> None:
    reg = state.regs[meta.buffer.regno]
    off = reg.off + reg.num.smin
    mem_stack.check_bounds(env, state, meta.buffer.regno, reg, reg.off, meta.buffer.size, True)
    mem_stack.fill(env, state, state.frames[reg.frameno], off, meta.buffer.size)


def _release(env: Environment, state: State, called: Helper, meta: Meta) -> None:
    reg = state.regs[meta.release]
    if called.name in ("bpf_ringbuf_submit_dynptr", "bpf_ringbuf_discard_dynptr"):
        known = dynptr.release(env, state, meta.release)
    elif called.name == "bpf_kptr_xchg" and meta.ref_obj_id:
        known = _give_to_slot(env, state, meta.ref_obj_id)
    elif meta.ref_obj_id:
        known = refs.release(env, state, meta.ref_obj_id)
    else:
        known = reg.is_null
    if not known:
        text = f"func {called.name}#{called.id} reference has not been acquired before"
        raise Rejected(EINVAL, text, register=meta.release, id="ref-missing")


def _give_to_slot(env: Environment, state: State, number: int) -> bool:
    """A reference goes into a kptr: the program's pointers are gone, but to a per-CPU object, which RCU keeps alive."""
    if not refs.drop(state, number):
        return False
    gone, in_rcu = refs.forgotten(env), env.in_rcu(state)
    percpu = Flag.ALLOC | Flag.PERCPU

    def after(reg: Reg) -> Reg:
        if in_rcu and reg.flags & percpu == percpu:
            return reg._replace(ref_obj_id=0, flags=reg.flags & ~Flag.ALLOC | Flag.RCU)
        return gone

    refs.change_registers(state, lambda reg: reg.ref_obj_id == number, after)
    return True


@dataclass(frozen=True, slots=True)
class _Call:
    """A call whose arguments are fine."""

    env: Environment
    state: State
    helper: Helper
    meta: Meta
    index: int


# -- what single helpers do; a function gives True where packet pointers are stale after it --------------------------------------


def _tail_call(call: _Call) -> bool:
    refs.check_leaks(call.env, call.state, "tail_call")
    return False


def _for_each(call: _Call) -> bool:
    callbacks.call_back(call.env, call.state, call.meta.subprog, call.index, callbacks.for_each_element)
    return False


def _timer_callback(call: _Call) -> bool:
    callbacks.call_back_later(call.env, call.state, call.meta.subprog, call.index, callbacks.timer)
    return False


def _find_vma(call: _Call) -> bool:
    callbacks.call_back(call.env, call.state, call.meta.subprog, call.index, callbacks.find_vma)
    return False


def _drain(call: _Call) -> bool:
    callbacks.call_back(call.env, call.state, call.meta.subprog, call.index, callbacks.user_ringbuf)
    return False


def _loop(call: _Call) -> bool:
    env, state = call.env, call.state
    # A loop whose flags are 0 and whose callback is always the same is compiled in line, as long as that holds on every path.
    fits, number = env.inlined_loops.get(call.index, (True, call.meta.subprog))
    if fits:
        zero = state.regs[4].is_null
        if zero:
            env.mark_precise(state, 4)
        env.inlined_loops[call.index] = zero and number == call.meta.subprog, number
    env.mark_precise(state, 1)
    frame = state.frames[-1]
    if frame.callback_depth < frame.regs[1].num.umax:
        callbacks.call_back(env, state, call.meta.subprog, call.index, callbacks.loop)
    else:
        frame.callback_depth = 0
    return False


def _snprintf(call: _Call) -> bool:
    regs = call.state.regs
    size = regs[5].num.var_off.value
    if size % 8:
        raise Rejected(EINVAL, "", register=5, id="format")
    if not is_valid(call_args.constant_text(call.env, regs[3], 3), size // 8):
        raise Rejected(EINVAL, "Invalid format string", register=3, id="format")
    return False


def _dynptr_from_mem(call: _Call) -> bool:
    reg = call.state.regs[1]
    if reg.type is not RegType.MAP_VALUE or reg.flags:
        text = f"Unsupported reg type {reg_name(reg)} for bpf_dynptr_from_mem data"
        raise Rejected(EACCES, text, register=1, id="dynptr-memory")
    return False


def _dynptr_write(call: _Call) -> bool:
    found = call.meta.dynptr
    assert found is not None
    return found.kind in (DynptrKind.SKB, DynptrKind.SKB_META)


_SPECIAL: Final[Mapping[str, Callable[[_Call], bool]]] = {
    "bpf_tail_call": _tail_call,
    "bpf_for_each_map_elem": _for_each,
    "bpf_timer_set_callback": _timer_callback,
    "bpf_find_vma": _find_vma,
    "bpf_user_ringbuf_drain": _drain,
    "bpf_loop": _loop,
    "bpf_snprintf": _snprintf,
    "bpf_dynptr_from_mem": _dynptr_from_mem,
    "bpf_dynptr_write": _dynptr_write,
}


# -- results ---------------------------------------------------------------------------------------------------------------------


def _result(call: _Call) -> Reg:
    """What r0 holds after the call."""
    return _RESULTS[call.helper.ret](call)


def _integer(call: _Call) -> Reg:
    name = call.helper.name
    if name in _BOUNDED:
        return _clamped(-_MAX_ERRNO, call.meta.max_size)
    if name == "bpf_get_smp_processor_id":
        return scalar(bounds.from_unsigned(0, (call.env.options.cpus or MAX_CPUS) - 1))
    return SCALAR_UNKNOWN


def _clamped(low: int, high: int) -> Reg:
    known = bounds.UNKNOWN._replace(smin=low, smax=high, s32_min=low, s32_max=bounds.signed32(high & bounds.U32_MAX))
    return scalar(bounds.sync(known))


def _nothing(_: _Call) -> Reg:
    return NOT_INIT


def _map_value(call: _Call) -> Reg:
    """An element of a map. A constant key of an array always has one."""
    meta = call.meta
    target = meta.map
    assert target is not None
    spec = target.spec
    certain = (
        call.helper.name == "bpf_map_lookup_elem"
        and spec.type in _CONST_LOOKUPS
        and not spec.flags & MapFlag.INNER_MAP  # one found by a lookup may be shorter
        and 0 <= meta.key < spec.max_entries
    )
    if not certain:
        number = call.env.new_id()
        held = 0
        if call.helper.name == "bpf_map_lookup_elem" and spec.type in (MapType.SOCKMAP, MapType.SOCKHASH):
            number = held = refs.acquire(call.env, call.state, call.index)
        return Reg(RegType.MAP_VALUE, Flag.MAYBE_NULL, id=number, ref_obj_id=held, target=target)
    found = Reg(RegType.MAP_VALUE, target=target)
    return found._replace(id=call.env.new_id()) if may_hold_lock(call.env, found) else found


def _ringbuf_memory(call: _Call) -> Reg:
    env = call.env
    env.new_id()  # one for the pointer that may be NULL, which the reference's id then replaces
    number = refs.acquire(env, call.state, call.index)
    flags = Flag.MAYBE_NULL | Flag.RINGBUF
    return Reg(RegType.MEM, flags, id=number, ref_obj_id=number, target=MemTarget(call.meta.mem_size & bounds.U32_MAX))


def _dynptr_memory(call: _Call) -> Reg:
    found = call.meta.dynptr
    assert found is not None
    target = MemTarget(call.meta.mem_size & bounds.U32_MAX, found.id)
    return Reg(RegType.MEM, Flag.MAYBE_NULL, id=call.env.new_id(), ref_obj_id=found.ref_obj_id, target=target)


def _kptr(call: _Call) -> Reg:
    """What was in the slot: a reference, or NULL."""
    env, slot = call.env, call.meta.field
    assert slot is not None
    target = mem_region.kptr_target(env, slot)
    flags = Flag.MAYBE_NULL
    if not mem_region.is_kernel(env, target.btf):
        flags |= Flag.ALLOC
        if slot.kind is FieldKind.KPTR_PERCPU:
            flags |= Flag.PERCPU
    env.new_id()
    number = refs.acquire(env, call.state, call.index)
    return Reg(RegType.BTF_ID, flags, id=number, ref_obj_id=number, target=target)


def _kernel_struct(call: _Call, struct: str) -> BtfTarget:
    types = call.env.kernel_types
    found = types.find(struct, Kind.STRUCT) if types is not None else None
    if types is None or found is None:
        raise not_modelled(f"struct {struct} as the result of {call.helper.name}")
    return BtfTarget(types, found)


def _current_task(call: _Call) -> Reg:
    return Reg(RegType.BTF_ID, Flag.TRUSTED, target=_kernel_struct(call, "task_struct"))


def _kernel_object(call: _Call) -> Reg:
    target = _kernel_struct(call, RESULT_STRUCTS[call.helper.name])
    number = call.env.new_id()
    return Reg(RegType.BTF_ID, Flag.MAYBE_NULL, id=number, ref_obj_id=_cast(call), target=target)


def _socket(kind: RegType) -> Callable[[_Call], Reg]:
    def make(call: _Call) -> Reg:
        number, ref = call.env.new_id(), _cast(call)
        if call.helper.name in _ACQUIRES:
            number = ref = refs.acquire(call.env, call.state, call.index)
        return Reg(kind, Flag.MAYBE_NULL, id=number, ref_obj_id=ref)

    return make


def _cast(call: _Call) -> int:
    """The reference that a socket keeps when it is looked at as one of another kind."""
    return call.meta.ref_obj_id if call.helper.name in _CASTS else 0


def _percpu(call: _Call) -> Reg:
    """A CPU's copy of an object. The kernel does not say here that there may be none, for a CPU that does not exist."""
    pointer = call.meta.percpu
    assert pointer is not None
    btf, type_id = pointer.btf
    if not pointer.flags & Flag.RCU:
        raise not_modelled("per-CPU variables of the kernel")
    if not isinstance(btf[btf.resolve(type_id)], Composite):
        raise Rejected(EFAULT, "Helper has invalid btf/btf_id in R1", register=1, id="arg-type")
    return Reg(RegType.BTF_ID, Flag.ALLOC | Flag.RCU, target=BtfTarget(btf, type_id))


_RESULTS: Final[Mapping[Ret, Callable[[_Call], Reg]]] = {
    Ret.INTEGER: _integer,
    Ret.VOID: _nothing,
    Ret.MAP_VALUE_OR_NULL: _map_value,
    Ret.RINGBUF_MEM_OR_NULL: _ringbuf_memory,
    Ret.DYNPTR_MEM_OR_NULL: _dynptr_memory,
    Ret.KPTR_OR_NULL: _kptr,
    Ret.SOCKET_OR_NULL: _socket(RegType.SOCKET),
    Ret.SOCK_COMMON_OR_NULL: _socket(RegType.SOCK_COMMON),
    Ret.TCP_SOCK_OR_NULL: _socket(RegType.TCP_SOCK),
    Ret.BTF_ID_OR_NULL: _kernel_object,
    Ret.BTF_ID_TRUSTED: _current_task,
    Ret.MEM_OR_BTF_ID: _percpu,
    Ret.MEM_OR_BTF_ID_OR_NULL: _percpu,
}
"""What each kind of result is."""
