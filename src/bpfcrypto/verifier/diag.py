"""Rejections in words: what is wrong, where, why, how it came to that, and what repairs it.

A verdict's last line is terse but stable. The table of ``diag_rules`` leads from it to a rule with a stable id and words for people; the
path in the log (``diag_path``) tells how the program got there. Both come from texts, so that a rejection by a kernel is explained
exactly as one of ours.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bpfcrypto.isa.opcode import LDDW
from bpfcrypto.verifier.diag_path import Cause, find_causes, read_walk
from bpfcrypto.verifier.diag_rules import find_rule
from bpfcrypto.verifier.log import insn_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import LineInfo, ProgramSpec

_AROUND: Final = 3
_NAMED_INSN: Final = re.compile(r"\binsn(?:_idx)? ?#?(\d+)\b")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line of source or an instruction near the failure.

    Attributes:
        number: the line's number, or the instruction's index.
        text: its text.
        marked: whether it is the one at fault.
    """

    number: int
    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A point of the path that explains the failure.

    Attributes:
        insn: the instruction.
        line: its source line, where known.
        what: what happened there.
    """

    insn: int
    line: LineInfo | None
    what: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Why a program was rejected.

    Attributes:
        id: names the rule, for good.
        problem: what is wrong, in a few words.
        reason: why that is not allowed.
        message: the verdict's line.
        details: the lines before it, which some verdicts need to be understood.
        insn: the instruction, -1 where the program as a whole is at fault.
        line: its source line, where known.
        source: the lines around it that have code, in the order of the source.
        code: the instructions around it.
        path: what led there, in the order of execution.
        suggestion: what repairs it.
    """

    id: str
    problem: str
    reason: str
    message: str
    details: tuple[str, ...]
    insn: int
    line: LineInfo | None
    source: tuple[Excerpt, ...]
    code: tuple[Excerpt, ...]
    path: tuple[Event, ...]
    suggestion: str

    @property
    def page(self) -> str:
        """Its page in the documentation."""
        return f"docs/diagnostics/{self.id}.md"

    def as_dict(self) -> dict[str, object]:
        """The same as plain values, for JSON."""
        return {
            "id": self.id,
            "problem": self.problem,
            "reason": self.reason,
            "message": self.message,
            "details": list(self.details),
            "where": _place(self.insn, self.line),
            "source": [{"line": each.number, "text": each.text, "marked": each.marked} for each in self.source],
            "instructions": [{"insn": each.number, "text": each.text, "marked": each.marked} for each in self.code],
            "path": [{**_place(event.insn, event.line), "what": event.what} for event in self.path],
            "suggestion": self.suggestion,
            "page": self.page,
        }


def _place(insn: int, line: LineInfo | None) -> dict[str, object]:
    if line is None:
        return {"insn": insn, "file": None, "line": None, "text": None}
    return {"insn": insn, "file": line.file, "line": line.line, "text": line.text.strip()}


def explain(
    program: ProgramSpec, insns: Sequence[Insn], message: str, log: str, *, index: int = -1, raised: str = ""
) -> Diagnostic:
    """The diagnostic of a rejection, by whichever verifier.

    Args:
        program: what was rejected.
        insns: its instructions.
        message: the verdict's line.
        log: the log; without one, the path is unknown.
        index: the instruction at fault, where the log does not tell.
        raised: the id that the raiser gave, for verdicts that no pattern knows.
    """
    walk = read_walk(log, insns)
    if message in walk.verdict:  # newer kernels have a report behind it
        del walk.verdict[walk.verdict.index(message) + 1 :]
        details = tuple(walk.verdict[:-1])
    else:
        walk.verdict, details = [message], ()
    rule = find_rule(message, details, raised)
    if walk.steps:
        index = walk.steps[-1].insn
    elif named := _NAMED_INSN.search(message):
        index = int(named[1])
    if not 0 <= index < len(insns):
        index = -1
    line = line_of(program, index)
    return Diagnostic(
        rule.id,
        rule.problem,
        rule.reason,
        message,
        details,
        index,
        line,
        _source(program, line),
        _code(program, insns, index),
        tuple(_event(program, cause) for cause in find_causes(walk, program, insns)),
        rule.suggestion,
    )


def line_of(program: ProgramSpec, index: int) -> LineInfo | None:
    """The source line of an instruction."""
    at = bisect_right([line.index for line in program.lines], index)
    return program.lines[at - 1] if at and index >= 0 else None


def _event(program: ProgramSpec, cause: Cause) -> Event:
    return Event(cause.insn, line_of(program, cause.insn), cause.what)


def _source(program: ProgramSpec, line: LineInfo | None) -> tuple[Excerpt, ...]:
    if line is None:
        return ()
    texts = {each.line: each.text for each in program.lines if each.file == line.file}
    texts[line.line] = line.text
    numbers = sorted(texts)
    at = numbers.index(line.line)
    near = [n for n in numbers[max(0, at - _AROUND) : at + _AROUND + 1] if abs(n - line.line) <= 4 * _AROUND]
    return tuple(Excerpt(number, texts[number].rstrip(), number == line.line) for number in near)


def _code(program: ProgramSpec, insns: Sequence[Insn], index: int) -> tuple[Excerpt, ...]:
    if index < 0:
        return ()
    near = range(max(0, index - _AROUND), min(len(insns), index + _AROUND + 1))
    halves = {n + 1 for n in range(near.start - 1, near.stop) if n >= 0 and insns[n].code == LDDW}
    return tuple(Excerpt(n, insn_text(program, insns, n), n == index) for n in near if n not in halves)
