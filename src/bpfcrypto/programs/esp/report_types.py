"""A report as records, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.config_types import ExplicitKeys
from bpfcrypto.programs.esp.verdicts import AUTHENTICATION_FAILURES, CARRIED, REPLAYS, drops

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer
    from bpfcrypto.programs.esp.health import Health
    from bpfcrypto.programs.esp.program import Association


class Direction(StrEnum):
    """Which way an SA's packets go."""

    OUT = "out"
    IN = "in"


class State(StrEnum):
    """What an SA is there for.

    ``SENDING`` and ``RECEIVING`` are in use; ``NEXT`` is the epoch to come; ``FORMER`` is out of use, or received for the grace period
    only; ``CANDIDATE`` receives a later epoch that an unauthenticated packet has hinted at.
    """

    SENDING = "sending"
    RECEIVING = "receiving"
    NEXT = "next"
    FORMER = "former"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class SaReport:
    """A security association, one direction.

    Attributes:
        slot: where it is.
        peer: the peer's name; None where the configuration has no such peer (any more).
        direction, state: which way, and what for.
        epoch: None where keys are given themselves.
        association: the SA itself, with SPI, addresses, fingerprint; ``sequence`` was used last, ``highest`` was received.
        packets: by verdict, those that are not zero.
        bytes: of the packets in the clear, that were sealed or opened.
        age: seconds since it was installed.
        last: seconds since its last authentic or sealed packet, dummy packets included; None: there was none.
    """

    slot: int
    peer: str | None
    direction: Direction
    state: State
    epoch: int | None
    association: Association
    packets: Mapping[str, int]
    bytes: int
    age: float
    last: float | None

    @property
    def label(self) -> str:
        """The peer's name, or its number where it has none; names have no space."""
        return self.peer or f"id {self.association.peer}"

    @property
    def carried(self) -> int:
        """Packets that were sealed or opened."""
        return sum(self.packets.get(name, 0) for name in CARRIED)

    @property
    def drops(self) -> dict[str, int]:
        """Lost packets by verdict."""
        return drops(self.packets)

    @property
    def authentication_failures(self) -> int:
        return sum(self.packets.get(name, 0) for name in AUTHENTICATION_FAILURES)

    @property
    def replays(self) -> int:
        return sum(self.packets.get(name, 0) for name in REPLAYS)

    @property
    def sequence(self) -> int:
        """Outbound: the number that was used last; inbound: the highest that was authentic."""
        return self.association.sequence if self.direction is Direction.OUT else self.association.highest

    def to_dict(self) -> dict[str, object]:
        held = self.association
        return {
            "peer": self.peer,
            "id": held.peer,
            "slot": self.slot,
            "direction": self.direction.value,
            "state": self.state.value,
            "spi": held.spi,
            "epoch": self.epoch,
            "source": str(held.source),
            "target": str(held.target),
            "mtu": held.mtu,
            "esn": held.esn,
            "fingerprint": held.fingerprint,
            "packets": self.carried,
            "bytes": self.bytes,
            "sequence": self.sequence,
            "authentication_failures": self.authentication_failures,
            "replays": self.replays,
            "drops": self.drops,
            "verdicts": dict(self.packets),
            "age_seconds": round(self.age, 3),
            "last_packet_seconds": None if self.last is None else round(self.last, 3),
        }


@dataclass(frozen=True, slots=True)
class PeerReport:
    """A peer of the configuration.

    Attributes:
        peer: what the configuration says.
        sending: whether there is an SA to send with; else what is for the peer is dropped.
        epoch: what is sent in; None where keys are given themselves, or nothing is sent.
        acknowledged: whether the peer was heard in that epoch, or, with keys of its own, with the key of now.
        heard: seconds since the last authentic packet of the SAs that are there; None: there was none.
    """

    peer: Peer
    sending: bool
    epoch: int | None
    acknowledged: bool
    heard: float | None

    def to_dict(self) -> dict[str, object]:
        peer = self.peer
        return {
            "name": peer.name,
            "id": peer.id,
            "mode": peer.mode.name.lower(),
            "suite": peer.suite.name,
            "local": str(peer.local),
            "remote": str(peer.remote),
            "prefixes": [str(prefix) for prefix in peer.prefixes],
            "keys": "explicit" if isinstance(peer.keys, ExplicitKeys) else "epochs",
            "sending": self.sending,
            "epoch": self.epoch,
            "acknowledged": self.acknowledged,
            "last_heard_seconds": None if self.heard is None else round(self.heard, 3),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A link at one moment.

    Attributes:
        link, interface: their names.
        taken_ns: when, on CLOCK_MONOTONIC.
        peers: in the order of the configuration.
        associations: by peer, outbound first, the latest epoch first.
        unmatched: packets that no SA was found for, by verdict.
        health: whether the programs are on their interfaces.
    """

    link: str
    interface: str
    taken_ns: int
    peers: tuple[PeerReport, ...]
    associations: tuple[SaReport, ...]
    unmatched: Mapping[str, int]
    health: Health

    def to_dict(self) -> dict[str, object]:
        """For JSON. The keys stay as they are, and are explained in ``docs/reference/esp-status.md``; new ones may come."""
        return {
            "link": self.link,
            "interface": self.interface,
            "peers": [peer.to_dict() for peer in self.peers],
            "associations": [each.to_dict() for each in self.associations],
            "unmatched": dict(self.unmatched),
            "attached": dict(self.health.attached),
            "problems": list(self.health.problems),
        }
