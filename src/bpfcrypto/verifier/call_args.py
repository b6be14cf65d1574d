"""The arguments of helpers: what each register has to be, and what the call may learn from it.

A row of abi/helpers names a kind for each argument; call_rules says which registers that kind takes, and a function per kind does
what goes beyond: sizes, references, locks, slots. The order is the kernel's, since the first rule that is broken is the verdict.
Mirrors check_func_arg, check_reg_type and check_func_arg_reg_off of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from errno import EACCES, EFAULT, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.helpers import ARG_STRUCTS, Arg, Helper
from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.record import FieldKind
from bpfcrypto.btf.types import Kind
from bpfcrypto.verifier import dynptr, graph, locks, mem_region
from bpfcrypto.verifier.alu import is_pointer_value
from bpfcrypto.verifier.call_rules import MEM_KINDS, OBJECT_KINDS, RULES, SOCK_OBJECT_KINDS, Rule
from bpfcrypto.verifier.mem import check_access, check_alignment
from bpfcrypto.verifier.mem_btf import check_offset, struct_ids_match
from bpfcrypto.verifier.mem_helper import Buffer, check_memory, check_sized
from bpfcrypto.verifier.state import (
    BtfTarget,
    DynptrKind,
    Flag,
    FuncTarget,
    Reg,
    RegType,
    Rejected,
    SlotKind,
    not_modelled,
)
from bpfcrypto.verifier.typename import reg_name, struct_name, type_name

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.spec import MapSpec
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import MapTarget, State

_T = RegType

_DYNPTRS: Final = frozenset({Arg.DYNPTR, Arg.DYNPTR_UNINIT, Arg.DYNPTR_RINGBUF, Arg.DYNPTR_RINGBUF_UNINIT})
_PACKET: Final = frozenset({_T.PACKET, _T.PACKET_META})

_IN_SYSCALLS: Final[Mapping[str, Arg]] = {
    "bpf_get_socket_cookie": Arg.SOCK_OBJECT_OR_NULL,
    "bpf_xdp_get_buff_len": Arg.BTF_ID,
}
"""Helpers that take a socket or a packet of the kernel, not the context, in programs that run as system calls."""

_SOCKET_MAPS: Final = frozenset({MapType.SOCKMAP, MapType.SOCKHASH})
_VALUES: Final = frozenset({Arg.MAP_VALUE, Arg.MAP_VALUE_UNINIT, Arg.MAP_VALUE_OR_NULL})

PACKET_ACCESS: Final = frozenset(
    f"bpf_{name}"
    for name in (
        "map_lookup_elem",
        "map_update_elem",
        "map_delete_elem",
        "map_push_elem",
        "map_lookup_percpu_elem",
        "csum_diff",
        "sk_lookup_tcp",
        "sk_lookup_udp",
        "skc_lookup_tcp",
        "tcp_check_syncookie",
        "tcp_gen_syncookie",
        "tcp_raw_gen_syncookie_ipv4",
        "tcp_raw_gen_syncookie_ipv6",
        "tcp_raw_check_syncookie_ipv4",
        "tcp_raw_check_syncookie_ipv6",
    )
)
"""Helpers that take pointers to packet data (pkt_access of their prototypes)."""

# Pointers that calls take with any offset, and those that may have a fixed one; all others have to be as they were given.
_ANY_OFFSET: Final = frozenset(
    {
        (_T.STACK, 0),
        (_T.PACKET, 0),
        (_T.PACKET_META, 0),
        (_T.MAP_KEY, 0),
        (_T.MAP_VALUE, 0),
        (_T.MEM, 0),
        (_T.MEM, Flag.RDONLY),
        (_T.MEM, Flag.RINGBUF),
        (_T.BUF, 0),
        (_T.BUF, Flag.RDONLY),
        (_T.ARENA, 0),
        (_T.SCALAR, 0),
    }
)
_FIXED_OFFSET: Final = frozenset(
    {
        (_T.BTF_ID, 0),
        (_T.BTF_ID, Flag.ALLOC),
        (_T.BTF_ID, Flag.TRUSTED),
        (_T.BTF_ID, Flag.RCU),
        (_T.BTF_ID, Flag.ALLOC | Flag.NON_OWN_REF),
        (_T.BTF_ID, Flag.ALLOC | Flag.NON_OWN_REF | Flag.RCU),
    }
)
_CONST_KEYS: Final = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
"""Maps of which every element exists, so that a lookup of a constant key needs no check."""


@dataclass(slots=True)
class Meta:
    """What the arguments of a call tell about it (bpf_call_arg_meta).

    Attributes:
        map: the map that it is about.
        key: its constant key, -1 where that is not known.
        mem_size: a constant size among the arguments.
        max_size: the greatest size of the last buffer, for results that do not exceed it.
        buffer: stack that the call fills.
        ref_obj_id: the reference of the one argument that has any.
        release: the register whose reference the call takes away, 0 for none.
        subprog: the callback.
        field: the kptr that is exchanged.
        dynptr: the dynptr among the arguments.
        percpu: a per-CPU object among the arguments.
    """

    map: MapTarget | None = None
    key: int = -1
    mem_size: int = 0
    max_size: int = 0
    buffer: Buffer = field(default_factory=Buffer)
    ref_obj_id: int = 0
    release: int = 0
    subprog: int = -1
    field: SpecialField | None = None
    dynptr: dynptr.Dynptr | None = None
    percpu: Reg | None = None

    @property
    def spec(self) -> MapSpec | None:
        """The definition of the map."""
        return self.map.spec if self.map is not None else None


def check(env: Environment, state: State, helper: Helper, number: int, meta: Meta, index: int) -> None:
    """Check argument ``number`` (from 0) of a call and take note of what it tells.

    Raises:
        Rejected: the register does not fit.
    """
    regno = number + 1
    arg = helper.args[number]
    if helper.name in _IN_SYSCALLS and env.program.type is ProgType.SYSCALL:
        arg = _IN_SYSCALLS[helper.name]
    reg = state.frames[-1].read(regno)
    if arg is Arg.ANYTHING:
        if is_pointer_value(env, reg):
            raise Rejected(EACCES, f"R{regno} leaks addr into helper function", register=regno, id="pointer-leak")
        return
    if reg.type in _PACKET and not (mem_region.may_touch_packet(env) and helper.name in PACKET_ACCESS):
        raise Rejected(EACCES, "helper access to the packet is not allowed", register=regno, id="packet-helper")
    if arg in _VALUES and meta.spec is not None and meta.spec.type in _SOCKET_MAPS:
        if arg is not Arg.MAP_VALUE:
            raise Rejected(EINVAL, "invalid arg_type for sockmap/sockhash", register=regno, id="map-type")
        arg = Arg.SOCK_OBJECT
    rule = RULES[arg]
    if not (reg.is_null and rule.null):
        _check_type(env, reg, regno, arg, rule, helper, meta)
        check_pointer_offset(reg, regno, releases=rule.release, is_dynptr=arg in _DYNPTRS)
    if rule.release:
        _check_release(env, state, reg, regno, arg)
        meta.release = regno
    if reg.ref_obj_id and arg is not Arg.KPTR_SLOT:
        if meta.ref_obj_id:
            text = f"more than one arg with ref_obj_id R{regno} {reg.ref_obj_id} {meta.ref_obj_id}"
            raise Rejected(EACCES, text, register=regno, id="ref-args")
        meta.ref_obj_id = reg.ref_obj_id
    checker = _CHECKERS.get(arg)
    if checker is not None:
        checker(_Call(env, state, helper, number, rule, meta, index))


def _check_type(env: Environment, reg: Reg, regno: int, arg: Arg, rule: Rule, helper: Helper, meta: Meta) -> None:
    """That the register is of a type that the argument takes (check_reg_type)."""
    flags = reg.flags
    if rule.read_only:
        flags &= ~Flag.RDONLY
    if rule.null:
        flags &= ~Flag.MAYBE_NULL
    if rule.memory:
        flags &= ~Flag.DYNPTR
    if arg is Arg.KPTR_OR_NULL and reg.flags & Flag.ALLOC:
        flags &= ~(Flag.ALLOC | Flag.PERCPU)
    if (reg.type, flags) not in rule.kinds:
        expected = ", ".join(type_name(*kind) for kind in rule.kinds)
        text = f"R{regno} type={reg_name(reg)} expected={expected}"
        raise Rejected(EACCES, text, register=regno, id="arg-type")
    if reg.type is not RegType.BTF_ID:
        return
    if rule.kinds is MEM_KINDS:
        if not rule.read_only:
            text = f"{helper.name}() may write into memory pointed by R{regno} type={reg_name(reg)}"
            raise Rejected(EACCES, text, register=regno, id="arg-type")
        return
    if reg.flags & Flag.MAYBE_NULL and reg.flags & Flag.ALLOC:
        text = "verifier bug: invalid PTR_TO_BTF_ID register for type match"
        raise Rejected(EFAULT, text, register=regno, id="null-unchecked")
    if reg.flags & Flag.MAYBE_NULL and (not rule.null or rule.release):
        text = f"Possibly NULL pointer passed to helper arg{regno}"
        raise Rejected(EACCES, text, register=regno, id="null-unchecked")
    if arg is Arg.KPTR_OR_NULL:
        assert meta.field is not None
        mem_region.check_kptr_type(env, meta.field, reg, regno)
    elif rule.kinds in (OBJECT_KINDS, SOCK_OBJECT_KINDS):
        _check_struct(env, reg, regno, "sock_common" if rule.kinds is SOCK_OBJECT_KINDS else ARG_STRUCTS[helper.name])


def _check_struct(env: Environment, reg: Reg, regno: int, struct: str) -> None:
    """That a typed pointer leads to a kernel struct of that name, or to one that begins with it."""
    types = env.kernel_types
    found = types.find(struct, Kind.STRUCT) if types is not None else None
    if types is None or found is None:
        raise not_modelled(f"struct {struct} as an argument")
    if not struct_ids_match(env, reg.btf, reg.off, BtfTarget(types, found), strict=False):
        text = f"R{regno} is of type {struct_name(reg.btf.btf, reg.btf.id)} but {struct} is expected"
        raise Rejected(EACCES, text, register=regno, id="arg-type")


def check_pointer_offset(reg: Reg, regno: int, *, releases: bool, is_dynptr: bool = False) -> None:
    """That the pointer's offset is one that calls take (check_func_arg_reg_off)."""
    if releases:
        if is_dynptr and reg.type is RegType.STACK:
            return
        if reg.off:
            text = f"R{regno} must have zero offset when passed to release func or trusted arg to kfunc"
            raise Rejected(EINVAL, text, register=regno, id="pointer-offset")
        check_offset(reg, regno)
        return
    kind = reg.type, reg.flags
    if kind not in _ANY_OFFSET:
        check_offset(reg, regno, fixed_ok=kind in _FIXED_OFFSET)


def _check_release(env: Environment, state: State, reg: Reg, regno: int, arg: Arg) -> None:
    """That there is something to release."""
    if arg is not Arg.DYNPTR_RINGBUF:
        if not reg.ref_obj_id and not reg.is_null:
            text = f"R{regno} must be referenced when passed to release function"
            raise Rejected(EINVAL, text, register=regno, id="ref-missing")
        return
    if reg.type is not RegType.STACK:
        raise Rejected(EINVAL, "cannot release unowned const bpf_dynptr", register=regno, id="dynptr-const")
    spi = dynptr.object_slot(env, state, reg, "dynptr", dynptr.SLOTS)
    if spi < 0 or not state.frames[reg.frameno].stack[spi].reg.ref_obj_id:
        raise Rejected(EINVAL, f"arg {regno} is an unacquired reference", register=regno, id="ref-missing")


@dataclass(frozen=True, slots=True)
class _Call:
    """An argument that is being checked."""

    env: Environment
    state: State
    helper: Helper
    number: int
    rule: Rule
    meta: Meta
    index: int

    @property
    def regno(self) -> int:
        return self.number + 1

    @property
    def reg(self) -> Reg:
        return self.state.regs[self.number + 1]

    def memory(self, size: int, *, zero_ok: bool = False) -> None:
        fills = self.meta.buffer if self.rule.fills else None
        check_memory(
            self.env,
            self.state,
            self.regno,
            size,
            write=self.rule.write,
            zero_ok=zero_ok,
            index=self.index,
            fills=fills,
        )

    def write(self, off: int) -> None:
        """Eight bytes at an offset from the register become something that the call makes there."""
        check_access(self.env, self.state, self.regno, off, 8, True, index=self.index)


def _map(call: _Call) -> None:
    target, meta = call.reg.map, call.meta
    if meta.map is not None and (meta.map.spec is not target.spec or meta.map.uid != target.uid):
        text = f"timer pointer in R1 map_uid={meta.map.uid} doesn't match map pointer in R2 map_uid={target.uid}"
        raise Rejected(EINVAL, text, register=call.regno, id="map-uid")
    meta.map = target


def _map_key(call: _Call) -> None:
    spec = call.meta.spec
    assert spec is not None
    call.memory(spec.key_size)
    if spec.type in _CONST_KEYS:
        key = constant_key(call.env, call.state, call.reg, spec.key_size)
        call.meta.key = -1 if key is None else key


def _map_value(call: _Call) -> None:
    spec = call.meta.spec
    assert spec is not None
    if call.reg.is_null and call.rule.null:
        return
    if call.helper.name == "bpf_map_peek_elem" and spec.type is MapType.BLOOM_FILTER:
        # A Bloom filter is asked whether it has the value: nothing is written.
        check_memory(call.env, call.state, call.regno, spec.value_size, write=False, zero_ok=False, index=call.index)
        return
    call.memory(spec.value_size)


def _fixed_memory(call: _Call) -> None:
    call.memory(call.rule.size)
    if call.rule.aligned:
        check_alignment(call.reg, 0, call.rule.size)


def _size(call: _Call) -> None:
    rule = RULES[call.helper.args[call.number - 1]]
    call.meta.max_size = call.reg.num.umax
    fills = call.meta.buffer if rule.fills else None
    check_sized(
        call.env,
        call.state,
        call.regno,
        write=rule.write,
        zero_ok=call.rule.zero_ok,
        index=call.index,
        fills=fills,
    )


def _constant(call: _Call) -> None:
    if call.reg.num.var_off.mask:
        text = f"R{call.regno} is not a known constant'"
        raise Rejected(EACCES, text, register=call.regno, id="not-constant")
    call.meta.mem_size = call.reg.num.umin
    call.env.mark_precise(call.state, call.regno)


def _text(call: _Call) -> None:
    constant_text(call.env, call.reg, call.regno)


def _callback(call: _Call) -> None:
    target = call.reg.target
    assert isinstance(target, FuncTarget)
    call.meta.subprog = target.subprog


def _spin_lock(call: _Call) -> None:
    if graph.in_less(call.env, call.state):
        raise Rejected(EACCES, "can't spin_{lock,unlock} in rbtree cb", register=call.regno, id="lock")
    if call.helper.name == "bpf_spin_lock":
        locks.take(call.env, call.state, call.regno, call.index)
    else:
        locks.give_back(call.env, call.state, call.regno)


def _timer(call: _Call) -> None:
    check_field_pointer(call.env, call.reg, call.regno, FieldKind.TIMER)
    call.meta.map = call.reg.map


def _kptr_slot(call: _Call) -> None:
    """The place of an exchange: a kptr that owns what it points to (process_kptr_func)."""
    env, reg, regno = call.env, call.reg, call.regno
    if reg.type is RegType.MAP_VALUE:
        spec = reg.map.spec
        if env.spec.btf is None or not spec.value_type:
            text = f"map '{spec.name}' has to have BTF in order to use bpf_kptr_xchg"
            raise Rejected(EINVAL, text, register=regno, id="kptr-slot")
        call.meta.map = reg.map
    record = locks.record_of(env, reg)
    if reg.num.var_off.mask:
        text = f"R{regno} doesn't have constant offset. kptr has to be at the constant offset"
        raise Rejected(EINVAL, text, register=regno, id="kptr-slot")
    kptrs = frozenset({FieldKind.KPTR, FieldKind.KPTR_UNTRUSTED, FieldKind.KPTR_PERCPU})
    if not any(field.kind in kptrs for field in record):
        raise Rejected(EINVAL, f"R{regno} has no valid kptr", register=regno, id="kptr-slot")
    off = reg.off + reg.num.smin
    found = mem_region.field_at(record, off, kptrs)
    if found is None:
        raise Rejected(EACCES, f"off={off} doesn't point to kptr", register=regno, id="kptr-slot")
    if found.kind is FieldKind.KPTR_UNTRUSTED:
        raise Rejected(EACCES, f"off={off} kptr isn't referenced kptr", register=regno, id="kptr-slot")
    call.meta.field = found


def _dynptr(call: _Call) -> None:
    call.meta.dynptr = dynptr.check_argument(call.env, call.state, call.regno, mutates=False)


def _dynptr_ringbuf(call: _Call) -> None:
    dynptr.check_argument(call.env, call.state, call.regno, kind=DynptrKind.RINGBUF)


def _make_dynptr(kind: DynptrKind) -> Callable[[_Call], None]:
    def make(call: _Call) -> None:
        dynptr.check_uninitialised(call.env, call.state, call.regno, kind, call.index, call.write)

    return make


def _percpu(call: _Call) -> None:
    call.meta.percpu = call.reg


_CHECKERS: Final[Mapping[Arg, Callable[[_Call], None]]] = {
    Arg.MAP: _map,
    Arg.MAP_KEY: _map_key,
    Arg.MAP_VALUE: _map_value,
    Arg.MAP_VALUE_UNINIT: _map_value,
    Arg.MAP_VALUE_OR_NULL: _map_value,
    Arg.IPV4_HEADER: _fixed_memory,
    Arg.IPV6_HEADER: _fixed_memory,
    Arg.TCP_HEADER: _fixed_memory,
    Arg.LONG: _fixed_memory,
    Arg.INT: _fixed_memory,
    Arg.SIZE: _size,
    Arg.SIZE_OR_ZERO: _size,
    Arg.CONST: _constant,
    Arg.CONST_STR: _text,
    Arg.FUNC: _callback,
    Arg.SPIN_LOCK: _spin_lock,
    Arg.TIMER: _timer,
    Arg.KPTR_SLOT: _kptr_slot,
    Arg.DYNPTR: _dynptr,
    Arg.DYNPTR_RINGBUF: _dynptr_ringbuf,
    Arg.DYNPTR_UNINIT: _make_dynptr(DynptrKind.LOCAL),
    Arg.DYNPTR_RINGBUF_UNINIT: _make_dynptr(DynptrKind.RINGBUF),
    Arg.PERCPU_BTF_ID: _percpu,
}


def check_field_pointer(env: Environment, reg: Reg, regno: int, kind: FieldKind) -> None:
    """That a pointer to a map value leads to its timer, or another field of which it has one (check_map_field_pointer)."""
    name, spec = kind.value, reg.map.spec
    if reg.num.var_off.mask:
        text = f"R{regno} doesn't have constant offset. {name} has to be at the constant offset"
    elif env.spec.btf is None or not spec.value_type:
        text = f"map '{spec.name}' has to have BTF in order to use {name}"
    else:
        found = next((field for field in env.record(spec) if field.kind is kind), None)
        off = reg.off + reg.num.smin
        if found is None:
            text = f"map '{spec.name}' has no valid {name}"
        elif found.offset != off:
            text = f"off {off} doesn't point to 'struct {name}' that is at {found.offset}"
        else:
            return
    raise Rejected(EINVAL, text, register=regno, id="map-field")


def constant_text(env: Environment, reg: Reg, regno: int) -> str:
    """The text that a pointer into a read-only map leads to (check_reg_const_str)."""
    spec = reg.map.spec
    text = ""
    if not mem_region.is_read_only(spec):
        text = f"R{regno} does not point to a readonly map'"
    elif reg.num.var_off.mask:
        text = f"R{regno} is not a constant address'"
    elif not mem_region.has_direct_value(spec):
        text = "no direct value access support for this map type"
    if text:
        raise Rejected(EACCES, text, register=regno, id="const-text")
    mem_region.check_map_value(env, regno, reg, reg.off, spec.value_size - reg.off, direct=False)
    off = reg.off + reg.num.smin
    data = mem_region.constant_bytes(spec, off, spec.value_size - off)
    found, end, _ = data.partition(b"\0")
    if not end:
        raise Rejected(EINVAL, "string is not zero-terminated", register=regno, id="const-text")
    return found.decode("latin-1")


def constant_key(env: Environment, state: State, reg: Reg, size: int) -> int | None:
    """The constant that a key on the stack is known to hold (get_constant_map_key); None where it is not."""
    if reg.type is not RegType.STACK or reg.num.var_off.mask:
        return None
    byte = -(reg.off + reg.num.smin) - 1
    spi, last = byte >> 3, byte & 7
    slot = state.frames[reg.frameno].stack[spi]
    zeros, spilled = (_run(slot.kinds, last, kind) for kind in (SlotKind.ZERO, SlotKind.SPILL))
    if zeros >= size:
        return 0
    if slot.kinds[7] != SlotKind.SPILL or slot.reg.type is not RegType.SCALAR or spilled != size:
        return None
    if slot.reg.num.var_off.mask:
        return None
    env.mark_slot_precise(state, reg.frameno, spi)
    return slot.reg.num.smin


def _run(kinds: bytes, last: int, kind: SlotKind) -> int:
    """How many bytes from ``last`` upwards in memory are of a kind."""
    part = kinds[: last + 1]
    return len(part) - len(part.rstrip(bytes([kind])))
