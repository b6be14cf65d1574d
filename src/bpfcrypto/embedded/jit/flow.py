"""The functions of a program as graphs of basic blocks, with what is live where each block begins.

Only instructions that a path of the verifier came to are in it. A call of a subprogram uses the arguments that the subprogram reads;
BPF has no recursion, so that is known once the callee has been looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfcrypto.isa.opcode import GOTOL, Kind, Opcode, PseudoCall, PseudoImm, lookup
from bpfcrypto.verifier.liveness import CALLER_SAVED, use_and_def

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

ARGUMENTS = 5


@dataclass(slots=True)
class Block:
    """Instructions that run one after another.

    Attributes:
        start, end: slots: the first one's, and the one behind the last.
        successors: where the next block begins; for a branch the target and then what follows.
        predecessors: blocks that lead here.
        live: registers that are read here or later before they are written, as a mask.
        used, defined: registers read before they are written in the block, and those written.
    """

    start: int
    end: int
    successors: tuple[int, ...]
    predecessors: list[int] = field(default_factory=list)
    live: int = 0
    used: int = 0
    defined: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """One subprogram.

    Attributes:
        start: its first slot.
        blocks: by their first slot, in reverse postorder: the entry is the first, and a block comes after one that leads to it
            unless all of those lie in a loop with it.
        arguments: how many registers from r1 on it takes.
    """

    start: int
    blocks: dict[int, Block]
    arguments: int

    @property
    def has_loops(self) -> bool:
        """Whether a block leads back to one before it."""
        order = {start: number for number, start in enumerate(self.blocks)}
        return any(order[to] <= order[each.start] for each in self.blocks.values() for to in each.successors)


class Graph:
    """The functions of a program.

    Args:
        program: for the names behind calls.
        insns: its instructions.
        is_reached: whether an instruction can run at all.
    """

    def __init__(self, program: ProgramSpec, insns: Sequence[Insn], is_reached: Callable[[int], bool]) -> None:
        self._program = program
        self._insns = insns
        self._is_reached = is_reached
        self.rows: list[Opcode | None] = [lookup(insn) if insn.code else None for insn in insns]
        self.callbacks = frozenset(
            at + 1 + insn.imm
            for at, insn in enumerate(insns)
            if self._is(at, Kind.LDDW) and insn.src == PseudoImm.FUNC and is_reached(at)
        )
        self._functions: dict[int, Function] = {}

    def function(self, start: int) -> Function:
        """The function at a slot."""
        known = self._functions.get(start)
        if known is None:
            blocks = self._blocks(start)
            self._solve(blocks)
            live = blocks[start].live
            arguments = max((n for n in range(1, ARGUMENTS + 1) if live >> n & 1), default=0)
            known = self._functions[start] = Function(start, blocks, arguments)
        return known

    def callee(self, slot: int) -> int | None:
        """Where the subprogram begins that an instruction calls; None for any other instruction."""
        insn = self._insns[slot]
        return slot + 1 + insn.imm if self._is(slot, Kind.CALL) and insn.src == PseudoCall.BPF else None

    def next_slot(self, slot: int) -> int:
        """The slot of the instruction behind one."""
        row = self.rows[slot]
        return slot + (row.slots if row is not None else 1)

    def target(self, slot: int) -> int:
        """Where a jump leads."""
        insn = self._insns[slot]
        return slot + 1 + (insn.imm if insn.code == GOTOL else insn.off)

    def _is(self, slot: int, kind: Kind) -> bool:
        row = self.rows[slot]
        return row is not None and row.kind is kind

    def _after(self, slot: int) -> tuple[int, ...] | None:
        """Where an instruction that ends a block leads; None for one that does not end it."""
        row = self.rows[slot]
        assert row is not None
        if row.kind is Kind.EXIT:
            return ()
        if row.kind is Kind.GOTO:
            return (self.target(slot),)
        if row.kind in (Kind.BRANCH, Kind.MAY_GOTO):
            return self.target(slot), slot + 1
        return None

    def _blocks(self, start: int) -> dict[int, Block]:
        """The blocks that can be reached from a function's first slot, in reverse postorder."""
        leaders, waiting, ends = {start}, [start], dict[int, tuple[int, ...]]()
        seen = set[int]()
        while waiting:
            slot = waiting.pop()
            while slot not in seen:
                seen.add(slot)
                after = self._after(slot)
                if after is not None:
                    after = ends[slot] = tuple(each for each in after if self._is_reached(each))
                    waiting += [each for each in after if each not in leaders]
                    leaders.update(after)
                    break
                following = self.next_slot(slot)
                if following >= len(self._insns) or not self._is_reached(following):
                    ends[slot] = ()  # a call that does not return
                    break
                slot = following
        found: dict[int, Block] = {}
        for leader in leaders:
            slot = leader
            while True:
                after, following = ends.get(slot), self.next_slot(slot)
                if after is not None or following in leaders:
                    found[leader] = Block(leader, following, (following,) if after is None else after)
                    break
                slot = following
        ordered = {leader: found[leader] for leader in _reverse_postorder(start, found)}
        for block in ordered.values():
            for successor in dict.fromkeys(block.successors):
                ordered[successor].predecessors.append(block.start)
        return ordered

    def _solve(self, blocks: dict[int, Block]) -> None:
        for block in blocks.values():
            slot = block.start
            while slot < block.end:
                used, defined = self._uses(slot)
                block.used |= used & ~block.defined
                block.defined |= defined
                slot = self.next_slot(slot)
        changed = True
        while changed:
            changed = False
            for block in reversed(blocks.values()):
                live = block.used
                for successor in block.successors:
                    live |= blocks[successor].live & ~block.defined
                if live != block.live:
                    block.live, changed = live, True

    def _uses(self, slot: int) -> tuple[int, int]:
        callee = self.callee(slot)
        if callee is not None:
            return (2 << self.function(callee).arguments) - 2, CALLER_SAVED
        used, defined = use_and_def(self._program, self._insns[slot], self.rows[slot], slot)
        return used & ~(1 << 10), defined


def _reverse_postorder(start: int, blocks: dict[int, Block]) -> list[int]:
    order: list[int] = []
    seen = {start}
    stack = [(start, iter(reversed(blocks[start].successors)))]
    while stack:
        leader, successors = stack[-1]
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(reversed(blocks[successor].successors))))
                break
        else:
            stack.pop()
            order.append(leader)
    return order[::-1]
