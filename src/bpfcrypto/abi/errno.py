"""Errno values of the BPF interface.

Those that the C library knows come from Python's own table; the kernel-internal one does not exist there, yet bpf(2) returns it.
"""

from __future__ import annotations

import errno
import os

ENOTSUPP = 524  # include/linux/errno.h: leaks to user space from map operations


def name(value: int) -> str:
    """The symbolic name of a positive errno: ``EINVAL``, ``ENOTSUPP``, or the number as text."""
    return "ENOTSUPP" if value == ENOTSUPP else errno.errorcode.get(value, str(value))


def text(value: int) -> str:
    """The errno's name with the system's words: ``EINVAL (Invalid argument)``."""
    words = "Operation is not supported" if value == ENOTSUPP else os.strerror(value)
    return f"{name(value)} ({words})"
