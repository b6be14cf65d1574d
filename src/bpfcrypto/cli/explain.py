"""A rejection as text for people: what, why, where, how it came to that, what to do.

In colour on a terminal, plain elsewhere and where NO_COLOR is set; what colour says is also written.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bpfcrypto.verifier.diag import Diagnostic, Excerpt

_WIDTH = 110
_LABEL = 6


def explanation(program: str, section: str, diagnostic: Diagnostic, errno: int) -> Iterator[str]:
    """The lines that explain why a program was rejected."""
    from bpfcrypto.abi.errno import text

    where = f" ({section})" if section else ""
    yield f"{_styled(program, bold=True)}{where}: {_styled(diagnostic.problem, fg='red', bold=True)} [{diagnostic.id}]"
    yield f"  {diagnostic.message} [{text(errno)}]"
    yield from (f"  {detail}" for detail in diagnostic.details)
    yield ""
    yield from _labelled("why", diagnostic.reason)
    yield from _where(diagnostic)
    if diagnostic.path:
        yield ""
        for number, event in enumerate(diagnostic.path):
            place = f"{event.line.file.rpartition('/')[2]}:{event.line.line}" if event.line else f"insn {event.insn}"
            yield from _labelled("how" if number == 0 else "", f"{place}: {event.what}")
    yield ""
    yield from _labelled("try", diagnostic.suggestion, colour="cyan")
    yield from _labelled("more", diagnostic.page)


def _where(diagnostic: Diagnostic) -> Iterator[str]:
    if diagnostic.line is not None:
        yield ""
        file = diagnostic.line.file.rpartition("/")[2]
        yield from _labelled("where", f"{file}:{diagnostic.line.line}, instruction {diagnostic.insn}")
    elif diagnostic.insn >= 0:
        yield ""
        yield from _labelled("where", f"instruction {diagnostic.insn}")
    yield from _excerpt(diagnostic.source)
    if diagnostic.source and diagnostic.code:
        yield ""
    yield from _excerpt(diagnostic.code)


def _excerpt(lines: Iterable[Excerpt]) -> Iterator[str]:
    for line in lines:
        text = f"{'>' if line.marked else ' '} {line.number:5} | {line.text.expandtabs(4)}"
        yield f"  {' ' * _LABEL}{_styled(text, fg='yellow') if line.marked else text}"


def _labelled(label: str, text: str, *, colour: str | None = None) -> Iterator[str]:
    """A paragraph with a word before its first line."""
    for number, line in enumerate(textwrap.wrap(text, _WIDTH - _LABEL - 2, break_long_words=False)):
        head = _styled(f"{label if number == 0 else '':{_LABEL}}", bold=True)
        yield f"  {head}{_styled(line, fg=colour) if colour else line}"


def _styled(text: str, **style: object) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)  # type: ignore[arg-type]
