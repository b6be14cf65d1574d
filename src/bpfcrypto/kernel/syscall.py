"""The system call itself: bpf(2) by number, through the C library's ``syscall()``.

Nothing here knows what a command means. Where there is no bpf(2) (another system, an architecture that is not in the table) the
answer is a reason in words instead of an import error.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable

from bpfcrypto.errors import NotSupportedError

# __NR_bpf of each 64-bit little-endian architecture (arch/*/entry/syscalls/*.tbl, asm-generic/unistd.h), by the machine name of uname(2).
NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
}

SysCall = Callable[[int, int, int], int]


def missing() -> str | None:
    """Why this platform has no bpf(2), or None where the call can at least be tried."""
    if sys.platform != "linux":
        return f"bpf(2) is a Linux system call; this is {sys.platform}"
    machine, bits = os.uname().machine, sys.maxsize.bit_length() + 1
    if machine not in NUMBERS or bits != 64:
        return f"the number of bpf(2) is not known for this architecture ({machine}, {bits} bits)"
    return None


@functools.cache
def _entry() -> SysCall:
    reason = missing()
    if reason is not None:
        raise NotSupportedError("the kernel engine", requires=reason)
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong]
    number = NUMBERS[os.uname().machine]

    def call(command: int, address: int, size: int) -> int:
        result: int = function(number, command, address, size)
        return result if result >= 0 else -ctypes.get_errno()

    return call


def bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """Run one command.

    Args:
        command: a :class:`~bpfcrypto.kernel.attr.Command`.
        attr: the argument; the kernel writes its answers into it.

    Returns:
        The result, or a negative errno.

    Raises:
        NotSupportedError: this platform has no bpf(2).
    """
    return _entry()(command, ctypes.addressof(attr), ctypes.sizeof(attr))
