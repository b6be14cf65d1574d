"""What programs see of a process's memory (bpf_copy_from_user): the buffers that the engine was given, and nothing else.

In the kernel that helper reads the memory of the process that runs the program, at any address. Here the process is this one, and a
program that was not verified shall not read it at will. So a test names the buffers: with ``ctypes.addressof(buffer)`` as the address
the same test works on both engines, as the kernel engine's programs read this process too. Every other address is one that nothing is
mapped at.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

UserBuffer = bytearray | memoryview | ctypes.Array[Any]
"""Writable bytes at a fixed address."""


class UserMemory:
    """Buffers by address.

    Args:
        buffers: what programs may read; each must be contiguous and writable, and a bytearray cannot be resized any more.
    """

    def __init__(self, buffers: Iterable[UserBuffer] = ()) -> None:
        views = [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes]
        self._buffers = [((ctypes.c_char * len(view)).from_buffer(view), view) for view in views]

    def read(self, address: int, size: int) -> bytes | None:
        """A copy of a range; None where it is not inside one of the buffers."""
        for storage, view in self._buffers:
            at = address - ctypes.addressof(storage)
            if 0 <= at <= len(view) - size:
                return bytes(view[at : at + size])
        return None if size else b""
