"""Random and mutated packets: both engines say the same of each, and leave the same bytes and the same counters."""

from __future__ import annotations

import os
import struct
from collections import Counter
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.program import Settings
from bpfcrypto.programs.esp.suites import Mode
from support.esp import DROP, NEXT, PEER, Link, row
from support.esp_by_hand import ETHER, ETHERTYPE, esp_packet, header_size, ip, sealed, trailer, wrapped
from support.esp_frames import kinds, udp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.esp import Bench

COUNT = int(os.environ.get("BPFCRYPTO_FUZZ_PACKETS", "100000"))
"""Packets through ``seal``, and as many through ``open``."""

BATCH = 20000

LINKS = tuple(
    Link(shape, suite, esn, spi=0x1000 + number)
    for number, (shape, suite, esn) in enumerate(
        [
            ("transport4", "aes-128-ccm-16", False),
            ("transport6", "chacha20-poly1305", True),
            ("4in4", "chacha20-poly1305", False),
            ("6in4", "aes-256-ccm-8", True),
            ("4in6", "aes-192-ccm-16", True),
            ("6in6", "aes-128-ccm-8", False),
        ]
    )
)
"""SAs of every shape and cipher. To send, each has a peer of its own; what it may receive is the first peer's."""

OUT, IN = 10, 20


@pytest.fixture(autouse=True)
def _nothing_is_left(embedded_esp: Bench, request: pytest.FixtureRequest) -> Iterator[None]:
    """The SAs go when they have been used."""
    yield
    clear_up(embedded_esp)
    if "kernel_esp" in request.fixturenames:
        clear_up(request.getfixturevalue("kernel_esp"))


def clear_up(esp: Bench) -> None:
    """Empty all slots."""
    for slot in range(1, IN + len(LINKS)):
        esp.program.clear(slot)
    for spi in esp.program.receiving():
        esp.program.refuse(spi)
    for number in range(len(LINKS)):
        esp.program.send(PEER + number, 0)


def set_up(esp: Bench, *, sender: bool) -> None:
    """Fresh SAs, all at once, and policies that they fit."""
    clear_up(esp)
    rows = {}
    for number, link in enumerate(LINKS):
        esp.install(OUT + number, link, outbound=True)
        esp.install(IN + number, link, outbound=False)
        esp.program.receive(link.spi, IN + number)
        esp.program.send(PEER + number, OUT + number)
        near, far = (Action.LOCAL, Action.PROTECT) if sender else (Action.PROTECT, Action.LOCAL)
        rows[link.near], rows[link.far] = row(link.near, near), row(link.far, far, PEER + number if sender else None)
    esp.set_policies(*rows.values(), row("10.0.0.0/9", Action.BYPASS), row("fd00::/16", Action.DISCARD))
    esp.program.settings = Settings()
    esp.forget_counts()


def counters(esp: Bench) -> dict[int, tuple[Counter[str], int]]:
    """Of every slot that is in use, and of none."""
    slots = (0, *range(OUT, OUT + len(LINKS)), *range(IN, IN + len(LINKS)))
    tallies = {slot: esp.program.tally(slot) for slot in slots}
    return {slot: (Counter(tally.packets), tally.bytes) for slot, tally in tallies.items()}


def numbers(esp: Bench) -> list[tuple[int, int]]:
    """Sequence numbers of all SAs."""
    found = sorted(esp.program.associations().items())
    return [(each.sequence, each.highest) for _, each in found]


def mutated(random: Random, packet: bytes) -> bytes:
    """A few changes: bits, bytes that mean something, a cut, a piece more; the first bytes more often than the others."""
    changed = bytearray(packet)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        near = min(len(changed), random.choice((14, 34, 62, 100, 10000)))
        at = random.randrange(near)
        match random.randrange(6):
            case 0 | 1:
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                changed[at] = random.choice((0, 1, 4, 6, 17, 41, 44, 50, 58, 59, 60, 127, 128, 255))
            case 3:
                changed[at : at + 2] = struct.pack("!H", random.choice((0, 1, 20, 40, len(changed) - 14, 65535)))
            case 4:
                del changed[max(60, at) :]
            case 5:
                changed += random.randbytes(random.randrange(1, 40))
    return bytes(changed)


def anything(random: Random) -> bytes:
    """A frame of random bytes, mostly behind something that looks like IP."""
    body = random.randbytes(random.choice((46, 46, 60, 200, 1400)))
    return ETHER + random.choice((*ETHERTYPE.values(), *ETHERTYPE.values(), random.randbytes(2))) + body


def clear_packets(random: Random, count: int) -> Iterator[bytes]:
    """What ``seal`` is given."""
    good = [
        each
        for link in LINKS
        for each in (*kinds(link).values(), *(udp(link, size) for size in (0, 1, 2, 3, 50, 1300, 1480)))
    ]
    for _ in range(count):
        chance = random.random()
        if chance < 0.1:
            yield anything(random)
        else:
            packet = random.choice(good)
            yield packet if chance < 0.2 else mutated(random, packet)


def received_packets(random: Random, count: int) -> Iterator[bytes]:
    """What ``open`` is given: ESP packets that were changed on their way, and authentic ones with anything inside."""
    sequence = 0
    good = [(link, udp(link, size)) for link in LINKS for size in (0, 1, 2, 3, 50, 500)]
    for _ in range(count):
        chance = random.random()
        if chance < 0.05:
            yield anything(random)
            continue
        sequence += random.choice((1, 1, 1, 1, 2, -3, -1000, 100)) if random.random() < 0.3 else 1
        sequence = max(1, sequence)
        link, clear = random.choice(good)
        if chance < 0.45:
            yield mutated(random, sealed(link, clear, sequence))
        elif chance < 0.55:
            yield mutated(random, clear)
        elif chance < 0.65:
            yield sealed(link, clear, sequence)
        else:
            yield authentic(random, link, clear, sequence)


def authentic(random: Random, link: Link, clear: bytes, sequence: int) -> bytes:
    """A packet with a right ICV, and in it what no good sender puts there."""
    packet = ip(clear)
    inside = packet if link.mode is Mode.TUNNEL else packet[header_size(packet) :]
    protocol = {4: 4, 6: 41}[link.inner] if link.mode is Mode.TUNNEL else 17
    chance = random.random()
    if chance < 0.5:
        inside = mutated(random, clear)[14:] if link.mode is Mode.TUNNEL else random.randbytes(random.randrange(80))
    elif chance < 0.6:
        protocol = random.choice((0, 4, 6, 17, 41, 50, 58, 59, 255))
    if chance < 0.7:
        inside += trailer(len(inside), protocol)
    elif chance < 0.8:
        inside += random.randbytes(-len(inside) % 4 + 4)
    else:
        amount = -(len(inside) + 2) % 4 + 4 * random.randrange(63)
        inside += bytes([*range(1, amount + 1), amount, protocol])
    return wrapped(link, esp_packet(link, inside, sequence), like=packet, tos=random.randrange(256))


def run_both(program: str, frames: list[bytes], engines: tuple[Bench, Bench]) -> None:
    """Both engines on these frames: whatever there is to see is the same."""
    ours, theirs = (esp.run_many(program, frames) for esp in engines)

    assert [*ours.errnos] == [*theirs.errnos]
    assert [*ours.retvals] == [*theirs.retvals]
    assert set(ours.retvals) <= {0, NEXT, DROP}
    different = [at for at in range(len(frames)) if ours.packets[at] != theirs.packets[at]]
    assert different == [], (frames[different[0]].hex(), bytes(ours.packets[different[0]]).hex())
    for frame, retval, errno, packet in zip(frames, ours.retvals, ours.errnos, ours.packets, strict=True):
        assert errno or retval != DROP or packet == frame
    assert counters(engines[0]) == counters(engines[1])
    assert numbers(engines[0]) == numbers(engines[1])


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["seal", "open"])
def test_both_engines_say_the_same_of_any_packet(embedded_esp: Bench, kernel_esp: Bench, program: str) -> None:
    """Verdicts, bytes, counters and sequence numbers; and what is dropped is not touched."""
    random = Random(program)
    make = clear_packets if program == "seal" else received_packets
    for esp in (embedded_esp, kernel_esp):
        set_up(esp, sender=program == "seal")
    frames = make(random, COUNT)
    for _ in range(0, COUNT, BATCH):
        run_both(program, [*islice(frames, BATCH)], (embedded_esp, kernel_esp))

    verdicts = Counter[str]()
    for packets, _ in counters(kernel_esp).values():
        verdicts += packets
    common = {"BYPASSED", "NO_POLICY", "DISCARDED", "NOT_IP", "MALFORMED"}
    if COUNT < BATCH:
        return
    if program == "seal":
        assert common | {"SEALED", "EXTENSION_HEADER", "FRAGMENT", "TOO_BIG"} <= verdicts.keys()
    else:
        assert common | {"OPENED", "CLEARTEXT", "NO_SA", "REPLAY", "TOO_OLD", "BAD_TAG", "DUMMY"} <= verdicts.keys()
        assert {"BAD_PADDING", "BAD_SELECTOR", "BAD_ECN", "TOO_SHORT", "FRAGMENT"} <= verdicts.keys()
    assert verdicts["KERNEL_ERROR"] == verdicts["CIPHER_ERROR"] == verdicts["NESTED"] == 0


def test_the_interpreter_says_the_same(embedded_esp: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded engine's two ways of running programs, on fewer packets."""
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from support.esp import bench

    pytest.importorskip("llvmlite")
    monkeypatch.setenv("BPFCRYPTO_JIT", "0")
    with bench(EmbeddedEngine()) as interpreted:
        for program, make in (("seal", clear_packets), ("open", received_packets)):
            for esp in (embedded_esp, interpreted):
                set_up(esp, sender=program == "seal")
            frames = [frame for frame in make(Random(f"interpreter {program}"), 120) if len(frame) < 400]
            run_both(program, frames, (embedded_esp, interpreted))
