"""Resilient spin locks (struct bpf_res_spin_lock, kernel/bpf/rqspinlock.c): who cannot get one is told so instead of waiting for ever.

A run may hold several, and takes them off in the opposite order. It gets EDEADLK for a lock that it holds itself, and for one whose
holder waits for a lock of its own; ETIMEDOUT after a quarter of a second.
"""

from __future__ import annotations

import time
from errno import EDEADLK, ETIMEDOUT
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.embedded.spinlock import SpinLock
    from bpfcrypto.embedded.state import RunState

TIMEOUT = 0.25
_STEP = 0.002


def acquire(run: RunState, lock: SpinLock) -> int:
    """Get a lock for a run: 0 or a positive errno."""
    if lock in run.resilient:
        return EDEADLK
    deadline = time.monotonic() + TIMEOUT
    run.awaited = lock
    try:
        while not lock.take(_STEP, run):
            holder = lock.holder
            if holder is not None and holder.awaited in run.resilient:
                return EDEADLK
            if time.monotonic() > deadline:
                return ETIMEDOUT
    finally:
        run.awaited = None
    run.resilient.append(lock)
    return 0


def release(run: RunState, lock: SpinLock) -> None:
    """Take a lock off.

    Raises:
        AccessFault: it is not the one that the run got last.
    """
    if not run.resilient or run.resilient[-1] is not lock:
        raise AccessFault(f"the lock at {lock.address:#x} is not the one that the program took last")
    run.resilient.pop()
    lock.give()


def release_all(run: RunState) -> None:
    """Take off what a program left behind that was not verified."""
    while run.resilient:
        release(run, run.resilient[-1])
