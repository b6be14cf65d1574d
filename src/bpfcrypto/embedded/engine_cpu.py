"""CPUs of the embedded engine: a run has one to itself, so that what is per CPU needs no locks.

In the kernel a packet program cannot be moved or interrupted by another on its CPU. Here a run takes the lowest free CPU and waits
while there is none. A run that starts inside another one of the same thread (from a callback of Python) stays on its CPU.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CpuPool:
    """The CPUs that runs may be on.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count))
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def hold(self) -> Iterator[int]:
        """A CPU for the length of a ``with`` block."""
        held: int | None = getattr(self._mine, "cpu", None)
        if held is not None:
            yield held
            return
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            cpu = heapq.heappop(self._free)
        self._mine.cpu = cpu
        try:
            yield cpu
        finally:
            self._mine.cpu = None
            with self._changed:
                heapq.heappush(self._free, cpu)
                self._changed.notify_all()

    def wait_idle(self) -> None:
        """Wait until no other thread holds a CPU."""
        own = getattr(self._mine, "cpu", None) is not None
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) + own == self._count)
