"""Secrets and keys from files that no one else can read, into memory that is wiped.

A file's bytes are taken as they stand, an end of line included. What is wrong with a file is told by its name and size alone.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfcrypto.context.secret import opened
from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config import SecretFile, SecretFolder
from bpfcrypto.programs.esp.wire import FIRST_EPOCH, LAST_EPOCH

LEAST_SECRET = 32
"""Bytes: a secret must be as strong as the longest key that comes from it."""

MOST_SECRET = 4096

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def opened_secret(keys: SecretFile | SecretFolder, epoch: int) -> Iterator[memoryview]:
    """The secret of an epoch for the length of a ``with`` block; afterwards its memory is zero.

    Args:
        keys: where the configuration says that secrets are.
        epoch: 1 to 2^24 - 1; the same for every epoch, where there is one file.

    Raises:
        ConfigError: there is no such file, others can read it, or it does not hold 32 to 4096 bytes.
    """
    path = keys.path if isinstance(keys, SecretFile) else secret_of(keys.path, epoch)
    with opened_file(path, "secret", MOST_SECRET) as secret:
        if len(secret) < LEAST_SECRET:
            message = f"a secret of {len(secret)} bytes is too short: at least {LEAST_SECRET} random bytes"
            raise ConfigError(
                message, source=str(path), hint=f"openssl rand -out '{path}' {LEAST_SECRET}, for both ends"
            )
        yield secret


@contextmanager
def opened_file(path: Path, what: str, most: int) -> Iterator[memoryview]:
    """A private file's bytes for the length of a ``with`` block; afterwards their memory is zero.

    Args:
        path: the file.
        what: what it holds, for messages.
        most: the most bytes it may hold.

    Raises:
        ConfigError: it cannot be read, is no file, others can read it, or it is too long.
    """
    with opened(bytearray(most + 1)) as buffer:
        size = _read(path, what, buffer)
        if size > most:
            raise ConfigError(f"more than {most} bytes are no {what}", source=str(path))
        with buffer[:size] as data:
            yield data


def secret_files(folder: Path) -> dict[int, Path]:
    """The secrets of a folder, in order: first epoch and file. Files whose names do not end in ``.secret`` are not looked at.

    Raises:
        ConfigError: the folder cannot be read, others can write in it, or a file that ends in ``.secret`` does not begin with a number of
            an epoch, or with one that another file has.
    """
    try:
        writable = folder.stat().st_mode & _OTHERS_WRITE
        names = sorted(each.name for each in folder.iterdir() if each.suffix == ".secret" and each.name[0] != ".")
    except OSError as error:
        raise ConfigError(f"folder of secrets cannot be read: {error.strerror}", source=str(folder)) from None
    if writable:
        raise ConfigError("others can put secrets there", source=str(folder), hint=f"chmod go-w '{folder}'")
    found: dict[int, Path] = {}
    for name in names:
        number = int(name[:-7]) if re.fullmatch(r"[0-9]{1,12}\.secret", name) else 0
        if not FIRST_EPOCH <= number <= LAST_EPOCH:
            message = f"'{name}' is not <number>.secret, with the number of an epoch, {FIRST_EPOCH} to {LAST_EPOCH}"
            raise ConfigError(message, source=str(folder))
        if number in found:
            raise ConfigError(f"'{name}' and '{found[number].name}' are for one epoch", source=str(folder))
        found[number] = folder / name
    return dict(sorted(found.items()))


def secret_of(folder: Path, epoch: int) -> Path:
    """The file with the secret of an epoch: that of the highest number that is not above it.

    Raises:
        ConfigError: there is none; or as of :func:`secret_files`.
    """
    found = secret_files(folder)
    numbers = [number for number in found if number <= epoch]
    if not numbers:
        first = f"the first is '{next(iter(found.values())).name}'" if found else "there are no secrets"
        message = f"no secret for epoch {epoch}: {first}"
        raise ConfigError(
            message, source=str(folder), hint=f"'{FIRST_EPOCH}.secret' is for the epochs from {FIRST_EPOCH} on"
        )
    return found[numbers[-1]]


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would let us wait for ever


def _read(path: Path, what: str, buffer: memoryview) -> int:
    """Fill a buffer from a private file, and give the number of bytes."""
    size = 0
    try:
        with open(path, "rb", buffering=0, opener=_open) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"not a file that can hold a {what}", source=str(path))
            if mode & _OTHERS:
                message = f"{what} file can be used by others: its mode is {stat.S_IMODE(mode):04o}"
                raise ConfigError(message, source=str(path), hint=f"chmod 600 '{path}'")
            while size < len(buffer) and (count := file.readinto(buffer[size:])):
                size += count
    except OSError as error:
        raise ConfigError(f"{what} file cannot be read: {error.strerror}", source=str(path)) from None
    return size
