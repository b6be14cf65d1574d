"""Compiled objects on disk, so that the same program is compiled once for each machine and not once for each process.

An entry is a file whose name is the hash of everything that the object depends on, and which begins with the hash of the rest: one
that was cut or changed is no entry. Files are written beside their place and moved there, so that a reader sees all of one or
nothing. The folder belongs to the user alone, since what is in it is run: a folder that others could write is not used. It may be
deleted at any time.

``BPFCRYPTO_CACHE`` names another folder; empty, nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_MOST_ENTRIES = 4000
_DIGEST = hashlib.sha256().digest_size


def folder() -> Path | None:
    """Where entries are kept; None for nowhere."""
    chosen = os.environ.get("BPFCRYPTO_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bpfcrypto"


def key(*parts: bytes | str) -> str:
    """The name of an entry that depends on ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """What was kept under a name, if it is there and whole."""
    place = _usable()
    if place is None:
        return None
    try:
        data = (place / name).read_bytes()
    except OSError:
        return None
    content = data[_DIGEST:]
    return content if hashlib.sha256(content).digest() == data[:_DIGEST] else None


def write(name: str, content: bytes) -> None:
    """Keep something under a name. Where that cannot be done, it is not."""
    place = _usable()
    if place is None:
        return
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=place, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, place / name)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _forget_oldest(place)


def remembered(name: str, make: Callable[[], bytes]) -> bytes:
    """What was kept under a name, or else what ``make`` gives, which is kept."""
    content = read(name)
    if content is None:
        content = make()
        write(name, content)
    return content


def _usable() -> Path | None:
    place = folder()
    if place is None:
        return None
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = place.stat()
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        return None
    return place


def _forget_oldest(place: Path) -> None:
    """Halve a folder that has grown too large."""
    entries = [each for each in os.scandir(place) if each.is_file(follow_symlinks=False)]
    if len(entries) > _MOST_ENTRIES:
        entries.sort(key=lambda each: each.stat(follow_symlinks=False).st_mtime)
        for each in entries[: len(entries) // 2]:
            with contextlib.suppress(OSError):
                os.unlink(each.path)
