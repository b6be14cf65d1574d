"""The kernel verifier's log: which line is the verdict, and what the newer report says.

Two forms exist. The classic one is a trace whose last line before ``processed N insns`` is the reason. Newer kernels put a report
behind that line: a header ``Verification failed: <category>: <problem>`` and titled sections (Reason, At, Causal path, Suggestion)
with indented text. The terse line stays stable between the two, so it is the message in both; the report is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_PROCESSED = re.compile(r"processed (\d+) insns \(limit")  # a message that lacks a line's end stands before it
_HEADER = re.compile(r"^Verification failed: ([^:\n]+)(?:: (.*))?$", re.MULTILINE)
_SECTION = re.compile(r"^([A-Z][A-Za-z ]*):$", re.MULTILINE)
_POISON = re.compile(r"^invalid func unknown#(\d+)$")

# What a call of an absent weak kfunc becomes; libbpf uses the same numbers, so other tools know them too.
POISON_CALL = 2002000000


@dataclass(frozen=True, slots=True)
class Report:
    """The structured part of a newer kernel's rejection.

    Attributes:
        category: the kind of rule, such as ``Memory Safety``.
        problem: what is wrong, in a few words.
        sections: title -> text without its common indentation, in the log's order.
    """

    category: str
    problem: str
    sections: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The Reason section on one line."""
        return " ".join(self.sections.get("Reason", "").split())

    @property
    def suggestion(self) -> str:
        """The Suggestion section on one line."""
        return " ".join(self.sections.get("Suggestion", "").split())


@dataclass(frozen=True, slots=True)
class ParsedLog:
    """What a log says.

    Attributes:
        message: the verdict's line; "" for an accepted program.
        insns_processed: how many instructions the verifier visited; 0 where it did not get that far.
        report: the newer kernels' report, or None.
    """

    message: str
    insns_processed: int
    report: Report | None = None


def parse(log: str, *, accepted: bool = False) -> ParsedLog:
    """Read a log of either form.

    Args:
        log: what the kernel wrote.
        accepted: whether the program was accepted; then there is no message.
    """
    processed = _last_match(_PROCESSED, log)
    count = int(processed[1]) if processed else 0
    body = log[: processed.start()] if processed else log
    if accepted:
        return ParsedLog("", count)
    header = _last_match(_HEADER, body)
    if header is None:
        return ParsedLog(_last_line(body), count)
    report = Report(header[1], header[2] or "", _sections(body[header.end() :]))
    return ParsedLog(_last_line(body[: header.start()]) or report.problem or report.category, count, report)


def poisoned_call(message: str) -> int | None:
    """The number behind ``POISON_CALL`` when the message complains of such a call."""
    match = _POISON.match(message)
    number = int(match[1]) - POISON_CALL if match else -1
    return number if 0 <= number < 1 << 16 else None


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _sections(text: str) -> dict[str, str]:
    marks = list(_SECTION.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {mark[1]: _unindent(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)}


def _unindent(text: str) -> str:
    return "\n".join(line.removeprefix("  ") for line in text.strip("\n").splitlines()).strip("\n")
