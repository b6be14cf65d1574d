"""CPUs of the embedded engine: a run has one to itself, so that what is per CPU needs no locks.

In the kernel a packet program cannot be moved or interrupted by another on its CPU. Here a run takes the CPU that it asks for, or else
the lowest free one, and waits until it can have it. A run that starts inside another one of the same thread (from a callback of Python)
stays on its CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDEADLK, ENXIO

from bpfcrypto.embedded.testrun import refuse


class CpuPool:
    """The CPUs that runs may be on.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = set(range(count))
        self._changed = threading.Condition()
        self._mine = threading.local()
        self._users: list[tuple[int, object]] = []

    @contextmanager
    def hold(self, wanted: int | None = None, *, user: object = None) -> Iterator[int]:
        """A CPU for the length of a ``with`` block.

        Args:
            wanted: which; None for any.
            user: who holds it, for :meth:`wait_idle`.

        Raises:
            SyscallError: ENXIO, there is no such CPU; EDEADLK, this thread holds another one.
        """
        if wanted is not None and not 0 <= wanted < self._count:
            raise refuse(ENXIO, f"there is no CPU {wanted}", f"CPUs of this engine: 0 to {self._count - 1}")
        held: int | None = getattr(self._mine, "cpu", None)
        if held is not None:
            if wanted not in (None, held):
                raise refuse(EDEADLK, f"a run on CPU {wanted} inside one on CPU {held}", "start it after the other")
            with self._used_by(user):
                yield held
            return
        with self._changed:
            self._changed.wait_for(lambda: self._free if wanted is None else wanted in self._free)
            cpu = min(self._free) if wanted is None else wanted
            self._free.remove(cpu)
        self._mine.cpu = cpu
        try:
            with self._used_by(user):
                yield cpu
        finally:
            self._mine.cpu = None
            with self._changed:
                self._free.add(cpu)
                self._changed.notify_all()

    @contextmanager
    def _used_by(self, user: object) -> Iterator[None]:
        entry = (threading.get_ident(), user)
        with self._changed:
            self._users.append(entry)
        try:
            yield
        finally:
            with self._changed:
                self._users.remove(entry)
                self._changed.notify_all()

    def wait_idle(self, user: object = None) -> None:
        """Wait until no other thread holds a CPU for ``user``."""
        own = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not any(each is user and thread != own for thread, each in self._users))
