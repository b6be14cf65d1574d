"""Calls of subprograms and returns from them, and how the program as a whole is left.

A static function is inlined: the path goes on in it, with a frame of its own, and comes back with the callee's r0. A global function
is verified once on its own for all arguments that its prototype allows; a call of it only checks the arguments and yields a scalar.

Source: kernel/bpf/verifier.c of 6.18 (check_func_call, setup_func_entry, prepare_func_exit, check_return_code).
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.verifier import refs
from bpfcrypto.verifier.bounds import S64_MAX, S64_MIN
from bpfcrypto.verifier.state import FP, MAX_FRAMES, NOT_INIT, SCALAR_UNKNOWN, Frame, Reg, RegType, Rejected
from bpfcrypto.verifier.subprog_args import check_call
from bpfcrypto.verifier.typename import reg_name

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.log import Trace
    from bpfcrypto.verifier.state import State

Range = tuple[int, int]

RETURN_RANGES: Final[Mapping[ProgType, Range]] = {
    ProgType.CGROUP_SOCK_ADDR: (0, 1),
    ProgType.CGROUP_SKB: (0, 1),
    ProgType.CGROUP_SOCK: (0, 1),
    ProgType.SOCK_OPS: (0, 1),
    ProgType.CGROUP_DEVICE: (0, 1),
    ProgType.CGROUP_SYSCTL: (0, 1),
    ProgType.CGROUP_SOCKOPT: (0, 1),
    ProgType.SK_LOOKUP: (0, 1),
    ProgType.NETFILTER: (0, 1),
}
"""What a program of the type may return, where the kernel minds; of those without attach types that change it."""


def new_frame(number: int, subprog: int, callsite: int) -> Frame:
    """The frame of a function that is entered: nothing is known but its stack pointer."""
    frame = Frame(number, subprog, callsite)
    frame.regs[FP] = Reg(RegType.STACK, frameno=number)
    return frame


def call(env: Environment, state: State, insn: Insn, index: int, trace: Trace) -> int:
    """Execute a call of a subprogram.

    Returns:
        The instruction at which the path goes on.

    Raises:
        Rejected: a global function is called with wrong arguments or in the wrong place, or calls are nested too deeply.
    """
    start = index + insn.imm + 1
    number = next(number for number, each in enumerate(env.subprograms) if each.start == start)
    callee, caller = env.subprograms[number], state.frames[-1]
    misfit = check_call(env, state, number, index)
    if callee.is_global:
        _check_global(env, state, number, misfit)
        trace.note(f"Func#{number} ('{callee.name}') is global and assumed valid.")
        if callee.changes_packet:
            refs.forget_packet_pointers(env, state)
        callee.called = True
        caller.regs[0:6] = [NOT_INIT] * 6
        caller.regs[0] = SCALAR_UNKNOWN
        return index + 1
    enter(state, number, index).regs[1:6] = caller.regs[1:6]
    caller.regs[0:6] = [NOT_INIT] * 6
    trace.whole("caller:\n", state, caller.frameno)
    trace.whole("callee:\n", state, state.frame.frameno)
    return start


def enter(state: State, subprog: int, callsite: int) -> Frame:
    """Put the frame of a callee on the call stack.

    Raises:
        Rejected: E2BIG, there are eight already.
    """
    depth = len(state.frames)
    if depth >= MAX_FRAMES:
        raise Rejected(E2BIG, f"the call stack of {depth + 1} frames is too deep", id="call-depth")
    frame = new_frame(depth, subprog, callsite)
    state.frames.append(frame)
    return frame


def _check_global(env: Environment, state: State, number: int, misfit: int) -> None:
    callee = env.subprograms[number]
    if state.active_locks:
        raise Rejected(
            EINVAL,
            "global function calls are not allowed while holding a lock,\nuse static function instead",
            id="call-while-locked",
        )
    if callee.might_sleep and (
        state.active_rcu_lock or state.active_preempt_locks or state.active_irq_id or not env.in_sleepable(state)
    ):
        raise Rejected(
            EINVAL,
            "global functions that may sleep are not allowed in non-sleepable context,\n"
            "i.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context",
            id="not-sleepable",
        )
    if misfit:
        raise Rejected(
            misfit, f"Caller passes invalid args into func#{number} ('{callee.name}')", id="global-arguments"
        )


def leave(env: Environment, state: State, trace: Trace) -> int:
    """Return from the running function, which is not the outermost.

    Returns:
        The instruction at which the path goes on: behind the call, or at it where a callback returns.

    Raises:
        Rejected: a callback returns what it may not, or a pointer to its own stack is returned.
    """
    callee, caller = state.frames[-1], state.frames[-2]
    result = callee.regs[0]
    if result.type is RegType.STACK:
        raise Rejected(EINVAL, "cannot return stack pointer to the caller", register=0, id="stack-escapes")
    if callee.in_callback:
        if result.type is not RegType.SCALAR:
            raise Rejected(EACCES, "R0 not a scalar value", register=0, id="callback-return")
        env.mark_precise(state, 0)
        _check_range(callee.regs[0], callee.callback_range, "At callback return")
        following = callee.callsite
    else:
        caller.regs[0] = result
        following = callee.callsite + 1
    trace.whole("returning from callee:\n", state, callee.frameno)
    trace.whole(f"to caller at {following}:\n", state, caller.frameno)
    state.frames.pop()
    if callee.in_callback:
        earlier = env.previous_entry(state, following)
        if earlier is not None:
            env.widen(earlier, state)
    return following


def leave_program(env: Environment, state: State) -> None:
    """Return from the outermost function of the path: the program, a global function, or an asynchronous callback.

    Raises:
        Rejected: r0 holds nothing, or what may not be returned.
    """
    frame = state.frames[0]
    result = state.frames[-1].read(0)
    if result.type is not RegType.SCALAR and not env.options.allow_ptr_leaks:
        raise Rejected(EACCES, "R0 leaks addr as return value", register=0, id="pointer-leak")
    if frame.in_async_callback:
        _check_returned(env, state, result, frame.callback_range, "At async callback return")
    elif frame.subprog and not frame.in_exception_callback:
        if result.type is not RegType.SCALAR:
            raise Rejected(
                EINVAL, f"At subprogram exit the register R0 is not a scalar value ({reg_name(result)})", register=0
            )
    elif env.program.type in RETURN_RANGES:
        _check_returned(env, state, result, RETURN_RANGES[env.program.type], "At program exit")


def _check_returned(env: Environment, state: State, result: Reg, allowed: Range, when: str) -> None:
    if result.type is not RegType.SCALAR:
        raise Rejected(
            EINVAL, f"{when} the register R0 is not a known value ({reg_name(result)})", register=0, id="return-range"
        )
    env.mark_precise(state, 0)
    _check_range(state.frames[-1].regs[0], allowed, when)


def _check_range(result: Reg, allowed: Range, when: str) -> None:
    least, greatest = result.num.smin, result.num.smax
    if allowed[0] <= least and greatest <= allowed[1]:
        return
    known = f" smin={least}" if least > S64_MIN else ""
    known += f" smax={greatest}" if greatest < S64_MAX else ""
    raise Rejected(
        EINVAL,
        f"{when} the register R0 has{known or ' unknown scalar value'} should have been in [{allowed[0]}, {allowed[1]}]",
        register=0,
        id="return-range",
    )
