"""What must never be used twice, on disk: epochs of secrets, and explicit keys to send with.

A sequence number that is used twice with one key gives both texts away, and lets forgeries be made (RFC 4309, section 8; RFC 7634,
section 5). The keys of an epoch come from the secret, the peer's id and the epoch, so that the highest epoch is kept for each secret and id,
whatever the peer or the link is called; all links that share a folder share the file. Names of peers and links may change, then, and
nothing is used twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.state_file import locked_file, make_folder, replace_file
from bpfcrypto.programs.esp.wire import FIRST_EPOCH, FIRST_PEER, LAST_EPOCH, LAST_PEER

_FORMAT = 1
_NOTHING = (0, "")
_NAME = "epochs.json"
_WAIT = 10.0  # seconds; others hold the lock for one claim only
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")

_LOST = (
    "what was used is not known any more, and could be used again: move the file away, then give every peer a new secret or new keys, "
    "or begin at epochs above all that were used"
)


@dataclass(slots=True)
class _Used:
    """The content of the file: the highest epoch and who has it, by ``fingerprint/id``; the first sequence number by fingerprint of a key."""

    epochs: dict[str, tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)


class EpochStore:
    """The epochs and keys that were used, for the control plane of one link.

    Args:
        folder: the folder of the state, which is made with mode 0700.
        link: the link's name, for its lock.

    Nothing is kept in memory: each call reads the file. Processes and threads may call at the same time.
    """

    def __init__(self, folder: Path, link: str) -> None:
        self._folder = folder
        self._link = link
        self._mine = threading.local()  # whether this thread holds the lock

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / _NAME

    @contextmanager
    def locked(self, timeout: float = 10.0) -> Iterator[None]:
        """Be the only control plane of the link for the length of a ``with`` block; inside of another one of this thread, nothing changes.

        Args:
            timeout: seconds to wait for another one to end.

        Raises:
            ConfigError: another process is, and which.
        """
        if getattr(self._mine, "held", False):
            yield
            return
        make_folder(self._folder)
        with locked_file(self._folder / f"lock.{self._link}", timeout, f"link '{self._link}'"):
            self._mine.held = True
            try:
                yield
            finally:
                self._mine.held = False

    def highest(self, peer: int, fingerprint: str) -> int:
        """The highest epoch that was claimed, 0 for none.

        Args:
            peer: the peer's id, 1 to 255.
            fingerprint: that of the secret.

        Raises:
            ConfigError: the file is damaged.
        """
        return self._load().epochs.get(_name(peer, fingerprint), _NOTHING)[0]

    def claim(self, peer: int, fingerprint: str, epoch: int, owner: str = "") -> None:
        """Use an epoch, for good. It is on disk when this returns; after an error it may be, and the next one is to be claimed.

        Args:
            peer: the peer's id, 1 to 255.
            fingerprint: that of the secret.
            epoch: 1 to 2^24 - 1, above the highest; or not, where the owner is the same.
            owner: whose SAs it is for. As long as they are there, it knows itself which of its epochs it has used.

        Raises:
            ConfigError: the epoch, or one above it, was claimed before; the file is damaged or cannot be written.
            ValueError: an argument is out of range.
        """
        name = _name(peer, fingerprint)
        if not FIRST_EPOCH <= epoch <= LAST_EPOCH:
            raise ValueError(f"epoch {epoch} is not within {FIRST_EPOCH} to {LAST_EPOCH}")

        def enter(used: _Used) -> None:
            highest, holder = used.epochs.get(name, _NOTHING)
            if epoch <= highest and owner and owner == holder:
                return
            if epoch <= highest:
                hint = (
                    f"begin with epoch {highest + 1}"
                    if highest < LAST_EPOCH
                    else "all are used: a new secret is needed"
                )
                message = f"epoch {epoch} of peer {peer} was used before: the highest is {highest}"
                raise ConfigError(message, source=str(self.path), hint=hint)
            used.epochs[name] = epoch, owner

        self._change(enter)

    def claim_key(self, fingerprint: str, sequence: int = 0) -> None:
        """Use an explicit key to send with, from a sequence number on. It is on disk when this returns.

        Args:
            fingerprint: that of key and salt.
            sequence: the last number that counts as used, 0 to 2^64 - 1. A key that was installed before is taken only with a higher one
                than then, since only who has set it can know which numbers were used since.

        Raises:
            ConfigError: the key was installed before, from that number or a higher one on; the file is damaged or cannot be written.
            ValueError: an argument is out of range.
        """
        _check_fingerprint(fingerprint)
        if not 0 <= sequence < 1 << 64:
            raise ValueError(f"sequence number {sequence} is not within 0 to 2^64 - 1")

        def enter(used: _Used) -> None:
            before = used.keys.get(fingerprint, -1)
            if sequence <= before:
                message = f"the key to send with was installed before, with sequence = {before}: its numbers could be used again"
                hint = "take a new key, or say with 'sequence' in [peer.send] a number that was certainly never reached"
                raise ConfigError(message, source=str(self.path), hint=hint)
            used.keys[fingerprint] = sequence

        self._change(enter)

    def _change(self, enter: Callable[[_Used], None]) -> None:
        make_folder(self._folder)
        with locked_file(self._folder / "epochs.lock", _WAIT, f"'{self.path}'"):
            used = self._load()
            before = _encode(used)
            enter(used)
            if (after := _encode(used)) != before:
                replace_file(self.path, after)

    def _load(self) -> _Used:
        try:
            return _decode(self.path.read_bytes())
        except FileNotFoundError:
            return _Used()
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", source=str(self.path)) from None
        except ValueError as error:
            raise ConfigError(f"damaged: {error}", source=str(self.path), hint=_LOST) from None


def _name(peer: int, fingerprint: str) -> str:
    if not FIRST_PEER <= peer <= LAST_PEER:
        raise ValueError(f"peer {peer} is not within {FIRST_PEER} to {LAST_PEER}")
    return f"{_check_fingerprint(fingerprint)}/{peer}"


def _check_fingerprint(fingerprint: str) -> str:
    if _FINGERPRINT.fullmatch(fingerprint) is None:
        raise ValueError("a fingerprint has 16 hexadecimal digits")
    return fingerprint


def _encode(used: _Used) -> bytes:
    content = {"epochs": used.epochs, "keys": used.keys}
    text = json.dumps({"format": _FORMAT, **content, "sum": _sum(content)}, indent=1, sort_keys=True)
    return text.encode() + b"\n"


def _decode(data: bytes) -> _Used:
    """Raises ValueError for anything that :func:`_encode` has not made."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(table, dict) or "format" not in table:
        raise ValueError("it is not a file of epochs")
    if table["format"] != _FORMAT:
        raise ValueError(f"its format is {table['format']!r}, and this version knows {_FORMAT}")
    content: dict[str, Any] = {name: table.get(name) for name in ("epochs", "keys")}
    if table.get("sum") != _sum(content):
        raise ValueError("its check sum is wrong")
    return _Used(**content)


def _sum(content: dict[str, Any]) -> str:
    """A check sum against accidents; who can write the file can make one."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
