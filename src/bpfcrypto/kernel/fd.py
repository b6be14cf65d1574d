"""Owning file descriptors: whoever holds an :class:`Fd` closes it, once.

The kernel sets close-on-exec on every descriptor that bpf(2) returns, so none is inherited by a child.
"""

from __future__ import annotations

import contextlib
import errno
import os
from types import TracebackType
from typing import Self

from bpfcrypto.errors import SyscallError


class Fd:
    """A file descriptor that is closed by ``close()``, by leaving its ``with`` block, or with its last reference.

    Args:
        number: an open descriptor, which from now on belongs to this object.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __repr__(self) -> str:
        return f"Fd({self._number})" if self._number >= 0 else "Fd(closed)"

    def fileno(self) -> int:
        """The number; SyscallError (EBADF) once it is closed."""
        if self._number < 0:
            raise SyscallError("bpf", errno.EBADF, detail="used after it was closed")
        return self._number

    def duplicate(self) -> Fd:
        """Another descriptor of the same object."""
        return Fd(os.dup(self.fileno()))

    @property
    def closed(self) -> bool:
        return self._number < 0

    def close(self) -> None:
        """Close it; does nothing the second time."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.close()
