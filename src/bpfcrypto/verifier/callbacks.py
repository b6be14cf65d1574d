"""Callbacks: how helpers and kfuncs enter the program again, and how iterators go round.

How often a callback runs is not known, so both are explored: the path goes on behind the call, and a copy of it enters the callback,
from which it returns to the call. An asynchronous callback starts a path of its own. The next method of an iterator is alike: the
path goes on with NULL, a copy of it with an element. Mirrors push_callback_call, set_*_callback_state and process_iter_next_call of
kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from errno import EFAULT
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapType
from bpfcrypto.verifier import subprog
from bpfcrypto.verifier.branch import not_null
from bpfcrypto.verifier.state import (
    NOT_INIT,
    SCALAR_UNKNOWN,
    SCALAR_ZERO,
    BtfTarget,
    DynptrKind,
    DynptrTarget,
    IterState,
    MapTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Frame, State

_BOOLEAN: Final = (0, 1)
_EACH_MAPS: Final = frozenset(
    {
        MapType.ARRAY,
        MapType.PERCPU_ARRAY,
        MapType.HASH,
        MapType.PERCPU_HASH,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
    }
)
"""Maps whose elements bpf_for_each_map_elem visits."""


def call_back(
    env: Environment,
    state: State,
    number: int,
    index: int,
    enter: Callable[[Environment, Frame, Frame], None],
) -> None:
    """A call runs a callback before it returns: put a path aside that enters it.

    Args:
        env: the verification.
        state: the path, at the call.
        number: the callback's subprogram.
        index: the call.
        enter: gives the callback's frame, the last argument, its arguments, from the caller's.
    """
    env.subprograms[number].is_callback = True
    inside = env.push_branch(state, env.subprograms[number].start, index)
    caller = inside.frames[-1]
    callee = subprog.enter(inside, number, index)
    enter(env, caller, callee)
    callee.in_callback = True
    callee.callback_range = _BOOLEAN
    inside.callback_unroll_depth += 1
    caller.callback_depth += 1
    state.frames[-1].callback_depth = 0


def call_back_later(
    env: Environment,
    state: State,
    number: int,
    index: int,
    enter: Callable[[Environment, Frame, Frame], None],
    *,
    sleepable: bool = False,
    allowed: tuple[int, int] = (0, 0),
) -> None:
    """A call registers a callback that runs on its own later.

    Args:
        env: the verification.
        state: the path, at the call.
        number: the callback's subprogram.
        index: the call.
        enter: gives the callback its arguments.
        sleepable: whether it may sleep.
        allowed: what it may return, (least, greatest).
    """
    function = env.subprograms[number]
    function.is_callback = function.is_async_callback = True
    inside = env.push_async(number, index, sleepable)
    callee, caller = inside.frames[0], state.frames[-1]
    callee.async_entry = caller.async_entry + 1
    enter(env, caller, callee)
    callee.in_async_callback = True
    callee.callback_range = allowed


def _arguments(callee: Frame, *regs: Reg) -> None:
    callee.regs[1:6] = [*regs, *(NOT_INIT,) * (5 - len(regs))]


def for_each_element(_: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(map, key, value, context)`` of bpf_for_each_map_elem."""
    target = caller.regs[1].map
    if target.spec.type not in _EACH_MAPS:
        raise Rejected(ENOTSUPP, "callback function not allowed for map", register=1, id="map-type")
    key, value = (
        Reg(RegType.MAP_KEY, target=MapTarget(target.spec)),
        Reg(RegType.MAP_VALUE, target=MapTarget(target.spec)),
    )
    _arguments(callee, caller.regs[1], key, value, caller.regs[3])


def loop(_: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(index, context)`` of bpf_loop."""
    _arguments(callee, SCALAR_UNKNOWN, caller.regs[3])


def timer(_: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(map, key, value)`` of a timer or work queue."""
    _element_of(callee, caller.regs[1].map)


def task_work(_: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(map, key, value)`` of work that a task does."""
    _element_of(callee, caller.regs[3].map)


def _element_of(callee: Frame, found: MapTarget) -> None:
    target = MapTarget(found.spec)
    _arguments(callee, *(Reg(kind, target=target) for kind in (RegType.CONST_MAP, RegType.MAP_KEY, RegType.MAP_VALUE)))


def find_vma(env: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(task, vma, context)`` of bpf_find_vma."""
    types = env.kernel_types
    found = types.find("vm_area_struct") if types is not None else None
    if types is None or found is None:
        raise not_modelled("bpf_find_vma without the kernel's types")
    _arguments(callee, caller.regs[1], Reg(RegType.BTF_ID, target=BtfTarget(types, found)), caller.regs[4])


def user_ringbuf(env: Environment, caller: Frame, callee: Frame) -> None:
    """``callback(dynptr, context)`` of bpf_user_ringbuf_drain."""
    sample = Reg(RegType.DYNPTR, id=env.new_id(), target=DynptrTarget(DynptrKind.LOCAL, True))
    _arguments(callee, sample, caller.regs[3])


def next_iteration(env: Environment, state: State, index: int, frameno: int, spi: int) -> None:
    """The next method of an iterator: r0, which the caller has set to an element or NULL, is decided here.

    Args:
        env: the verification.
        state: the path, at the call.
        index: the call.
        frameno: the frame that the iterator lives in.
        spi: its first slot.
    """
    frame = state.frames[frameno]
    iterator = frame.stack[spi].reg
    if iterator.iter.state is IterState.INVALID:
        raise Rejected(EFAULT, "verifier bug: unexpected iterator state 0 (<invalid>)")
    if iterator.iter.state is IterState.ACTIVE:
        earlier = env.previous_entry(state.parent, index) if state.parent is not None else None
        inside = env.push_branch(state, index + 1, index)
        target = iterator.iter._replace(depth=iterator.iter.depth + 1)
        stack = inside.frames[frameno].stack
        stack[spi] = stack[spi]._replace(reg=iterator._replace(target=target))
        if earlier is not None:
            env.widen(earlier, inside)
        regs = inside.frames[-1].regs
        regs[0] = not_null(regs[0])
    drained = iterator._replace(target=iterator.iter._replace(state=IterState.DRAINED))
    frame.stack[spi] = frame.stack[spi]._replace(reg=drained)
    state.frames[-1].regs[0] = SCALAR_ZERO
