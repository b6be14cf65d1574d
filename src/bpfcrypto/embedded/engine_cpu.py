"""CPUs of the embedded engine: a run has one to itself, so that what is per CPU needs no locks.

In the kernel a packet program cannot be moved or interrupted by another on its CPU. Here a run takes the CPU that it asks for, or else
the lowest free one, and waits until it can have it. A run that starts inside another one of the same thread (from a callback of Python)
stays on its CPU.

Taking a CPU that is free is taking its number out of a set, which no two threads can do; the lock is for those who have to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDEADLK, ENXIO
from threading import get_ident

from bpfcrypto.embedded.testrun import refuse


class CpuPool:
    """The CPUs that runs may be on.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = set(range(count))
        self._changed = threading.Condition()
        self._waiting = 0
        self._owners = [0] * count  # threads by their number, which is never 0
        self._users: list[tuple[object, ...]] = [()] * count

    def take(self, wanted: int | None = None, users: tuple[object, ...] = (None,)) -> int | None:
        """A CPU, which goes back by :meth:`give`; None where this thread holds one already.

        Args:
            wanted: which, of those that there are; None for any.
            users: for whom, so that :meth:`wait_idle` knows.
        """
        thread = get_ident()
        if thread in self._owners:
            return None
        cpu = wanted or 0
        try:
            self._free.remove(cpu)
        except KeyError:
            cpu = self._wait(wanted)
        self._owners[cpu] = thread
        self._users[cpu] = users
        return cpu

    def give(self, cpu: int) -> None:
        """Give a CPU back."""
        self._owners[cpu] = 0
        self._users[cpu] = ()
        self._free.add(cpu)
        if self._waiting:  # who comes to wait after this looks first
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, wanted: int | None) -> int:
        with self._changed:
            self._waiting += 1
            try:
                while True:
                    self._changed.wait_for(lambda: self._free if wanted is None else wanted in self._free)
                    try:
                        cpu = min(tuple(self._free)) if wanted is None else wanted
                        self._free.remove(cpu)
                    except (KeyError, ValueError):  # somebody was faster
                        continue
                    return cpu
            finally:
                self._waiting -= 1

    @contextmanager
    def hold(self, wanted: int | None = None, *, user: object = None) -> Iterator[int]:
        """A CPU for the length of a ``with`` block.

        Args:
            wanted: which; None for any.
            user: who holds it, for :meth:`wait_idle`.

        Raises:
            SyscallError: ENXIO, there is no such CPU; EDEADLK, this thread holds another one.
        """
        if wanted is not None and not 0 <= wanted < self.count:
            raise refuse(ENXIO, f"there is no CPU {wanted}", f"CPUs of this engine: 0 to {self.count - 1}")
        cpu = self.take(wanted, (user,))
        if cpu is None:
            held = self._owners.index(get_ident())
            if wanted not in (None, held):
                raise refuse(EDEADLK, f"a run on CPU {wanted} inside one on CPU {held}", "start it after the other")
            outside = self._users[held]
            self._users[held] = (*outside, user)
            try:
                yield held
            finally:
                self._users[held] = outside
                self._tell()
            return
        try:
            yield cpu
        finally:
            self.give(cpu)

    def wait_idle(self, user: object = None) -> None:
        """Wait until no other thread holds a CPU for ``user``."""
        own = get_ident()

        def idle() -> bool:
            holders = zip(self._owners, self._users, strict=True)
            return not any(thread != own and any(each is user for each in users) for thread, users in holders)

        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(idle)
            finally:
                self._waiting -= 1
