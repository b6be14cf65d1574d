"""Loads, stores and atomic operations: what a pointer of each kind may be used for, and what a load gives.

``check_access`` is the one place where an access is decided; instructions and calls go through it. It asks the module of the
pointer's kind whether the bytes may be touched and gives the loaded register what is known of the value. Mirrors check_mem_access,
check_load_mem, check_store_reg, check_atomic, check_ld_abs and the alignment checks of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.ctx import FieldKind, layout_of
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.opcode import FETCH, Op
from bpfcrypto.verifier import bounds, mem_btf, mem_region, mem_stack, refs, sockets, tnum
from bpfcrypto.verifier.alu import forget_violation, is_pointer_value
from bpfcrypto.verifier.bounds import Bounds
from bpfcrypto.verifier.state import (
    NOT_INIT,
    SCALAR_UNKNOWN,
    Flag,
    Reg,
    RegType,
    Rejected,
    not_modelled,
    scalar,
    scalar_const,
)
from bpfcrypto.verifier.typename import reg_name

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

_PACKET: Final = frozenset({RegType.PACKET, RegType.PACKET_META})
_SOCKETS: Final = frozenset({RegType.SOCKET, RegType.SOCK_COMMON, RegType.TCP_SOCK, RegType.XDP_SOCK})

# Loads of unknown values: by size, zero-extended and sign-extended.
_UNKNOWN: Final = {size: scalar(bounds.truncate(bounds.UNKNOWN, size)) for size in (1, 2, 4)} | {8: SCALAR_UNKNOWN}
_UNKNOWN_SX: Final = {size: scalar(bounds.sign_extend(bounds.UNKNOWN, size)) for size in (1, 2, 4)}

_DESCRIPTIONS: Final = {
    RegType.FLOW_KEYS: "flow keys ",
    RegType.MAP_KEY: "key ",
    RegType.MAP_VALUE: "value ",
    RegType.CTX: "context ",
    RegType.STACK: "stack ",
    RegType.SOCKET: "sock ",
    RegType.SOCK_COMMON: "sock_common ",
    RegType.TCP_SOCK: "tcp_sock ",
    RegType.XDP_SOCK: "xdp_sock ",
}
_NET_IP_ALIGN: Final = 2
_CTX_LIMIT: Final = 0xFFFF
"""Bytes of a syscall program's context (U16_MAX)."""

_CTX_POINTERS: Final = {
    FieldKind.DATA: RegType.PACKET,
    FieldKind.DATA_META: RegType.PACKET_META,
    FieldKind.DATA_END: RegType.PACKET_END,
}

# Kinds of pointers that one instruction may not mix with others.
_DISTINCT: Final = frozenset(
    {
        RegType.CTX,
        RegType.SOCKET,
        RegType.SOCK_COMMON,
        RegType.TCP_SOCK,
        RegType.XDP_SOCK,
        RegType.BTF_ID,
        RegType.ARENA,
    }
)
_NO_ATOMICS: Final = _PACKET | _SOCKETS | {RegType.CTX, RegType.FLOW_KEYS}


def load(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    """Execute a load from memory (Kind.LOAD).

    Raises:
        Rejected: what the kernel says of the access.
    """
    frame = state.frames[-1]
    src = frame.read(insn.src)
    frame.check_write(insn.dst)
    signed = row.op is Op.LOAD_SX
    check_access(env, state, insn.src, insn.off, row.size, index=index, value=insn.dst, signed=signed)
    _remember_pointer(env, src, index, mixes=True)
    _check_ranges(env, state, insn.dst, "ldx")


def store(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    """Execute a store to memory (Kind.STORE)."""
    frame = state.frames[-1]
    if row.reg:
        frame.read(insn.src)
    dst = frame.read(insn.dst)
    value = insn.src if row.reg else -1
    check_access(env, state, insn.dst, insn.off, row.size, index=index, value=value, write=True)
    _remember_pointer(env, dst, index)


def atomic(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    """Execute an atomic operation (Kind.ATOMIC)."""
    if row.op is Op.LOAD_ACQUIRE:
        _load_acquire(env, state, insn, row, index)
    elif row.op is Op.STORE_RELEASE:
        _store_release(env, state, insn, row, index)
    else:
        _combine(env, state, insn, row, index)


def _load_acquire(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    frame = state.frames[-1]
    src = frame.read(insn.src)
    frame.check_write(insn.dst)
    check_access(env, state, insn.src, insn.off, row.size, index=index, value=insn.dst, strict=True)
    _remember_pointer(env, src, index)
    _check_ranges(env, state, insn.dst, "atomic_load")
    _check_atomic_pointer(frame.regs[insn.src], insn.src, "loads from")


def _store_release(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    frame = state.frames[-1]
    frame.read(insn.src)
    dst = frame.read(insn.dst)
    check_access(env, state, insn.dst, insn.off, row.size, index=index, value=insn.src, write=True, strict=True)
    _remember_pointer(env, dst, index)
    _check_atomic_pointer(dst, insn.dst, "stores into")


def _combine(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> None:
    """An operation that reads, combines and writes: three accesses, so that what is there is plain data before and after."""
    frame = state.frames[-1]
    src = frame.read(insn.src)
    dst = frame.read(insn.dst)
    compares = row.op is Op.CMPXCHG
    if compares and is_pointer_value(env, frame.read(0)):
        raise Rejected(EACCES, "R0 leaks addr into mem", register=0, id="pointer-leak")
    if is_pointer_value(env, src):
        raise Rejected(EACCES, f"R{insn.src} leaks addr into mem", register=insn.src, id="pointer-leak")
    _check_atomic_pointer(dst, insn.dst, "stores into")
    loaded = -1
    if insn.imm & FETCH:
        loaded = 0 if compares else insn.src
        frame.check_write(loaded)
        frame.regs[loaded] = SCALAR_UNKNOWN
    where = insn.dst, insn.off, row.size
    check_access(env, state, *where, index=index, strict=True)
    if loaded >= 0:
        check_access(env, state, *where, index=index, value=loaded, strict=True)
    check_access(env, state, *where, index=index, write=True, strict=True)


def _check_atomic_pointer(reg: Reg, regno: int, what: str) -> None:
    if reg.type in _NO_ATOMICS and not reg.flags:
        text = f"BPF_ATOMIC {what} R{regno} {reg_name(reg)} is not allowed"
        raise Rejected(EACCES, text, register=regno, id="atomic-pointer")


def legacy(env: Environment, state: State, insn: Insn, row: Opcode) -> None:
    """Execute a packet load in network byte order (Kind.LEGACY): a call in all but name, with the context in r6."""
    if env.program.type not in (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT):
        text = "BPF_LD_[ABS|IND] instructions not allowed for this program type"
        raise Rejected(EINVAL, text, id="legacy-load")
    frame = state.frames[-1]
    ctx = frame.read(6)
    refs.check_leaks(env, state, "BPF_LD_[ABS|IND]")
    if ctx.type is not RegType.CTX:
        raise Rejected(EINVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb", register=6, id="legacy-load")
    if row.reg:
        frame.read(insn.src)
    mem_btf.check_offset(ctx, 6)
    frame.regs[:6] = [NOT_INIT] * 6
    frame.regs[0] = SCALAR_UNKNOWN


def _check_ranges(env: Environment, state: State, regno: int, where: str) -> None:
    reg = state.frames[-1].regs[regno]
    if not bounds.is_consistent(reg.num):
        state.frames[-1].regs[regno] = forget_violation(env, reg, where)


def _remember_pointer(env: Environment, reg: Reg, index: int, *, mixes: bool = False) -> None:
    """An instruction is compiled for one kind of pointer: paths that meet there must agree (save_aux_ptr_type)."""
    kind = reg.type, reg.flags
    before = env.pointer_types.setdefault(index, kind)
    if before == kind or not (kind[0] in _DISTINCT or before[0] in _DISTINCT):
        return
    probed = (RegType.MEM, RegType.BTF_ID)
    if not mixes or kind[0] not in probed or before[0] not in probed:
        raise Rejected(EINVAL, "same insn cannot be used with different pointers", id="mixed-pointers")
    merged = RegType.MEM if RegType.MEM in (kind[0], before[0]) else RegType.BTF_ID
    env.pointer_types[index] = merged, (kind[1] | before[1]) & (Flag.UNTRUSTED | Flag.RDONLY)


def check_access(
    env: Environment,
    state: State,
    regno: int,
    off: int,
    size: int,
    write: bool = False,
    *,
    index: int,
    value: int = -1,
    strict: bool = False,
    signed: bool = False,
) -> None:
    """Decide an access through a pointer.

    Args:
        env: the verification.
        state: the path.
        regno: the register with the pointer.
        off: the instruction's offset.
        size: 1, 2, 4 or 8 bytes.
        write: whether it is a store.
        index: the instruction.
        value: the register that is loaded or stored; -1 where it is none: an unknown value is stored, or the loaded one is of no
            interest.
        strict: whether the access has to be aligned whatever the program asked for.
        signed: whether a load is sign-extended.

    Raises:
        Rejected: the access is not allowed.
    """
    regs = state.frames[-1].regs
    reg = regs[regno]
    kind, flags = reg.type, reg.flags
    if size > 1 and (kind is RegType.STACK or strict or env.options.strict_alignment):
        check_alignment(reg, off, size)
    off += reg.off
    if write and value >= 0 and not env.options.allow_ptr_leaks:
        _check_leak(env, reg, regs[value], value)
    if flags and kind is not RegType.MEM and kind is not RegType.BTF_ID and kind is not RegType.BUF:
        raise _invalid(reg, regno)
    # What a load gives that only its size is known of; None where the register is written by what follows.
    loaded: Reg | None = (_UNKNOWN_SX if signed else _UNKNOWN)[size]
    if kind is RegType.STACK:
        loaded = None
        mem_stack.check_bounds(env, state, regno, reg, off, size, write)
        if write:
            mem_stack.write(env, state, reg, off, size, value, index)
        else:
            mem_stack.read(env, state, regno, reg, off, size, value)
            if size < 8 and value >= 0:
                _narrow(state, value, size, signed)
    elif kind is RegType.MAP_VALUE:
        mem_region.check_map_access_flags(reg, regno, off, size, write)
        mem_region.check_map_value(env, regno, reg, off, size, direct=True)
        field = mem_region.kptr_at(env, reg, off)
        if field is not None:
            mem_region.access_kptr(env, state, field, value, index)
            return
        if not write and not reg.num.var_off.mask and _is_constant(reg):
            loaded = _constant(reg, off, size, signed)
    elif kind in _PACKET:
        if write and not mem_region.may_touch_packet(env):
            raise Rejected(EACCES, "cannot write into packet", register=regno, id="packet-write")
        mem_region.check_packet(regno, reg, off, size)
    elif kind is RegType.CTX:
        loaded = _context(env, reg, regno, off, size, write, value, signed, loaded)
    elif kind is RegType.MEM:
        if flags & Flag.MAYBE_NULL:
            raise _invalid(reg, regno)
        if write and flags & Flag.RDONLY:
            raise _read_only(reg, regno)
        if not (flags & Flag.RDONLY and flags & Flag.UNTRUSTED):
            mem_region.check_region(regno, reg, off, size, reg.mem.size)
    elif kind is RegType.BTF_ID and not flags & Flag.MAYBE_NULL:
        mem_btf.check_object(env, state, regno, off, size, write=write, value=value)
        loaded = None
        if size < 8 and value >= 0 and not write:
            _narrow(state, value, size, signed)
    elif kind is RegType.MAP_KEY:
        if write:
            raise Rejected(EACCES, f"write to change key R{regno} not allowed", register=regno, id="map-key")
        mem_region.check_region(regno, reg, off, size, reg.map.spec.key_size)
    elif kind in _SOCKETS:
        if write:
            raise _read_only(reg, regno)
        sockets.check_load(reg, regno, off, size)
    elif kind is RegType.CONST_MAP:
        loaded = mem_btf.load_of_map(env, reg, regno, off, size, write=write)
        if value >= 0:
            regs[value] = loaded
            loaded = None
            _narrow(state, value, size, signed)
    elif kind in (RegType.FLOW_KEYS, RegType.TP_BUFFER, RegType.BUF, RegType.ARENA):
        raise not_modelled(f"{'stores to' if write else 'loads from'} {reg_name(reg)}")
    else:
        raise _invalid(reg, regno)
    if loaded is not None and not write and value >= 0:
        regs[value] = loaded


def _invalid(reg: Reg, regno: int) -> Rejected:
    maybe_null = "null-unchecked" if reg.flags & Flag.MAYBE_NULL else "mem-pointer"
    return Rejected(EACCES, f"R{regno} invalid mem access '{reg_name(reg)}'", register=regno, id=maybe_null)


def _read_only(reg: Reg, regno: int) -> Rejected:
    return Rejected(EACCES, f"R{regno} cannot write into {reg_name(reg)}", register=regno, id="mem-read-only")


_LEAKS_INTO: Final = {
    RegType.MAP_VALUE: "map",
    RegType.MEM: "mem",
    RegType.CTX: "ctx",
    RegType.PACKET: "packet",
    RegType.PACKET_META: "packet",
    RegType.FLOW_KEYS: "flow keys",
}


def _check_leak(env: Environment, reg: Reg, stored: Reg, value: int) -> None:
    where = _LEAKS_INTO.get(reg.type)
    if where is not None and not reg.flags & Flag.MAYBE_NULL and is_pointer_value(env, stored):
        raise Rejected(EACCES, f"R{value} leaks addr into {where}", register=value, id="pointer-leak")


def check_alignment(reg: Reg, off: int, size: int) -> None:
    """That the address is a multiple of the size, whatever the variable part of the offset is."""
    num, kind = reg.num, reg.type
    if kind is RegType.ARENA:
        return
    extra = _NET_IP_ALIGN if kind in _PACKET else 0
    if not num.var_off.mask:
        aligned = (num.smin + extra + reg.off + off) % size == 0
    else:
        aligned = tnum.is_aligned(tnum.add(num.var_off, tnum.const(extra + reg.off + off)), size)
    if aligned:
        return
    where = f"{tnum.text(num.var_off)}+{reg.off}+{off} size {size}"
    if kind in _PACKET:
        text = f"misaligned packet access off {_NET_IP_ALIGN}+{where}"
    else:
        text = f"misaligned {_DESCRIPTIONS.get(kind, '') if not reg.flags else ''}access off {where}"
    raise Rejected(EACCES, text, id="alignment")


def _narrow(state: State, regno: int, size: int, signed: bool) -> None:
    """A load of less than eight bytes of something known: the upper bytes are 0, or copies of the sign."""
    regs = state.frames[-1].regs
    reg = regs[regno]
    if reg.type is RegType.SCALAR:
        num: Bounds = bounds.sign_extend(reg.num, size) if signed else bounds.truncate(reg.num, size)
        regs[regno] = reg._replace(num=num)


def _is_constant(reg: Reg) -> bool:
    spec = reg.map.spec
    return mem_region.is_read_only(spec) and mem_region.has_direct_value(spec)


def _constant(reg: Reg, off: int, size: int, signed: bool) -> Reg:
    """A load of a constant: data of a section that nobody changes after loading."""
    data = mem_region.constant_bytes(reg.map.spec, off + reg.num.smin, size)
    return scalar_const(int.from_bytes(data, "little", signed=signed))


def _context(
    env: Environment,
    reg: Reg,
    regno: int,
    off: int,
    size: int,
    write: bool,
    value: int,
    signed: bool,
    unknown: Reg | None,
) -> Reg | None:
    """An access to the context: fields of a packet program's, any bytes of a syscall program's."""
    mem_btf.check_offset(reg, regno)
    refused = Rejected(EACCES, f"invalid bpf_context access off={off} size={size}", register=regno, id="ctx-access")
    kind = env.program.type
    if kind is ProgType.SYSCALL:
        if not 0 <= off < _CTX_LIMIT or off % size:
            raise refused
        env.max_ctx_offset = max(env.max_ctx_offset, off + size)
        return unknown
    layout = layout_of(kind, env.program.attach_type)
    if layout is None:
        raise not_modelled(f"the context of {kind.name.lower()} programs")
    field = layout.find(off, size, write=write)
    if field is None or (field.kind.is_packet and signed):
        raise refused
    if write or value < 0:
        return None
    if field.kind.is_packet:
        return Reg(_CTX_POINTERS[field.kind])
    if field.kind is FieldKind.SOCKET:
        return Reg(RegType.SOCK_COMMON, Flag.MAYBE_NULL, id=env.new_id())
    return unknown
