"""Which registers and stack slots may still be read: what is dead need not be compared when states are.

*Registers.* A textbook live-variable analysis over each function's graph, done once before exploration:

    out(i) = union of in(s) for the successors s of i
    in(i)  = (out(i) - def(i)) | use(i)

*Stack.* Which slots an instruction touches is known only to the exploration, since addresses are values. So the analysis is fed
while paths are explored, and asked when states are compared. It is kept apart for each *call chain*: the calls that lead into a
function, and the function. For each instruction of such an instance, and each frame whose stack it can reach:

    may_read     union of the slots read there on any path so far: only grows
    must_write   intersection of the slots overwritten whole there on every path so far: only shrinks
    live         (union of live(s) over successors - must_write) | may_read
    written      (intersection of written(s) over successors) | must_write: what is overwritten from there to the function's end

The last two are solved to a fixed point, and what the first instruction of a callee then has is the callsite's may_read and
must_write in the caller's instance. An answer is right for a state whose paths are all explored, and only such states are asked for.

Masks of slots: bit i is ``Frame.stack[i]``. Source: kernel/bpf/liveness.c and compute_live_registers of kernel/bpf/verifier.c, 6.18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.abi.kfuncs import CURRENT as KFUNCS
from bpfcrypto.isa.opcode import FETCH, Kind, Op, PseudoCall
from bpfcrypto.verifier.cfg import Flow, kfunc_name
from bpfcrypto.verifier.state import FP

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.spec import ProgramSpec
    from bpfcrypto.verifier.state import State

ARGUMENTS = 0b111110
CALLER_SAVED = 0b111111
_ALL = 0xFFFF

_READS_DST = frozenset({Kind.ALU, Kind.UNARY, Kind.BRANCH, Kind.STORE})
_READS_SRC = frozenset({Kind.ALU, Kind.MOV, Kind.CAST, Kind.BRANCH, Kind.STORE})
_WRITES_DST = frozenset({Kind.ALU, Kind.MOV, Kind.UNARY, Kind.CAST, Kind.LDDW})


def use_and_def(program: ProgramSpec, insn: Insn, row: Opcode | None, index: int) -> tuple[int, int]:
    """The registers that an instruction reads and writes, as masks."""
    if row is None:
        return _ALL, 0
    if row.kind is Kind.CALL:
        return _call_uses(program, insn, index), CALLER_SAVED
    if row.kind is Kind.ATOMIC:
        return _atomic(insn, row, 1 << insn.dst, 1 << insn.src)
    return _plain(row.kind, row.reg, insn.dst, insn.src)


@cache
def _plain(kind: Kind, by_register: bool, dst: int, src: int) -> tuple[int, int]:
    """The same for instructions of which their operands say all."""
    if kind is Kind.EXIT:
        return 1, 0
    if kind is Kind.LEGACY:
        return _ALL, 0
    if kind is Kind.LOAD:
        return 1 << src, 1 << dst
    use = 1 << dst if kind in _READS_DST else 0
    if by_register and kind in _READS_SRC:
        use |= 1 << src
    return use, 1 << dst if kind in _WRITES_DST else 0


@cache
def numbers(mask: int) -> tuple[int, ...]:
    """The registers of a mask, those below r10: a frame's r10 is always the same."""
    return tuple(regno for regno in range(FP) if mask & 1 << regno)


def _atomic(insn: Insn, row: Opcode, dst: int, src: int) -> tuple[int, int]:
    if row.op is Op.LOAD_ACQUIRE:
        return src, dst
    if row.op is Op.STORE_RELEASE:
        return dst | src, 0
    if row.op is Op.CMPXCHG:
        return 1 | dst | src, 1
    return dst | src, src if insn.imm & FETCH else 0


def _call_uses(program: ProgramSpec, insn: Insn, index: int) -> int:
    """Argument registers of a call; all of them where its prototype is not to be had."""
    if insn.src == PseudoCall.HELPER:
        helper = HELPERS.get(insn.imm)
        known = helper is not None and program.type in helper.types
        count = len(helper.args) if helper is not None and known else 5
    elif insn.src == PseudoCall.KFUNC:
        kfunc = KFUNCS.get(kfunc_name(program, index))
        count = len(kfunc.params) if kfunc is not None and program.type in kfunc.types else 5
    else:
        count = 5
    return (1 << count + 1) - 2


def live_registers(flow: Flow, uses: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """For each instruction the registers that may be read before they are written, as a mask; r10 is not in it.

    Args:
        flow: the graph.
        uses: what each instruction reads and writes (``use_and_def``).
    """
    successors, before = flow.successors, [0] * len(uses)
    for order, leads_back in zip(flow.postorder, flow.leads_back, strict=True):
        changed = True
        while changed:
            changed = False
            for index in order:
                after = 0
                for successor in successors[index]:
                    after |= before[successor]
                use, defined = uses[index]
                new = (after & ~defined) | use
                if new != before[index]:
                    before[index] = new
                    changed = leads_back  # without a loop, once is enough
    return tuple(before)


@dataclass(slots=True)
class _Masks:
    """What is known of one frame's slots, by instruction relative to the function's start."""

    may_read: list[int]
    must_write: list[int]
    written: list[int]
    live: list[int]


def _masks(size: int) -> _Masks:
    return _Masks([0] * size, [0] * size, [0] * size, [0] * size)


@dataclass(slots=True)
class _Instance:
    """A function as it is entered by one call chain.

    Attributes:
        calls: the indexes of the calls that lead here, outermost first.
        subprogs: the functions of the frames, this one last.
        start, size: its instructions.
        frames: the masks by frame, where any were needed.
        seen: instructions whose must_write was set at least once.
        updated: whether ``live`` and ``written`` have to be solved again.
        dropped: whether a must_write lost slots, so that ``written`` has to start anew.
    """

    calls: tuple[int, ...]
    subprogs: tuple[int, ...]
    start: int
    size: int
    frames: dict[int, _Masks] = field(default_factory=dict)
    seen: bytearray = field(default_factory=bytearray)
    updated: bool = False
    dropped: bool = False

    def of(self, frame: int) -> _Masks:
        masks = self.frames.get(frame)
        if masks is None:
            masks = self.frames[frame] = _masks(self.size)
        return masks

    def read(self, frame: int, index: int, mask: int) -> None:
        masks, at = self.of(frame), index - self.start
        if mask & ~masks.may_read[at]:
            masks.may_read[at] |= mask
            if masks.may_read[at] & ~masks.live[at]:
                self.updated = True

    def commit(self, index: int, writes: Sequence[int]) -> None:
        """Join the slots that the instruction has overwritten this time, by frame, with those of the times before."""
        at = index - self.start
        for frame, mask in enumerate(writes):
            if not mask and not self.seen[at]:
                continue
            masks = self.of(frame)
            old = masks.must_write[at]
            if self.seen[at]:
                mask &= old
            if old != mask:
                masks.must_write[at] = mask
                self.updated = True
            if old & ~mask:
                self.dropped = True
        self.seen[at] = 1

    def is_live(self, frame: int, index: int) -> int:
        masks = self.frames.get(frame)
        return masks.live[index - self.start] if masks is not None else 0


_Step = tuple[int, int, tuple[int, ...]]
"""An instruction, the first that may follow it, and the others; all counted from the start of the subprogram."""


class StackLiveness:
    """The stack analysis of one verification.

    Args:
        flow: the program's graph.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._instances: dict[tuple[int, ...], _Instance] = {}
        self._orders: dict[int, list[_Step]] = {}
        self._current: _Instance | None = None
        self._writes: list[int] = []

    def forget_current(self) -> None:
        """The running function has changed (bpf_reset_live_stack_callchain)."""
        self._current = None

    def read(self, state: State, index: int, frame: int, mask: int) -> None:
        """Slots of a frame may be read by the instruction."""
        self._running(state).read(frame, index, mask)

    def begin(self, state: State) -> None:
        """An instruction starts that may write the stack."""
        self._writes = [0] * len(state.frames)
        self._running(state)

    def write(self, frame: int, mask: int) -> None:
        """It overwrites slots of a frame whole."""
        if frame < len(self._writes):
            self._writes[frame] |= mask

    def commit(self, index: int) -> None:
        """It has ended."""
        if self._current is not None:
            self._current.commit(index, self._writes)

    def update(self, state: State) -> None:
        """Solve what has changed on the state's call chain; called when a function or a path ends (bpf_update_live_stack)."""
        self._current = None
        for frame in range(len(state.frames) - 1, -1, -1):
            instance = self._instance(state, frame)
            if instance.updated:
                self._solve(instance)
                instance.updated = instance.dropped = False

    def alive(self, state: State) -> list[int]:
        """For each frame of a state, the slots that may be read later (bpf_stack_slot_alive)."""
        instances = [self._instance(state, frame) for frame in range(len(state.frames))]
        top = len(instances) - 1
        masks = []
        for frame in range(top + 1):
            mask = instances[top].is_live(frame, state.index)
            for outer in range(frame, top):
                call = instances[top].calls[outer]
                mask |= instances[outer].is_live(frame, call if self._flow.calls_callback[call] else call + 1)
            masks.append(mask)
        return masks

    def _running(self, state: State) -> _Instance:
        if self._current is None:
            self._current = self._instance(state, len(state.frames) - 1)
        return self._current

    def _instance(self, state: State, frame: int) -> _Instance:
        frames = state.frames
        return self._lookup(
            tuple(frames[number + 1].callsite for number in range(frame)),
            tuple(each.subprog for each in frames[: frame + 1]),
        )

    def _lookup(self, calls: tuple[int, ...], subprogs: tuple[int, ...]) -> _Instance:
        start = self._flow.subprograms[subprogs[-1]].start
        key = (*calls, start)
        found = self._instances.get(key)
        if found is None:
            size = self._flow.end(subprogs[-1]) - start
            found = self._instances[key] = _Instance(calls, subprogs, start, size, seen=bytearray(size))
        return found

    def _steps(self, subprog: int) -> Sequence[_Step]:
        """The instructions of a subprogram with what follows each, in the order in which a fixed point is found soonest."""
        found = self._orders.get(subprog)
        if found is None:
            start, successors = self._flow.subprograms[subprog].start, self._flow.successors
            found = self._orders[subprog] = [
                (index - start, successors[index][0] - start, tuple([each - start for each in successors[index][1:]]))
                for index in self._flow.postorder[subprog]
                if successors[index]
            ]
        return found

    def _solve(self, instance: _Instance) -> None:
        steps = self._steps(instance.subprogs[-1])
        for masks in instance.frames.values():
            if instance.dropped:
                masks.written = [0] * instance.size
            _fixed_point(masks, steps, leads_back=self._flow.leads_back[instance.subprogs[-1]])
        if instance.calls:
            outer = self._lookup(instance.calls[:-1], instance.subprogs[:-1])
            call, depth = instance.calls[-1], len(instance.calls)
            writes = [0] * depth
            for frame, masks in instance.frames.items():
                if frame < depth:
                    writes[frame] = masks.written[0]
                    outer.read(frame, call, masks.live[0])
            outer.commit(call, writes)


def _fixed_point(masks: _Masks, steps: Sequence[_Step], *, leads_back: bool) -> None:
    live, written, may_read, must_write = masks.live, masks.written, masks.may_read, masks.must_write
    changed = True
    while changed:
        changed = False
        for at, first, others in steps:
            after, always = live[first], written[first]
            for each in others:
                after |= live[each]
                always &= written[each]
            before = (after & ~must_write[at]) | may_read[at]
            always |= must_write[at]
            if before != live[at] or always != written[at]:
                live[at], written[at] = before, always
                changed = leads_back
