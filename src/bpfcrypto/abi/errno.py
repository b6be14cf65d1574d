"""Errno values of the BPF interface.

Those that the C library knows come from Python's own table; the kernel-internal one does not exist there, yet bpf(2) returns it.
"""

from __future__ import annotations

import errno
import os

ENOTSUPP = 524  # include/linux/errno.h: leaks to user space from map operations


# Python has one name for each number, and not always the kernel's.
_NAMES = {**errno.errorcode, 95: "EOPNOTSUPP", ENOTSUPP: "ENOTSUPP"}


def name(value: int) -> str:
    """The kernel's name of a positive errno: ``EINVAL``, ``ENOTSUPP``, or the number as text."""
    return _NAMES.get(value, str(value))


def text(value: int) -> str:
    """The errno's name with the system's words: ``EINVAL (Invalid argument)``."""
    words = "Operation is not supported" if value == ENOTSUPP else os.strerror(value)
    return f"{name(value)} ({words})"
