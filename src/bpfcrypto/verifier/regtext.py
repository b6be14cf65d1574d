"""The log's text of what is known: registers, stack slots, the state of a frame.

Mirrors print_verifier_state of kernel/bpf/log.c in 6.18, letter for letter: tools and people read these lines, and the tests of the
domain compare them with the kernel's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bpfcrypto.verifier import tnum
from bpfcrypto.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32_MAX, U64_MAX, signed64
from bpfcrypto.verifier.state import ADD_CONST, REG_SIZE, Flag, IterState, RegType, SlotKind
from bpfcrypto.verifier.tnum import MASK32, MASK64
from bpfcrypto.verifier.typename import DYNPTR_NAMES, iter_name, struct_name, type_name

if TYPE_CHECKING:
    from bpfcrypto.verifier.bounds import Bounds
    from bpfcrypto.verifier.state import Frame, Reg, Slot, State

_ITER_STATES: Final = {
    IterState.INVALID: "<invalid>",
    IterState.ACTIVE: "active",
    IterState.DRAINED: "drained",
}
_SLOT_LETTERS: Final = {
    SlotKind.INVALID: "?",
    SlotKind.SPILL: "r",
    SlotKind.MISC: "m",
    SlotKind.ZERO: "0",
    SlotKind.DYNPTR: "d",
    SlotKind.ITER: "i",
    SlotKind.IRQ_FLAG: "f",
}
_MAPS: Final = frozenset({RegType.CONST_MAP, RegType.MAP_KEY, RegType.MAP_VALUE})
_MAP_NAME: Final = 15
"""Letters of a map's name that the kernel keeps."""


def unsigned_text(value: int) -> str:
    """An unsigned number: in decimal up to 16 bits, else in hexadecimal."""
    return str(value) if value <= 0xFFFF else f"{value:#x}"


def signed_text(value: int) -> str:
    """A signed number: in decimal where it fits 16 bits, else its 64 bits in hexadecimal."""
    return str(value) if -0x8000 <= value <= 0x7FFF else f"{value & MASK64:#x}"


def _range_attributes(num: Bounds) -> list[str]:
    """The ranges that say anything, those with the same value joined: ``smin=smin32=0``."""
    s32_min = num.s32_min if -0x8000 <= num.s32_min <= 0x7FFF else num.s32_min & MASK32
    s32_max = num.s32_max if -0x8000 <= num.s32_max <= 0x7FFF else num.s32_max & MASK32
    left = {
        name: value
        for name, value, full in (
            ("smin", num.smin, num.smin == S64_MIN),
            ("smax", num.smax, num.smax == S64_MAX),
            ("umin", num.umin, num.umin == 0),
            ("umax", num.umax, num.umax == U64_MAX),
            ("smin32", s32_min, num.s32_min == S32_MIN),
            ("smax32", s32_max, num.s32_max == S32_MAX),
            ("umin32", num.u32_min, num.u32_min == 0),
            ("umax32", num.u32_max, num.u32_max == U32_MAX),
        )
        if not full
    }
    attributes = []
    while left:
        name, value = next(iter(left.items()))
        joined = [other for other in left if other[1:4] == name[1:4] and left[other] == value]
        for other in joined:
            del left[other]
        shown = signed_text(value) if name[0] == "s" else unsigned_text(value)
        attributes.append("=".join([*joined, shown]))
    return attributes


def format_reg(reg: Reg, frameno: int) -> str:
    """A register, as seen from the frame of that number: ``scalar(umax=255,var_off=(0x0; 0xff))``, ``fp-8``, ``Pscalar(...)``."""
    kind, num = reg.type, reg.num
    var = num.var_off
    precise = "P" if kind is RegType.SCALAR and reg.precise else ""
    if kind is RegType.SCALAR and not var.mask:
        return precise + signed_text(signed64(var.value))
    name = precise + type_name(kind, reg.flags)
    if kind is RegType.ARENA and not reg.flags:
        return name
    if kind is RegType.STACK and not reg.flags:
        if reg.frameno != frameno:
            name += f"[{reg.frameno}]"
        if not var.mask:
            return name + signed_text(signed64(var.value) + reg.off)
    if kind is RegType.BTF_ID:
        name += struct_name(reg.btf.btf, reg.btf.id)
    return f"{name}({','.join(_attributes(reg))})"


def _attributes(reg: Reg) -> list[str]:
    kind, num = reg.type, reg.num
    attributes = []
    if reg.id:
        link = f"{reg.off:+d}" if reg.id & ADD_CONST else ""
        attributes.append(f"id={reg.id & ~ADD_CONST}{link}")
    if reg.ref_obj_id:
        attributes.append(f"ref_obj_id={reg.ref_obj_id}")
    if reg.flags & Flag.NON_OWN_REF:
        attributes.append("non_own_ref")
    if kind in _MAPS:
        spec = reg.map.spec
        if spec.name:
            attributes.append(f"map={spec.name[:_MAP_NAME]}")
        attributes.append(f"ks={spec.key_size},vs={spec.value_size}")
    if reg.off and kind is not RegType.SCALAR:
        attributes.append(f"off={signed_text(reg.off)}")
    if kind is RegType.PACKET or kind is RegType.PACKET_META:
        attributes.append(f"r={unsigned_text(reg.range & MASK64)}")
    if kind is RegType.MEM:
        attributes.append(f"sz={unsigned_text(reg.mem.size)}")
    if kind is RegType.DYNPTR:
        attributes.append(f"type={DYNPTR_NAMES[reg.dynptr.kind]}")
    if not num.var_off.mask:
        if num.var_off.value:
            attributes.append(f"imm={signed_text(signed64(num.var_off.value))}")
    else:
        attributes.extend(_range_attributes(num))
        if num.var_off != tnum.UNKNOWN:
            attributes.append(f"var_off={tnum.text(num.var_off)}")
    return attributes


def _letters(slot: Slot) -> str:
    return "".join(_SLOT_LETTERS[SlotKind(kind)] for kind in slot.kinds)


def _format_dynptr(reg: Reg) -> str:
    attributes = [f"id={reg.id}"] if reg.id else []
    if reg.ref_obj_id:
        attributes.append(f"ref_id={reg.ref_obj_id}")
    if reg.dynptr.first_slot:  # the kernel's fields overlap: what it prints as an id is this flag
        attributes.append("dynptr_id=1")
    return f"dynptr_{DYNPTR_NAMES[reg.dynptr.kind]}({','.join(attributes)})"


def format_slots(frame: Frame, wanted: int) -> list[str]:
    """The stack slots of a frame, as ``fp-8=...``; ``wanted`` is a mask of slot numbers, -1 for all. Empty slots have no text."""
    texts = []
    skip = -1
    for number, slot in enumerate(frame.stack):
        if number == skip or not wanted >> number & 1 or not any(slot.kinds):
            continue
        kind, reg = slot.kinds[-1], slot.reg
        if kind == SlotKind.SPILL:
            above = _letters(slot)[: slot.kinds.index(SlotKind.SPILL)]
            text = above + format_reg(reg, frame.frameno)
        elif kind == SlotKind.DYNPTR:
            number = skip = number + 1  # the slot below is the one that describes it
            text = _format_dynptr(frame.stack[number].reg)
        elif kind == SlotKind.ITER:
            if not reg.ref_obj_id:  # a slot that does not describe its iterator
                continue
            of = reg.iter
            name = iter_name(of.btf, of.id)
            text = f"iter_{name}(ref_id={reg.ref_obj_id},state={_ITER_STATES[of.state]},depth={of.depth})"
        else:
            text = _letters(slot)
        texts.append(f"fp{-(number + 1) * REG_SIZE}={text}")
    return texts


def format_state(state: State, frameno: int, regs: Iterable[int] = range(11), slots: int = -1) -> str:
    """A frame of a state: registers, stack, references, with a space before each part.

    Args:
        state: the path.
        frameno: which of its frames.
        regs: the registers to show; those never written have no text.
        slots: a mask of the stack slots to show, -1 for all.
    """
    frame = state.frames[frameno]
    parts = [f"frame{frameno}:"] if frameno else []
    parts += [
        f"R{number}={format_reg(frame.regs[number], frameno)}"
        for number in regs
        if frame.regs[number].type is not RegType.NOT_INIT
    ]
    parts += format_slots(frame, slots)
    if state.refs and state.refs[0].id:
        parts.append("refs=" + ",".join(str(reference.id) for reference in state.refs if reference.id))
    if frame.in_callback:
        parts.append("cb")
    if frame.in_async_callback:
        parts.append("async_cb")
    return "".join(f" {part}" for part in parts)
