"""How much stack a chain of calls uses, which must not exceed 512 bytes.

Each function counts with what any path touched, rounded up to 16 bytes. A tail call keeps the frames of its callers on the kernel's
stack, so those may hold at most 256 bytes where one is made.

Source: check_max_stack_depth of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import E2BIG, EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.isa.opcode import PseudoCall
from bpfcrypto.verifier import cfg
from bpfcrypto.verifier.state import MAX_FRAMES, MAX_STACK, Rejected

if TYPE_CHECKING:
    from bpfcrypto.verifier.cfg import Flow
    from bpfcrypto.verifier.env import Environment

_ROUNDED: Final = 16
_BELOW_TAIL_CALL: Final = 256


def check(env: Environment, flow: Flow) -> None:
    """Follow every chain of calls from the program and from each asynchronous callback.

    Raises:
        Rejected: EACCES for too much stack, E2BIG for too many frames.
    """
    for number in range(len(flow.subprograms) - 1, -1, -1):
        if number == 0 or flow.subprograms[number].is_async_callback:
            _follow(env, flow, number, 0, ())


def _follow(env: Environment, flow: Flow, number: int, above: int, callers: tuple[int, ...]) -> None:
    frame = len(callers)
    function, end = flow.subprograms[number], flow.end(number)
    if number and above >= _BELOW_TAIL_CALL and cfg.has_tail_call(env.insns, function.start, end):
        raise Rejected(
            EACCES,
            f"tail_calls are not allowed when call stack of previous frames is {above} bytes. Too large",
            id="stack-depth",
        )
    depth = above + -(-function.stack_depth // _ROUNDED) * _ROUNDED
    if depth > MAX_STACK:
        raise Rejected(EACCES, f"combined stack size of {frame + 1} calls is {depth}. Too large", id="stack-depth")
    for index in range(function.start, end):
        insn = env.insns[index]
        if cfg.is_call(insn, PseudoCall.KFUNC) and cfg.kfunc_name(env.program, index) == cfg.THROW:
            _check_throw(flow, number, callers, index)
        is_call = cfg.is_call(insn, PseudoCall.BPF)
        if not is_call and not cfg.is_function_address(insn):
            continue
        callee = flow.starting_at(index + insn.imm + 1)
        if flow.subprograms[callee].is_async_callback:
            if not is_call:
                continue
            if flow.subprograms[callee].is_exception_callback:
                raise Rejected(EINVAL, f"insn {index} cannot call exception cb directly", id="exception-callback")
        if frame + 1 >= MAX_FRAMES:
            raise Rejected(E2BIG, f"the call stack of {frame + 1} frames is too deep !", id="call-depth")
        _follow(env, flow, callee, depth, (*callers, number))


def _check_throw(flow: Flow, number: int, callers: tuple[int, ...], index: int) -> None:
    """An exception unwinds the program's own frames only: those of a callback hang below the kernel's."""
    if any(flow.subprograms[each].is_callback for each in (*callers, number)):
        raise Rejected(
            EINVAL,
            f"bpf_throw kfunc (insn {index}) cannot be called from callback subprog {number}",
            id="exception-callback",
        )
