"""A configuration as records: every key, what is allowed, and what holds without it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.config_kinds import (
    ADDRESS,
    FLAG,
    LISTEN,
    PREFIXES,
    Listen,
    choice,
    duration,
    file_path,
    integer,
    text,
)
from bpfcrypto.programs.esp.config_table import Kind, did_you_mean
from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.suites import SUITES, Mode, Suite
from bpfcrypto.programs.esp.wire import FIRST_PEER, FIRST_SPI, LAST_PEER, LAST_SPI, Address, Network

LEAST_MTU = {4: 576, 6: 1280}  # RFC 1122, section 3.3.3; RFC 8200, section 5
MOST_MTU = 9216
YEAR = 366 * 86400

_LETTERS = "1 to 64 of A-Z, a-z, 0-9,"


def _interface(most: int, why: str = "") -> Kind:
    return text(rf"(?!\.{{1,2}}$)[!-.0-9;-~]{{1,{most}}}", f"an interface's name of at most {most} characters{why}")


class Send(StrEnum):
    """How packets get to be sealed: routed to a pair of virtual interfaces, or at the egress of the interface itself."""

    ROUTED = "routed"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """``[link]``: the interface. ``mtu`` is the largest outer IP packet, None that of the interface; ``device`` serves ``routed`` alone."""

    name: Annotated[
        str, text(r"[A-Za-z0-9_-]{1,64}", f"{_LETTERS} '_' and '-' (names in a BPF file system have no dots)")
    ]
    interface: Annotated[str, _interface(15)]
    send: Annotated[Send, choice({each.value: each for each in Send})] = Send.ROUTED
    device: Annotated[str, _interface(12, ", since '-in' is put behind it")] = "esp0"
    mtu: Annotated[int | None, integer(LEAST_MTU[4], MOST_MTU)] = None
    pins: Annotated[Path, file_path()] = Path("/sys/fs/bpf")
    state: Annotated[Path, file_path()] = Path("/var/lib/bpfcrypto/esp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``[policy]``: prefixes. ``local`` has the local addresses of peers in transport mode, too."""

    local: Annotated[tuple[Network, ...], PREFIXES] = ()
    bypass: Annotated[tuple[Network, ...], PREFIXES] = ()
    discard: Annotated[tuple[Network, ...], PREFIXES] = ()
    default: Annotated[Action, choice({"discard": Action.DISCARD, "bypass": Action.BYPASS})] = Action.DISCARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """``[rotation]``: after how many seconds or packets sent the next epoch begins, 0 for never, and how long things may take.

    ``grace`` is the time in seconds for which the former SA still receives, ``timeout`` the time to wait for a peer's acknowledgement.
    """

    seconds: Annotated[float, duration(1, 10 * YEAR, zero="for never")] = 0.0
    packets: Annotated[int, integer(1, (1 << 63) - 1, zero="for never")] = 0
    grace: Annotated[float, duration(0, 3600)] = 10.0
    timeout: Annotated[float, duration(0.1, 3600)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """``[metrics]``: where they are served, and the file that they are written to; None for neither."""

    listen: Annotated[Listen | None, LISTEN] = None
    file: Annotated[Path | None, file_path()] = None


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One secret for all epochs."""

    path: Path


@dataclass(frozen=True, slots=True)
class SecretFolder:
    """A folder of secrets, ``<number>.secret`` for epochs from that number on. New ones are best moved there when they are whole."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SendKey:
    """``[peer.send]``: the SPI, the file of key and salt, and the last sequence number that counts as used."""

    spi: Annotated[int, integer(FIRST_SPI, LAST_SPI)]
    key: Annotated[Path, file_path(secret=True)]
    sequence: Annotated[int, integer(0, (1 << 64) - 2)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveKey:
    """``[peer.receive]``: the SPI, the file of key and salt, and the last sequence number that counts as seen."""

    spi: Annotated[int, integer(FIRST_SPI, LAST_SPI)]
    key: Annotated[Path, file_path(secret=True)]
    sequence: Annotated[int, integer(0, (1 << 64) - 2)] = 0


@dataclass(frozen=True, slots=True)
class ExplicitKeys:
    """Keys that are given themselves: no epochs, no rotation."""

    send: SendKey
    receive: ReceiveKey


Keys: TypeAlias = SecretFile | SecretFolder | ExplicitKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """``[[peer]]``: the other end. In transport mode ``prefixes`` is its address.

    With chacha20-poly1305 its keys are plain bytes in a BPF map, which whoever may read maps (root, CAP_BPF) can read; those of AES are inside
    of crypto contexts of the kernel.
    """

    name: Annotated[str, text(r"[A-Za-z0-9_.-]{1,64}", f"{_LETTERS} '_', '.' and '-'")]
    id: Annotated[int, integer(FIRST_PEER, LAST_PEER)]
    local: Annotated[Address, ADDRESS]
    remote: Annotated[Address, ADDRESS]
    mode: Annotated[Mode, choice({each.name.lower(): each for each in Mode})]
    suite: Annotated[Suite, choice(SUITES)]
    esn: Annotated[bool, FLAG] = True
    prefixes: Annotated[tuple[Network, ...], PREFIXES] = ()
    keys: Keys

    @property
    def family(self) -> int:
        """Of the outer addresses, 4 or 6."""
        return self.local.version

    @property
    def place(self) -> str:
        """The peer in messages."""
        return f"[[peer]] '{self.name}'"

    @property
    def prefix_key(self) -> str:
        """The key that says what is protected."""
        return "remote" if self.mode is Mode.TRANSPORT else "prefixes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration that holds together; ``source`` is its file."""

    source: Path
    link: Link
    policy: Policy
    rotation: Rotation
    metrics: Metrics
    peers: tuple[Peer, ...]

    def peer(self, name: str) -> Peer:
        """The peer of a name.

        Raises:
            ConfigError: there is none.
        """
        found = {peer.name: peer for peer in self.peers}
        if name not in found:
            message = f"there is no peer '{name}'; there are: {', '.join(found)}"
            raise ConfigError(message, source=str(self.source), hint=did_you_mean(name, found))
        return found[name]
