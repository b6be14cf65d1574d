"""Rejections in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.spec import LineInfo
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Rejected


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Why a program was rejected.

    Attributes:
        id: names the rule, for good.
        problem: what is wrong, in a few words.
        reason: why that is not allowed.
        insn: the instruction, -1 where the program as a whole is at fault.
        line: its source line, where known.
        suggestion: what repairs it, "" where nothing general can be said.
    """

    id: str
    problem: str
    reason: str
    insn: int
    line: LineInfo | None
    suggestion: str


def explain(env: Environment, rejected: Rejected, lines: Sequence[LineInfo]) -> Diagnostic:
    """The diagnostic of a rejection."""
    line = next((each for each in reversed(lines) if each.index <= env.index), None)
    return Diagnostic(rejected.id or "rejected", rejected.message.rpartition("\n")[2], "", env.index, line, "")
