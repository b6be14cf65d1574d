"""A peer whose keys come from a secret: the epochs it goes through, without losing a packet.

Every decision is made from what is in the maps and on disk, so that a control plane that was killed is taken over by the next. What is
remembered here are times, which only delay what is not urgent. The rules:

- The peer receives our epoch and the next one. We may send in the next one when something authentic has come in ours: the peer is in it.
- What comes in a later epoch than ours, and is authentic, takes us there; but to one that nobody has been in, as long as the peer was not
  heard since this host has begun: it may be that our memory was lost, and that we have been in that epoch ourselves.
- To an epoch that the peer may not know yet (a new secret, a number in a file's name), we send dummy packets until it answers there.
- An unknown SPI of a later epoch is a hint: that epoch is received on probation. An authentic packet takes us there, and is not delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.associations import association_of
from bpfcrypto.programs.esp.wire import epoch_of, peer_of, spi_of

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer
    from bpfcrypto.programs.esp.keyring import Keyring
    from bpfcrypto.programs.esp.plane import Plane
    from bpfcrypto.programs.esp.program import Association

GREETING = 3.0  # seconds for which an epoch is announced, even if the peer was heard in it: it may not have heard us
GREETING_INTERVAL = 0.5
ASKING_INTERVAL = 1.0  # while the peer has not been heard
IDLE_INTERVAL = 10.0  # a sign of life, where nothing else is sent
CANDIDATE_LIFE = 60.0  # for how long an epoch is received that only a hint speaks of
CANDIDATE_CHANCE = 2.0  # for which it is safe from other hints: the peer shows where it is each second
CANDIDATES = 4
BEYOND = 2  # from an epoch that the peer is in to one that neither it nor we have been in or received
REUSE = 1.0  # before a slot that was sent with is emptied
MOST_PACKETS = {False: 3 << 30, True: 1 << 62}  # sequence numbers before the next epoch begins, without and with ESN


class EpochPeer:
    """One peer.

    Args:
        peer: what the configuration says.
        keyring: its secrets.
        plane: where its SAs are.
    """

    def __init__(self, peer: Peer, keyring: Keyring, plane: Plane) -> None:
        self.peer = peer
        self._keyring = keyring
        self._plane = plane
        self._program = plane.program
        self._slots = plane.slots
        self._since: dict[tuple[str, int], float] = {}
        self._last_dummy = 0.0

    # --- what is ---

    @property
    def epoch(self) -> int:
        """What is sent in; 0 before :meth:`start`."""
        slot = self._program.sender(self.peer.id)
        return epoch_of(self._slots[slot].spi) if slot in self._slots else 0

    @property
    def acknowledged(self) -> bool:
        """Whether the peer was heard in our epoch."""
        return self.epoch in self._heard()

    def _heard(self) -> set[int]:
        """The epochs in which something authentic has come."""
        return {
            epoch_of(held.spi)
            for slot, held in self._slots.of(self.peer.id, outbound=False)
            if self._program.tally(slot).last_ns
        }

    # --- what is done ---

    def start(self) -> Iterator[str]:
        """Bring the peer up, or take it over as it is; gives what has happened, in words."""
        epoch = self.epoch
        if not epoch:
            epoch = self._begun() or self._first_epoch()
            self._move(epoch)  # in silence: the programs may not run yet
            yield f"begins with epoch {epoch}"
        self._listen(epoch)
        self._listen(self._keyring.next_epoch(epoch))

    def tend(self) -> Iterator[str]:
        """Look after the peer; to be called a few times a second. Gives what has happened, in words. Nothing happens before :meth:`start`."""
        if not self.epoch:
            return
        now, heard = self._plane.clock(), self._heard()
        self._retire(now, heard)  # what follows may need the slots, and may fail for want of one
        try:
            yield from self._advance(now, heard)
        finally:
            self._greet(now, heard)

    def rotate(self) -> int:
        """Go to the next epoch: at once where the peer is known to receive it, else as soon as it answers. Gives that epoch.

        Raises:
            ConfigError: the peer is not up, or there is no next epoch.
        """
        if not self.epoch:
            raise ConfigError(f"peer '{self.peer.name}' is not up", hint="call 'bpfcrypto esp up' first")
        target = self._keyring.next_epoch(self.epoch)
        self._since["wanted", target] = self._plane.clock()
        return target

    def _advance(self, now: float, heard: set[int]) -> Iterator[str]:
        ahead = max(heard, default=0)
        if ahead > self.epoch:
            beyond = ahead if min(heard) <= self.epoch else ahead + BEYOND
            self._enter(beyond)
            yield f"follows the peer to epoch {beyond}"
        self._follow_hint(now)
        target = self._target(now)
        if target <= self.epoch:
            return
        if target == self.epoch + 1 and self.epoch in heard and self._has_secret_of_now(target):
            self._enter(target)
            yield f"moves to epoch {target}"
        else:
            self._ask(target)

    # --- epochs ---

    def _begun(self) -> int:
        """How far a control plane has come that was killed while it brought the peer up; 0 if none was, or if it took the peer away."""
        sent, received = (
            max((epoch_of(held.spi) for _, held in self._slots.of(self.peer.id, outbound=outbound)), default=0)
            for outbound in (True, False)
        )
        return sent if received <= sent + 1 else 0

    def _first_epoch(self) -> int:
        first = self._keyring.next_epoch(0)
        used = self._plane.store.highest(self.peer.id, self._keyring.fingerprint(first))
        return max(first, self._keyring.next_epoch(used))

    def _target(self, now: float) -> int:
        """The epoch to go to; that of now, if none."""
        epoch = self.epoch
        following = self._keyring.next_epoch(epoch)
        if following > epoch + 1 or ("wanted", following) in self._since or self._is_due():
            return following
        if not (self._is_received(following) and self._is_installed(self._association(epoch, outbound=True))):
            self._since["wanted", following] = now  # there is another secret, or other terms
            return following
        return epoch

    def _is_due(self) -> bool:
        held = self._program.association(self._program.sender(self.peer.id))
        if held is None:
            return False
        rotation = self._plane.rotation
        most = min(rotation.packets or MOST_PACKETS[held.esn], MOST_PACKETS[held.esn])
        old = bool(rotation.seconds) and self._age(held) >= rotation.seconds
        return old or held.sequence >= most or held.mtu != self._plane.mtu

    def _enter(self, epoch: int) -> None:
        """Send in this epoch, and let the peer know."""
        self._say_something(self._move(epoch))

    def _move(self, epoch: int) -> int:
        """Send in this epoch. The store has it before there is an SA, and there is one before it is sent with. Gives its slot."""
        slot = self._prepare(epoch)
        self._listen(epoch)
        self._listen(self._keyring.next_epoch(epoch))  # before the peer hears of this one, and may go to the next
        self._program.send(self.peer.id, slot)
        self._since["entered", epoch] = self._plane.clock()
        self._since.pop(("wanted", epoch), None)
        return slot

    def _prepare(self, epoch: int) -> int:
        """The slot to send in this epoch, filled if it is not."""
        spi = spi_of(epoch, self.peer.id)
        slot = self._slots.find(self.peer.id, spi, outbound=True)
        if slot is None:
            self._claim(epoch)
            slot = self._install(epoch, outbound=True)
        return slot

    def _claim(self, epoch: int) -> None:
        """Have an epoch on disk, for these maps alone; they never have an SA twice for one epoch and key."""
        self._plane.store.claim(self.peer.id, self._keyring.fingerprint(epoch), epoch, self._program.owner)

    def _listen(self, epoch: int, *, on_probation: bool = False) -> None:
        """Receive this epoch; with the secret of now, if nothing has come with another.

        Claimed epochs never come again, since what was received in them could be replayed to an SA that does not know it. On probation
        nothing is delivered, so that a made-up hint uses up no epoch.
        """
        spi = spi_of(epoch, self.peer.id)
        slot = self._slots.find(self.peer.id, spi, outbound=False)
        if slot is not None and not self._is_received(epoch) and not self._program.tally(slot).last_ns:
            self._slots.clear(slot)
            slot = None
        if not on_probation and (slot is None or self._slots[slot].on_probation):
            self._claim(epoch)
        if slot is None:
            slot = self._install(epoch, outbound=False, on_probation=on_probation)
        elif self._slots[slot].on_probation and not on_probation:
            self._slots.admit(slot)
        self._program.receive(spi, slot)

    def _is_received(self, epoch: int) -> bool:
        """Whether there is an SA to receive this epoch, with the secret on disk."""
        return self._is_installed(self._association(epoch, outbound=False))

    def _has_secret_of_now(self, epoch: int) -> bool:
        """Whether an epoch has the secret that we send with: then the peer, which is where we are, has it as well."""
        same = self._keyring.fingerprint(epoch) == self._keyring.fingerprint(self.epoch)
        return same and self._is_installed(self._association(self.epoch, outbound=True))

    def _is_installed(self, association: Association) -> bool:
        slot = self._slots.find(self.peer.id, association.spi, outbound=association.outbound)
        if slot is None:
            return False
        with self._keyring.material(association) as material:
            return self._slots[slot].fingerprint == material.fingerprint()

    def _install(self, epoch: int, *, outbound: bool, on_probation: bool = False) -> int:
        association = replace(self._association(epoch, outbound=outbound), on_probation=on_probation)
        with self._keyring.material(association) as material:
            return self._slots.install(association, material)

    def _association(self, epoch: int, *, outbound: bool) -> Association:
        return association_of(self.peer, spi_of(epoch, self.peer.id), outbound=outbound, mtu=self._plane.mtu)

    # --- signs of life ---

    def _follow_hint(self, now: float) -> None:
        spi = self._program.hint(self.peer.id)
        if not spi:
            return
        self._program.forget_hint(self.peer.id)
        epoch = epoch_of(spi)
        if peer_of(spi) != self.peer.id or epoch == self.epoch:
            return
        if epoch < self.epoch:  # the peer is behind; it will see where we are
            self._say_something(self._program.sender(self.peer.id), least=ASKING_INTERVAL)
        elif self._slots.find(self.peer.id, spi, outbound=False) is None and self._has_room(now):
            self._listen(epoch, on_probation=True)

    def _has_room(self, now: float) -> bool:
        """Whether there is room for another candidate: anybody can make up hints, and each gets its chance."""
        candidates = [
            (held.installed_ns, slot)
            for slot, held in self._slots.of(self.peer.id, outbound=False)
            if held.on_probation and not self._program.tally(slot).last_ns
        ]
        if len(candidates) < CANDIDATES:
            return True
        installed, slot = min(candidates)
        if now - installed / 1e9 < CANDIDATE_CHANCE:
            return False
        self._slots.clear(slot)
        return True

    def _ask(self, epoch: int) -> None:
        """Show the peer an epoch that it may not receive yet."""
        self._listen(epoch)
        self._say_something(self._prepare(epoch), least=GREETING_INTERVAL)

    def _greet(self, now: float, heard: set[int]) -> None:
        epoch, slot = self.epoch, self._program.sender(self.peer.id)
        if now - self._since.setdefault(("entered", epoch), now) < GREETING:
            self._say_something(slot, least=GREETING_INTERVAL)
        elif epoch not in heard or now - self._program.tally(slot).last_ns / 1e9 >= IDLE_INTERVAL:
            self._say_something(slot, least=ASKING_INTERVAL)

    def _say_something(self, slot: int, *, least: float = 0.0) -> None:
        now = self._plane.clock()
        if now - self._last_dummy >= least:
            self._last_dummy = now
            self._plane.dummy(self.peer, slot)

    # --- the end of SAs ---

    def _retire(self, now: float, heard: set[int]) -> None:
        """Each SA has a time of its own: with one for all, epochs that are shorter than it would keep every one of them."""
        epoch, sending, latest = self.epoch, self._program.sender(self.peer.id), max(heard, default=0)
        grace = self._plane.rotation.grace
        for slot, held in self._slots.of(self.peer.id, outbound=False):
            its = epoch_of(held.spi)
            if held.on_probation:
                over = self._age(held) >= CANDIDATE_LIFE
            else:  # the peer has left it when it was heard in a later one; who has just come sees how long nothing has come in it
                left = its < min(epoch, latest)
                over = left and (self._for("left", its, now) >= grace or self._idle(slot, held) >= 2 * grace)
            if over:
                self._slots.clear(slot)
        for slot, held in self._slots.of(self.peer.id, outbound=True):
            its = epoch_of(held.spi)
            if slot != sending and its < epoch and self._for("unused", its, now) >= REUSE:
                self._slots.clear(slot)
        left_over = {
            epoch_of(held.spi) for way in (False, True) for _, held in self._slots.of(self.peer.id, outbound=way)
        }
        self._since = {key: when for key, when in self._since.items() if key[1] >= epoch or key[1] in left_over}

    def _for(self, what: str, epoch: int, now: float) -> float:
        """For how many seconds something has been so, as far as is known here."""
        return now - self._since.setdefault((what, epoch), now)

    def _age(self, held: Association) -> float:
        """Seconds since an SA was installed."""
        return self._plane.clock() - held.installed_ns / 1e9

    def _idle(self, slot: int, held: Association) -> float:
        """Seconds since something has come with an SA, or since it is there."""
        return self._plane.clock() - max(self._program.tally(slot).last_ns, held.installed_ns) / 1e9
