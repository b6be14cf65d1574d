"""How far work has got that takes a while: a bar for many packets, where a person is watching, and a line for a long verification."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.capture import Capture

_PATIENCE_S = 0.5
_STEP_S = 0.1
_VERIFIER_PATIENCE_S = 2.0
_VERIFIER_STEP_S = 0.5


@contextmanager
def progress(capture: Capture, path: str) -> Iterator[Callable[[int], None] | None]:
    """What shows how far the work on a capture is, on standard error; None where nobody is watching.

    Args:
        capture: the open capture.
        path: its file, whose size is the end of the bar; ``-`` has none.

    Returns:
        Takes the number of packets so far; there is a bar once they have taken half a second.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with ExitStack() as stack:
        yield _Bar(capture, path, stack)


class _Bar:
    def __init__(self, capture: Capture, path: str, stack: ExitStack) -> None:
        self._capture = capture
        self._size = os.path.getsize(path) if os.path.isfile(path) else None
        self._stack = stack
        self._next = time.monotonic() + _PATIENCE_S
        self._update: Callable[[int], None] | None = None

    def __call__(self, packets: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _STEP_S
        if self._update is None:
            self._update = self._open()
        self._update(packets)

    def _open(self) -> Callable[[int], None]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from bpfcrypto.cli.render import console

        columns = (TextColumn("{task.fields[count]} packets"), BarColumn(), TimeRemainingColumn())
        bar = self._stack.enter_context(Progress(*columns, console=console(err=True), transient=True))
        task = bar.add_task("packets", total=self._size, count=0)
        return lambda packets: bar.update(task, completed=self._capture.offset, count=packets)


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
