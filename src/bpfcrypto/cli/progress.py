"""How far work has got that takes a while: a bar for many packets, where a person is watching, and a line for a long verification."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.capture import Packet

_PATIENCE_S = 0.5
_STEP_S = 0.1
_VERIFIER_PATIENCE_S = 2.0
_VERIFIER_STEP_S = 0.5


def watched(packets: Iterable[Packet], path: str) -> Iterator[Packet]:
    """The same packets, with a bar on standard error once they have taken half a second.

    Args:
        packets: an open capture.
        path: its file, whose size is the end of the bar; ``-`` has none.
    """
    if not sys.stderr.isatty():
        yield from packets
        return
    started = time.monotonic()
    iterator = iter(packets)
    for packet in iterator:
        yield packet
        if time.monotonic() - started > _PATIENCE_S:
            break
    else:
        return
    yield from _with_bar(iterator, os.path.getsize(path) if os.path.isfile(path) else None)


def _with_bar(packets: Iterator[Packet], size: int | None) -> Iterator[Packet]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from bpfcrypto.cli.render import console

    columns = (TextColumn("{task.fields[count]} packets"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(err=True), transient=True) as progress:
        task = progress.add_task("packets", total=size, count=0)
        shown = 0.0
        for packet in packets:
            yield packet
            now = time.monotonic()
            if now - shown > _STEP_S:
                shown = now
                progress.update(task, completed=packet.offset, count=packet.number + 1)


class Verifying:
    """A line on standard error that says how far the verifier got, once it takes longer than two seconds.

    On a terminal the line is written over itself and taken away in the end; elsewhere there is one line for each program. It is called
    with the name of the program and the number of instructions that were visited so far.
    """

    def __init__(self) -> None:
        self._program = ""
        self._started = self._shown = 0.0
        self._said = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, program: str, visited: int) -> None:
        now = time.monotonic()
        if program != self._program:
            self.clear()
            self._program, self._started, self._shown = program, now, 0.0
        if now - self._started < _VERIFIER_PATIENCE_S or now - self._shown < _VERIFIER_STEP_S:
            return
        text = f"verifying {program}: {visited} instructions visited"
        if sys.stderr.isatty():
            click.echo(f"\r{text}", nl=False, err=True)
        elif not self._said:
            click.echo(text, err=True)
        self._shown, self._said = now, True

    def clear(self) -> None:
        """Take the line away."""
        if self._said and sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        self._said = False
