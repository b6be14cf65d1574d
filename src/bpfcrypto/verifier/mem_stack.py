"""Loads and stores on the stack: what is spilled, what is plain data, what is zero, and what was never written.

A slot of eight bytes remembers the register that was spilled to it, so that filling it gives back the same knowledge. Everything else
is known byte by byte (``SlotKind``). Where the offset is not constant, a load gives what all slots in its range have in common and a
store forgets all of them. Privileged programs may read stack that nothing was written to; pointers they spill may only be read back
whole. Mirrors check_stack_access_within_bounds, check_stack_read_*, check_stack_write_* and check_stack_range_initialized of
kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EACCES, EFAULT, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.isa.opcode import Class, Mode
from bpfcrypto.verifier import dynptr, tnum
from bpfcrypto.verifier.alu import with_id
from bpfcrypto.verifier.state import (
    MAX_STACK,
    MAX_VAR_OFF,
    NOT_INIT,
    REG_SIZE,
    SCALAR_UNKNOWN,
    SCALAR_ZERO,
    InsnFlag,
    RegType,
    Rejected,
    Slot,
    SlotKind,
    scalar_const,
)

if TYPE_CHECKING:
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, Reg, State

_INVALID: Final = int(SlotKind.INVALID)
_SPILL: Final = int(SlotKind.SPILL)
_MISC: Final = int(SlotKind.MISC)
_ZERO: Final = int(SlotKind.ZERO)
_DYNPTR: Final = int(SlotKind.DYNPTR)
_SPECIAL: Final = frozenset({_SPILL, _DYNPTR, int(SlotKind.ITER), int(SlotKind.IRQ_FLAG)})

_ALL_SPILL: Final = bytes([_SPILL] * REG_SIZE)

# What writing a part of a slot does to the kinds of the bytes beside it: spilled and special ones are plain data from then on.
_TO_MISC: Final = bytes(kind if kind in (_INVALID, _ZERO) else _MISC for kind in range(256))
_SCRUB: Final = bytes(kind if kind == _INVALID else _MISC for kind in range(256))

_NOT_SPILLABLE: Final = frozenset({RegType.NOT_INIT, RegType.SCALAR, RegType.TP_BUFFER, RegType.DYNPTR})


def owner(state: State, reg: Reg) -> Frame:
    """The frame that a stack pointer points into."""
    return state.frames[reg.frameno]


def slot_of(off: int) -> int:
    """The number of the slot that holds the byte at a negative offset."""
    return (-off - 1) >> 3


def _access(frameno: int, spi: int) -> int:
    """The flags of a spill or fill in the history of a path."""
    return InsnFlag.STACK_ACCESS | spi << InsnFlag.SLOT_SHIFT | frameno


def check_bounds(env: Environment, state: State, regno: int, reg: Reg, off: int, size: int, write: bool) -> None:
    """That an access stays on the stack; the stack of its frame becomes as deep as the access needs.

    Args:
        env: the verification.
        state: the path.
        regno: the register that points to the stack.
        reg: what it holds.
        off: its fixed offset and that of the access.
        size: bytes.
        write: whether it is a store.
    """
    what = "write to" if write else "read from"
    num = reg.num
    constant = not num.var_off.mask
    if constant:
        low = num.smin + off
        high = low + size
    else:
        if num.smax >= MAX_VAR_OFF or num.smin <= -MAX_VAR_OFF:
            raise Rejected(
                EACCES, f"invalid unbounded variable-offset {what} stack R{regno}", register=regno, id="stack-bounds"
            )
        low, high = num.smin + off, num.smax + off + size
    frame = state.frames[reg.frameno]
    least = -MAX_STACK if write or env.options.allow_uninit_stack else -REG_SIZE * len(frame.stack)
    if low >= least and low <= -1 and high <= 0 and size >= 0:
        if len(frame.stack) * REG_SIZE < -low:
            frame.grow(-low)
            _remember_depth(env, frame)
        return
    errno = EACCES if low < least or low > -1 else EINVAL if high > 0 else EFAULT
    if constant:
        text = f"invalid {what} stack R{regno} off={off} size={size}"
    else:
        text = f"invalid variable-offset {what} stack R{regno} var_off={tnum.text(num.var_off)} off={off} size={size}"
    raise Rejected(errno, text, register=regno, id="stack-bounds")


def _remember_depth(env: Environment, frame: Frame) -> None:
    if frame.subprog < len(env.subprograms):
        subprogram = env.subprograms[frame.subprog]
        subprogram.stack_depth = max(subprogram.stack_depth, REG_SIZE * len(frame.stack))


def read(env: Environment, state: State, regno: int, reg: Reg, off: int, size: int, value: int) -> None:
    """Load from the stack into register ``value``; with -1, only ask whether that memory is plain data."""
    num = reg.num
    if not num.var_off.mask:
        _read_fixed(env, state, state.frames[reg.frameno], off + num.smin, size, value)
        return
    if value < 0:
        text = tnum.text(num.var_off)
        message = "variable offset stack pointer cannot be passed into helper function"
        raise Rejected(EACCES, f"{message}; var_off={text} off={off} size={size}", register=regno, id="stack-bounds")
    check_initialised(env, state, regno, off, size, write=False)
    _read_data(env, state, state.frames[reg.frameno], num.smin + off, num.smax + off + size, value)


def write(env: Environment, state: State, reg: Reg, off: int, size: int, value: int, index: int) -> None:
    """Store register ``value`` to the stack; with -1, the immediate of the instruction, or what a helper writes there."""
    num = reg.num
    frame = state.frames[reg.frameno]
    if num.var_off.mask:
        _write_variable(env, state, frame, num.smin + off, num.smax + off + size, value, index)
    else:
        _write_fixed(env, state, frame, off + num.smin, size, value, index)


def _immediate(env: Environment, index: int) -> int | None:
    """The value of a store of an immediate; None where the instruction is something else."""
    insn = env.insns[index]
    return insn.imm if insn.code & 0x07 == Class.ST and insn.code & 0xE0 == Mode.MEM else None


def _write_fixed(env: Environment, state: State, frame: Frame, off: int, size: int, value: int, index: int) -> None:
    byte = -off - 1
    spi = byte >> 3
    regs = state.frames[-1].regs
    reg = regs[value] if value >= 0 else None
    slot = frame.stack[spi]
    if (
        not env.options.allow_ptr_leaks
        and slot.kinds[7] == _SPILL
        and slot.reg.type is not RegType.SCALAR
        and size != REG_SIZE
    ):
        raise Rejected(EACCES, "attempt to corrupt spilled pointer on stack", id="stack-spill")
    if slot.kinds[0] == _DYNPTR:
        dynptr.destroy(env, state, frame, spi)
        slot = frame.stack[spi]
    aligned = off & 7 == 0
    if aligned and size == REG_SIZE:
        env.stack_written(state, frame.frameno, 1 << spi)
    env.touched_slots |= 1 << spi
    if reg is not None and aligned and reg.type is RegType.SCALAR:
        fits = reg.num.umax.bit_length() <= 8 * size
        if fits:
            reg = regs[value] = with_id(env, reg)
        elif reg.id:
            reg = reg._replace(id=0, off=0)
        frame.stack[spi] = Slot(_spilled(slot.kinds, size), reg)
    elif reg is None and aligned and (imm := _immediate(env, index)) is not None:
        frame.stack[spi] = Slot(_spilled(slot.kinds, size), scalar_const(imm))
    elif reg is not None and reg.type not in _NOT_SPILLABLE:
        if size != REG_SIZE:
            raise Rejected(EACCES, "invalid size of register spill", register=value, id="stack-spill")
        if frame is not state.frames[-1] and reg.type is RegType.STACK:
            raise Rejected(
                EINVAL,
                "cannot spill pointers to stack into stack frame of the caller",
                register=value,
                id="stack-spill",
            )
        frame.stack[spi] = Slot(_ALL_SPILL, reg)
    else:
        _write_data(env, state, frame, byte, size, value, _is_zero(env, reg, index))
        return
    env.push_history(state, _access(frame.frameno, spi), ())


def _is_zero(env: Environment, reg: Reg | None, index: int) -> bool:
    return reg.is_null if reg is not None else _immediate(env, index) == 0


def _spilled(kinds: bytes, size: int) -> bytes:
    """The kinds of a slot after a register of ``size`` bytes was spilled to its lower addresses."""
    if size == REG_SIZE:
        return _ALL_SPILL
    return kinds[: REG_SIZE - size].translate(_TO_MISC) + _ALL_SPILL[:size]


def _write_data(env: Environment, state: State, frame: Frame, byte: int, size: int, value: int, zero: bool) -> None:
    """Plain bytes: whatever was spilled there is no register any more."""
    slot = frame.stack[byte >> 3]
    kinds = slot.kinds
    if kinds[7] in _SPECIAL:
        kinds = kinds.translate(_SCRUB)
    if zero and value >= 0:
        env.mark_precise(state, value)
    last = (byte & 7) + 1
    kind = _ZERO if zero else _MISC
    frame.stack[byte >> 3] = Slot(kinds[: last - size] + bytes([kind]) * size + kinds[last:], NOT_INIT)


def fill(env: Environment, state: State, frame: Frame, off: int, size: int) -> None:
    """A helper fills ``size`` bytes from a constant offset: plain data, as if stored byte by byte."""
    for spi in range(slot_of(off + size - 1), slot_of(off) + 1):
        if frame.stack[spi].kinds[0] == _DYNPTR:
            dynptr.destroy(env, state, frame, spi)
        env.touched_slots |= 1 << spi
        slot = frame.stack[spi]
        kinds = slot.kinds.translate(_SCRUB) if slot.kinds[7] in _SPECIAL else slot.kinds
        first = max(-8 * (spi + 1), off) + 8 * (spi + 1)  # of the slot's bytes, by address
        last = min(-8 * spi, off + size) + 8 * (spi + 1)
        frame.stack[spi] = Slot(kinds[: 8 - last] + bytes([_MISC]) * (last - first) + kinds[8 - first :], NOT_INIT)


def _write_variable(env: Environment, state: State, frame: Frame, low: int, high: int, value: int, index: int) -> None:
    """A store somewhere in ``low..high``: nothing there is known any more, except zeros that stay zeros."""
    reg = state.frames[-1].regs[value] if value >= 0 else None
    zero = _is_zero(env, reg, index)
    kept_zero = False
    for spi in range(slot_of(high - 1), slot_of(low) + 1):
        if frame.stack[spi].kinds[0] == _DYNPTR:
            dynptr.destroy(env, state, frame, spi)
    for off in range(low, high):
        byte = -off - 1
        spi, i = byte >> 3, byte & 7
        env.touched_slots |= 1 << spi
        slot = frame.stack[spi]
        kind = slot.kinds[i]
        if not env.options.allow_ptr_leaks and kind not in (_MISC, _ZERO):
            raise Rejected(
                EINVAL,
                f"spilled ptr in range of var-offset stack write; insn {index}, ptr off: {off}",
                id="stack-spill",
            )
        if zero and kind == _SPILL and slot.kinds[7] == _SPILL and slot.reg.is_null:
            kept_zero = True
            continue
        if kind == _INVALID and not env.options.allow_uninit_stack:
            message = "uninit stack in range of var-offset write prohibited for !root"
            raise Rejected(EINVAL, f"{message}; insn {index}, off: {off}", id="stack-uninit")
        new, kinds = _MISC, slot.kinds
        if zero and kind == _ZERO:
            new, kept_zero = _ZERO, True
        if kinds[7] in _SPECIAL:
            kinds = kinds.translate(_SCRUB)
        left = slot.reg if slot.reg.type is RegType.NOT_INIT else slot.reg._replace(type=RegType.NOT_INIT)
        frame.stack[spi] = Slot(kinds[:i] + bytes([new]) + kinds[i + 1 :], left)
    if kept_zero and value >= 0:
        env.mark_precise(state, value)


def _read_data(env: Environment, state: State, frame: Frame, low: int, high: int, value: int) -> None:
    """Plain bytes into a register: 0 where all of them are, otherwise unknown."""
    zeros = True
    for off in range(low, high):
        byte = -off - 1
        env.touched_slots |= 1 << (byte >> 3)
        if frame.stack[byte >> 3].kinds[byte & 7] != _ZERO:
            zeros = False
            break
    state.frames[-1].regs[value] = SCALAR_ZERO if zeros else SCALAR_UNKNOWN


def _read_fixed(env: Environment, state: State, frame: Frame, off: int, size: int, value: int) -> None:
    byte = -off - 1
    spi = byte >> 3
    slot = frame.stack[spi]
    kinds = slot.kinds
    env.touched_slots |= 1 << spi
    env.stack_read(state, frame.frameno, 1 << spi)
    regs = state.frames[-1].regs
    if kinds[7] != _SPILL:
        _check_readable(env, kinds, off, byte, size, plain_only=True)
        if value >= 0:
            _read_data(env, state, frame, off, off + size, value)
        return
    reg = slot.reg
    spilled = _spilled_bytes(kinds)
    if size == REG_SIZE == spilled:
        if value >= 0:
            regs[value] = reg
        elif not env.options.allow_ptr_leaks and reg.type is not RegType.SCALAR:
            raise Rejected(EACCES, f"leaking pointer from stack off {off}", id="stack-spill")
    else:
        if reg.type is not RegType.SCALAR:
            raise Rejected(EACCES, "invalid size of register fill", id="stack-spill")
        if value < 0:
            return
        if size <= spilled and off & 7 == 0:
            regs[value] = reg._replace(id=0, off=0) if reg.num.umax.bit_length() > 8 * size else reg
        else:
            _check_readable(env, kinds, off, byte, size, plain_only=False)
            last = (byte & 7) + 1
            bytes_read = kinds[last - size : last]
            if bytes_read.count(_SPILL) == size and reg.is_null:
                regs[value] = SCALAR_ZERO
            else:
                regs[value] = SCALAR_ZERO if bytes_read.count(_ZERO) == size else SCALAR_UNKNOWN
                return
    env.push_history(state, _access(frame.frameno, spi), ())


def _spilled_bytes(kinds: bytes) -> int:
    """How many bytes from the lowest address belong to the spilled register."""
    return REG_SIZE - len(kinds.rstrip(_ALL_SPILL[:1]))


def _check_readable(env: Environment, kinds: bytes, off: int, byte: int, size: int, *, plain_only: bool) -> None:
    for i in range(size):
        kind = kinds[(byte - i) & 7]
        if kind in (_MISC, _ZERO) or (kind == _INVALID and env.options.allow_uninit_stack):
            continue
        if kind == _SPILL and not plain_only:
            continue
        raise Rejected(EACCES, f"invalid read from stack off {off}+{i} size {size}", id="stack-uninit")


def check_initialised(
    env: Environment,
    state: State,
    regno: int,
    off: int,
    size: int,
    *,
    write: bool,
    zero_ok: bool = False,
    raw: bool = False,
) -> bool:
    """That a helper (or a load at a variable offset) may use ``size`` bytes of stack.

    Args:
        env: the verification.
        state: the path.
        regno: the register that points there.
        off: its fixed offset.
        size: bytes.
        write: whether the helper may write to them.
        zero_ok: whether it may be given no memory at all.
        raw: whether it fills all of them, so that nothing needs to be there.

    Returns:
        True where it fills them and the caller has to mark them as written, once all arguments are checked.
    """
    reg = state.frames[-1].regs[regno]
    num = reg.num
    frame = state.frames[reg.frameno]
    if size == 0 and not zero_ok:
        raise Rejected(EACCES, "invalid zero-sized read", register=regno, id="mem-bounds")
    check_bounds(env, state, regno, reg, off, size, write)
    constant = not num.var_off.mask
    if constant:
        low = high = num.smin + off
    else:
        low, high = num.smin + off, num.smax + off
        raw = False
        if not env.options.allow_ptr_leaks:
            text = f"R{regno} variable offset stack access prohibited for !root, var_off={tnum.text(num.var_off)}"
            raise Rejected(EACCES, text, register=regno, id="stack-bounds")
    stack = frame.stack
    if raw:
        for at in range(low, high + size):
            byte = -at - 1
            if byte >> 3 < len(stack) and stack[byte >> 3].kinds[byte & 7] == _DYNPTR:
                raise Rejected(
                    EACCES, f"potential write to dynptr at off={at} disallowed", register=regno, id="dynptr-overwrite"
                )
        return True
    read_mask = 0
    for at in range(low, high + size):
        byte = -at - 1
        spi, i = byte >> 3, byte & 7
        slot = stack[spi]
        kind = slot.kinds[i]
        if kind == _MISC:
            pass
        elif kind == _ZERO or (kind == _INVALID and env.options.allow_uninit_stack):
            if write:
                stack[spi] = slot._replace(kinds=slot.kinds[:i] + bytes([_MISC]) + slot.kinds[i + 1 :])
        elif slot.kinds[7] == _SPILL and (slot.reg.type is RegType.SCALAR or env.options.allow_ptr_leaks):
            if write:
                stack[spi] = Slot(slot.kinds.translate(_SCRUB), SCALAR_UNKNOWN)
        else:
            where = f"off {low}" if constant else f"var_off {tnum.text(num.var_off)}"
            raise Rejected(
                EACCES,
                f"invalid read from stack R{regno} {where}+{at - low} size {size}",
                register=regno,
                id="stack-uninit",
            )
        read_mask |= 1 << spi
    if read_mask:
        env.stack_read(state, frame.frameno, read_mask)
    return False
