"""A network of one's own: what a test sends there reaches nobody else."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.need import skip_or_fail

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
LOOPBACK = 1
"""Index of its only interface, which is up."""


@contextmanager
def own_network() -> Iterator[None]:
    """A network namespace for this thread, with nothing but a loopback interface; it is gone afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_NEW_NETWORK):
            skip_or_fail(f"needs a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                request = fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sh22x", b"lo", 0))
                flags = struct.unpack_from("16sh", request)[1]
                fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh22x", b"lo", flags | _UP))
            yield
        finally:
            if libc.setns(home, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "cannot go back to the network that the test came from")
    finally:
        os.close(home)
