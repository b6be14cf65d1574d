"""Loops that are still being explored, and the precision marks that states within them may lack.

A path that arrives within a loop covered by a checkpoint which is not finished ends there, though what it needs is not known yet. It
is put down as a *backedge*, to be told of the marks when the last path within the loop is explored: when the state that first entered
the strongly connected component, through these calls, is finished. Until then the states in there are *incomplete*.

*Callbacks.* A helper that calls back is a loop, too, but one that 6.18 does not count as one: there, states in callbacks are compared
by the marks they happen to have, and a program may be accepted whose next round breaks a rule. The mistake is mended upstream (commit
f597664454bd, in 6.19), at a price: such programs are visited up to nine times longer. Both can be had: ``CallbackAudit`` follows the
exploration of 6.18, and when a loop is done checks each of those comparisons with all marks in place, and with all slots in place that
were cleared because nothing seemed to read them. Nearly always they hold; where one does not, ``Unjustified`` says that the program
has to be explored again with callbacks counted as loops. Marks that it finds on the way stay, so that what is explored later may be
more than in 6.18.

Source: kernel/bpf/verifier.c of 6.18 (maybe_enter_scc, maybe_exit_scc, add_scc_backedge, propagate_backedges).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfcrypto.verifier.backtrack import bits, mark_all_precise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpfcrypto.verifier.backtrack import Backtracker
    from bpfcrypto.verifier.liveness import StackLiveness
    from bpfcrypto.verifier.state import Slot, State

_MAX_ROUNDS: Final = 64

_Key = tuple[int, ...]


class Unjustified(Exception):
    """A path was cut short in a callback for a reason that the rest of the loop takes away."""


class _Cleared(NamedTuple):
    """An incomplete state, and for each frame the slots that seemed alive, as a mask, and its stack before the others were cleared."""

    state: State
    kept: list[int]
    stacks: list[list[Slot]]


@dataclass(slots=True)
class _Visit:
    """A stay in a strongly connected component, through one chain of calls.

    Attributes:
        entry: the state that entered it, None when all of its paths are explored.
        backedges: states that were found covered by an unfinished checkpoint in it.
        by_marks: those of them that were compared by the marks of the time.
        cleared: incomplete states in it whose stacks were cleared of what seemed dead.
    """

    entry: State | None = None
    backedges: list[State] = field(default_factory=list)
    by_marks: list[State] = field(default_factory=list)
    cleared: list[_Cleared] = field(default_factory=list)


class Loops:
    """The visits of loops in one verification.

    Args:
        components: for each instruction the number of its strongly connected component, 0 where it is in none.
        backtracker: follows precision.
    """

    def __init__(self, components: Sequence[int], backtracker: Backtracker) -> None:
        self._components = components
        self._backtracker = backtracker
        self._visits: dict[_Key, _Visit] = {}
        self.waiting = 0
        """Backedges in loops that are not done."""

    def restart(self) -> None:
        """Forget all visits."""
        self._visits.clear()
        self.waiting = 0

    def enter(self, state: State) -> None:
        """A checkpoint was made."""
        key = self._key(state)
        if key:
            visit = self._visits.setdefault(key, _Visit())
            if visit.entry is None:
                visit.entry = state

    def add(self, backedge: State) -> None:
        """A path has ended at ``backedge.equal_state``, which is within a loop that is not done."""
        assert backedge.equal_state is not None
        self._visits[self._key(backedge.equal_state)].backedges.append(backedge)
        self.waiting += 1

    def is_incomplete(self, state: State) -> bool:
        """Whether a state is in a loop of which not all paths are explored, so that it may lack marks."""
        if not self.waiting:
            return False
        key = self._key(state)
        visit = self._visits.get(key) if key else None
        return visit is not None and bool(visit.backedges)

    def leave(self, state: State) -> None:
        """A checkpoint is finished: where it is the entry of a visit, hand precision marks along the backedges (propagate_backedges)."""
        key = self._key(state)
        visit = self._visits.get(key) if key else None
        if visit is None or visit.entry is not state:
            return
        visit.entry = None
        self.waiting -= len(visit.backedges)
        self._settle(visit)
        visit.backedges = []

    def _settle(self, visit: _Visit) -> None:
        """Hand marks round until no new ones appear."""
        backedges = visit.backedges
        rounds, changed = 0, True
        while changed:
            rounds += 1
            if rounds > _MAX_ROUNDS:
                for backedge in backedges:
                    mark_all_precise(backedge)
                return
            changed = False
            for backedge in reversed(backedges):
                assert backedge.equal_state is not None
                changed |= self._backtracker.propagate(backedge.equal_state, backedge)

    def _key(self, state: State) -> _Key:
        """The outermost loop that a state is in: the calls that lead to it, and its number; () for none."""
        calls: list[int] = []
        last = len(state.frames) - 1
        for number in range(last + 1):
            index = state.index if number == last else state.frames[number + 1].callsite
            component = self._components[index]
            if component:
                return (*calls, -component)
            calls.append(index)
        return ()


class CallbackAudit(Loops):
    """Visits of loops with callbacks counted, and what was decided before they were done.

    Args:
        components: as for ``Loops``, with the calls that call back.
        backtracker: follows precision.
        liveness: the stack analysis.
        covers: whether the first state covers the second by the marks it has.
    """

    def __init__(
        self,
        components: Sequence[int],
        backtracker: Backtracker,
        liveness: StackLiveness,
        covers: Callable[[State, State], bool],
    ) -> None:
        super().__init__(components, backtracker)
        self._liveness = liveness
        self._covers = covers

    def add_by_marks(self, backedge: State) -> None:
        """The same as ``add`` for a path that was found covered by the marks of the time."""
        self.add(backedge)
        assert backedge.equal_state is not None
        self._visits[self._key(backedge.equal_state)].by_marks.append(backedge)

    def clear(self, state: State, kept: list[int]) -> None:
        """An incomplete state's stacks will be cleared of all slots but those in the masks."""
        stacks = [frame.stack.copy() for frame in state.frames]
        self._visits[self._key(state)].cleared.append(_Cleared(state, kept, stacks))

    def _settle(self, visit: _Visit) -> None:
        for each in visit.cleared:
            for frame, now, kept, stack in zip(
                each.state.frames, self._liveness.alive(each.state), each.kept, each.stacks, strict=True
            ):
                for slot in bits(now & ~kept & (1 << len(stack)) - 1):
                    frame.stack[slot] = stack[slot]
        super()._settle(visit)
        for path in visit.by_marks:
            assert path.equal_state is not None
            if not self._covers(path.equal_state, path):
                raise Unjustified
        visit.by_marks = []
        visit.cleared = []
