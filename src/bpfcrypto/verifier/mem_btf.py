"""Loads through typed pointers: which member a load gets, and what a pointer found there is worth.

The walk goes through nested structs, unions and arrays to the member at an offset. A pointer to a struct found in an object that is
trusted or protected by RCU is itself trusted only where the member is known to be; any other becomes a pointer that may be read,
with faults caught, but not be given to anybody. Mirrors btf_struct_walk, btf_struct_access and btf_struct_ids_match of
kernel/bpf/btf.c and check_ptr_to_btf_access of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from enum import Enum, auto
from errno import EACCES, EFAULT, EINVAL, EPERM
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfcrypto.abi.maps import STRUCTS
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.types import Array, Composite, Int, Kind, Ref
from bpfcrypto.btf.walk import QUALIFIERS
from bpfcrypto.errors import BtfError
from bpfcrypto.verifier import local, tnum
from bpfcrypto.verifier.state import (
    SCALAR_UNKNOWN,
    BtfTarget,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
)
from bpfcrypto.verifier.typename import reg_name, struct_name

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf, Member
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

TRUSTED: Final = Flag.ALLOC | Flag.TRUSTED
_SAFE: Final = TRUSTED | Flag.NON_OWN_REF
"""Flags that leave a pointer as good as it is; any other is an unsafe modifier."""

_SOCKETS: Final = frozenset({RegType.SOCKET, RegType.SOCK_COMMON, RegType.TCP_SOCK})
ALWAYS_TRUSTED: Final = _SOCKETS | {RegType.CONST_MAP}
"""Register types that stand for kernel objects without being typed pointers (reg2btf_ids)."""

_WRITES_CONNECTIONS: Final = frozenset({ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP})
_MARK_SIZE: Final = 4
_UNTYPED: Final = Reg(RegType.MEM, Flag.RDONLY | Flag.UNTRUSTED, target=MemTarget(0))
"""A pointer to anything but a struct: it may be read, whatever is there."""

_TAGS: Final = {"user": Flag.USER, "percpu": Flag.PERCPU, "rcu": Flag.RCU}

# Members that are as trusted as the object they are found in: always, or inside RCU sections; and whether they can be NULL.
_TRUSTED_MEMBERS: Final = frozenset(
    {
        ("bpf_iter_meta", "seq"),
        ("bpf_iter__task", "meta"),
        ("bpf_iter__task", "task"),
        ("linux_binprm", "file"),
        ("file", "f_inode"),
    }
)
_TRUSTED_OR_NULL_MEMBERS: Final = frozenset({("dentry", "d_inode"), ("socket", "sk")})
_RCU_MEMBERS: Final = frozenset(
    {
        ("task_struct", "cpus_ptr"),
        ("task_struct", "cgroups"),
        ("task_struct", "real_parent"),
        ("task_struct", "group_leader"),
        ("cgroup", "kn"),
        ("css_set", "dfl_cgrp"),
        ("cgroup_subsys_state", "cgroup"),
    }
)
_RCU_OR_NULL_MEMBERS: Final = frozenset({("mm_struct", "exe_file"), ("sk_buff", "sk"), ("request_sock", "sk")})


def has_unsafe_flags(flags: int) -> bool:
    """Whether flags make a pointer worth less than a trusted one."""
    return flags & ~_SAFE != 0


def is_trusted(reg: Reg) -> bool:
    """Whether a register points to an object that is certain to be there."""
    if reg.ref_obj_id:
        return True
    if reg.type in ALWAYS_TRUSTED and not has_unsafe_flags(reg.flags):
        return True
    return bool(reg.flags & TRUSTED) and not has_unsafe_flags(reg.flags)


def check_offset(reg: Reg, regno: int, *, fixed_ok: bool = False) -> None:
    """That a pointer is as it was given: no variable offset, and no fixed one unless that is fine (__check_ptr_off_reg)."""
    name = reg_name(reg)
    if reg.off < 0:
        text = f"negative offset {name} ptr R{regno} off={reg.off} disallowed"
    elif reg.off and not fixed_ok:
        text = f"dereference of modified {name} ptr R{regno} off={reg.off} disallowed"
    elif reg.num.var_off.mask or reg.num.var_off.value:
        text = f"variable {name} access var_off={tnum.text(reg.num.var_off)} disallowed"
    else:
        return
    raise Rejected(EACCES, text, register=regno, id="pointer-offset")


class Found(Enum):
    """What a walk ends at."""

    SCALAR = auto()
    POINTER = auto()  # to a struct
    UNTYPED = auto()  # a pointer to anything else
    STRUCT = auto()


class Step(NamedTuple):
    """The end of a walk through one struct.

    Attributes:
        found: what is there.
        id: of a struct, or of what a pointer points to.
        flags: what the member's tags, or a union on the way, make of the pointer.
        member: the member's name, for pointers to structs.
    """

    found: Found
    id: int = 0
    flags: int = 0
    member: str = ""


def _behind(btf: Btf, type_id: int) -> int:
    """The id behind names and qualifiers, one by one."""
    return btf.resolve(type_id)


def walk(btf: Btf, type_id: int, off: int, size: int, flags: int = 0) -> Step:
    """Find the member at an offset.

    Args:
        btf: the types.
        type_id: the struct.
        off: where the access starts, in bytes.
        size: bytes of it.
        flags: flags that the walk has gathered so far.

    Raises:
        Rejected: no member is there, or the access does not fit it.
    """
    while True:
        type_id = _behind(btf, type_id)
        record = btf[type_id]
        name = record.name
        if not isinstance(record, Composite):
            raise Rejected(EINVAL, f"Type '{name}' is not a struct", id="btf-access")
        if record.kind is Kind.UNION and len(record.members) != 1:
            flags |= Flag.UNTRUSTED
        if off + size > record.size:
            element, first = _flexible(btf, record, off, size)
            if isinstance(btf[element], Int):
                return Step(Found.SCALAR, flags=flags)
            off = (off - first) % btf.size_of(element)
            type_id = element
            continue
        inside = _member(btf, record, off, size, flags)
        if isinstance(inside, Step):
            return inside
        type_id, off = inside


def _flexible(btf: Btf, record: Composite, off: int, size: int) -> tuple[int, int]:
    """The element type, and the offset, of the flexible array at the end of a struct, which an access beyond it may be for."""
    beyond = Rejected(EACCES, f"access beyond struct {record.name} at off {off} size {size}", id="btf-access")
    if not record.members:
        raise beyond
    last = record.members[-1]
    array = btf[_behind(btf, last.type_id)]
    if not isinstance(array, Array) or array.count or off < last.bit_offset // 8:
        raise beyond
    element = _behind(btf, array.element)
    if not isinstance(btf[element], Int | Composite):
        raise beyond
    return element, last.bit_offset // 8


def _member(btf: Btf, record: Composite, off: int, size: int, flags: int) -> Step | tuple[int, int]:
    """What is at an offset of a struct; a struct that the access lies inside of, and the offset there, where it goes on."""
    for member in record.members:
        start = member.bit_offset // 8
        if off + size <= start:
            break
        if member.bit_size:
            end = (member.bit_offset + member.bit_size + 7) // 8
            if off <= start and end <= off + size:
                return Step(Found.SCALAR, flags=flags)
            continue
        if off < start:
            break
        length, element = _extent(btf, member)
        end = start + length
        if off >= end:
            continue
        if element is not None:
            if start == end:
                continue
            one = btf.size_of(element)
            start += (off - start) // one * one
            type_id = element
        else:
            type_id = member.type_id
        inner = _behind(btf, type_id)
        target = btf[inner]
        if isinstance(target, Composite):
            return Step(Found.STRUCT, inner, flags) if off == start else (inner, off - start)
        if isinstance(target, Ref) and target.kind is Kind.PTR:
            return _pointer(btf, record, member, target, off, size, start, flags)
        if off + size > end and not flags & Flag.UNTRUSTED:
            raise Rejected(
                EACCES,
                f"access beyond the end of member {member.name} (mend:{end}) "
                f"in struct {record.name} with off {off} size {size}",
                id="btf-access",
            )
        return Step(Found.SCALAR, flags=flags)
    raise Rejected(EINVAL, f"struct {record.name} doesn't have field at offset {off}", id="btf-access")


def _extent(btf: Btf, member: Member) -> tuple[int, int | None]:
    """Bytes of a member; of an array, in all its dimensions, also the type of its elements."""
    try:
        length = btf.size_of(member.type_id)
    except BtfError:
        raise Rejected(EFAULT, f"field {member.name} doesn't have size", id="btf-access") from None
    type_id = _behind(btf, member.type_id)
    record = btf[type_id]
    if not isinstance(record, Array):
        return length, None
    while isinstance(record, Array):
        type_id = _behind(btf, record.element)
        record = btf[type_id]
    return length, type_id


def _pointer(
    btf: Btf, record: Composite, member: Member, pointer: Ref, off: int, size: int, start: int, flags: int
) -> Step:
    if size != 8 or off != start:
        raise Rejected(
            EACCES,
            f"cannot access ptr member {member.name} with moff {start} "
            f"in struct {record.name} with off {off} size {size}",
            id="btf-access",
        )
    tag = btf[pointer.type_id]
    tagged = _TAGS.get(tag.name, 0) if isinstance(tag, Ref) and tag.kind is Kind.TYPE_TAG else 0
    behind = _behind(btf, pointer.type_id)
    if isinstance(btf[behind], Composite):
        return Step(Found.POINTER, behind, flags | tagged, member.name)
    return Step(Found.UNTYPED, flags=flags)


def access(reg: Reg, off: int, size: int) -> Step:
    """What a load of ``size`` bytes at an offset of an object gives (btf_struct_access)."""
    btf, type_id = reg.btf
    alloc = reg.type is RegType.BTF_ID and reg.flags & Flag.ALLOC
    if alloc:
        for field in local.fields(btf, type_id):
            if off < field.offset + field.size and field.offset < off + size:
                raise Rejected(EACCES, f"direct access to {field.name} is disallowed", id="btf-access")
    flags = 0
    while True:
        step = walk(btf, type_id, off, size, flags)
        if step.found is not Found.STRUCT:
            return Step(Found.SCALAR) if alloc and step.found is Found.POINTER else step
        type_id, off, flags = step.id, 0, step.flags


def struct_ids_match(env: Environment, have: BtfTarget, off: int, want: BtfTarget, *, strict: bool) -> bool:
    """Whether an object, or what it starts with at an offset, is of the wanted type (btf_struct_ids_match).

    What goes wrong on the way is told to the log, as the kernel does, and means no.
    """
    if off == 0 and have.id == want.id and have.btf is want.btf:
        return True
    if strict:
        return False
    type_id, flags = have.id, 0
    while True:
        try:
            step = walk(have.btf, type_id, off, 1, flags)
        except Rejected as refused:
            env.note(refused.message)
            return False
        if step.found is not Found.STRUCT:
            return False
        type_id, off, flags = step.id, 0, step.flags
        if type_id == want.id and have.btf is want.btf:
            return True


def check_object(env: Environment, state: State, regno: int, off: int, size: int, *, write: bool, value: int) -> None:
    """A load (or store) through a typed pointer.

    Args:
        env: the verification.
        state: the path.
        regno: the register with the pointer.
        off: its fixed offset, that of the access included.
        size: bytes.
        write: whether it is a store.
        value: the register that is loaded, -1 for none.
    """
    reg = state.regs[regno]
    btf, type_id = reg.btf
    name = struct_name(btf, type_id)
    kernel = btf is env.kernel_types
    if not env.options.allow_ptr_leaks:
        text = f"'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN"
        raise Rejected(EPERM, text, register=regno, id="privilege")
    if kernel and not env.gpl:
        text = f"Cannot access kernel 'struct {name}' from non-GPL compatible program"
        raise Rejected(EINVAL, text, register=regno, id="not-gpl")
    _check_place(reg, regno, off, name)
    if write and not reg.flags & Flag.ALLOC:
        _check_write(env, reg, regno, off, size)
        return
    if reg.flags & Flag.ALLOC and not reg.flags & (Flag.NON_OWN_REF | Flag.RCU) and not reg.ref_obj_id:
        text = "verifier bug: ref_obj_id for allocated object must be non-zero"
        raise Rejected(EFAULT, text, register=regno, id="btf-access")
    step = access(reg, off, size)
    if not write and value >= 0:
        state.regs[value] = _loaded(env, state, reg, step)


def _check_write(env: Environment, reg: Reg, regno: int, off: int, size: int) -> None:
    """That a store to an object of the kernel is one that packet programs may make: the mark of a tracked connection."""
    btf, type_id = reg.btf
    text = "only read is supported"
    if env.program.type in _WRITES_CONNECTIONS and struct_name(btf, type_id) in ("nf_conn", "nf_conn___init"):
        record = btf[btf.find("nf_conn", Kind.STRUCT) or 0]
        assert isinstance(record, Composite)
        mark = next(member.bit_offset // 8 for member in record.members if member.name == "mark")
        if off == mark and size <= _MARK_SIZE:
            return
        text = f"no write support to nf_conn at off {off}"
        if off == mark:
            end = mark + _MARK_SIZE
            text = f"write access at off {off} with size {size} beyond the member of nf_conn ended at {end}"
    raise Rejected(EACCES, text, register=regno, id="btf-write")


def load_of_map(env: Environment, reg: Reg, regno: int, off: int, size: int, *, write: bool) -> Reg:
    """What a load through the address of a map gives: a map is a kernel object that may be read (check_ptr_to_map_access).

    Raises:
        Rejected: it is a store, or not a member.
    """
    struct, types = STRUCTS[reg.map.spec.type], env.kernel_types
    text, errno = "", EACCES
    if not env.options.allow_ptr_leaks:
        text, errno = f"'struct {struct}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", EPERM
    elif off < 0:
        text = f"R{regno} is {struct} invalid negative access: off={off}"
    elif write:
        text = f"only read from {struct} is supported"
    if text:
        raise Rejected(errno, text, register=regno, id="map-access")
    found = types.find(struct, Kind.STRUCT) if types is not None else None
    if types is None or found is None:
        raise not_modelled(f"loads from struct {struct}")
    step = access(Reg(RegType.BTF_ID, target=BtfTarget(types, found)), off, size)
    if step.found is Found.SCALAR:
        return SCALAR_UNKNOWN
    if step.found is Found.UNTYPED:
        return _UNTYPED
    number = env.new_id() if step.flags & Flag.MAYBE_NULL else 0
    return Reg(RegType.BTF_ID, step.flags, id=number, target=BtfTarget(types, step.id))


def _check_place(reg: Reg, regno: int, off: int, name: str) -> None:
    if off < 0:
        text = f"invalid negative access: off={off}"
    elif reg.num.var_off.mask or reg.num.var_off.value:
        text = f"invalid variable offset: off={off}, var_off={tnum.text(reg.num.var_off)}"
    elif reg.flags & Flag.USER:
        text = f"access user memory: off={off}"
    elif reg.flags & Flag.PERCPU:
        text = f"access percpu memory: off={off}"
    else:
        return
    raise Rejected(EACCES, f"R{regno} is ptr_{name} {text}", register=regno, id="btf-access")


def _loaded(env: Environment, state: State, reg: Reg, step: Step) -> Reg:
    """The register that a load gives."""
    if step.found is Found.SCALAR:
        return SCALAR_UNKNOWN
    if step.found is Found.UNTYPED:
        return _UNTYPED
    flags = _worth(env, state, reg, step)
    number = env.new_id() if flags & Flag.MAYBE_NULL else 0
    return Reg(RegType.BTF_ID, flags, id=number, target=BtfTarget(reg.btf.btf, step.id))


def _worth(env: Environment, state: State, reg: Reg, step: Step) -> int:
    """The flags of a pointer to a struct that was found in an object."""
    flags = step.flags
    plain = flags & ~(TRUSTED | Flag.RCU)
    if reg.flags & Flag.UNTRUSTED:
        return Flag.UNTRUSTED
    if not is_trusted(reg) and not reg.flags & Flag.RCU:
        return plain
    where = struct_name(reg.btf.btf, reg.btf.id), step.member
    if where in _TRUSTED_MEMBERS:
        return flags | Flag.TRUSTED
    if where in _TRUSTED_OR_NULL_MEMBERS:
        return flags | Flag.TRUSTED | Flag.MAYBE_NULL
    if not env.in_rcu(state) or reg.flags & Flag.MAYBE_NULL:
        return Flag.UNTRUSTED
    if where in _RCU_MEMBERS:
        return flags | Flag.RCU
    if where in _RCU_OR_NULL_MEMBERS:
        return (flags | Flag.RCU | Flag.MAYBE_NULL) & ~Flag.UNTRUSTED
    if flags & Flag.RCU:
        return flags | Flag.MAYBE_NULL
    return flags if flags & (Flag.PERCPU | Flag.USER) else plain


def without_qualifiers(btf: Btf, type_id: int) -> int:
    """The id behind qualifiers and names."""
    record = btf[type_id]
    while isinstance(record, Ref) and record.kind in QUALIFIERS:
        type_id = record.type_id
        record = btf[type_id]
    return type_id
