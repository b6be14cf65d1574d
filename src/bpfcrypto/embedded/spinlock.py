"""Spin locks of map values (struct bpf_spin_lock): one real lock for each, so that runs in several threads exclude each other.

A program holds at most one lock at a time and gives it back before it ends: the verifier proves both, and a program that was not
verified is stopped where it does otherwise. Operations of maps with BPF_F_LOCK take the lock of the element that they copy.

The lock is the first word of the field, as in the kernel; user space reads the field as zero. Machine code works on that word alone.
Threads of Python have a lock of their own before it, see :mod:`bpfcrypto.embedded.word_lock`. Resilient locks, which only Python takes,
need no more than that one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.word_lock import give_word, take_word

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState


class SpinLock:
    """The lock at one address."""

    __slots__ = ("_lock", "address", "holder")

    def __init__(self, address: int) -> None:
        self.address = address
        self.holder: RunState | None = None  # of a resilient lock
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        take_word(self.address)

    def __exit__(self, *_: object) -> None:
        give_word(self.address)
        self._lock.release()

    def take(self, seconds: float, run: RunState) -> bool:
        """Give the lock to a run if it can be had so soon."""
        taken = self._lock.acquire(timeout=seconds)
        if taken:
            self.holder = run
        return taken

    def give(self) -> None:
        """Undo one ``take``."""
        self.holder = None
        self._lock.release()

    def acquire(self, run: RunState) -> None:
        """Wait for the lock and give it to a run (bpf_spin_lock).

        Raises:
            AccessFault: the run holds one already; waiting for it would never end.
        """
        if run.lock is not None:
            held = "this lock" if run.lock is self else f"the one at {run.lock.address:#x}"
            raise AccessFault(f"deadlock: bpf_spin_lock at {self.address:#x}, while the program holds {held}")
        self.__enter__()
        run.lock = self

    def release(self, run: RunState) -> None:
        """Take the lock from a run (bpf_spin_unlock).

        Raises:
            AccessFault: the run does not hold it.
        """
        if run.lock is not self:
            raise AccessFault(f"bpf_spin_unlock at {self.address:#x}, which the program does not hold")
        run.lock = None
        self.__exit__()
