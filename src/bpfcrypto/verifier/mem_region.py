"""Memory of known bounds: map values and keys, packets, ring buffer samples and other sized memory.

Both ends of a pointer's variable offset have to lie inside. What a packet holds is known only behind its variable base, as far as a
comparison with the packet's end has proven (``Reg.range``). Special fields of a map value may not be touched at all, except kptrs,
which are loaded whole and get the type they point to. Mirrors check_mem_region_access, check_map_access, check_map_kptr_access and
check_packet_access of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.record import FieldKind
from bpfcrypto.btf.types import Kind as BtfKind
from bpfcrypto.isa.opcode import Class, Mode
from bpfcrypto.verifier import call_maps, local
from bpfcrypto.verifier.bounds import S64_MIN, signed32
from bpfcrypto.verifier.mem_btf import check_offset, struct_ids_match
from bpfcrypto.verifier.state import (
    MAX_VAR_OFF,
    BtfTarget,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
)
from bpfcrypto.verifier.typename import reg_name, struct_name, type_name

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import MapSpec
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

_MASK32: Final = 0xFFFF_FFFF

FIELD_NAMES: Final = {kind: kind.value for kind in FieldKind} | {
    FieldKind.KPTR: "kptr",
    FieldKind.KPTR_UNTRUSTED: "kptr",
    FieldKind.KPTR_PERCPU: "percpu_kptr",
}
"""What messages call a special field (btf_field_type_name)."""

_POINTERS: Final = frozenset({FieldKind.KPTR, FieldKind.KPTR_UNTRUSTED, FieldKind.KPTR_PERCPU, FieldKind.UPTR})
_OWNING: Final = frozenset({FieldKind.KPTR, FieldKind.KPTR_PERCPU})

RCU_TYPES: Final = frozenset({"prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"})
"""Kernel structs that are freed only after an RCU grace period, so that a kptr to one may be used where it was loaded."""

KPTR_TYPES: Final = RCU_TYPES | {"prog_test_member", "nf_conn", "bpf_key", "sock", "sk_buff", "xfrm_state"}
"""Kernel structs that a program may name as a kptr's target; where our own types lack one, it must not pass for a local struct."""

# Plain integers: operations of IntFlag are functions in Python.
_RDONLY_PROG: Final = int(MapFlag.RDONLY_PROG)
_WRONLY_PROG: Final = int(MapFlag.WRONLY_PROG)

_PACKET_TYPES: Final = frozenset({ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP})


def check_region(regno: int, reg: Reg, off: int, size: int, limit: int, *, zero_ok: bool = False) -> None:
    """That ``size`` bytes at a fixed offset lie inside ``limit`` bytes, whatever the variable part of the pointer's offset is.

    Raises:
        Rejected: EACCES, with the end that lies outside as its last line.
    """
    num = reg.num
    low, high = num.smin + off, num.umax + off
    if low < 0 and num.smin < 0 and (num.smin == S64_MIN or low != signed32(low & _MASK32) or low < 0):
        raise Rejected(
            EACCES,
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
            register=regno,
            id="mem-bounds",
        )
    _check_end(regno, reg, low, size, limit, zero_ok, "min")
    if num.umax >= MAX_VAR_OFF:
        text = f"R{regno} unbounded memory access, make sure to bounds check any such access"
        raise Rejected(EACCES, text, register=regno, id="mem-bounds")
    _check_end(regno, reg, high, size, limit, zero_ok, "max")


def _check_end(regno: int, reg: Reg, off: int, size: int, limit: int, zero_ok: bool, end: str) -> None:
    off = signed32(off & _MASK32)
    if not _fits(off, size, limit, zero_ok):
        text = f"{_outside(regno, reg, off, size, limit)}\nR{regno} {end} value is outside of the allowed memory range"
        raise Rejected(EACCES, text, register=regno, id="mem-bounds")


def _fits(off: int, size: int, limit: int, zero_ok: bool) -> bool:
    return off >= 0 and (size > 0 or (size == 0 and zero_ok)) and off + size <= limit


def _outside(regno: int, reg: Reg, off: int, size: int, limit: int) -> str:
    kind = None if reg.flags else reg.type
    if kind is RegType.MAP_KEY:
        return f"invalid access to map key, key_size={limit} off={off} size={size}"
    if kind is RegType.MAP_VALUE:
        return f"invalid access to map value, value_size={limit} off={off} size={size}"
    if kind in (RegType.PACKET, RegType.PACKET_META, RegType.PACKET_END):
        return f"invalid access to packet, off={off} size={size}, R{regno}(id={reg.id},off={off},r={limit})"
    return f"invalid access to memory, mem_size={limit} off={off} size={size}"


def check_packet(regno: int, reg: Reg, off: int, size: int, *, zero_ok: bool = False) -> None:
    """That ``size`` bytes lie in the part of the packet that was proven to be there."""
    if reg.num.smin < 0:
        raise Rejected(
            EACCES,
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
            register=regno,
            id="packet-bounds",
        )
    text = f"R{regno} offset is outside of the packet"
    if reg.range < 0:
        raise Rejected(EINVAL, text, register=regno, id="packet-bounds")
    if not _fits(off, size, reg.range, zero_ok):
        text = f"{_outside(regno, reg, off, size, reg.range)}\n{text}"
        raise Rejected(EACCES, text, register=regno, id="packet-bounds")


def may_touch_packet(env: Environment) -> bool:
    """Whether programs of this type read and write packet data directly."""
    return env.program.type in _PACKET_TYPES


def check_map_access_flags(reg: Reg, regno: int, off: int, size: int, write: bool) -> None:
    """That programs may read, or write, the values of this map."""
    spec = reg.map.spec
    if write and call_maps.read_only(spec):
        what = "write into"
    elif not write and int(spec.flags) & _WRONLY_PROG:
        what = "read from"
    else:
        return
    text = f"{what} map forbidden, value_size={spec.value_size} off={off} size={size}"
    raise Rejected(EACCES, text, register=regno, id="map-access")


def check_map_value(
    env: Environment, regno: int, reg: Reg, off: int, size: int, *, zero_ok: bool = False, direct: bool
) -> None:
    """That an access lies in a map value and touches no special field of it.

    Args:
        env: the verification.
        regno: the register that points to the value.
        reg: what it holds.
        off: its fixed offset, that of the access included.
        size: bytes.
        zero_ok: whether nothing at all may be accessed.
        direct: whether an instruction does it, and not a helper.
    """
    spec = reg.map.spec
    check_region(regno, reg, off, size, spec.value_size, zero_ok=zero_ok)
    record = env.record(spec)
    if not record:
        return
    low, high = reg.num.smin + off, reg.num.umax + off + size
    for field in record:
        if low < field.offset + field.size and field.offset < high:
            _check_field(field, regno, reg, off, size, direct)


def _check_field(field: SpecialField, regno: int, reg: Reg, off: int, size: int, direct: bool) -> None:
    name = FIELD_NAMES[field.kind]
    if field.kind not in _POINTERS:
        text = f"{name} cannot be accessed directly by load/store"
    elif not direct:
        text = f"{name} cannot be accessed indirectly by helper"
    elif reg.num.var_off.mask:
        text = f"{name} access cannot have variable offset"
    elif field.offset != off + reg.num.smin:
        text = f"{name} access misaligned expected={field.offset} off={off + reg.num.smin}"
    elif size != 8:
        text = f"{name} access size must be BPF_DW"
    else:
        return
    raise Rejected(EACCES, text, register=regno, id="map-field")


def field_at(record: tuple[SpecialField, ...], off: int, kinds: frozenset[FieldKind]) -> SpecialField | None:
    """The special field of one of those kinds that starts at an offset."""
    for field in record:
        if field.offset == off and field.kind in kinds:
            return field
    return None


def kptr_at(env: Environment, reg: Reg, off: int) -> SpecialField | None:
    """The kptr of a map value that an access at that offset touches, where the offset is constant."""
    record = env.record(reg.map.spec)
    if not record or reg.num.var_off.mask:
        return None
    return field_at(record, off + reg.num.smin, _POINTERS)


def access_kptr(env: Environment, state: State, field: SpecialField, value: int, index: int) -> None:
    """A load or store of a kptr: a load gives the register the type of the field, a store of one that owns is refused."""
    insn = env.insns[index]
    if insn.code & 0xE0 != Mode.MEM:
        raise Rejected(EACCES, "kptr in map can only be accessed using BPF_MEM instruction mode", id="kptr-access")
    kind = insn.code & 0x07
    if kind == Class.LDX:
        if field.kind is FieldKind.UPTR:
            raise not_modelled("uptr fields")
        env_target, flags = kptr_target(env, field), _loaded_flags(env, state, field)
        number = env.new_id() if flags & Flag.MAYBE_NULL else 0
        state.regs[value] = Reg(RegType.BTF_ID, flags, id=number, target=env_target)
        return
    if field.kind in _OWNING:
        raise Rejected(EACCES, "store to referenced kptr disallowed", id="kptr-store")
    if field.kind is FieldKind.UPTR:
        raise Rejected(EACCES, "store to uptr disallowed", id="kptr-store")
    if kind == Class.STX:
        reg = state.regs[value]
        if not reg.is_null:
            check_kptr_type(env, field, reg, value)
    elif insn.imm:
        text = f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}"
        raise Rejected(EACCES, text, id="kptr-store")


def kptr_target(env: Environment, field: SpecialField) -> BtfTarget:
    """The type that a kptr points to: the kernel's of that name, or the program's own where the kernel has none."""
    types = env.kernel_types
    found = types.find(field.type_name, BtfKind.STRUCT) if types is not None else None
    if types is not None and found is not None:
        return BtfTarget(types, found)
    if field.type_name in KPTR_TYPES or field.kind is FieldKind.KPTR_UNTRUSTED or env.spec.btf is None:
        raise not_modelled(f"a kptr to struct {field.type_name}")
    return BtfTarget(env.spec.btf, field.type_id)


def is_kernel(env: Environment, btf: Btf) -> bool:
    """Whether types are the kernel's."""
    return btf is env.kernel_types


def _loaded_flags(env: Environment, state: State, field: SpecialField) -> int:
    """What a pointer loaded from a kptr is worth (btf_ld_kptr_type)."""
    target = kptr_target(env, field)
    owned = not is_kernel(env, target.btf)
    safe = field.kind is FieldKind.KPTR_PERCPU or (
        field.kind is FieldKind.KPTR and (owned or field.type_name in RCU_TYPES)
    )
    if not safe or not env.in_rcu(state):
        return Flag.MAYBE_NULL | Flag.UNTRUSTED
    flags = Flag.MAYBE_NULL | Flag.RCU
    if field.kind is FieldKind.KPTR_PERCPU:
        flags |= Flag.PERCPU
    elif owned:
        flags |= Flag.ALLOC
        found = local.fields(target.btf, target.id)
        if local.has(found, local.LIST_NODE) or local.has(found, local.RB_NODE):
            flags |= Flag.NON_OWN_REF
    return flags


def check_kptr_type(env: Environment, field: SpecialField, reg: Reg, regno: int) -> None:
    """That a pointer may be put into a kptr (map_kptr_match_type)."""
    target = kptr_target(env, field)
    name = ""
    if reg.type is RegType.BTF_ID:
        kernel = is_kernel(env, reg.btf.btf)
        allowed = Flag.MAYBE_NULL | (Flag.TRUSTED | Flag.RCU if kernel else Flag.ALLOC)
        if kernel and field.kind is FieldKind.KPTR_UNTRUSTED:
            allowed |= Flag.UNTRUSTED
        if not kernel and field.kind is FieldKind.KPTR_PERCPU:
            allowed |= Flag.PERCPU
        if not reg.flags & ~allowed:
            name = struct_name(reg.btf.btf, reg.btf.id)
            check_offset(reg, regno, fixed_ok=True)
            strict = field.kind is not FieldKind.KPTR_UNTRUSTED
            if struct_ids_match(env, reg.btf, reg.off, target, strict=strict):
                return
    wanted = struct_name(target.btf, target.id)
    text = f"invalid kptr access, R{regno} type={reg_name(reg)}{name} expected={type_name(RegType.BTF_ID)}{wanted}"
    if field.kind is FieldKind.KPTR_UNTRUSTED:
        text += f" or {type_name(RegType.BTF_ID, Flag.UNTRUSTED)}{wanted}"
    raise Rejected(EACCES, text, register=regno, id="kptr-type")


def is_read_only(spec: MapSpec) -> bool:
    """Whether nobody changes the values of a map any more (bpf_map_is_rdonly)."""
    return spec.frozen and bool(int(spec.flags) & _RDONLY_PROG)


def constant_bytes(spec: MapSpec, off: int, size: int) -> bytes:
    """What a load from a read-only map gives.

    Raises:
        Rejected: ENOTSUPP for arrays of more than one element, of which none can be told.
    """
    if spec.max_entries != 1:
        raise Rejected(ENOTSUPP, "", id="map-access")
    data = spec.data or bytes(spec.value_size)
    return data[off : off + size].ljust(size, b"\0")


def has_direct_value(spec: MapSpec) -> bool:
    """Whether the address of a value is known at load time."""
    return spec.type is MapType.ARRAY


def sized(size: int, flags: int = 0) -> Reg:
    """A pointer to memory of a known size."""
    return Reg(RegType.MEM, flags, target=MemTarget(size))
