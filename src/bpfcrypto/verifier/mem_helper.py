"""Memory that is handed to calls: buffers of a known size, and buffers whose size is the next argument.

A call touches the whole range that its arguments describe, so the greatest size that is possible has to fit. Mirrors
check_helper_mem_access, check_mem_size_reg, check_mem_reg and check_kfunc_mem_size_reg of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.verifier import mem, mem_btf, mem_region, mem_stack
from bpfcrypto.verifier.branch import not_null
from bpfcrypto.verifier.state import MAX_VAR_OFF, Flag, RegType, Rejected, not_modelled
from bpfcrypto.verifier.typename import reg_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

_MAX_SIZE: Final = MAX_VAR_OFF
"""BPF_MAX_VAR_SIZ: sizes from here on are as good as unbounded."""


@dataclass(slots=True)
class Buffer:
    """What a call is about to fill: stack that need not hold anything before.

    Attributes:
        regno: the register that points there, 0 for none.
        size: bytes.
    """

    regno: int = 0
    size: int = 0


def check_memory(
    env: Environment,
    state: State,
    regno: int,
    size: int,
    *,
    write: bool,
    zero_ok: bool,
    index: int,
    fills: Buffer | None = None,
) -> None:
    """That a call may read, or write, ``size`` bytes at a pointer.

    Args:
        env: the verification.
        state: the path.
        regno: the register with the pointer.
        size: bytes.
        write: whether the call may write to them.
        zero_ok: whether it may be given none.
        index: the call.
        fills: takes note of stack that the call fills entirely; None where it reads what is there.
    """
    reg = state.regs[regno]
    kind = reg.type
    if kind is RegType.STACK:
        raw = fills is not None
        if mem_stack.check_initialised(env, state, regno, reg.off, size, write=write, zero_ok=zero_ok, raw=raw):
            assert fills is not None
            fills.regno, fills.size = regno, size
    elif kind is RegType.MAP_VALUE:
        mem_region.check_map_access_flags(reg, regno, reg.off, size, write)
        mem_region.check_map_value(env, regno, reg, reg.off, size, zero_ok=zero_ok, direct=False)
    elif kind in (RegType.PACKET, RegType.PACKET_META):
        mem_region.check_packet(regno, reg, reg.off, size, zero_ok=zero_ok)
    elif kind is RegType.MEM:
        if write and reg.flags & Flag.RDONLY:
            text = f"R{regno} cannot write into {reg_name(reg)}"
            raise Rejected(EACCES, text, register=regno, id="mem-read-only")
        mem_region.check_region(regno, reg, reg.off, size, reg.mem.size, zero_ok=zero_ok)
    elif kind is RegType.MAP_KEY:
        if write:
            text = f"R{regno} cannot write into {reg_name(reg)}"
            raise Rejected(EACCES, text, register=regno, id="mem-read-only")
        mem_region.check_region(regno, reg, reg.off, size, reg.map.spec.key_size)
    elif kind is RegType.BTF_ID:
        mem_btf.check_object(env, state, regno, reg.off, size, write=False, value=-1)
    elif kind is RegType.BUF:
        raise not_modelled("buffers of iterator programs")
    elif kind is RegType.CTX and env.program.type is ProgType.SYSCALL:
        if size:
            mem.check_access(env, state, regno, size - 1, 1, write, index=index)
        elif not zero_ok:
            raise Rejected(EACCES, "", register=regno, id="mem-bounds")
    elif not (zero_ok and size == 0 and reg.is_null):
        text = f"R{regno} type={reg_name(reg)} expected=fp"
        raise Rejected(EACCES, text, register=regno, id="arg-type")


def check_sized(
    env: Environment,
    state: State,
    regno: int,
    *,
    write: bool,
    zero_ok: bool,
    index: int,
    fills: Buffer | None = None,
) -> None:
    """That a size, and the memory that the register before points to, fit together.

    Args:
        env: the verification.
        state: the path.
        regno: the register with the size.
        write: whether the call may write to the memory.
        zero_ok: whether the size may be 0.
        index: the call.
        fills: as for ``check_memory``.
    """
    num = state.regs[regno].num
    if num.smin < 0:
        text = f"R{regno} min value is negative, either use unsigned or 'var &= const'"
        raise Rejected(EACCES, text, register=regno, id="size-bounds")
    if num.umin == 0 and not zero_ok:
        # The kernel prints both ends as signed numbers.
        text = f"R{regno} invalid zero-sized read: u64=[{num.umin},{_signed(num.umax)}]"
        raise Rejected(EACCES, text, register=regno, id="size-bounds")
    if num.umax >= _MAX_SIZE:
        text = f"R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'"
        raise Rejected(EACCES, text, register=regno, id="size-bounds")
    if num.var_off.mask:
        fills = None
    check_memory(env, state, regno - 1, num.umax, write=write, zero_ok=zero_ok, index=index, fills=fills)
    env.mark_precise(state, regno)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def check_fixed(env: Environment, state: State, regno: int, size: int, *, index: int) -> None:
    """That a kfunc, or a global function, may read and write ``size`` bytes at a pointer that may be NULL."""
    reg = state.regs[regno]
    if reg.is_null:
        return
    with _not_null(state, regno):
        for write in (False, True):
            check_memory(env, state, regno, size, write=write, zero_ok=True, index=index)


def check_pair(env: Environment, state: State, regno: int, *, index: int) -> None:
    """That a kfunc may read and write the memory before a size argument; the pointer may be NULL."""
    with _not_null(state, regno - 1):
        for write in (False, True):
            check_sized(env, state, regno, write=write, zero_ok=True, index=index)


@contextmanager
def _not_null(state: State, regno: int) -> Iterator[None]:
    """Within it, a pointer that may be NULL is taken not to be."""
    regs = state.regs
    reg = regs[regno]
    if not reg.flags & Flag.MAYBE_NULL:
        yield
        return
    regs[regno] = not_null(reg)
    yield
    regs[regno] = reg
