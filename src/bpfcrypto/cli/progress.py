"""A progress bar for work on many packets: only when a person is watching, and only when it takes a while."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.capture import Capture

_PATIENCE_S = 0.5
_STEP_S = 0.1


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
