"""Conditional jumps: which ways a path goes on, and what each way knows.

Scalars are refined on both sides and both ways (``refine``), and with them every scalar of the frames that is linked to one of them
by id. A pointer compared with NULL becomes valid or 0 in all its copies. A packet pointer compared with the packet's end makes the
bytes below it accessible through every pointer with the same variable offset. Mirrors check_cond_jmp_op and its helpers of
kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.maps import MapType
from bpfcrypto.btf.record import FieldKind, special_fields
from bpfcrypto.isa.opcode import Op
from bpfcrypto.verifier import arith, bounds, refs
from bpfcrypto.verifier.alu import forget_violation, is_pointer_value
from bpfcrypto.verifier.bounds import U32_MAX, U64_MAX
from bpfcrypto.verifier.refine import FLIPPED, refine, refine_itself
from bpfcrypto.verifier.refine import taken as scalars_taken
from bpfcrypto.verifier.state import (
    ADD_CONST,
    ADD_CONST32,
    AT_PKT_END,
    BEYOND_PKT_END,
    FP,
    SCALAR_ZERO,
    Flag,
    InsnFlag,
    MapTarget,
    Reg,
    RegType,
    Rejected,
    SlotKind,
    scalar_const,
    with_num,
)

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

SCALAR = RegType.SCALAR

MAX_PACKET_OFF: Final = 0xFFFF
MAX_LINKED: Final = 6
"""Registers and slots that one branch refines by a shared id; those beyond lose the id (LINKED_REGS_MAX)."""

Link = tuple[int, int]
"""A register, as (frame, number), or a stack slot, as (frame, -1 - slot)."""

_PACKET = frozenset({RegType.PACKET, RegType.PACKET_META})
_PACKET_OR_END = _PACKET | {RegType.PACKET_END}
_NEVER_NULL = frozenset(
    {RegType.SOCKET, RegType.TCP_SOCK, RegType.MAP_VALUE, RegType.MAP_KEY, RegType.SOCK_COMMON, RegType.CONST_MAP}
)
_TRUSTED = Flag.ALLOC | Flag.TRUSTED | Flag.NON_OWN_REF

_CHECKED: Final[Mapping[Op, tuple[bool, bool]]] = {
    Op.JGT: (False, False),
    Op.JGE: (False, True),
    Op.JLT: (True, True),
    Op.JLE: (True, False),
}
"""``packet op end`` -> which way the packet pointer is inside, the jump's (True) or the next instruction's, and whether it is
strictly below the end there."""


def step(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> int:
    """Execute a conditional jump of Kind.BRANCH.

    Args:
        env: the verification; the way that is not followed at once is put aside by its ``push_branch``.
        state: the path; refined for the way that it follows.
        insn: the instruction.
        row: its row of the opcode table.
        index: its slot.

    Returns:
        The instruction at which the path goes on.

    Raises:
        Rejected: it reads what is not there, or compares pointers that must not be.
    """
    regs = state.frames[-1].regs
    frame = state.frames[-1]
    dst = frame.read(insn.dst)
    src = _second_operand(env, state, insn, row, dst)
    target = index + insn.off + 1

    decided = taken(dst, src, row.op, row.bits)
    if decided is not None:
        if dst.type is SCALAR:
            env.mark_precise(state, insn.dst)
        if row.reg and src.type is SCALAR:
            env.mark_precise(state, insn.src)
        return target if decided else index + 1

    links = _collect_links(env, state, insn, row, index)
    if len(links) > 1:
        env.push_history(state, 0, tuple(links))
    other = env.push_branch(state, target, index)
    _refine_scalars(env, state, other, insn, row)
    if links:
        if row.reg:
            _follow(state, insn.src, links)
            _follow(other, insn.src, links)
        _follow(state, insn.dst, links)
        _follow(other, insn.dst, links)

    dst = regs[insn.dst]
    if row.reg and row.bits == 64:
        _compare_nullness(env, state, other, insn, row.op)
    if not row.reg and row.bits == 64 and insn.imm == 0 and row.op in (Op.JEQ, Op.JNE) and dst.flags & Flag.MAYBE_NULL:
        _decide_null(env, state, insn.dst, is_null=row.op is Op.JNE)
        _decide_null(env, other, insn.dst, is_null=row.op is Op.JEQ)
    elif not _match_packet(state, other, insn, row) and is_pointer_value(env, dst):
        raise Rejected(EACCES, f"R{insn.dst} pointer comparison prohibited", register=insn.dst)
    return index + 1


def reserved(insn: Insn) -> Rejected:
    """The rejection of a conditional jump that has no row."""
    code = insn.code & 0xF0
    if code == 0xE0:
        return Rejected(EINVAL, f"invalid may_goto imm {insn.imm}")
    if code > 0xE0:
        return Rejected(EINVAL, f"invalid BPF_JMP/JMP32 opcode {code:x}")
    return Rejected(EINVAL, "BPF_JMP/JMP32 uses reserved fields")


def _second_operand(env: Environment, state: State, insn: Insn, row: Opcode, dst: Reg) -> Reg:
    flags = InsnFlag.DST_REG_STACK if dst.type is RegType.STACK else 0
    if row.reg:
        src = state.frames[-1].read(insn.src)
        if not (dst.type in _PACKET_OR_END and src.type in _PACKET_OR_END) and is_pointer_value(env, src):
            raise Rejected(EACCES, f"R{insn.src} pointer comparison prohibited", register=insn.src)
        if src.type is RegType.STACK:
            flags |= InsnFlag.SRC_REG_STACK
    else:
        src = scalar_const(insn.imm)
    if flags:
        env.push_history(state, flags, ())
    return src


# -- deciding --------------------------------------------------------------------------------------------------------------------


def taken(dst: Reg, src: Reg, op: Op, bits: int) -> bool | None:
    """Whether ``dst op src`` holds on this path: always, never (False), or sometimes (None).

    Args:
        dst: the left side.
        src: the right side.
        op: the comparison.
        bits: its width.
    """
    if dst.type is SCALAR and src.type is SCALAR:
        return scalars_taken(dst.num, src.num, op, bits)
    if bits == 64 and dst.type in _PACKET_OR_END and src.type in _PACKET_OR_END:
        return _packet_taken(dst, src, op)
    if not _is_const(src, bits):
        dst, src, op = src, dst, FLIPPED[op]
    if not _is_const(src, bits) or not is_not_null(dst):
        return None
    if src.num.var_off.value & (U64_MAX if bits == 64 else U32_MAX) or op not in (Op.JEQ, Op.JNE):
        return None
    return op is Op.JNE


def _is_const(reg: Reg, bits: int) -> bool:
    return reg.type is SCALAR and not reg.num.var_off.mask & (U64_MAX if bits == 64 else U32_MAX)


def is_not_null(reg: Reg) -> bool:
    """Whether a pointer is known not to be NULL (reg_not_null). A kernel object that is not trusted may be, unmarked."""
    if reg.flags & Flag.MAYBE_NULL:
        return False
    if reg.type is RegType.BTF_ID:
        return reg.ref_obj_id != 0 or (reg.flags & _TRUSTED != 0 and not reg.flags & ~_TRUSTED)
    if reg.type is RegType.MEM:
        return not reg.flags & Flag.UNTRUSTED
    return reg.type in _NEVER_NULL


def _packet_taken(dst: Reg, src: Reg, op: Op) -> bool | None:
    if src.type is RegType.PACKET_END:
        packet = dst
    elif dst.type is RegType.PACKET_END:
        packet, op = src, FLIPPED[op]
    else:
        return None
    if packet.range == BEYOND_PKT_END and op in (Op.JLE, Op.JGT):
        return op is Op.JGT
    if packet.range < 0 and op in (Op.JLT, Op.JGE):
        return op is Op.JGE
    return None


# -- scalars ---------------------------------------------------------------------------------------------------------------------


def _refine_scalars(env: Environment, state: State, other: State, insn: Insn, row: Opcode) -> None:
    regs, other_regs = state.frames[-1].regs, other.frames[-1].regs
    dst = regs[insn.dst]
    src = regs[insn.src] if row.reg else scalar_const(insn.imm)
    if dst.type is not SCALAR or src.type is not SCALAR:
        return
    for jump, target, where in ((True, other_regs, "true_reg"), (False, regs, "false_reg")):
        if row.reg and insn.src == insn.dst:
            itself = dst._replace(num=refine_itself(dst.num, row.op, row.bits, jump))
            target[insn.dst] = _checked(env, _checked(env, itself, f"{where}1"), f"{where}2")
            continue
        left, right = refine(dst.num, src.num, row.op, row.bits, jump)
        target[insn.dst] = _checked(env, with_num(dst, left), f"{where}1")
        right_reg = _checked(env, with_num(src, right), f"{where}2")
        if row.reg:
            target[insn.src] = right_reg


def _checked(env: Environment, reg: Reg, where: str) -> Reg:
    return reg if bounds.is_consistent(reg.num) else forget_violation(env, reg, where)


def _collect_links(env: Environment, state: State, insn: Insn, row: Opcode, index: int) -> list[Link]:
    """The registers that are still needed and the slots that share an id with either side; those that are too many lose it."""
    links: list[Link] = []
    regs = state.frames[-1].regs
    for number in (insn.src, insn.dst) if row.reg else (insn.dst,):
        reg = regs[number]
        if reg.type is SCALAR and reg.id:
            _collect(env, state, reg.id & ~ADD_CONST, index, links)
    return links


def _collect(env: Environment, state: State, base: int, index: int, links: list[Link]) -> None:
    for frameno in range(len(state.frames) - 1, -1, -1):
        frame = state.frames[frameno]
        live = env.live_regs[index]
        for number in range(FP):
            reg = frame.regs[number]
            if reg.id & ~ADD_CONST == base and reg.type is SCALAR and live >> number & 1:
                if len(links) < MAX_LINKED:
                    links.append((frameno, number))
                else:
                    frame.regs[number] = reg._replace(id=0, off=0)
        for number, slot in enumerate(frame.stack):
            reg = slot.reg
            if reg.id & ~ADD_CONST == base and reg.type is SCALAR and slot.kinds[7] == SlotKind.SPILL:
                if len(links) < MAX_LINKED:
                    links.append((frameno, -1 - number))
                else:
                    frame.stack[number] = slot._replace(reg=reg._replace(id=0, off=0))
        index = frame.callsite


def _follow(state: State, number: int, links: list[Link]) -> None:
    """Give what is known of a register of the running frame to all that are linked to it (sync_linked_regs)."""
    here = len(state.frames) - 1
    known = state.frames[here].regs[number]
    if known.type is not SCALAR or not known.id:
        return
    for frameno, place in links:
        frame = state.frames[frameno]
        if place >= 0:
            if place != number or frameno != here:
                frame.regs[place] = _synced(frame.regs[place], known)
        else:
            slot = frame.stack[-1 - place]
            frame.stack[-1 - place] = slot._replace(reg=_synced(slot.reg, known))


def _synced(reg: Reg, known: Reg) -> Reg:
    """A register as it is, given what is known of one linked to it."""
    if reg.type is not SCALAR or (reg.id ^ known.id) & ~ADD_CONST:
        return reg
    if (reg.id ^ known.id) & ADD_CONST == ADD_CONST:
        return reg  # one went through a 64-bit addition, the other through a 32-bit one
    if reg.off == known.off or not (reg.id | known.id) & ADD_CONST:
        return known
    num = arith.add_constant(known.num, reg.off - known.off)
    if (reg.id | known.id) & ADD_CONST32:
        num = bounds.zero_extend32(num)
    return known._replace(num=bounds.sync(num), id=reg.id, off=reg.off)


# -- null ------------------------------------------------------------------------------------------------------------------------


def not_null(reg: Reg) -> Reg:
    """A pointer that was found not to be NULL (mark_ptr_not_null_reg). What a map lookup gave may turn out to be something else."""
    if reg.type is not RegType.MAP_VALUE:
        return reg._replace(flags=reg.flags & ~Flag.MAYBE_NULL)
    spec = reg.map.spec
    if spec.inner is not None:
        return reg._replace(type=RegType.CONST_MAP, flags=0, target=MapTarget(spec.inner, reg.map.uid))
    if spec.type is MapType.XSKMAP:
        return reg._replace(type=RegType.XDP_SOCK, flags=0, target=None)
    if spec.type in (MapType.SOCKMAP, MapType.SOCKHASH):
        return reg._replace(type=RegType.SOCKET, flags=0, target=None)
    return reg._replace(flags=0)


_KEEPS_UID = frozenset({FieldKind.TIMER, FieldKind.WORKQUEUE, FieldKind.TASK_WORK})
_LOCKS = frozenset({FieldKind.SPIN_LOCK, FieldKind.RES_SPIN_LOCK})


def may_hold_lock(env: Environment, reg: Reg) -> bool:
    """Whether what it points to may contain a lock, so that its id has to tell it apart from others."""
    if reg.type is RegType.MAP_VALUE and not reg.flags:
        fields = env.record(reg.map.spec)
    elif reg.type is RegType.BTF_ID and reg.flags & Flag.ALLOC:
        fields = special_fields(reg.btf.btf, reg.btf.id)
    else:
        return False
    return any(field.kind in _LOCKS for field in fields)


def _valid(env: Environment, reg: Reg) -> Reg:
    """A pointer that was compared with NULL, where it is not."""
    found = not_null(reg)
    if reg.type is RegType.MAP_VALUE and found.type is RegType.CONST_MAP:
        inner = found.map.spec
        if any(field.kind in _KEEPS_UID for field in env.record(inner)):
            found = found._replace(target=MapTarget(inner, reg.id))
    return found if may_hold_lock(env, found) else found._replace(id=0)


def _decide_null(env: Environment, state: State, number: int, *, is_null: bool) -> None:
    """Make a register of the running frame and its copies valid pointers or zeros; NULL was never a reference."""
    known = state.frames[-1].regs[number]
    group = known.id
    if is_null and group and known.ref_obj_id == group:
        refs.drop(state, group)
    refs.change_registers(
        state,
        lambda reg: reg.id == group and reg.flags & Flag.MAYBE_NULL != 0 and (reg.id != 0 or reg.flags & Flag.RCU != 0),
        (lambda _: SCALAR_ZERO) if is_null else (lambda reg: _valid(env, reg)),
    )


def _compare_nullness(env: Environment, state: State, other: State, insn: Insn, op: Op) -> None:
    """A pointer that may be NULL is not where it equals one that is not."""
    regs = state.frames[-1].regs
    dst, src = regs[insn.dst], regs[insn.src]
    if dst.type is SCALAR or src.type is SCALAR or op not in (Op.JEQ, Op.JNE):
        return
    if RegType.BTF_ID in (dst.type, src.type) or not (dst.flags ^ src.flags) & Flag.MAYBE_NULL:
        return
    number = insn.src if src.flags & Flag.MAYBE_NULL else insn.dst
    equal = (other if op is Op.JEQ else state).frames[-1].regs
    found = not_null(equal[number])
    if found.type is RegType.CONST_MAP and any(field.kind in _KEEPS_UID for field in env.record(found.map.spec)):
        found = found._replace(target=MapTarget(found.map.spec, found.id))
    equal[number] = found


# -- packets ---------------------------------------------------------------------------------------------------------------------


def _is_packet_start(reg: Reg) -> bool:
    """Whether it is ``data`` as the context gave it (reg_is_init_pkt_pointer)."""
    return reg.type is RegType.PACKET and not reg.id and not reg.off and reg.num == bounds.ZERO


def _match_packet(state: State, other: State, insn: Insn, row: Opcode) -> bool:
    """Learn from a comparison of a packet pointer with the end of what it points into; False where it is none."""
    if not row.reg or row.bits == 32 or row.op not in _CHECKED:
        return False
    regs = state.frames[-1].regs
    dst, src = regs[insn.dst], regs[insn.src]
    if (dst.type is RegType.PACKET and src.type is RegType.PACKET_END) or (
        dst.type is RegType.PACKET_META and _is_packet_start(src)
    ):
        number, op = insn.dst, row.op
    elif (dst.type is RegType.PACKET_END and src.type is RegType.PACKET) or (
        _is_packet_start(dst) and src.type is RegType.PACKET_META
    ):
        number, op = insn.src, FLIPPED[row.op]
    else:
        return False
    jump, strictly = _CHECKED[op]
    inside, outside = (other, state) if jump else (state, other)
    packet = regs[number]
    _widen_packet(inside, packet, strictly=strictly)
    out = outside.frames[-1].regs
    if out[number].type is RegType.PACKET:
        out[number] = out[number]._replace(range=AT_PKT_END if strictly else BEYOND_PKT_END)
    return True


def _widen_packet(state: State, packet: Reg, *, strictly: bool) -> None:
    """What lies below a packet pointer, or strictly below, is inside the packet: so it is for all with its variable offset."""
    if packet.off < 0 or (packet.off == 0 and strictly):
        return
    if packet.num.umax > MAX_PACKET_OFF or packet.num.umax + packet.off > MAX_PACKET_OFF:
        return
    reach = packet.off + 1 if strictly else packet.off
    refs.change_registers(
        state,
        lambda reg: reg.type is packet.type and not reg.flags and reg.id == packet.id and reg.range < reach,
        lambda reg: reg._replace(range=reach),
    )
