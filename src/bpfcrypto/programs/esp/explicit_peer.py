"""A peer whose keys are given themselves: one SA in each direction, which stays until the configuration has others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.associations import association_of, is_same
from bpfcrypto.programs.esp.config_types import ExplicitKeys
from bpfcrypto.programs.esp.keys import read_key

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer
    from bpfcrypto.programs.esp.keys import KeyMaterial
    from bpfcrypto.programs.esp.plane import Plane
    from bpfcrypto.programs.esp.program import Association


class ExplicitPeer:
    """One peer. New keys in its files are taken by :meth:`start`: received at once, then sent with; the former go after the grace period.

    Args:
        peer: what the configuration says.
        plane: where its SAs are.
    """

    epoch = 0

    def __init__(self, peer: Peer, plane: Plane) -> None:
        assert isinstance(peer.keys, ExplicitKeys)
        self.peer = peer
        self._keys = peer.keys
        self._plane = plane
        self._program = plane.program
        self._slots = plane.slots

    @property
    def acknowledged(self) -> bool:
        """Whether anything authentic has come."""
        slot = self._current(outbound=False)
        return slot is not None and bool(self._program.tally(slot).last_ns)

    def start(self) -> Iterator[str]:
        """Bring the peer up, or take it over; gives what has happened, in words.

        Raises:
            ConfigError: a file cannot be used, both directions have one key, or a key was used before.
        """
        with (
            read_key(self._keys.send.key, self.peer.suite) as send,
            read_key(self._keys.receive.key, self.peer.suite) as receive,
        ):
            if send.fingerprint() == receive.fingerprint():
                raise ConfigError(
                    f"peer '{self.peer.name}' would send and receive with one key",
                    hint="each direction needs a key of its own, or both ends use the same numbers with it",
                )
            yield from self._bring_up(self._association(outbound=False), receive)
            yield from self._bring_up(self._association(outbound=True), send)

    def tend(self) -> Iterator[str]:
        """Take away former SAs, when those of now are old enough."""
        for outbound in (False, True):
            current = self._current(outbound=outbound)
            if current is None:
                continue
            age = self._plane.clock() - self._slots[current].installed_ns / 1e9
            for slot, _ in self._slots.of(self.peer.id, outbound=outbound):
                if slot != current and age >= self._plane.rotation.grace:
                    self._slots.clear(slot)
        return iter(())

    def _current(self, *, outbound: bool) -> int | None:
        """The slot that is used now."""
        if outbound:
            slot = self._program.sender(self.peer.id)
            return slot if slot in self._slots else None
        return self._slots.find(self.peer.id, self._keys.receive.spi, outbound=False)

    def _bring_up(self, association: Association, material: KeyMaterial) -> Iterator[str]:
        wanted = replace(association, fingerprint=material.fingerprint())
        slot = self._slots.find(self.peer.id, association.spi, outbound=association.outbound)
        if slot is not None and not is_same(self._slots[slot], wanted):
            self._slots.clear(slot)
            slot = None
        if slot is None:
            # What was sent must not be sent with again, and what was received not come again.
            self._plane.store.claim_key(wanted.fingerprint, association.sequence or association.highest)
            slot = self._slots.install(association, material)
            yield f"{'sends' if association.outbound else 'receives'} with SPI {association.spi:#x}"
        if association.outbound:
            self._program.send(self.peer.id, slot)
        else:
            self._program.receive(association.spi, slot)

    def _association(self, *, outbound: bool) -> Association:
        keys = self._keys.send if outbound else self._keys.receive
        made = association_of(self.peer, keys.spi, outbound=outbound, mtu=self._plane.mtu, sequence=keys.sequence)
        return made if outbound else replace(made, sequence=0, highest=keys.sequence)
