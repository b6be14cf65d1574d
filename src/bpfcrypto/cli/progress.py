"""A progress bar for work on many packets: only when a person is watching, and only when it takes a while."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.capture import Packet

_PATIENCE_S = 0.5
_STEP_S = 0.1


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
