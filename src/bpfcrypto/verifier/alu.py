"""ALU instructions: what each leaves in its destination register, and which ones a pointer must not meet.

Scalars go through ``arith``. A pointer takes additions and subtractions of scalars only: what is known becomes part of its fixed
offset, what is not becomes its variable offset. Two pointers may be subtracted. Copies share an id, by which a later branch on one
copy refines the others; a copy that then has a constant added stays linked, at that distance. Mirrors check_alu_op,
adjust_reg_min_max_vals and adjust_ptr_min_max_vals of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapType
from bpfcrypto.isa.opcode import Kind, Op
from bpfcrypto.spec import MapRef, MapValueRef
from bpfcrypto.verifier import arith, bounds, tnum
from bpfcrypto.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U64_MAX, Bounds, signed32
from bpfcrypto.verifier.state import (
    ADD_CONST,
    ADD_CONST32,
    ADD_CONST64,
    MAX_VAR_OFF,
    SCALAR_UNKNOWN,
    Flag,
    Reg,
    RegType,
    Rejected,
    not_modelled,
    scalar,
    scalar_const,
    with_link,
    with_num,
    with_off,
)
from bpfcrypto.verifier.tnum import MASK32
from bpfcrypto.verifier.typename import type_name

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, State

SCALAR = RegType.SCALAR

_SIGNS = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian")
"""The kernel's text of an operation, by the upper four bits of the opcode."""

_MOVABLE = frozenset(
    {
        RegType.CTX,
        RegType.MAP_VALUE,
        RegType.MAP_KEY,
        RegType.STACK,
        RegType.PACKET_META,
        RegType.PACKET,
        RegType.TP_BUFFER,
        RegType.BTF_ID,
        RegType.MEM,
        RegType.BUF,
        RegType.FUNC,
        RegType.DYNPTR,
    }
)
"""Pointers that take an offset."""

_PACKET = frozenset({RegType.PACKET, RegType.PACKET_META})


def step(env: Environment, state: State, insn: Insn, row: Opcode) -> None:
    """Execute an instruction of Kind.ALU, MOV, UNARY or CAST.

    Args:
        env: the verification.
        state: the path; its running frame is changed.
        insn: the instruction.
        row: its row of the opcode table.

    Raises:
        Rejected: it reads what is not there, writes r10, or mistreats a pointer.
    """
    frame = state.frames[-1]
    kind = row.kind
    if kind is Kind.MOV:
        if row.reg:
            frame.read(insn.src)
        frame.check_write(insn.dst)
        _move(env, frame, insn, row)
        if not row.reg or (row.bits == 64 and not row.size):
            return  # a copy is as consistent as what it is a copy of
    elif kind is Kind.ALU:
        _operate(env, state, insn, row)
    elif kind is Kind.UNARY:
        _unary(env, frame, insn, row)
    else:
        _cast(env, insn)
    reg = frame.regs[insn.dst]
    if not bounds.is_consistent(reg.num):
        frame.regs[insn.dst] = forget_violation(env, reg, "alu")


def reserved(insn: Insn) -> Rejected:
    """The rejection of an ALU instruction that has no row: a field that is reserved, or an operation that does not exist."""
    code = insn.code & 0xF0
    if code > 0xD0:
        return Rejected(EINVAL, f"invalid BPF_ALU opcode {code:x}")
    name = {0x80: "BPF_NEG", 0xD0: "BPF_END", 0xB0: "BPF_MOV"}.get(code, "BPF_ALU")
    return Rejected(EINVAL, f"{name} uses reserved fields")


def forget_violation(env: Environment, reg: Reg, where: str) -> Reg:
    """A register whose ranges contradict each other, which only a dead path can bring about: said in the log, then forgotten."""
    env.note(f"verifier bug: REG INVARIANTS VIOLATION ({where}): {bounds.describe_violation(reg.num)}")
    return reg._replace(num=bounds.forget_ranges(reg.num))


def is_pointer_value(env: Environment, reg: Reg) -> bool:
    """Whether it is a pointer whose value the program must not learn."""
    return reg.type is not SCALAR and not env.options.allow_ptr_leaks


def with_id(env: Environment, reg: Reg) -> Reg:
    """The register as it is before it is copied: a scalar that is not constant gets an id that the copy will share."""
    if reg.type is not SCALAR:
        return reg
    if reg.id & ADD_CONST:
        # A copy of a linked scalar starts a group of its own.
        return reg._replace(id=0 if reg.is_const else env.new_id(), off=0)
    if not reg.id and reg.num.var_off.mask:
        return with_link(reg, env.new_id())
    return reg


# -- moves -----------------------------------------------------------------------------------------------------------------------


def _move(env: Environment, frame: Frame, insn: Insn, row: Opcode) -> None:
    regs = frame.regs
    if not row.reg:
        regs[insn.dst] = scalar_const(insn.imm if row.bits == 64 else insn.imm & MASK32)
        return
    src = regs[insn.src]
    if row.bits == 64 and not row.size:
        src = with_id(env, src)
        regs[insn.src] = src
        regs[insn.dst] = src
        return
    if is_pointer_value(env, src):
        what = "partial copy" if row.bits == 32 else "sign-extension part"
        raise Rejected(EACCES, f"R{insn.src} {what} of pointer", register=insn.src)
    if src.type is not SCALAR:
        unknown = bounds.UNKNOWN
        regs[insn.dst] = scalar(unknown if row.bits == 64 else bounds.low32(unknown))
        return
    # A copy is a copy only if what is cut off or spread was 0.
    kept = src.num.umax <= MASK32 if not row.size else src.num.umax < 1 << row.size * 8 - 1
    if kept:
        src = with_id(env, src)
        regs[insn.src] = src
    num = _narrowed(src.num, row)
    if kept:
        regs[insn.dst] = Reg(SCALAR, 0, num, src.off, src.id, precise=src.precise)
    else:
        regs[insn.dst] = Reg(SCALAR, 0, num, precise=src.precise)


def _narrowed(num: Bounds, row: Opcode) -> Bounds:
    if row.bits == 64:
        return bounds.sign_extend(num, row.size)
    if row.size:
        return bounds.sign_extend32(num, row.size)
    return bounds.low32(num)


def _cast(env: Environment, insn: Insn) -> None:
    if insn.imm not in (1, 1 << 16):
        raise Rejected(EINVAL, "addr_space_cast insn can only convert between address space 1 and 0")
    used = {ref.name for ref in env.program.refs.values() if isinstance(ref, MapRef | MapValueRef)}
    if not any(env.spec.maps[name].type is MapType.ARENA for name in used if name in env.spec.maps):
        raise Rejected(EINVAL, "addr_space_cast insn can only be used in a program that has an associated arena")
    raise not_modelled("arenas")


# -- scalars ---------------------------------------------------------------------------------------------------------------------


def _unary(env: Environment, frame: Frame, insn: Insn, row: Opcode) -> None:
    reg = frame.read(insn.dst)
    if is_pointer_value(env, reg):
        raise Rejected(EACCES, f"R{insn.dst} pointer arithmetic prohibited", register=insn.dst)
    frame.check_write(insn.dst)
    if reg.type is not SCALAR:
        frame.regs[insn.dst] = SCALAR_UNKNOWN
        return
    if row.op is Op.NEG:
        num = arith.negate(reg.num, row.bits)
    else:
        num = arith.byte_order(reg.num, row.bits, row.op is not Op.TO_LE)
    # le64 changes nothing, and so is the only one whose result is still linked.
    kept = row.op is Op.TO_LE and row.bits == 64
    frame.regs[insn.dst] = reg._replace(num=num) if kept else reg._replace(num=num, id=0, off=0)


def _operate(env: Environment, state: State, insn: Insn, row: Opcode) -> None:
    frame = state.frames[-1]
    regs = frame.regs
    if row.reg:
        frame.read(insn.src)
    dst = frame.read(insn.dst)
    if not row.reg:
        _check_immediate(insn, row)
    frame.check_write(insn.dst)
    if dst.type is RegType.ARENA:
        return
    if not row.reg:
        src = scalar_const(insn.imm)
        if dst.type is SCALAR:
            regs[insn.dst] = _scalars(_without_fork(env, state, dst, src, insn, row), src, insn, row)
        else:
            regs[insn.dst] = _pointer(env, dst, src, insn, row)
        return
    src = regs[insn.src]
    if src.type is not SCALAR:
        if dst.type is not SCALAR:
            if row.op is not Op.SUB or not env.options.allow_ptr_leaks:
                sign = _SIGNS[insn.code >> 4]
                raise Rejected(EACCES, f"R{insn.dst} pointer {sign} pointer prohibited", register=insn.dst)
            regs[insn.dst] = SCALAR_UNKNOWN
            return
        env.mark_precise(state, insn.dst)
        regs[insn.dst] = _scalar_and_pointer(env, regs[insn.dst], src, insn, row)
    elif dst.type is not SCALAR:
        env.mark_precise(state, insn.src)
        regs[insn.dst] = _pointer(env, dst, regs[insn.src], insn, row)
    else:
        if dst.precise:
            env.mark_precise(state, insn.src)
        src = regs[insn.src]
        regs[insn.dst] = _scalars(_without_fork(env, state, dst, src, insn, row), src, insn, row)


def _check_immediate(insn: Insn, row: Opcode) -> None:
    if insn.imm == 0 and row.op in (Op.DIV, Op.MOD, Op.SDIV, Op.SMOD):
        raise Rejected(EINVAL, "div by zero")
    if not 0 <= insn.imm < row.bits and row.op in (Op.LSH, Op.RSH, Op.ARSH):
        raise Rejected(EINVAL, f"invalid shift {insn.imm}")


def _without_fork(env: Environment, state: State, dst: Reg, src: Reg, insn: Insn, row: Opcode) -> Reg:
    """The destination as this path goes on with it (maybe_fork_scalars).

    A sign spread over a register, to which compilers apply a mask, is two values far apart: 0 is put aside as a path of its own, which
    executes the instruction again, and this one goes on with -1.
    """
    num = dst.num
    if row.op not in (Op.AND, Op.OR) or src.num.var_off.mask:
        return dst
    if (num.smin, num.smax) == (-1, 0):
        zero, ones = scalar_const(0)._replace(precise=dst.precise), scalar_const(-1)._replace(precise=dst.precise)
    elif (num.s32_min, num.s32_max) == (-1, 0):
        zero, ones = dst._replace(num=bounds.with_const32(num, 0)), dst._replace(num=bounds.with_const32(num, -1))
    else:
        return dst
    env.push_branch(state, env.index, env.index).frames[-1].regs[insn.dst] = zero
    return ones


def _scalars(dst: Reg, src: Reg, insn: Insn, row: Opcode) -> Reg:
    num = arith.binary(row.op, row.bits, dst.num, src.num)
    link, off = _link(dst, src, insn, row) if dst.id else (0, 0)
    # A result that the domain cannot follow starts anew, and so not precise.
    precise = dst.precise and arith.is_computable(row.op, row.bits, src.num)
    return Reg(SCALAR, 0, num, off, link, precise=precise)


def _link(dst: Reg, src: Reg, insn: Insn, row: Opcode) -> tuple[int, int]:
    """Id and distance after an operation on a scalar that shares an id."""
    var = src.num.var_off
    constant = not var.mask & (MASK32 if row.bits == 32 else U64_MAX)
    if (
        row.op not in (Op.ADD, Op.SUB)
        or not constant
        or dst.id & ADD_CONST
        or (row.reg and insn.src == insn.dst)
        or (row.bits == 32 and dst.num.umax > MASK32)
    ):
        return 0, 0
    value = signed32(var.value & MASK32) if row.bits == 32 else bounds.signed64(var.value)
    if not S32_MIN <= value <= S32_MAX or (row.op is Op.SUB and value == S32_MIN):
        return 0, 0
    flag = ADD_CONST32 if row.bits == 32 else ADD_CONST64
    return dst.id | flag, -value if row.op is Op.SUB else value


# -- pointers --------------------------------------------------------------------------------------------------------------------


def _pointer(env: Environment, pointer: Reg, offset: Reg, insn: Insn, row: Opcode) -> Reg:
    """``pointer op= offset``."""
    refused = _refuse(env, pointer, offset, insn, row)
    if refused is not None:
        return refused
    if pointer.type is RegType.MEM and pointer.flags & Flag.UNTRUSTED:
        return pointer
    _check_sane(offset, pointer)
    _check_sane(pointer, pointer)
    if row.op is Op.ADD:
        moved = _plus(env, pointer, offset)
    elif row.op is Op.SUB:
        if pointer.type is RegType.STACK and not pointer.flags:
            raise Rejected(EACCES, f"R{insn.dst} subtraction from stack pointer prohibited", register=insn.dst)
        moved = _minus(env, pointer, offset)
    else:
        raise _prohibited(insn, row)
    _check_sane(moved, pointer)
    return with_num(moved, bounds.sync(moved.num))


def _scalar_and_pointer(env: Environment, offset: Reg, pointer: Reg, insn: Insn, row: Opcode) -> Reg:
    """``offset op= pointer``: an addition makes the register the pointer, nothing else is allowed."""
    refused = _refuse(env, pointer, offset, insn, row)
    if refused is not None:
        return refused
    if pointer.type is RegType.MEM and pointer.flags & Flag.UNTRUSTED:
        return offset
    _check_sane(offset, pointer)
    _check_sane(pointer, pointer)
    if row.op is Op.SUB:
        raise Rejected(EACCES, f"R{insn.dst} tried to subtract pointer from scalar", register=insn.dst)
    if row.op is not Op.ADD:
        raise _prohibited(insn, row)
    moved = _plus(env, pointer, offset)
    _check_sane(moved, pointer)
    # The kernel copies type, id, offsets and target; the reference and the frame stay those of the scalar.
    return moved._replace(
        num=bounds.sync(moved.num), ref_obj_id=offset.ref_obj_id, frameno=offset.frameno, precise=offset.precise
    )


def _refuse(env: Environment, pointer: Reg, offset: Reg, insn: Insn, row: Opcode) -> Reg | None:
    """What is decided before the offsets matter: a scalar that the result is instead, a rejection, or None to go on."""
    num = offset.num
    known = not num.var_off.mask
    if num.smin > num.smax or num.umin > num.umax or (known and (num.smin != num.smax or num.umin != num.umax)):
        return SCALAR_UNKNOWN  # an offset from a dead path
    if row.bits == 32:
        if row.op is Op.SUB and env.options.allow_ptr_leaks:
            return SCALAR_UNKNOWN
        raise Rejected(EACCES, f"R{insn.dst} 32-bit pointer arithmetic prohibited", register=insn.dst)
    if pointer.flags & Flag.MAYBE_NULL:
        name = type_name(pointer.type, pointer.flags)
        message = f"R{insn.dst} pointer arithmetic on {name} prohibited, null-check it first"
        raise Rejected(EACCES, message, register=insn.dst, id="null-unchecked")
    if pointer.type in _MOVABLE or (known and pointer.type is RegType.FLOW_KEYS):
        return None
    constant = pointer.type is RegType.CONST_MAP or pointer.type is RegType.FLOW_KEYS
    if constant and known and num.smin == 0 and row.op is Op.ADD:
        return None
    name = type_name(pointer.type, pointer.flags)
    raise Rejected(EACCES, f"R{insn.dst} pointer arithmetic on {name} prohibited", register=insn.dst)


def _prohibited(insn: Insn, row: Opcode) -> Rejected:
    sign = _SIGNS[insn.code >> 4]
    if row.op in (Op.AND, Op.OR, Op.XOR):
        return Rejected(EACCES, f"R{insn.dst} bitwise operator {sign} on pointer prohibited", register=insn.dst)
    return Rejected(EACCES, f"R{insn.dst} pointer arithmetic with {sign} operator prohibited", register=insn.dst)


def _check_sane(reg: Reg, pointer: Reg) -> None:
    """That an offset, of a scalar or a pointer, is far from where addresses overflow (check_reg_sane_offset)."""
    num = reg.num
    value = bounds.signed64(num.var_off.value)
    smin = num.smin
    if not num.var_off.mask and not -MAX_VAR_OFF < value < MAX_VAR_OFF:
        text = f"math between {{}} pointer and {value} is not allowed"
    elif not -MAX_VAR_OFF < reg.off < MAX_VAR_OFF:
        text = f"{{}} pointer offset {reg.off} is not allowed"
    elif smin == S64_MIN:
        text = "math between {} pointer and register with unbounded min value is not allowed"
    elif not -MAX_VAR_OFF < smin < MAX_VAR_OFF:
        text = f"value {smin} makes {{}} pointer be out of bounds"
    else:
        return
    raise Rejected(EINVAL, text.format(type_name(pointer.type, pointer.flags)))


def _fixed(pointer: Reg, offset: Reg, sign: int) -> Reg | None:
    """The pointer moved by a constant, if the sum of fixed offsets fits the kernel's field."""
    num = offset.num
    if num.var_off.mask:
        return None
    off = pointer.off + sign * num.smin
    return with_off(pointer, off) if S32_MIN <= off <= S32_MAX else None


def _plus(env: Environment, pointer: Reg, offset: Reg) -> Reg:
    fixed = _fixed(pointer, offset, 1)
    if fixed is not None:
        return fixed
    a, b = pointer.num, offset.num
    smin, smax, umin, umax = a.smin + b.smin, a.smax + b.smax, a.umin + b.umin, a.umax + b.umax
    moved = _with_offset(
        pointer, tnum.add(a.var_off, b.var_off), (smin, smax), (umin, umax) if umax <= U64_MAX else None
    )
    if pointer.type in _PACKET:
        return moved._replace(id=env.new_id(), range=0)
    return moved


def _minus(env: Environment, pointer: Reg, offset: Reg) -> Reg:
    fixed = _fixed(pointer, offset, -1)
    if fixed is not None:
        return fixed
    a, b = pointer.num, offset.num
    unsigned = (a.umin - b.umax, a.umax - b.umin) if a.umin >= b.umax else None
    moved = _with_offset(pointer, tnum.sub(a.var_off, b.var_off), (a.smin - b.smax, a.smax - b.smin), unsigned)
    if pointer.type in _PACKET:
        # What was checked stays checked if the pointer can only have gone down.
        return moved._replace(id=env.new_id(), range=pointer.range if b.smin >= 0 else 0)
    return moved


def _with_offset(pointer: Reg, var: tnum.Tnum, signed: tuple[int, int], unsigned: tuple[int, int] | None) -> Reg:
    """The pointer with another variable offset; ranges that overflow, or None, are full, and 32-bit ranges are not kept."""
    if signed[0] < S64_MIN or signed[1] > S64_MAX or signed[0] > S64_MAX or signed[1] < S64_MIN:
        signed = (S64_MIN, S64_MAX)
    umin, umax = unsigned or (0, U64_MAX)
    num = bounds.forget_ranges(pointer.num)
    return pointer._replace(num=num._replace(var_off=var, smin=signed[0], smax=signed[1], umin=umin, umax=umax))
