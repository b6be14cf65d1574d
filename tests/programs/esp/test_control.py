"""The control plane of two hosts, on the embedded engine, with a clock and a wire of the test's own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto import open_engine
from bpfcrypto.engine import Engine
from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.epoch_peer import EpochPeer
from support.esp_pair import Host, Site, carry, site, start, tend, write_secret


class Clock:
    """Seconds, from a number that the programs' own clock is behind."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_engine("embedded") as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(engine: Engine, tmp_path: Path, clock: Clock) -> Iterator[Site]:
    with site(engine, tmp_path, clock) as made:
        yield made


def settle(clock: Clock, *hosts: Host, rounds: int = 4) -> None:
    """Let some seconds go by, in which the hosts look after each other."""
    for _ in range(rounds):
        clock.now += 1.0
        tend(*hosts)
        carry(hosts[0], hosts[1])


def both(place: Site, clock: Clock, **options: object) -> tuple[Host, Host]:
    hosts = place.boot("left", **options), place.boot("right", **options)  # type: ignore[arg-type]
    start(*hosts)
    settle(clock, *hosts)
    return hosts


def test_two_hosts_come_up(place: Site, clock: Clock) -> None:
    """Both are in epoch 1, have heard each other, and a packet arrives as it was."""
    left, right = both(place, clock)
    left.say(b"hello")

    assert (left.epoch, right.epoch, left.acknowledged, right.acknowledged) == (1, 1, True, True)
    assert carry(left, right) == 1


def test_rotation_loses_nothing(place: Site, clock: Clock) -> None:
    """Packets that are on their way while either side moves are opened, through ten epochs."""
    left, right = both(place, clock)
    for number in range(10):
        mover, other = (left, right) if number % 2 else (right, left)
        mover.say()
        other.say()
        peer = mover.control.peers[other.name]
        with mover.control.session():
            assert peer.rotate() == number + 2  # type: ignore[union-attr]
        tend(mover)
        mover.say()
        other.say()
        opened = carry(left, right)
        assert opened == 4
        settle(clock, left, right)
        assert (left.epoch, right.epoch) == (number + 2, number + 2)


def test_a_second_rotation_waits_for_the_peer(place: Site, clock: Clock) -> None:
    """Who has moved and was not answered does not move on, since the peer could not read it."""
    left, right = both(place, clock)
    for _ in range(3):
        with left.control.session():
            left.control.peers["right"].rotate()  # type: ignore[union-attr]
        clock.now += 1
        tend(left)

    assert left.epoch == 2
    left.say()
    assert carry(left, right) >= 1


def test_the_former_epoch_goes(place: Site, clock: Clock) -> None:
    """After the grace period a host has one SA to send, and two to receive."""
    left, right = both(place, clock, grace=2.0)
    left.control.rotate(["right"], 0.0)
    settle(clock, left, right, rounds=8)

    for host in (left, right):
        held = host.program.associations().values()
        assert sorted((each.outbound, each.spi >> 8) for each in held) == [(False, 2), (False, 3), (True, 2)]
        assert sorted(host.program.receiving()) == [0x207, 0x307]


def test_epochs_that_are_shorter_than_the_grace_period(
    place: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each former SA goes when its own time is over, however often the epoch changes meanwhile."""
    monkeypatch.setattr(EpochPeer, "_idle", lambda *_: 0.0)  # by the programs' clock, which is not the test's
    left, right = both(place, clock, grace=5.0)
    for _ in range(20):
        left.control.rotate(["right"], 0.0)
        settle(clock, left, right, rounds=2)

    assert left.epoch == 21
    for host in (left, right):
        held = host.program.associations().values()
        assert sorted({each.spi >> 8 for each in held}) == [18, 19, 20, 21, 22]


def test_no_slot_is_free(place: Site, clock: Clock) -> None:
    """That is an event, not the end of the control plane, and traffic goes on; when there is one again, so does the rotation."""
    left, right = both(place, clock)
    most, left.program.slots = left.program.slots, 4
    with left.control.session():
        left.control.peers["right"].rotate()  # type: ignore[union-attr]
    [event] = tend(left)
    assert "all 3 security associations are in use" in str(event)
    left.say()
    assert carry(left, right) == 1
    assert left.epoch == 1

    left.program.slots = most
    settle(clock, left, right)
    assert (left.epoch, right.epoch) == (2, 2)


def test_a_host_that_was_rebooted_begins_a_new_epoch(place: Site, clock: Clock) -> None:
    """Its maps are empty: it takes an epoch that was neither sent nor received in, and its peer follows."""
    _, right = both(place, clock)
    again = place.boot("left")
    start(again)
    assert again.epoch == 3

    settle(clock, again, right, rounds=6)
    assert right.epoch >= 3
    assert (right.epoch, right.acknowledged, again.acknowledged) == (again.epoch, True, True)


def test_a_successor_takes_over(place: Site, clock: Clock) -> None:
    """A second control plane on the same maps changes nothing: the SAs and their sequence numbers are the same."""
    left, right = both(place, clock)
    before = left.program.associations()
    again = place.control("left", left.program)

    assert start(again) == []
    assert again.program.associations() == before
    again.say()
    assert carry(again, right) == 1


def test_both_lose_their_maps(place: Site, clock: Clock) -> None:
    """Two reboots at once: they find each other in a new epoch."""
    left, right = both(place, clock)
    left, right = place.boot("left"), place.boot("right")
    start(left, right)
    settle(clock, left, right)

    assert (left.epoch, right.epoch, left.acknowledged, right.acknowledged) == (3, 3, True, True)


def test_a_new_secret_is_a_rotation(place: Site, clock: Clock) -> None:
    """Each side gets the new secret at another time; packets arrive all the while, and in the end both use it."""
    left, right = both(place, clock, grace=5.0)
    secret, former = os.urandom(32), right.program.association(right.program.sender(7))
    for host in (left, right):
        write_secret(host.folder / "shared.secret", secret)
        for _ in range(3):
            left.say()
            right.say()
            clock.now += 1
            tend(left, right)
            left.say()
            right.say()
            assert carry(left, right) == 4
    settle(clock, left, right)
    now = right.program.association(right.program.sender(7))

    assert former is not None
    assert now is not None
    assert (left.epoch, right.epoch) == (2, 2)
    assert now.fingerprint != former.fingerprint
    left.say()
    assert carry(left, right) == 1


def test_a_folder_of_secrets(place: Site, clock: Clock) -> None:
    """A file of a later epoch takes both there, once both have it, and not before."""
    for name in ("left", "right"):
        (place.folder(name) / "keys.d").mkdir()
        write_secret(place.folder(name) / "keys.d" / "1.secret", place.secret)
    left, right = both(place, clock, keys='secrets = "keys.d"')
    secret = os.urandom(32)
    write_secret(left.folder / "keys.d" / "20.secret", secret)
    settle(clock, left, right)
    assert (left.epoch, right.epoch) == (1, 1)

    write_secret(right.folder / "keys.d" / "20.secret", secret)
    settle(clock, left, right)
    assert (left.epoch, right.epoch) == (20, 20)
    left.say()
    assert carry(left, right) == 1


def test_a_folder_whose_next_epoch_has_another_secret(place: Site, clock: Clock) -> None:
    """The next number is no reason to believe that the peer has the file."""
    for name in ("left", "right"):
        (place.folder(name) / "keys.d").mkdir()
        write_secret(place.folder(name) / "keys.d" / "1.secret", place.secret)
    left, right = both(place, clock, keys='secrets = "keys.d"')
    write_secret(left.folder / "keys.d" / "2.secret")
    settle(clock, left, right)

    assert (left.epoch, right.epoch) == (1, 1)


def test_epochs_end_by_themselves(place: Site, clock: Clock) -> None:
    """After so many packets both go on to the next."""
    left, right = both(place, clock, rotation="packets = 20")
    for _ in range(30):
        left.say()
        carry(left, right)
    settle(clock, left, right)

    assert left.epoch == right.epoch == 2


def test_a_made_up_hint(place: Site, clock: Clock) -> None:
    """An unknown SPI of a later epoch is looked at and believed only with something authentic in it; it uses up no epoch."""
    left, right = both(place, clock)
    left.say()
    data = bytearray(left.sent.pop())
    data[34:38] = (0xFFFFFF07).to_bytes(4, "big")
    assert not right.hear(bytes(data))
    settle(clock, left, right)

    assert (left.epoch, right.epoch) == (1, 1)
    assert 0xFFFFFF07 in right.program.receiving()
    clock.now += 100
    settle(clock, left, right)
    assert 0xFFFFFF07 not in right.program.receiving()
    again = place.boot("right")
    start(again)
    assert again.epoch == 3


def test_a_peer_that_is_gone(place: Site, clock: Clock) -> None:
    """What the configuration does not have any more is taken away; what it has stays."""
    left, _ = both(place, clock)
    left.control.take_away(7)

    assert (left.program.associations(), left.program.receiving(), left.program.sender(7)) == ({}, {}, 0)


def test_nothing_happens_to_a_peer_that_is_not_up(place: Site, clock: Clock) -> None:
    """A control plane that meets a peer which was taken away begins nothing: its first epoch would come twice."""
    left, right = both(place, clock)
    left.say()
    recorded = left.sent.copy()
    carry(left, right)
    right.control.take_away(7)
    settle(clock, left, right)
    with right.control.session(), pytest.raises(ConfigError, match="is not up"):
        right.control.peers["left"].rotate()  # type: ignore[union-attr]

    assert (right.program.associations(), right.sent) == ({}, [])
    start(right)
    assert right.epoch == 3
    assert not any(right.hear(data) for data in recorded)


def test_a_second_link_with_the_same_secret(place: Site, clock: Clock) -> None:
    """It begins with epochs of its own, and the first one does not get those."""
    left, _ = both(place, clock)
    office = place.boot("left")
    start(office)
    with left.control.session():
        left.control.peers["right"].rotate()  # type: ignore[union-attr]
    events = []
    for _ in range(3):
        clock.now += 1
        events += tend(left)

    assert (left.epoch, office.epoch) == (1, 3)
    assert [event.failed for event in events] == [True]
    assert "was used before" in events[0].text


def test_a_state_that_was_lost(place: Site, clock: Clock) -> None:
    """Who begins too low does not go where its peer is, since it may have been there itself, but beyond, and the peer follows."""
    left, right = both(place, clock)
    for _ in range(3):
        left.control.rotate(["right"], 0.0)
        settle(clock, left, right)
    used = left.epoch
    (left.folder / "state" / "epochs.json").unlink()
    again = place.boot("left")
    start(again)
    assert again.epoch == 1
    settle(clock, again, right, rounds=8)

    assert again.epoch == right.epoch == used + 2
    again.say()
    right.say()
    assert carry(again, right) == 2


def test_nothing_is_delivered_on_probation(place: Site, clock: Clock) -> None:
    """What comes in an epoch that only a hint speaks of takes us there; it is not delivered, and cannot be replayed."""
    left, right = both(place, clock)
    right = place.boot("right")
    start(right)
    right.say()
    tend(left)
    carry(left, right)  # the hint
    clock.now += 1
    tend(left)
    right.say()
    recorded = right.sent.copy()
    assert carry(left, right) == 0  # on probation
    settle(clock, left, right)
    assert left.epoch == right.epoch == 3
    assert not any(left.hear(data) for data in recorded)
    right.say()
    assert carry(left, right) == 1


def test_forged_hints_do_not_keep_hosts_apart(place: Site, clock: Clock) -> None:
    """Unknown SPIs from the address of the peer come all the time; the one that is true is tried as well."""
    left, right = both(place, clock)
    right = place.boot("right")
    start(right)
    right.say()
    template = bytearray(right.sent[-1])
    for number in range(20):
        for epoch in (100 + number, 50000 + number, 4):
            template[34:38] = (epoch << 8 | 7).to_bytes(4, "big")
            left.hear(bytes(template))
        clock.now += 1
        tend(left, right)
        carry(left, right)

    assert left.epoch == right.epoch


def test_a_hint_comes_from_the_peer_alone(place: Site, clock: Clock) -> None:
    """An unknown SPI from another address is nothing to look at."""
    left, right = both(place, clock)
    left.say()
    data = bytearray(left.sent.pop())
    data[34:38] = (0x907).to_bytes(4, "big")
    data[26:30] = bytes((203, 0, 113, 9))

    assert not right.hear(bytes(data))
    assert right.program.hint(7) == 0


def test_one_bad_secret(place: Site, clock: Clock) -> None:
    """It is told once, signs of life go on, and packets are dropped and not in the clear if the peer never came up."""
    left, _ = both(place, clock)
    (left.folder / "shared.secret").chmod(0o644)
    left.sent.clear()
    events = []
    for _ in range(4):
        clock.now += 15
        events += tend(left)
    assert [event.failed for event in events] == [True]
    assert left.sent

    bad = place.boot("left")
    assert [event.failed for event in start(bad)] == [True]
    with pytest.raises(AssertionError, match="NO_SA"):
        bad.say()


def test_terms_that_were_changed(place: Site, clock: Clock) -> None:
    """Other kinds of numbers are another key: both ends move when both have them."""
    left, right = both(place, clock)
    left = place.control("left", left.program, esn=False)
    start(left)
    settle(clock, left, right)
    assert (left.epoch, right.epoch) == (1, 1)
    right = place.control("right", right.program, esn=False)
    start(right)
    settle(clock, left, right, rounds=6)

    assert (left.epoch, right.epoch) == (2, 2)
    assert not any(each.esn for each in left.program.associations().values() if each.spi >> 8 >= 2)
    left.say()
    right.say()
    assert carry(left, right) == 2


EXPLICIT = """
[peer.send]
spi = {send}
key = "{send:x}.key"
[peer.receive]
spi = {receive}
key = "{receive:x}.key"
"""


def explicit(place: Site, name: str, send: int, receive: int, keys: dict[int, bytes]) -> str:
    for spi in (send, receive):
        write_secret(place.folder(name) / f"{spi:x}.key", keys[spi])
    return EXPLICIT.format(send=send, receive=receive)


def test_explicit_keys(place: Site, clock: Clock) -> None:
    """Packets arrive; another pair of keys is taken without losing one; and a key that was used does not begin again."""
    keys = {spi: os.urandom(19) for spi in (0x1000, 0x2000, 0x1001, 0x2001)}
    left = place.boot("left", keys=explicit(place, "left", 0x1000, 0x2000, keys))
    right = place.boot("right", keys=explicit(place, "right", 0x2000, 0x1000, keys))
    start(left, right)
    left.say()
    right.say()
    assert carry(left, right) == 2

    right = place.control("right", right.program, keys=explicit(place, "right", 0x2001, 0x1001, keys), grace=5.0)
    left.say()
    start(right)
    left.say()
    left, waiting = (
        place.control("left", left.program, keys=explicit(place, "left", 0x1001, 0x2001, keys), grace=5.0),
        left.sent,
    )
    start(left)
    left.sent += waiting
    left.say()
    right.say()
    assert carry(left, right) == 4
    clock.now += 10
    tend(left, right)
    assert sorted(left.program.receiving()) == [0x2001]

    lost = place.boot("left", keys=explicit(place, "left", 0x1001, 0x2001, keys))
    (event,) = start(lost)
    assert event.failed
    assert "was installed before" in event.text


def test_explicit_keys_that_are_one(place: Site, clock: Clock) -> None:
    """Both ends would use the same numbers with it."""
    keys = dict.fromkeys((0x1000, 0x2000), os.urandom(19))
    left = place.boot("left", keys=explicit(place, "left", 0x1000, 0x2000, keys))

    (event,) = start(left)
    assert "would send and receive with one key" in event.text


def test_explicit_keys_after_a_reboot(place: Site, clock: Clock) -> None:
    """With numbers that were never reached they may begin again; what was recorded before is not taken."""
    keys = {spi: os.urandom(19) for spi in (0x1000, 0x2000)}
    left = place.boot("left", keys=explicit(place, "left", 0x1000, 0x2000, keys))
    right = place.boot("right", keys=explicit(place, "right", 0x2000, 0x1000, keys))
    start(left, right)
    for _ in range(5):
        right.say()
    recorded = right.sent.copy()
    assert carry(left, right) == 5

    later = explicit(place, "left", 0x1000, 0x2000, keys).replace("key =", "sequence = 1000\nkey =")
    again = place.boot("left", keys=later)
    assert not any(event.failed for event in start(again))
    assert not any(again.hear(data) for data in recorded)
