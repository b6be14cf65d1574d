"""A file that is whole at every moment, and a lock that says who holds it.

Writing is: a new file beside it, fsync, rename, fsync of the folder. After a crash there is the former content or the new one; what
``replace_file`` has returned from is on disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from bpfcrypto.errors import ConfigError

_PAUSE = 0.02  # seconds between two attempts at a lock
_OTHERS_WRITE = 0o022


def make_folder(folder: Path) -> None:
    """Make a folder, of mode 0700, and those that it is in, so that they outlast a crash.

    Raises:
        ConfigError: it cannot be made, or others can write in it.
    """
    try:
        _make(folder, 0o700)
        mode = folder.stat().st_mode
    except OSError as error:
        raise ConfigError(f"folder of the state cannot be made: {error.strerror}", source=str(folder)) from None
    if mode & _OTHERS_WRITE:
        raise ConfigError("others can change the state in it", source=str(folder), hint=f"chmod 700 '{folder}'")


def replace_file(path: Path, data: bytes) -> None:
    """Put new content in place of a file's, at once. Only one process may do so at a time.

    Raises:
        ConfigError: it cannot be written; the file has its former content or the new one.
    """
    partial = path.with_name(f"{path.name}.new")
    try:
        with open(partial, "wb", opener=_open) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", source=str(path)) from None


@contextmanager
def locked_file(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold a lock for the length of a ``with`` block. It goes with the process, however that ends.

    Args:
        path: the lock's file, which stays; while the lock is held, the process id of the holder stands in it.
        timeout: seconds to wait.
        what: what is locked, for the message.

    Raises:
        ConfigError: another one has held it all the time, and who; or the file cannot be opened.
    """
    until = time.monotonic() + timeout
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot be opened: {error.strerror}", source=str(path)) from None
    try:
        while not _taken(fd):
            if time.monotonic() >= until:
                holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                by = f"process {holder}" if holder.isdigit() else "another process"
                message = f"{what} is in the hands of {by}, and still was after {timeout:g} seconds"
                raise ConfigError(
                    message, source=str(path), hint="one control plane serves a link: end the other one first"
                )
            time.sleep(_PAUSE)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _taken(fd: int) -> bool:
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make(folder: Path, mode: int) -> None:
    if not folder.is_dir():
        _make(folder.parent, 0o755)
        with suppress(FileExistsError):
            folder.mkdir(mode)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
