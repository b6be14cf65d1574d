"""The control flow of a program, before any path of it is executed: functions, jumps, unreachable code, and where states are kept.

Two passes, in the kernel's order. ``find_subprograms`` cuts the instructions into functions, at the targets of calls and of callback
addresses, and checks that no jump leaves its function. ``build_flow`` walks the graph depth first, as check_cfg does: every
instruction must be reached. Loops and recursion are legal here; whether they end is for the exploration to find out.

What the exploration takes from the graph:

* *prune points*, where the running state is compared with earlier ones: branches, targets of jumps, calls and what follows them;
* *jump points*, where the path's history is recorded because the instruction before is not the one with the index before;
* *forced checkpoints*, where a state is always kept: iterators' next methods, calls that run callbacks, and may_goto, since loops
  over those converge only there;
* a *postorder* of each function, for the data-flow analyses of ``liveness``;
* *strongly connected components*: states within one cannot be finished before all of its paths are.

Source: kernel/bpf/verifier.c of 6.18 (add_subprog, check_subprogs, check_cfg, compute_postorder, compute_scc).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from errno import E2BIG, EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.helpers import BY_NAME, HELPERS
from bpfcrypto.abi.kfuncs import CURRENT as KFUNCS
from bpfcrypto.abi.kfuncs import KfuncFlag
from bpfcrypto.isa.opcode import CALL, EXIT, GOTO, GOTOL, LDDW, MAY_GOTO, Class, Mode, PseudoCall, PseudoImm
from bpfcrypto.spec import KfuncRef
from bpfcrypto.verifier.env import Subprogram
from bpfcrypto.verifier.state import Rejected

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

MAX_SUBPROGRAMS: Final = 256

TAIL_CALL: Final = BY_NAME["bpf_tail_call"].id

SYNC_CALLBACK_HELPERS: Final = frozenset(
    BY_NAME[f"bpf_{name}"].id for name in ("for_each_map_elem", "find_vma", "loop", "user_ringbuf_drain")
)
SYNC_CALLBACK_KFUNCS: Final = frozenset({"bpf_rbtree_add_impl"})
ASYNC_CALLBACK_HELPERS: Final = frozenset({BY_NAME["bpf_timer_set_callback"].id})
ASYNC_CALLBACK_KFUNCS: Final = frozenset(
    {"bpf_wq_set_callback_impl", "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl"}
)

PACKET_CHANGING_HELPERS: Final = frozenset(
    BY_NAME[f"bpf_{name}"].id
    for name in (
        "clone_redirect",
        "l3_csum_replace",
        "l4_csum_replace",
        "skb_adjust_room",
        "skb_change_head",
        "skb_change_proto",
        "skb_change_tail",
        "skb_pull_data",
        "skb_store_bytes",
        "skb_vlan_pop",
        "skb_vlan_push",
        "xdp_adjust_head",
        "xdp_adjust_meta",
        "xdp_adjust_tail",
    )
)
"""Helpers after which packet pointers are stale (bpf_helper_changes_pkt_data), of those that packet programs can call. What a tail
call leads to changes the packet for the callers of its function; where it fails, nothing has changed."""

PACKET_CHANGING_KFUNCS: Final = frozenset({"bpf_xdp_pull_data"})

THROW: Final = "bpf_throw"
_EXCEPTION_TAG: Final = "exception_callback:"

_JUMP_CLASSES: Final = frozenset({Class.JMP, Class.JMP32})
_LEADING: Final = frozenset(code for code in range(256) if code & 7 in _JUMP_CLASSES or code == LDDW)
"""Opcode bytes of instructions that may lead elsewhere than to the next one, or do more than be executed: jumps, calls, lddw."""


@dataclass(slots=True)
class Flow:
    """The graph and what is known of its nodes; every list is indexed by instruction.

    Attributes:
        subprograms: the functions by start.
        subprogram_of: number of the function that an instruction belongs to.
        successors: the instructions that may follow within the function; a call is followed by what it returns to.
        prune_points, jump_points, checkpoints: see above.
        calls_callback: calls that run a callback before they return.
        iterates: calls of an iterator's next method.
        leads_back: for each function whether any jump in it leads back; where none does there is no loop.
        postorder: for each function its instructions, successors before predecessors where there is no loop.
        components: number of the strongly connected component that an instruction is in, 0 where it is in no loop.
        callback_components: the same, where a lone call that calls back is a component, too.
    """

    subprograms: list[Subprogram]
    subprogram_of: list[int]
    successors: list[tuple[int, ...]] = field(default_factory=list)
    prune_points: bytearray = field(default_factory=bytearray)
    jump_points: bytearray = field(default_factory=bytearray)
    checkpoints: bytearray = field(default_factory=bytearray)
    calls_callback: bytearray = field(default_factory=bytearray)
    iterates: bytearray = field(default_factory=bytearray)
    leads_back: list[bool] = field(default_factory=list)
    postorder: list[list[int]] = field(default_factory=list)
    components: list[int] = field(default_factory=list)
    callback_components: list[int] = field(default_factory=list)

    def end(self, subprog: int) -> int:
        """The instruction behind the last one of a function."""
        following = subprog + 1
        return self.subprograms[following].start if following < len(self.subprograms) else len(self.subprogram_of)

    def starting_at(self, index: int) -> int:
        """Number of the function that starts there, -1 where none does."""
        number = self.subprogram_of[index] if 0 <= index < len(self.subprogram_of) else -1
        return number if number >= 0 and self.subprograms[number].start == index else -1


def kfunc_name(program: ProgramSpec, index: int) -> str:
    """The kfunc that a call refers to, "" where it refers to none."""
    ref = program.refs.get(index)
    return ref.name if isinstance(ref, KfuncRef) else ""


def jump_offset(insn: Insn) -> int:
    """The distance of a jump: ``gotol`` has it in the immediate."""
    return insn.imm if insn.code == GOTOL else insn.off


def is_call(insn: Insn, kind: PseudoCall) -> bool:
    """Whether it is a call of that kind."""
    return insn.code == CALL and insn.src == kind


def is_function_address(insn: Insn) -> bool:
    """Whether it is an ``lddw`` of the address of a function."""
    return insn.code == LDDW and insn.src == PseudoImm.FUNC


def find_subprograms(program: ProgramSpec, insns: Sequence[Insn]) -> Flow:
    """Cut the program into functions (add_subprog).

    Raises:
        Rejected: a call that leads nowhere, or too many functions.
    """
    starts = {0}
    for index, insn in enumerate(insns):
        if is_call(insn, PseudoCall.BPF) or is_function_address(insn):
            target = index + insn.imm + 1
            if not 0 <= target < len(insns):
                raise Rejected(EINVAL, "call to invalid destination")
            starts.add(target)
            if len(starts) > MAX_SUBPROGRAMS:
                raise Rejected(E2BIG, "too many subprograms")
    handler = _exception_callback(program)
    if handler:
        starts.add(handler)
    described = {func.index: func for func in program.funcs}
    subprograms = []
    for start in sorted(starts):
        func = described.get(start)
        subprograms.append(
            Subprogram(start, func.name, func.type_id, func.is_global) if func is not None else Subprogram(start)
        )
    for subprogram in subprograms:
        if handler and subprogram.start == handler:
            subprogram.is_callback = subprogram.is_async_callback = subprogram.is_exception_callback = True
            subprogram.called = True
    flow = Flow(subprograms, [-1] * len(insns))
    for number, subprogram in enumerate(subprograms):
        end = flow.end(number)
        flow.subprogram_of[subprogram.start : end] = [number] * (end - subprogram.start)
    return flow


def _exception_callback(program: ProgramSpec) -> int:
    """Where the function starts that a tag of the program makes its exception callback; 0 for none."""
    names = [tag.removeprefix(_EXCEPTION_TAG) for tag in program.tags if tag.startswith(_EXCEPTION_TAG)]
    if not names:
        return 0
    if len(names) > 1:
        raise Rejected(EEXIST, "multiple exception callback tags for main subprog")
    found = next((func for func in program.funcs if func.name == names[0]), None)
    if found is None:
        raise Rejected(ENOENT, f"exception callback '{names[0]}' could not be found in BTF")
    if not found.is_global:
        raise Rejected(EINVAL, f"exception callback '{names[0]}' must have global linkage")
    return found.index


def check_jumps(flow: Flow, insns: Sequence[Insn]) -> None:
    """That jumps stay in their functions, and that no function is left by running over its end (check_subprogs).

    Raises:
        Rejected: one does not.
    """
    for index, insn in enumerate(insns):
        number = flow.subprogram_of[index]
        start, end = flow.subprograms[number].start, flow.end(number)
        operation = insn.code & 0xF0
        if insn.code & 7 in _JUMP_CLASSES and operation not in (CALL & 0xF0, EXIT & 0xF0):
            target = index + jump_offset(insn) + 1
            if not start <= target < end:
                raise Rejected(EINVAL, f"jump out of range from insn {index} to {target}")
        if index == end - 1 and insn.code not in (EXIT, GOTO, GOTOL):
            raise Rejected(EINVAL, "last insn is not an exit or jmp")


def has_tail_call(insns: Sequence[Insn], start: int, end: int) -> bool:
    """Whether the function makes a tail call."""
    return any(is_call(insn, PseudoCall.HELPER) and insn.imm == TAIL_CALL for insn in insns[start:end])


def has_legacy_load(insns: Sequence[Insn], start: int, end: int) -> bool:
    """Whether the function loads from the packet by LD_ABS or LD_IND."""
    return any(insn.code & 7 == Class.LD and insn.code & 0xE0 in (Mode.ABS, Mode.IND) for insn in insns[start:end])


def build_flow(flow: Flow, program: ProgramSpec, insns: Sequence[Insn]) -> None:
    """Walk the graph and fill in the rest of ``flow``.

    Raises:
        Rejected: instructions that nothing reaches, or a jump into an ``lddw``.
    """
    size = len(insns)
    flow.prune_points, flow.jump_points, flow.checkpoints = bytearray(size), bytearray(size), bytearray(size)
    flow.calls_callback, flow.iterates = bytearray(size), bytearray(size)
    reached = _walk(flow, program, insns)
    for index in range(size):
        if not reached[index]:
            if index and insns[index - 1].code == LDDW and reached[index - 1]:
                continue
            raise Rejected(EINVAL, f"unreachable insn {index}")
        if insns[index].code == LDDW and reached[index + 1]:
            raise Rejected(EINVAL, f"jump into the middle of ldimm64 insn {index}")
    flow.leads_back = [False] * len(flow.subprograms)
    flow.successors = [_successors(insns, flow, index) for index in range(size)]
    for index in range(size):
        if insns[index].code in _LEADING:
            _mark(flow, program, insns, index)
    flow.postorder = [_postorder(flow, number, reached) for number in range(len(flow.subprograms))]
    flow.components = _components(flow)
    alone = [index for index in range(size) if flow.calls_callback[index] and not flow.components[index]]
    flow.callback_components = flow.components.copy()
    for number, index in enumerate(alone, max(flow.components) + 1):
        flow.callback_components[index] = number


def _edges(insns: Sequence[Insn], index: int) -> Sequence[int]:
    """Where control may go, functions that are called or named included, in the kernel's order."""
    insn = insns[index]
    if insn.code not in _LEADING:
        return (index + 1,)
    if insn.code == LDDW:
        return [index + 2, index + insn.imm + 1] if is_function_address(insn) else (index + 2,)
    operation = insn.code & 0xF0
    if operation == EXIT & 0xF0:
        return []
    if operation == CALL & 0xF0:
        return [index + 1, index + insn.imm + 1] if insn.src == PseudoCall.BPF else [index + 1]
    target = index + jump_offset(insn) + 1
    return [target] if operation == 0 else [index + 1, target]


def _walk(flow: Flow, program: ProgramSpec, insns: Sequence[Insn]) -> bytearray:
    """Depth first from the first instruction; a function's effects on its callers are known when it is left."""
    seen = bytearray(len(insns))
    for each in flow.subprograms:
        if (each.start == 0 or each.is_exception_callback) and not seen[each.start]:
            _walk_from(flow, program, insns, each.start, seen)
    return seen


def _walk_from(flow: Flow, program: ProgramSpec, insns: Sequence[Insn], start: int, seen: bytearray) -> None:
    seen[start] = 1
    walk: list[tuple[int, Iterator[int]]] = [(start, iter(_edges(insns, start)))]
    while walk:
        index, edges = walk[-1]
        for target in edges:
            if not 0 <= target < len(insns):
                raise Rejected(EINVAL, f"jump out of range from insn {index} to {target}")
            if not seen[target]:
                seen[target] = 1
                walk.append((target, iter(_edges(insns, target))))
                break
        else:
            walk.pop()
            if insns[index].code in _LEADING:
                _note_effects(flow, program, insns, index)


def _note_effects(flow: Flow, program: ProgramSpec, insns: Sequence[Insn], index: int) -> None:
    """What this instruction makes its function do: change the packet, or sleep."""
    insn, caller = insns[index], flow.subprograms[flow.subprogram_of[index]]
    if is_function_address(insn) or is_call(insn, PseudoCall.BPF):
        callee = flow.subprograms[flow.subprogram_of[index + insn.imm + 1]]
        caller.changes_packet |= callee.changes_packet
        caller.might_sleep |= callee.might_sleep
    elif is_call(insn, PseudoCall.HELPER):
        helper = HELPERS.get(insn.imm)
        caller.might_sleep |= helper is not None and helper.sleepable and program.type in helper.types
        caller.changes_packet |= insn.imm in PACKET_CHANGING_HELPERS or insn.imm == TAIL_CALL
    elif is_call(insn, PseudoCall.KFUNC):
        kfunc = KFUNCS.get(kfunc_name(program, index))
        if kfunc is not None and program.type in kfunc.types:
            caller.might_sleep |= bool(kfunc.flags & KfuncFlag.SLEEPABLE)
            caller.changes_packet |= kfunc.name in PACKET_CHANGING_KFUNCS


def _mark(flow: Flow, program: ProgramSpec, insns: Sequence[Insn], index: int) -> None:
    """The marks that an instruction leaves on itself and on where it leads (visit_insn)."""
    insn = insns[index]
    operation = insn.code & 0xF0
    if is_function_address(insn):
        _mark_return(flow, index + 2)
        _mark_entry(flow, index, index + insn.imm + 1)
    elif insn.code & 7 not in _JUMP_CLASSES or operation == EXIT & 0xF0:
        return
    elif operation == CALL & 0xF0:
        _mark_call(flow, program, insn, index)
        _mark_return(flow, index + 1)
        if insn.src == PseudoCall.BPF:
            _mark_entry(flow, index, index + insn.imm + 1)
    elif operation == 0:
        _mark_return(flow, index + jump_offset(insn) + 1)
    else:
        flow.prune_points[index] = 1
        flow.checkpoints[index] |= insn.code == MAY_GOTO
        _mark_return(flow, index + insn.off + 1)


def _mark_return(flow: Flow, index: int) -> None:
    flow.prune_points[index] = flow.jump_points[index] = 1


def _mark_entry(flow: Flow, call: int, start: int) -> None:
    flow.prune_points[call] = 1
    _mark_return(flow, start)


def _mark_call(flow: Flow, program: ProgramSpec, insn: Insn, index: int) -> None:
    name = kfunc_name(program, index) if insn.src == PseudoCall.KFUNC else ""
    is_helper = insn.src == PseudoCall.HELPER
    if (is_helper and insn.imm in ASYNC_CALLBACK_HELPERS) or name in ASYNC_CALLBACK_KFUNCS:
        flow.prune_points[index] = 1
    if (is_helper and insn.imm in SYNC_CALLBACK_HELPERS) or name in SYNC_CALLBACK_KFUNCS:
        flow.calls_callback[index] = flow.checkpoints[index] = 1
        _mark_return(flow, index)
    kfunc = KFUNCS.get(name)
    if kfunc is not None and kfunc.flags & KfuncFlag.ITER_NEXT and program.type in kfunc.types:
        flow.iterates[index] = flow.prune_points[index] = flow.checkpoints[index] = 1


def _successors(insns: Sequence[Insn], flow: Flow, index: int) -> tuple[int, ...]:
    """The edges within a function; a tail call that succeeds is one to the function's exit."""
    insn = insns[index]
    if insn.code not in _LEADING:
        return (index + 1,)
    if insn.code == LDDW:
        return (index + 2,)
    number, operation = flow.subprogram_of[index], insn.code & 0xF0
    if operation == EXIT & 0xF0:
        return ()
    if operation == CALL & 0xF0:
        if not (is_call(insn, PseudoCall.HELPER) and insn.imm == TAIL_CALL):
            return (index + 1,)
        at = range(flow.subprograms[number].start, flow.end(number))
        target = max((each for each in at if insns[each].code == EXIT), default=index + 1)
    else:
        target = index + jump_offset(insn) + 1
    if target <= index:
        flow.leads_back[number] = True
    return (index + 1, target) if operation else (target,)


def _postorder(flow: Flow, number: int, reached: bytearray) -> list[int]:
    start, end, successors = flow.subprograms[number].start, flow.end(number), flow.successors
    if not flow.leads_back[number]:
        return [index for index in range(end - 1, start - 1, -1) if reached[index]]
    order: list[int] = []
    seen, expanded = bytearray(end), bytearray(end)
    stack = [start]
    while stack:
        top = stack[-1]
        seen[top] = 1
        if expanded[top]:
            order.append(top)
            stack.pop()
            continue
        for target in successors[top]:
            if not seen[target]:
                seen[target] = 1
                stack.append(target)
        expanded[top] = 1
    return order


def _components(flow: Flow) -> list[int]:
    """Strongly connected components by Tarjan's algorithm; a lone instruction counts if it loops."""
    successors, size = flow.successors, len(flow.successors)
    number, lowest, found = [0] * size, [0] * size, [0] * size
    path: list[int] = []
    counter = components = 0
    for root in range(size):
        if number[root] or not flow.leads_back[flow.subprogram_of[root]]:
            continue
        walk: list[tuple[int, int]] = [(root, 0)]
        while walk:
            index, edge = walk.pop()
            if not number[index]:
                counter += 1
                number[index] = lowest[index] = counter
                path.append(index)
            targets = successors[index]
            for position in range(edge, len(targets)):
                target = targets[position]
                if not number[target]:
                    walk += [(index, position), (target, 0)]
                    break
                lowest[index] = min(lowest[index], lowest[target])
            else:
                if lowest[index] == number[index]:
                    looping = path[-1] != index or index in targets
                    components += looping
                    while True:
                        member = path.pop()
                        lowest[member] = size + 1
                        found[member] = components if looping else 0
                        if member == index:
                            break
    return found
