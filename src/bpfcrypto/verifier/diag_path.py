"""How a path came to where it failed, read from a verifier's log.

The log of a rejected program holds the failing path from its start: every instruction in the order of execution, with the text of each
register that it changed. That is all that an explanation needs, costs nothing before a program is rejected, and is the same in our log
and in the kernel's; so rejections of both are explained by the same code.

From the register or the reference that the verdict names, the walk goes backwards: a copy leads to what was copied, a load from the stack
to the store before it, a call to itself. The conditional jumps between there and the failure are the circumstances.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfcrypto.isa.opcode import Kind, PseudoCall, lookup
from bpfcrypto.verifier.log import insn_text

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

_INSN: Final = re.compile(r"^(\d+): \([0-9a-f]{2}\) ([^;]*?)\s*(?:; ?(.*))?$")
_STATE: Final = re.compile(r"^(?:from \d+ to )?\d+(?: \([^)]*\))?: ((?:frame\d+: ?)?(?:R\d|fp-|refs=|cb).*)$")
_FRAME: Final = re.compile(r"^frame(\d+): ?")
_BARE: Final = re.compile(r"^ ?(?:frame\d+: ?)?R\d+(?:_[rwDP]+)?=")
_CHANGE: Final = re.compile(r"\b(R\d+|fp-\d+)(?:_[rwDP]+)?=((?:[^\s(]|\((?:[^()]|\([^()]*\))*\))*)")
_PROCESSED: Final = re.compile(r"^processed \d+ insns")
_NOISE: Final = (
    "; ",
    "caller:",
    "callee:",
    "returning from callee:",
    "to caller at ",
    "Validating ",
    "Func#",
    "mark_precise:",
)
_LEAK: Final = re.compile(r"^Unreleased reference id=(\d+) alloc_insn=(\d+)", re.MULTILINE)
_AT_INSN: Final = re.compile(r"acquired at insn_idx=(\d+)")
_REGISTER: Final = re.compile(r"\bR(\d+)\b")
_HELPER_ARG: Final = re.compile(r"\b(?:helper arg|arg )(\d)\b")
_ARG: Final = re.compile(r"\barg ?#(\d)|\btrusted arg(\d)|\bargs#(\d)")
_NO_POINTER: Final = re.compile(r"'scalar'|must point to scalar|type=scalar")
_INVALIDATES: Final = re.compile(
    r"^call \w*(?:_release|_destroy|_drop|_unlock|_xchg|_submit|_discard|_pull_data|_adjust_|_change_|_push|_pop|_store_bytes|_l[34]_csum)"
)
_MAX_LINES: Final = 60_000
_MAX_BRANCHES: Final = 6
_MAX_CHAIN: Final = 8


class Step(NamedTuple):
    """An instruction on the path.

    Attributes:
        insn: its index.
        frame: the depth of the function that it belongs to.
        changes: (frame, register or slot) -> its text afterwards, where the log shows it.
    """

    insn: int
    frame: int
    changes: dict[tuple[int, str], str]


class Cause(NamedTuple):
    """A point of the path that explains the failure.

    Attributes:
        insn: the instruction's index.
        what: what happened there.
    """

    insn: int
    what: str


@dataclass(slots=True)
class Walk:
    """A path.

    Attributes:
        before: what is known before the first step.
        steps: its instructions.
        verdict: the lines behind the last instruction: the reasons, and the verdict as the last one.
    """

    before: dict[tuple[int, str], str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    verdict: list[str] = field(default_factory=list)

    def text(self, position: int, frame: int, name: str) -> str:
        """What the log last said of a register or slot, up to and including a step; "" for nothing."""
        key = frame, name
        for at in range(position, -1, -1):
            if (found := self.steps[at].changes.get(key)) is not None:
                return found
        return self.before.get(key, "")


def read_walk(log: str, insns: Sequence[Insn]) -> Walk:
    """The path in a log of either verifier. Of a very long one the end."""
    walk = Walk()
    depth = 0
    for line in log.splitlines()[-_MAX_LINES:]:
        if _PROCESSED.match(line):
            break
        if (match := _INSN.match(line)) and int(match[1]) < len(insns):
            index = int(match[1])
            shown, changes = _changes(match[3] or "", depth)
            depth = shown if shown is not None else _depth(walk, insns, index, depth)
            if shown is None:
                changes = {(depth, name): text for (_, name), text in changes.items()}
            walk.steps.append(Step(index, depth, changes))
            walk.verdict = []
        elif match := _STATE.match(line):
            _, changes = _changes(match[1], 0)
            (walk.steps[-1].changes if walk.steps else walk.before).update(changes)
        elif _BARE.match(line):
            _, changes = _changes(line.strip(), 0)
            (walk.steps[-1].changes if walk.steps else walk.before).update(changes)
        elif line.strip() and not line.startswith(_NOISE):
            walk.verdict.append(line.strip())
    return walk


def _changes(text: str, depth: int) -> tuple[int | None, dict[tuple[int, str], str]]:
    """The frame that a state's text names, if it does, and its registers and slots."""
    match = _FRAME.match(text)
    frame = int(match[1]) if match else None
    found = _CHANGE.finditer(text, match.end() if match else 0)
    return frame, {(depth if frame is None else frame, each[1]): each[2] for each in found}


def _depth(walk: Walk, insns: Sequence[Insn], index: int, depth: int) -> int:
    """The depth of a step that does not tell it: as the last one, unless that entered or left a function."""
    if not walk.steps:
        return depth
    last = walk.steps[-1].insn
    row = lookup(insns[last])
    if row is not None and row.kind is Kind.CALL and insns[last].src == PseudoCall.BPF:
        return depth + (index == last + 1 + insns[last].imm)
    if row is not None and row.kind is Kind.EXIT:
        return max(0, depth - 1)
    return depth


def blamed_register(message: str) -> int | None:
    """The register that a verdict speaks of."""
    if match := _REGISTER.search(message):
        return int(match[1])
    if match := _HELPER_ARG.search(message):
        return int(match[1])
    if match := _ARG.search(message):
        return int(next(group for group in match.groups() if group)) + 1
    return None


def find_causes(walk: Walk, program: ProgramSpec, insns: Sequence[Insn]) -> tuple[Cause, ...]:
    """What led to the failure, in the order of execution."""
    if not walk.steps:
        return ()
    last = len(walk.steps) - 1
    found = dict(_acquisitions(walk, program, insns))
    register = blamed_register(walk.verdict[-1]) if walk.verdict and not found else None
    if register is not None and register <= 10:
        found |= dict(_origins(walk, program, insns, register))
        if found and _NO_POINTER.search(walk.verdict[-1]):
            found |= dict(_invalidation(walk, program, insns, min(found)))
    start = min(found, default=0) if not walk.verdict or "initialized" not in walk.verdict[-1] else 0
    branches = list(_branches(walk, program, insns, start, last))
    for position, what in branches[-_MAX_BRANCHES:]:
        found.setdefault(position, what)
    causes = [Cause(walk.steps[position].insn, found[position]) for position in sorted(found)]
    if len(branches) > _MAX_BRANCHES:
        omitted = Cause(walk.steps[branches[0][0]].insn, f"{len(branches) - _MAX_BRANCHES} earlier jumps are left out")
        causes.insert(1 if found and not start else 0, omitted)
    return tuple(causes)


def _text(program: ProgramSpec, insns: Sequence[Insn], index: int) -> str:
    return insn_text(program, insns, index).partition(") ")[2]


def _acquisitions(walk: Walk, program: ProgramSpec, insns: Sequence[Insn]) -> Iterator[tuple[int, str]]:
    text = "\n".join(walk.verdict)
    owned = [(int(index), f"reference {number} is acquired") for number, index in _LEAK.findall(text)]
    owned += [(int(index), "interrupts are turned off") for index in _AT_INSN.findall(text)]
    for index, what in owned:
        for position in range(len(walk.steps) - 1, -1, -1):
            if walk.steps[position].insn == index:
                yield position, f"{what} by '{_text(program, insns, index)}'"
                break


def _origins(walk: Walk, program: ProgramSpec, insns: Sequence[Insn], register: int) -> Iterator[tuple[int, str]]:
    """Backwards from the failing step: where the register's value came from."""
    position, frame = len(walk.steps), walk.steps[-1].frame
    wanted, slot = register, None
    for _ in range(_MAX_CHAIN):
        position = _definition(walk, insns, position, frame, wanted, slot)
        if position < 0:
            return
        index = walk.steps[position].insn
        insn, row = insns[index], lookup(insns[index])
        assert row is not None
        name = f"fp{slot}" if slot is not None else f"r{wanted}"
        value = walk.text(position, frame, name.upper() if slot is None else name)
        yield position, f"'{_text(program, insns, index)}' sets {name}" + (f" to {value}" if value else "")
        if slot is not None:
            if row.kind is not Kind.STORE or not _from_register(insn):
                return
            wanted, slot = insn.src, None
        elif row.kind is Kind.MOV and _from_register(insn):
            wanted = insn.src
        elif row.kind is Kind.LOAD and insn.src == 10:
            slot = insn.off
        elif row.kind not in (Kind.ALU, Kind.UNARY):
            return


def _invalidation(walk: Walk, program: ProgramSpec, insns: Sequence[Insn], start: int) -> Iterator[tuple[int, str]]:
    """The last call after a step, and before the failing one, that makes pointers invalid."""
    for position in range(len(walk.steps) - 2, start, -1):
        text = _text(program, insns, walk.steps[position].insn)
        if _INVALIDATES.search(text):
            yield position, f"'{text}' makes pointers invalid: they are plain numbers from here on"
            return


def _from_register(insn: Insn) -> bool:
    """Whether the source operand is a register (BPF_X, or a store of class STX)."""
    return insn.code & 0x07 == 0x03 or (insn.code & 0x07 in (0x04, 0x07) and insn.code & 0x08 != 0)


def _definition(walk: Walk, insns: Sequence[Insn], before: int, frame: int, register: int, slot: int | None) -> int:
    """The last step before a position that wrote a register, or a slot of the stack; -1 for none."""
    for position in range(before - 1, -1, -1):
        step = walk.steps[position]
        if step.frame != frame:
            continue
        insn, row = insns[step.insn], lookup(insns[step.insn])
        if row is None:
            continue
        if slot is not None:
            if row.kind is Kind.STORE and insn.dst == 10 and insn.off == slot:
                return position
        elif row.kind is Kind.CALL:
            if register <= 5 and position < before - (before == len(walk.steps)):
                return position
        elif row.kind in (Kind.ALU, Kind.MOV, Kind.UNARY, Kind.CAST, Kind.LOAD, Kind.LDDW) and insn.dst == register:
            return position
    return -1


def _branches(
    walk: Walk, program: ProgramSpec, insns: Sequence[Insn], start: int, last: int
) -> Iterator[tuple[int, str]]:
    """The conditional jumps from one step to another, with the way they went and what was known then."""
    for position in range(start, last):
        step = walk.steps[position]
        insn, row = insns[step.insn], lookup(insns[step.insn])
        if row is None or row.kind is not Kind.BRANCH:
            continue
        jumped = walk.steps[position + 1].insn != step.insn + 1
        operands = (insn.dst, insn.src) if insn.code & 0x08 else (insn.dst,)
        values = [(f"R{number}", walk.text(position, step.frame, f"R{number}")) for number in operands]
        known = ", ".join(f"{name}={value}" for name, value in values if value)
        way = "jumps" if jumped else "does not jump"
        yield position, f"'{_text(program, insns, step.insn)}' {way}" + (f": {known}" if known else "")


def states(walk: Walk) -> Mapping[int, tuple[str, ...]]:
    """For each instruction of the path, its registers and slots as last seen there."""
    current: dict[tuple[int, str], str] = dict(walk.before)
    found: dict[int, tuple[str, ...]] = {}
    for step in walk.steps:
        current |= step.changes
        here = sorted((name, text) for (frame, name), text in current.items() if frame == step.frame)
        found[step.insn] = tuple(f"{name}={text}" for name, text in here)
    return found
