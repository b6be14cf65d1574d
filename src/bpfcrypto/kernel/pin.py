"""Pins: names for maps, programs and links in a BPF file system, which keep them alive without a process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bpfcrypto.errors import PinError, SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.fd import Fd

_Result = TypeVar("_Result")

PathLike = str | os.PathLike[str]

DEFAULT_DIRECTORY = "/sys/fs/bpf"

_HINTS = {
    ("BPF_OBJ_PIN", errno.EEXIST): "there is something of that name already: unlink it, or choose another name",
    ("BPF_OBJ_PIN", errno.ENOENT): "the directory does not exist; make it inside the BPF file system with mkdir",
    ("BPF_OBJ_PIN", errno.EACCES): "this user may not write in that directory",
    ("BPF_OBJ_GET", errno.ENOENT): "nothing is pinned there",
    ("BPF_OBJ_GET", errno.EACCES): "this user may not read that pin, or it is not in a BPF file system",
    ("BPF_OBJ_GET", errno.EPERM): "this user may not open that pin",
}
_NOT_BPFFS = "'{directory}' is not in a BPF file system: pin below one, such as " + DEFAULT_DIRECTORY
_NOT_MOUNTED = f"there is no BPF file system: 'mount -t bpf bpf {DEFAULT_DIRECTORY}'"


def place(path: PathLike) -> Path:
    """Where a pin is: text without a slash is a name in the default directory."""
    return Path(DEFAULT_DIRECTORY, path) if "/" not in os.fspath(path) else Path(path)


def pin(fd: Fd, path: PathLike) -> None:
    """Pin a map, program or link.

    Raises:
        PinError: the path exists, its directory does not, or it is not in a BPF file system.
    """
    _explained(lambda: bpf.obj_pin(fd, path), path)


def open_pinned(path: PathLike, kind: str) -> Fd:
    """Open a pin of one kind.

    Args:
        path: where it is pinned.
        kind: ``map``, ``prog`` or ``link``.

    Raises:
        PinError: nothing is pinned there, or something of another kind (EINVAL).
    """
    fd = _explained(lambda: bpf.obj_get(path), path)
    found = kind_of(fd)
    if found != kind:
        fd.close()
        raise PinError("BPF_OBJ_GET", errno.EINVAL, detail=f"'{os.fspath(path)}' is a {found}, not a {kind}")
    return fd


def kind_of(fd: Fd) -> str:
    """What a descriptor of bpf(2) is: ``map``, ``prog``, ``link``, or as /proc calls it."""
    found = os.readlink(f"/proc/self/fd/{fd.fileno()}").removeprefix("anon_inode:").strip("[]")
    return found.replace("_", "-").removeprefix("bpf-")  # a link is a bpf_link on some kernels


def _explained(call: Callable[[], _Result], path: PathLike) -> _Result:
    try:
        return call()
    except SyscallError as error:
        hint = _HINTS.get((error.command, error.errno or 0))
        directory = Path(path).parent
        if error.command == "BPF_OBJ_PIN" and directory.is_dir() and not _is_bpffs(directory):
            hint = _NOT_MOUNTED if directory == Path(DEFAULT_DIRECTORY) else _NOT_BPFFS.format(directory=directory)
        raise PinError(error.command, error.errno or 0, detail=f"'{os.fspath(path)}'", hint=hint) from None


def _is_bpffs(directory: Path) -> bool:
    """Whether a directory is in a BPF file system: the errno does not tell, it is the other file system's own."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(f" {number} " in mount and " - bpf " in mount for mount in mounts)
