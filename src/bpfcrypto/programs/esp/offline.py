"""ESP over captures: the programs of a configuration on any engine, without interfaces, privileges, or anything on disk.

A :class:`Sealer` is this host, as it sends. An :class:`Opener` is nobody in particular: it has the keys of both ends, and opens what either
has sent. Where packets come from and go to is the caller's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.associations import association_of
from bpfcrypto.programs.esp.captured import PROGRAMS, CapturedProgram, Flow, captures_spec
from bpfcrypto.programs.esp.config_types import MOST_MTU, ExplicitKeys
from bpfcrypto.programs.esp.keyring import Keyring
from bpfcrypto.programs.esp.keys import read_key
from bpfcrypto.programs.esp.policies import rows
from bpfcrypto.programs.esp.program import EspProgram, Settings, spec
from bpfcrypto.programs.esp.wire import FIRST_EPOCH, epoch_of, peer_of, spi_of

if TYPE_CHECKING:
    from pathlib import Path

    from bpfcrypto.engine import Engine, Program
    from bpfcrypto.programs.esp.config_types import Config, Peer
    from bpfcrypto.programs.esp.keys import KeyMaterial
    from bpfcrypto.programs.esp.program import Association, Tally


class Used(NamedTuple):
    """An SA that packets were of, as it is now."""

    peer: Peer
    association: Association
    tally: Tally


class _Offline:
    """The programs of a configuration with their SAs.

    Attributes:
        program: what packets are given to.
    """

    def __init__(self, config: Config, esp: EspProgram, program: Program) -> None:
        self.program = program
        self._config = config
        self._esp = esp
        self._owners: dict[int, Peer] = {}
        esp.set_policies(rows(config))
        esp.settings = Settings(default=config.policy.default)

    def verdicts(self) -> dict[str, int]:
        """How many packets have had which verdict."""
        total: Counter[str] = Counter()
        for slot in (0, *self._owners):
            total.update(self._esp.tally(slot).packets)
        return dict(total)

    def used(self) -> Iterator[Used]:
        """The SAs that packets were of."""
        for slot, peer in self._owners.items():
            tally, association = self._esp.tally(slot), self._esp.association(slot)
            if tally.packets and association is not None:
                yield Used(peer, association, tally)

    def _install(self, peer: Peer, association: Association, material: KeyMaterial) -> int:
        slot = len(self._owners) + 1
        self._require_room(1)
        self._esp.install(slot, association, material)
        self._owners[slot] = peer
        return slot

    def _require_room(self, count: int) -> None:
        most = self._esp.slots - 1
        if len(self._owners) + count > most:
            message = f"{len(self._owners) + count} security associations are more than {most}"
            raise ConfigError(
                message, source=str(self._config.source), hint="name fewer epochs: each has two for each peer"
            )


class Sealer(_Offline):
    """Protects packets to the peers, with the SAs that this host sends with.

    Args:
        config: the configuration.
        esp: the programs, of :func:`~bpfcrypto.programs.esp.program.spec`.
        epoch: of peers with a secret.
        sequence: the last number that counts as used in that epoch; explicit keys have their own in the configuration.
    """

    def __init__(self, config: Config, esp: EspProgram, epoch: int = FIRST_EPOCH, sequence: int = 0) -> None:
        super().__init__(config, esp, esp.collection.programs["seal"])
        self._mtu = config.link.mtu or MOST_MTU
        for peer in config.peers:
            self._send_to(peer, epoch, sequence)

    def _send_to(self, peer: Peer, epoch: int, sequence: int) -> None:
        keys = peer.keys
        if isinstance(keys, ExplicitKeys):
            spi, sequence = keys.send.spi, keys.send.sequence
        else:
            spi = spi_of(epoch, peer.id)
        association = association_of(peer, spi, outbound=True, mtu=self._mtu, sequence=sequence)
        with _material(peer, association) as material:
            self._esp.send(peer.id, self._install(peer, association, material))


class Opener(_Offline):
    """Opens packets between this host and its peers, of both directions.

    A replay window is that of a host: what comes twice is dropped, and so is what comes too late.

    Args:
        config: the configuration.
        esp: the programs.
        sequence: the number before the first of the packets, where numbers are extended and above 2^32; None: as the configuration says for
            explicit keys, else 0.

    Attributes:
        looker: the program that notes which SAs packets are of.
        missing: SAs that :meth:`install_found` has found no secret for, in words.
    """

    def __init__(self, config: Config, esp: CapturedProgram, sequence: int | None = None) -> None:
        super().__init__(config, esp, esp.collection.programs["open"])
        self.looker = esp.collection.programs["look"]
        self.missing: list[str] = []
        self._captured = esp
        self._sequence = sequence
        for peer in config.peers:
            keys = peer.keys
            if isinstance(keys, ExplicitKeys):
                self._open(peer, keys.send.spi, outbound=True, sequence=keys.send.sequence)
                self._open(peer, keys.receive.spi, outbound=False)

    def install_found(self) -> None:
        """Open with the SAs that packets are of, as far as the program ``look`` has seen them.

        Raises:
            ConfigError: a secret cannot be used, or there are too many epochs.
        """
        found = self._captured.flows()
        for peer in self._rotated():
            ends = {(peer.local, peer.remote): True, (peer.remote, peer.local): False}
            wanted = [(flow, ends[flow.source, flow.target]) for flow in found if _is_of(flow, peer, ends)]
            self._require_room(len(wanted))
            keyring = _keyring(peer)
            for flow, outbound in sorted(wanted, key=lambda each: (each[0].spi, each[1])):
                if keyring.has(epoch_of(flow.spi)):
                    self._open(peer, flow.spi, outbound=outbound)
                else:
                    self.missing.append(f"peer '{peer.name}' has no secret for epoch {epoch_of(flow.spi)}")

    def install_epochs(self, epochs: Iterable[int]) -> None:
        """Open with the SAs of these epochs, as far as there are secrets for them.

        Raises:
            ConfigError: a secret cannot be used, or there are too many epochs.
        """
        for peer in self._rotated():
            keyring = _keyring(peer)
            wanted = [epoch for epoch in epochs if keyring.has(epoch)]
            self._require_room(2 * len(wanted))
            for epoch in wanted:
                for outbound in (True, False):
                    self._open(peer, spi_of(epoch, peer.id), outbound=outbound)

    def _rotated(self) -> Iterator[Peer]:
        return (peer for peer in self._config.peers if not isinstance(peer.keys, ExplicitKeys))

    def _open(self, peer: Peer, spi: int, *, outbound: bool, sequence: int = 0) -> None:
        if self._sequence is not None:
            sequence = self._sequence
        association = association_of(peer, spi, outbound=outbound, mtu=MOST_MTU, sequence=sequence)
        with _material(peer, association) as material:
            self._captured.open_with(association, self._install(peer, association, material))


@contextmanager
def sealer(engine: Engine, config: Config, *, epoch: int = FIRST_EPOCH, sequence: int = 0) -> Iterator[Sealer]:
    """Load what seals, for the length of a ``with`` block; arguments as of :class:`Sealer`.

    Raises:
        ConfigError: a secret or a key cannot be used.
    """
    with engine.load(spec(), programs=("install", "seal")) as collection:
        yield Sealer(config, EspProgram(engine, collection), epoch, sequence)


@contextmanager
def opener(engine: Engine, config: Config, *, sequence: int | None = None) -> Iterator[Opener]:
    """Load what opens, for the length of a ``with`` block; arguments as of :class:`Opener`.

    Raises:
        ConfigError: a secret or a key cannot be used.
    """
    with engine.load(captures_spec(), programs=PROGRAMS) as collection:
        yield Opener(config, CapturedProgram(engine, collection), sequence)


def _is_of(flow: Flow, peer: Peer, ends: dict[tuple[Any, Any], bool]) -> bool:
    return peer_of(flow.spi) == peer.id and epoch_of(flow.spi) >= FIRST_EPOCH and (flow.source, flow.target) in ends


def _keyring(peer: Peer) -> Keyring:
    assert not isinstance(peer.keys, ExplicitKeys)
    return Keyring(peer.keys, peer.suite)


def _material(peer: Peer, association: Association) -> KeyMaterial:
    if isinstance(peer.keys, ExplicitKeys):
        path: Path = (peer.keys.send if association.outbound else peer.keys.receive).key
        return read_key(path, peer.suite)
    return _keyring(peer).material(association)
