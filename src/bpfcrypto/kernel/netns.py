"""Network namespaces: what one is called, and how something is done inside of one.

A thread has a network namespace, not a process (setns(2)), so a visit is made by a thread of its own that ends with it. The others,
the caller's included, never leave theirs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from bpfcrypto.errors import LinkError, PrivilegeError
from bpfcrypto.kernel import privilege

_Result = TypeVar("_Result")

Netns = str | os.PathLike[str] | None
"""A network namespace: a name as ``ip netns`` gives it, a path such as ``/proc/1234/ns/net``, or None for the caller's own."""

NAMED = Path("/run/netns")
_OWN = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000


def path_of(netns: Netns) -> Path:
    """The file that stands for a namespace; text without a slash is a name."""
    if netns is None:
        return Path(_OWN)
    text = os.fspath(netns)
    return Path(text) if "/" in text else NAMED / text


def names() -> tuple[str, ...]:
    """The namespaces that have a name."""
    try:
        return tuple(sorted(os.listdir(NAMED)))
    except OSError:
        return ()


def identity(netns: Netns) -> tuple[int, int]:
    """Device and inode of a namespace: two that are equal are the same one.

    Raises:
        LinkError: there is none of that name.
    """
    try:
        found = path_of(netns).stat()
    except OSError as error:
        raise _absent(netns, error) from None
    return found.st_dev, found.st_ino


def within(netns: Netns, call: Callable[[], _Result]) -> _Result:
    """What ``call`` gives inside of a namespace. It runs in a thread of its own, but for None, where the caller is at home.

    Raises:
        LinkError: there is no such namespace.
        PrivilegeError: entering it needs CAP_SYS_ADMIN.
    """
    if netns is None:
        return call()
    try:
        door = os.open(path_of(netns), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _absent(netns, error) from None
    result: Future[_Result] = Future()

    def visit() -> None:
        try:
            _enter(door, netns)
            result.set_result(call())
        except BaseException as error:  # whatever it is, it belongs to the caller
            result.set_exception(error)

    thread = threading.Thread(target=visit, name="bpfcrypto-netns", daemon=True)
    try:
        thread.start()
        thread.join()
    finally:
        os.close(door)
    return result.result()


def _enter(door: int, netns: Netns) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(door, _CLONE_NEWNET) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EPERM:
        error = PrivilegeError(
            f"setns: EPERM (network namespace '{netns}'): CAP_SYS_ADMIN is missing",
            hint=privilege.how_to_get(("CAP_SYS_ADMIN",)),
        )
        error.errno = number
        raise error
    raise LinkError(f"'{netns}' is not a network namespace", errno=number, hint=_which())


def _absent(netns: Netns, error: OSError) -> LinkError:
    return LinkError(
        f"no network namespace '{netns}': {(error.strerror or str(error)).lower()}",
        errno=error.errno or errno.ENOENT,
        hint=_which(),
    )


def _which() -> str:
    have = ", ".join(f"'{name}'" for name in names()) or "none"
    return f"those with a name ('ip netns add NAME'): {have}; of a process: /proc/PID/ns/net"
