"""The states that exploration keeps: where they are made, when a path is cut short by one, and when they are forgotten.

A *checkpoint* is a copy of the running state at a prune point. Each path hangs from the checkpoint it passed last, so checkpoints
form a tree; ``State.branches`` counts what is still unexplored below one. At 0 it is finished: every path from it ended well, all
its precision marks are there, and its dead parts can be cleared. A path that arrives covered by a finished checkpoint ends.

*Loops.* A path may come back to a checkpoint that is not finished. If nothing at all has changed, the program runs in circles and is
rejected. Where the kernel knows that a loop ends (iterators, may_goto, callbacks), arriving covered by such a checkpoint is success,
but what it needs is not known yet. Until the last path within the loop is explored, states in there are compared as if every scalar
mattered (``loops``).

*Thrift.* A new checkpoint costs memory and time; so at least two jumps and eight instructions lie between two, fewer only where one is
forced, and one that never matches is dropped.

Source: kernel/bpf/verifier.c of 6.18 (is_state_visited, update_branch_counts, clean_live_states).
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.isa.opcode import MAY_GOTO
from bpfcrypto.verifier.backtrack import Backtracker, forget_precision
from bpfcrypto.verifier.cfg import Flow
from bpfcrypto.verifier.equal import Exact, IdMap, covered, iterators_moved, may_loop, registers_equal
from bpfcrypto.verifier.liveness import StackLiveness
from bpfcrypto.verifier.loops import CallbackAudit, Loops
from bpfcrypto.verifier.regtext import format_state
from bpfcrypto.verifier.state import (
    EMPTY_SLOT,
    FP,
    NOT_INIT,
    SCALAR_UNKNOWN,
    IterState,
    RegType,
    Rejected,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Reg

_LONG_HISTORY: Final = 40
_JUMPS_BETWEEN, _INSNS_BETWEEN = 2, 8
_JUMPS_IN_LOOP, _INSNS_IN_LOOP = 20, 100


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A state that was kept.

    Attributes:
        state: the state.
        hits, misses: how often a path was covered by it or not.
        dropped: whether it is no longer compared, and only stays because other states hang from it.
    """

    state: State
    hits: int = 0
    misses: int = 0
    dropped: bool = False


@dataclass(slots=True)
class Counts:
    """What the last line of the log says."""

    insns: int = 0
    jumps: int = 0
    max_states_per_insn: int = 0
    total_states: int = 0
    peak_states: int = 0
    longest_walk: int = 0


class Checkpoints:
    """The checkpoints of one verification.

    Args:
        env: the verification.
        flow: the program's graph.
        live: the registers that are live before each instruction, r10 apart.
        liveness: the stack analysis.
        backtracker: follows precision.
        strict: count callbacks as loops, which 6.18 does not.
    """

    def __init__(
        self,
        env: Environment,
        flow: Flow,
        live: Sequence[tuple[int, ...]],
        liveness: StackLiveness,
        backtracker: Backtracker,
        *,
        strict: bool = False,
    ) -> None:
        self._env = env
        self._flow = flow
        self._liveness = liveness
        self._backtracker = backtracker
        self._live = live
        self._buckets: dict[int, list[Checkpoint]] = {}
        self._of_state: dict[int, Checkpoint] = {}
        self._strict = strict
        components = flow.callback_components if strict else flow.components
        self._loops = Loops(components, backtracker)
        self._audit: CallbackAudit | None = None
        if not strict and any(flow.calls_callback):
            self._audit = CallbackAudit(flow.callback_components, backtracker, liveness, self._covers)
        self._kept = self._dropped = 0
        self._last_insns = self._last_jumps = 0
        self.counts = Counts()
        self.equal_to: Checkpoint | None = None

    def restart(self) -> None:
        """Forget all states: another function is verified on its own."""
        self._buckets.clear()
        self._of_state.clear()
        self._loops.restart()
        if self._audit is not None:
            self._audit.restart()

    def visit(self, state: State, index: int) -> bool:
        """Compare the running state at a prune point with the checkpoints there, and maybe make it one.

        Returns:
            Whether the path is covered and ends here.

        Raises:
            Rejected: EINVAL, the program runs in circles.
            Unjustified: a path was cut short that should not have been; only where callbacks are not counted as loops.
        """
        counts, flow = self.counts, self._flow
        forced = bool(flow.checkpoints[index])
        force = forced or len(state.history) > _LONG_HISTORY
        jumps, insns = counts.jumps - self._last_jumps, counts.insns - self._last_insns
        add = force or (jumps >= _JUMPS_BETWEEN and insns >= _INSNS_BETWEEN)
        bucket = self._bucket(state, index)
        self._clean(bucket, state, index)
        seen = len(bucket)
        for checkpoint in reversed(bucket[:]):
            old = checkpoint.state
            if old.index != index:
                continue
            if old.branches:
                if self._comes_back(old, state, index):
                    self._hit(checkpoint, state, index, loop=self._strict or not flow.calls_callback[index])
                    return True
                if not force and jumps < _JUMPS_IN_LOOP and insns < _INSNS_IN_LOOP:
                    add = False
            else:
                loop = self._loops.is_incomplete(old)
                if self._covered(old, state, Exact.RANGE_WITHIN if loop else Exact.NOT_EXACT):
                    self._hit(checkpoint, state, index, loop=loop)
                    return True
            self._miss(checkpoint, bucket, counted=add, patience=64 if forced and old.branches else 3)
        counts.max_states_per_insn = max(counts.max_states_per_insn, seen)
        if add:
            self._keep(bucket, state, index)
        return False

    def _bucket(self, state: State, index: int) -> list[Checkpoint]:
        """The checkpoints that share a hash with this place; the last one is the newest."""
        key = ((index ^ state.frames[-1].callsite) & 0xFFFFFFFF) % len(self._env.insns)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = []
        return bucket

    def _covered(self, old: State, state: State, exact: Exact) -> bool:
        uninit = self._env.options.allow_uninit_stack
        return covered(old, state, exact, self._live, self._env.last_id, uninit=uninit)

    def _covers(self, old: State, state: State) -> bool:
        return self._covered(old, state, Exact.NOT_EXACT)

    def _comes_back(self, old: State, state: State, index: int) -> bool:
        """Whether the path has come back, within a loop that is known to end, to an unfinished state that covers it."""
        frame = old.frames[-1]
        if frame.in_async_callback and frame.async_entry != state.frames[-1].async_entry:
            return False
        if self._flow.iterates[index]:
            return self._covered(old, state, Exact.RANGE_WITHIN) and _iterator(state).iter.state is IterState.ACTIVE
        if (
            self._env.insns[index].code == MAY_GOTO
            and old.may_goto_depth != state.may_goto_depth
            and self._covered(old, state, Exact.RANGE_WITHIN)
        ):
            return True
        if self._flow.calls_callback[index]:
            return self._covered(old, state, Exact.RANGE_WITHIN)
        if (
            may_loop(old, state)
            and self._covered(old, state, Exact.EXACT)
            and not iterators_moved(old, state)
            and old.may_goto_depth == state.may_goto_depth
            and old.callback_unroll_depth == state.callback_unroll_depth
        ):
            last = len(state.frames) - 1
            raise Rejected(
                EINVAL,
                f"infinite loop detected at insn {index}\ncur state:{format_state(state, last)}\n"
                f"old state:{format_state(old, last)}",
                id="infinite-loop",
            )
        return False

    def _hit(self, checkpoint: Checkpoint, state: State, index: int, *, loop: bool) -> None:
        checkpoint.hits += 1
        self.equal_to = checkpoint
        if self._flow.jump_points[index]:
            self._env.push_history(state, 0, ())
        old = checkpoint.state
        self._backtracker.propagate(old, state)
        audit = self._audit if self._audit is not None and (old.branches or self._audit.is_incomplete(old)) else None
        if not loop and audit is None:
            return
        backedge = state.copy()
        backedge.equal_state, backedge.index = old, index
        if loop:
            self._loops.add(backedge)
            self._note_peak()
        if audit is not None:
            if loop or old.branches:
                audit.add(backedge)
            else:
                audit.add_by_marks(backedge)

    def _miss(self, checkpoint: Checkpoint, bucket: list[Checkpoint], *, counted: bool, patience: int) -> None:
        checkpoint.misses += counted
        if checkpoint.misses > checkpoint.hits * patience + patience:
            bucket.remove(checkpoint)
            checkpoint.dropped = True
            self._kept -= 1
            self._dropped += 1
            self._maybe_free(checkpoint)

    def _maybe_free(self, checkpoint: Checkpoint) -> None:
        if checkpoint.dropped and not checkpoint.state.branches and not self._loops.is_incomplete(checkpoint.state):
            self._dropped -= 1
            self._of_state.pop(id(checkpoint.state), None)

    def _keep(self, bucket: list[Checkpoint], state: State, index: int) -> None:
        counts = self.counts
        counts.total_states += 1
        self._kept += 1
        self._note_peak()
        self._last_jumps, self._last_insns = counts.jumps, counts.insns
        forget_precision(state)
        new = state.copy()
        new.index = index
        checkpoint = Checkpoint(new)
        self._of_state[id(new)] = checkpoint
        self._loops.enter(new)
        if self._audit is not None:
            self._audit.enter(new)
        state.parent = new
        state.first_index = index
        state.depth = new.depth + 1
        state.history = []
        bucket.append(checkpoint)

    def _note_peak(self) -> None:
        self.counts.peak_states = max(self.counts.peak_states, self._kept + self._dropped + self._loops.waiting)

    def finish(self, state: State) -> None:
        """A path has ended: count it off in the checkpoints that it hangs from (update_branch_counts)."""
        current: State | None = state
        inner: Checkpoint | None = None
        while current is not None:
            current.branches -= 1
            if current.branches:
                break
            self._loops.leave(current)
            if self._audit is not None:
                self._audit.leave(current)
            outer = self._of_state.get(id(current.parent)) if current.parent is not None else None
            if inner is not None:
                self._maybe_free(inner)
            current, inner = current.parent, outer

    def _clean(self, bucket: list[Checkpoint], state: State, index: int) -> None:
        """Clear what is dead in finished states (clean_live_states)."""
        for checkpoint in bucket:
            old = checkpoint.state
            if (
                old.branches
                or old.cleaned
                or old.index != index
                or not _same_calls(old, state)
                or self._loops.is_incomplete(old)
            ):
                continue
            old.cleaned = True
            alive = self._liveness.alive(old)
            if self._audit is not None and self._audit.is_incomplete(old):
                self._audit.clear(old, alive)
            last = len(old.frames) - 1
            for frame in old.frames:
                number = frame.frameno
                at = old.index if number == last else old.frames[number + 1].callsite
                mask = self._env.live_regs[at]
                for regno in range(FP):
                    if not mask & 1 << regno:
                        frame.regs[regno] = NOT_INIT
                for slot in range(len(frame.stack)):
                    if not alive[number] & 1 << slot:
                        frame.stack[slot] = EMPTY_SLOT

    def previous_entry(self, state: State, index: int) -> State | None:
        """The latest unfinished checkpoint at an instruction, with the state's calls, that the state descends from."""
        for checkpoint in reversed(self._bucket(state, index)):
            old = checkpoint.state
            if old.index == index and old.branches and old.depth < state.depth and _same_calls(old, state):
                return old
        return None


def _same_calls(one: State, other: State) -> bool:
    return len(one.frames) == len(other.frames) and all(
        mine.callsite == theirs.callsite for mine, theirs in zip(one.frames, other.frames, strict=True)
    )


def _iterator(state: State) -> Reg:
    """The iterator that r1 points to, which is the argument of every next method."""
    reg = state.regs[1]
    slot = -(reg.off + reg.num.smin) // 8 - 1
    return state.frames[reg.frameno].stack[slot].reg


def widen(old: State, new: State) -> None:
    """Forget what imprecise scalars of the new state are where they differ from the old one (widen_imprecise_scalars).

    The values of a loop that is known to end need not come back to what they were; that they did not matter so far is taken as a
    hint that they do not matter at all. If they do, the next round finds out.
    """
    ids = IdMap(0)
    for before, now in zip(old.frames, new.frames, strict=True):
        for regno in range(FP):
            now.regs[regno] = _widened(before.regs[regno], now.regs[regno], ids)
        for number in range(min(len(before.stack), len(now.stack))):
            one, other = before.stack[number], now.stack[number]
            if one.kinds[7] == 1 and other.kinds[7] == 1:
                reg = _widened(one.reg, other.reg, ids)
                if reg is not other.reg:
                    now.stack[number] = other._replace(reg=reg)


def _widened(old: Reg, new: Reg, ids: IdMap) -> Reg:
    if (
        old.type is not RegType.SCALAR
        or new.type is not RegType.SCALAR
        or old.precise
        or new.precise
        or registers_equal(old, new, ids)
    ):
        return new
    return SCALAR_UNKNOWN
