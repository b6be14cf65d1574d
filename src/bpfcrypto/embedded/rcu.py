"""Read-copy-update: when something that programs can still see may go.

A run of a program is a reader. What is freed while runs are inside is kept until every run that had started before has ended; a run
that starts later can no longer find it. Time is a counter that moves on with each deferred call: a reader that came in at time ``s``
holds back exactly the calls deferred at times ``>= s``.

Readers take no lock: coming in is one store into a table, going out is one deletion. A reader that reads the time and is overtaken by a
call before it is in the table only holds back more than it must.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Rcu:
    """Readers and the calls that wait for them. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = 0
        self._tokens = itertools.count()
        self._readers: dict[int, int] = {}
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def pending(self) -> int:
        """Number of deferred calls that still wait."""
        return len(self._waiting)

    def enter(self) -> int:
        """Start reading; the result goes to :meth:`leave`."""
        token = next(self._tokens)
        self._readers[token] = self._time
        return token

    def leave(self, token: int) -> None:
        """Stop reading, and make the calls that nobody else holds back."""
        del self._readers[token]
        if self._waiting:
            self._run_due()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A reader for the length of a ``with`` block."""
        token = self.enter()
        try:
            yield
        finally:
            self.leave(token)

    def call(self, function: Callable[[], None]) -> None:
        """Call ``function`` once no reader of now is left: at once where there is none (call_rcu)."""
        with self._lock:
            self._waiting.append((self._time, function))
            self._time += 1
        self._run_due()

    def _run_due(self) -> None:
        due: list[Callable[[], None]] = []
        with self._lock:
            oldest = min(self._readers.copy().values(), default=self._time)
            while self._waiting and self._waiting[0][0] < oldest:
                due.append(self._waiting.popleft()[1])
        for function in due:
            function()
