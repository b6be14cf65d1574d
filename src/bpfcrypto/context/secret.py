"""Keys on their way: where they come from, and that they are gone afterwards.

A key is copied once, into the memory that the kernel reads it from. No slice of it, no text and no immutable object is ever made of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from typing import TypeAlias

from bpfcrypto.crypto.params import MAX_KEY_SIZE
from bpfcrypto.errors import ContextError

Key: TypeAlias = bytes | bytearray | memoryview | os.PathLike[str]
"""A key: a writable buffer, which is wiped; bytes, which Python cannot wipe; or the path of a file that holds its bytes."""


@contextmanager
def opened(key: Key) -> Iterator[memoryview]:
    """The bytes of a key for the length of a ``with`` block. Afterwards its buffer is zero, whatever happened.

    Raises:
        ContextError: the file cannot be read.
        TypeError: neither a buffer nor a path; text is neither, since it could be either.
    """
    if not isinstance(key, bytes | bytearray | memoryview | os.PathLike):
        raise TypeError(f"a key is a buffer or the path of a file, not {type(key).__name__}")
    buffer = _read(key) if isinstance(key, os.PathLike) else key
    with memoryview(buffer) as view, view.cast("B") as data:
        try:
            yield data
        finally:
            if not data.readonly:
                wipe(data)


def wipe(buffer: bytearray | memoryview) -> None:
    """Fill a buffer with zeros."""
    buffer[:] = bytes(len(buffer))


def _read(path: os.PathLike[str]) -> memoryview:
    """A file's bytes, one more than a key can have at most."""
    buffer = memoryview(bytearray(MAX_KEY_SIZE + 1))
    size = 0
    try:
        with open(path, "rb", buffering=0) as file:
            while size < len(buffer) and (count := file.readinto(buffer[size:])):
                size += count
    except OSError as error:
        wipe(buffer)
        raise ContextError(
            f"key file '{os.fspath(path)}' cannot be read: {error.strerror}",
            errno=error.errno or EINVAL,
            parameter="key",
            hint="a key file holds the key's bytes and nothing else",
        ) from None
    return buffer[:size]
