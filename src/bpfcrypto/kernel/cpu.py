"""The CPU that a test run is on: the one its thread is on.

BPF_PROG_TEST_RUN has a ``cpu`` field that none of our program types honours (TC wants it 0, the others do not look). So the calling
thread is bound to the CPU for the length of the call, which the kernel makes in that thread, and gets its own CPUs back afterwards.
Other threads are not touched.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfcrypto.errors import SyscallError

_THIS_THREAD = 0


@contextmanager
def bound_to(cpu: int) -> Iterator[None]:
    """Keep this thread on a CPU for the length of a ``with`` block.

    Raises:
        SyscallError: ENXIO, there is no such CPU, it is offline, or this process may not use it.
    """
    before = os.sched_getaffinity(_THIS_THREAD)
    try:
        os.sched_setaffinity(_THIS_THREAD, {cpu})
    except (OSError, OverflowError, ValueError) as error:
        raise _no_such_cpu(cpu) from error
    try:
        yield
    finally:
        os.sched_setaffinity(_THIS_THREAD, before)


def _no_such_cpu(cpu: int) -> SyscallError:
    """The refusal, with the errno that the kernel has for an unknown CPU where it honours the field (bpf_prog_test_run_raw_tp)."""
    return SyscallError(
        "BPF_PROG_TEST_RUN",
        errno.ENXIO,
        detail=f"there is no CPU {cpu} that this process may use",
        hint=f"this machine has {os.cpu_count()} CPUs, counted from 0",
    )
