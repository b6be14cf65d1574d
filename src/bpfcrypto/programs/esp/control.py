"""The control plane of one configuration: it brings what is in the maps to what the configuration says, and looks after the peers.

One at a time: everything happens in :meth:`Control.session`, which holds the lock of the link and looks at the maps anew. So a command, a
monitor and the successor of one that was killed can take turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from bpfcrypto.errors import BpfCryptoError, ConfigError
from bpfcrypto.programs.esp.config_types import ExplicitKeys
from bpfcrypto.programs.esp.epoch_peer import EpochPeer
from bpfcrypto.programs.esp.explicit_peer import ExplicitPeer
from bpfcrypto.programs.esp.keyring import Keyring
from bpfcrypto.programs.esp.plane import Plane
from bpfcrypto.programs.esp.policies import rows
from bpfcrypto.programs.esp.slots import Slots

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Config, Peer
    from bpfcrypto.programs.esp.epochs import EpochStore
    from bpfcrypto.programs.esp.program import EspProgram

AnyPeer: TypeAlias = EpochPeer | ExplicitPeer

STEP = 0.02  # seconds between two looks while something is waited for


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the control plane has done, in words, or that it could not do: ``failed``."""

    peer: str
    text: str
    failed: bool = False

    def __str__(self) -> str:
        return f"{self.peer}: {self.text}"


class Control:
    """The control plane.

    Args:
        config: what is wanted.
        program: the loaded programs.
        store: what must not be used twice.
        mtu: of outer packets, bytes.
        dummy: how a peer is sent a dummy packet.
        clock: seconds, monotonic: CLOCK_MONOTONIC, which programs use as well.
    """

    def __init__(
        self,
        config: Config,
        program: EspProgram,
        store: EpochStore,
        *,
        mtu: int,
        dummy: Callable[[Peer, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._program = program
        self._slots = Slots(program)
        self._plane = Plane(program, self._slots, store, config.rotation, mtu, dummy, clock)
        self._failures: dict[str, str] = {}
        self.peers: dict[str, AnyPeer] = {peer.name: self._made(peer) for peer in config.peers}

    def _made(self, peer: Peer) -> AnyPeer:
        if isinstance(peer.keys, ExplicitKeys):
            return ExplicitPeer(peer, self._plane)
        return EpochPeer(peer, Keyring(peer.keys, peer.suite), self._plane)

    @contextmanager
    def session(self) -> Iterator[None]:
        """The only time in which anything may be changed.

        Raises:
            ConfigError: another control plane does not let go.
        """
        with self._plane.store.locked():
            self._slots.refresh()
            yield

    def start(self) -> list[Event]:
        """Bring up all peers, or take them over as they are; take away those that the configuration does not have any more.

        What fails with one peer is an event, and its packets are dropped: the others come up, and every policy holds. Policies come last, so
        that nothing is protected before it can be.
        """
        events = []
        with self.session():
            settings = self._program.settings
            if settings.token == bytes(len(settings.token)):
                self._program.settings = replace(settings, token=os.urandom(len(settings.token)))
            for name, peer in self.peers.items():
                events += self._told(name, peer.start())
            for gone in self._slots.peers() - {peer.peer.id for peer in self.peers.values()}:
                self.take_away(gone)
                events.append(Event(str(gone), "is not in the configuration any more, and was taken away"))
            self._program.set_policies(rows(self._config))
        return events

    def tend(self) -> list[Event]:
        """Look after all peers; to be called a few times a second. What fails with one peer is an event, and the others go on."""
        with self.session():
            return [event for name, peer in self.peers.items() for event in self._told(name, peer.tend())]

    def _told(self, name: str, work: Iterator[str]) -> list[Event]:
        """What comes of work for a peer. The same error is not told twice in a row."""
        events: list[Event] = []
        failure = ""
        try:
            events.extend(Event(name, text) for text in work)
        except BpfCryptoError as error:
            failure = str(error)
        if failure and failure != self._failures.get(name):
            events.append(Event(name, failure, failed=True))
        self._failures[name] = failure
        return events

    def rotate(self, names: list[str], timeout: float) -> dict[str, bool]:
        """Take peers to their next epochs, and wait for their acknowledgement.

        Args:
            names: of the peers.
            timeout: seconds to wait.

        Returns:
            Whether each peer has acknowledged; one that has not yet may still do so.

        Raises:
            ConfigError: a peer has explicit keys.
        """
        targets: dict[str, int] = {}
        with self.session():
            for name in names:
                peer = self.peers[name]
                if isinstance(peer, ExplicitPeer):
                    raise ConfigError(
                        f"peer '{name}' has keys of its own, which have no epochs",
                        hint="put new keys and SPIs into the configuration, and call 'esp up' again",
                    )
                targets[name] = peer.rotate()
        return self.wait(targets, timeout)

    def wait(self, targets: dict[str, int], timeout: float) -> dict[str, bool]:
        """Look after all peers until those of ``targets`` have been heard in the epochs given there (0: in any), or the time is over."""
        until = self._plane.clock() + timeout
        while True:
            self.tend()
            done = {
                name: self.peers[name].acknowledged and self.peers[name].epoch >= epoch
                for name, epoch in targets.items()
            }
            if all(done.values()) or self._plane.clock() >= until:
                return done
            time.sleep(STEP)

    def take_away(self, peer: int) -> None:
        """Take everything away of a peer, by its number; what it should protect is dropped.

        What is sent with goes first: where that is there, :meth:`start` takes it that nothing was taken away.
        """
        with self.session():
            self._program.send(peer, 0)
            for outbound in (True, False):
                for slot, _ in self._slots.of(peer, outbound=outbound):
                    self._slots.clear(slot)
