"""Who can change, repeat and make up packets on the way reaches nothing: each is dropped, and counted for what it was.

A host sends ten thousand datagrams to a router that does not forward any more. From what the router got, frames are made and sent to the
other host. Last of all the originals come, out of order, and then once more.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfcrypto.kernel import netconf
from bpfcrypto.kernel.netns import within
from support.esp_lab import OUTER
from support.esp_link import EspLink, Options, Side, esp_link
from support.traffic import open_socket
from support.udp_load import PORT, datagram, number_of

pytestmark = pytest.mark.kernel

COUNT = 10_000
WINDOW = 1984
CHUNK = 400  # what is on its way at one time: the kernel drops packets from a queue of a thousand
OVERHEAD = 8 + 8 + 16  # ESP header, IV, ICV
NOISE = {"BYPASSED", "NO_POLICY", "DUMMY", "SEALED"}  # what hosts say to each other anyway

Counted = tuple[int, str]
"""The slot of an SA, 0 for none, and a verdict."""

Model = Callable[[bytes], Counted]
"""What should become of a packet."""


@dataclass
class Attack:
    """One direction of a link, in the middle of which somebody sits.

    Attributes:
        slot, spi: of the victim's SA.
        highest: the highest sequence number that it has seen; it has seen all up to this one.
        held: what it has not got yet.
        server: who gets what is delivered.
    """

    link: EspLink
    slot: int
    spi: int
    highest: int
    held: list[bytes]
    server: socket.socket

    @property
    def victim(self) -> Side:
        return self.link.right

    @property
    def header(self) -> int:
        """Bytes of the outer IP header."""
        return 20 if self.link.options.version == 4 else 40

    def sequence(self, packet: bytes) -> int:
        return int.from_bytes(packet[self.header + 4 : self.header + 8], "big")

    @property
    def next_slot(self) -> int:
        """Where the next epoch will be received."""
        return self.victim.receiving(self.spi + 0x100)

    def counted(self) -> Counter[Counted]:
        """All that the victim has counted so far."""
        return Counter(
            {
                (slot, verdict): count
                for slot in (0, self.slot, self.next_slot)
                for verdict, count in self.victim.verdicts(slot).items()
                if verdict not in NOISE
            }
        )

    def inject(self, packets: Sequence[bytes]) -> Counter[Counted]:
        """Send packets to the victim; what it has counted then."""
        before, sent = self.counted(), 0
        for chunk in batched(packets, CHUNK):
            self.link.network.send("right", chunk)
            sent += len(chunk)
            until = time.monotonic() + 5
            while (found := self.counted() - before).total() < sent:
                assert time.monotonic() < until, f"of {sent} packets only these were seen: {found}"
                time.sleep(0.001)
        return found

    def came(self) -> list[int]:
        """The numbers of all datagrams that were delivered since; -1 for one that was changed."""
        numbers = []
        try:
            while True:
                numbers.append(number_of(self.server.recv(1 << 16)))
        except BlockingIOError:
            return numbers


@contextmanager
def attack(link: EspLink) -> Iterator[Attack]:
    """Hold back what the left host sends."""
    ends = link.ends()
    _, association = link.left.sending()
    slot = link.right.receiving(association.spi)
    with (
        open_socket(ends.server, socket.SOCK_DGRAM, family=ends.family) as server,
        open_socket(ends.client, socket.SOCK_DGRAM, family=ends.family) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
        server.bind((ends.target, PORT))
        server.setblocking(False)
        client.bind((ends.source, 0))
        within(link.network.router, stop_forwarding)
        with link.network.captured("left") as capture:
            for number in range(COUNT):
                client.sendto(datagram(number, 8 + number % 250), (ends.target, PORT))
                if number % CHUNK == CHUNK - 1:
                    time.sleep(0.01)
        highest = link.right.deployment.program.association(slot).highest  # type: ignore[union-attr]
        made = Attack(link, slot, association.spi, highest, [], server)
        source = ip_address(OUTER["left"][link.options.version]).packed
        made.held += [
            packet
            for packet in (frame[14:] for frame in capture.frames)
            if (packet[12:16] if made.header == 20 else packet[8:24]) == source
            and packet[9 if made.header == 20 else 6] == socket.IPPROTO_ESP
            and made.sequence(packet) > highest
        ]
        assert len(made.held) == COUNT
        yield made


def stop_forwarding() -> None:
    netconf.write("ipv4/ip_forward", 0)
    netconf.write("ipv6/conf/all/forwarding", 0)


def batched(packets: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(packets), size):
        yield packets[begin : begin + size]


def expected(packets: Sequence[bytes], model: Model) -> Counter[Counted]:
    return Counter(map(model, packets))


CASES = [
    Options(suite="aes-128-ccm-16", mode="tunnel", version=4),
    Options(suite="aes-128-ccm-16", mode="transport", version=6, esn=False),
    Options(suite="chacha20-poly1305", mode="tunnel", version=6, esn=False),
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_nothing_gets_in(bpf_directory: Path, tmp_path: Path, options: Options) -> None:
    """Ten thousand packets of each kind, against one SA that is in use."""
    dice = random.Random(str(options))
    with esp_link(tmp_path, bpf_directory, options, tended=()) as link, attack(link) as made:
        for kind in (tampered, truncated, redirected, in_the_clear):
            packets, model = kind(made, dice)
            assert len(packets) == COUNT
            assert made.inject(packets) == expected(packets, model), kind.__name__
            assert made.came() == [], kind.__name__
            association = link.right.deployment.program.association(made.slot)
            assert association is not None
            assert association.highest == made.highest, "nothing of it has moved the window"

        for block in batched(made.held, WINDOW - 60):
            shuffled = dice.sample(block, len(block))
            assert made.inject(shuffled) == {(made.slot, "OPENED"): len(block)}
        assert sorted(made.came()) == list(range(COUNT)), "each once, and as it was sent"

        last = max(map(made.sequence, made.held))
        again = dice.sample(made.held, COUNT)

        def model(packet: bytes) -> Counted:
            if made.sequence(packet) > last - WINDOW:
                return made.slot, "REPLAY"
            # A number so far back is taken for one of the next 2^32 (RFC 4303, appendix A2), where it is not authentic.
            return made.slot, "BAD_TAG" if options.esn else "TOO_OLD"

        assert made.inject(again) == expected(again, model)
        assert made.came() == []


def tampered(made: Attack, dice: random.Random) -> tuple[list[bytes], Model]:
    """One bit of each is another one, anywhere behind the outer IP header."""

    def flip(packet: bytes) -> bytes:
        bit = dice.randrange(made.header * 8, len(packet) * 8)
        changed = bytearray(packet)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def model(packet: bytes) -> Counted:
        if packet[made.header : made.header + 4] != made.spi.to_bytes(4, "big"):
            return 0, "NO_SA"
        sequence = made.sequence(packet)
        if sequence == 0:
            return made.slot, "TOO_OLD"
        return made.slot, "REPLAY" if sequence <= made.highest else "BAD_TAG"

    return [flip(packet) for packet in made.held], model


def truncated(made: Attack, dice: random.Random) -> tuple[list[bytes], Model]:
    """Each is cut off somewhere; the IP header of every other one says so."""

    def cut(number: int, packet: bytes) -> bytes:
        shorter = packet[: dice.randrange(1, len(packet))]
        if number % 2 and len(shorter) >= made.header:
            v4 = made.header == 20
            length = struct.pack("!H", len(shorter) - (0 if v4 else 40))
            return shorter[:2] + length + shorter[4:] if v4 else shorter[:4] + length + shorter[6:]
        return shorter

    def model(packet: bytes) -> Counted:
        at = (2, 0) if made.header == 20 else (4, 40)
        if len(packet) < made.header or int.from_bytes(packet[at[0] : at[0] + 2], "big") + at[1] != len(packet):
            return 0, "MALFORMED"
        if len(packet) < made.header + 8:
            return 0, "TOO_SHORT"
        return made.slot, "TOO_SHORT" if len(packet) < made.header + OVERHEAD + 4 else "BAD_TAG"

    return [cut(number, packet) for number, packet in enumerate(made.held)], model


def redirected(made: Attack, dice: random.Random) -> tuple[list[bytes], Model]:
    """Half of them have the SPI of another SA, or one that nobody knows; the others come from somebody else."""
    following = (made.spi + 0x100).to_bytes(4, "big")

    def change(number: int, packet: bytes) -> bytes:
        changed = bytearray(packet)
        if number % 2:
            unknown = dice.randbytes(4)
            changed[made.header : made.header + 4] = dice.choice((following, unknown))
        else:
            changed[15 if made.header == 20 else 23] ^= 1 << dice.randrange(1, 8)
        return bytes(changed)

    def model(packet: bytes) -> Counted:
        others = packet[made.header : made.header + 4] == following
        return (made.next_slot, "BAD_TAG") if others else (0, "NO_SA")

    return [change(number, packet) for number, packet in enumerate(made.held)], model


def in_the_clear(made: Attack, dice: random.Random) -> tuple[list[bytes], Model]:
    """What the left host would send without ESP."""
    ends = made.link.ends()
    assert ends.source is not None
    packets = [clear_udp(ends.source, ends.target, datagram(number)) for number in range(COUNT)]
    return packets, lambda packet: (0, "CLEARTEXT")


def clear_udp(source: str, target: str, data: bytes) -> bytes:
    """An IP packet with a datagram that a host would take."""
    addresses = ip_address(source).packed + ip_address(target).packed
    length = 8 + len(data)
    head = struct.pack("!HHHH", 5555, PORT, length, 0)
    check = checksum(addresses + struct.pack("!II", length, socket.IPPROTO_UDP) + head + data)
    payload = head[:6] + struct.pack("!H", check or 0xFFFF) + data
    if len(addresses) == 32:
        return struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + addresses + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_what_is_made_up_would_be_taken(bpf_directory: Path, tmp_path: Path) -> None:
    """The datagrams in the clear are sound: without ESP a host takes them."""
    for version in (4, 6):
        options = Options(mode="transport", version=version)
        with esp_link(tmp_path / str(version), bpf_directory, options, tended=()) as link:
            ends = link.ends()
            assert ends.source is not None
            link.right.deployment.down(link.right.config, link.right.netns)
            with open_socket(ends.server, socket.SOCK_DGRAM, family=ends.family) as server:
                server.bind((ends.target, PORT))
                link.network.send("right", [clear_udp(ends.source, ends.target, datagram(7))])
                assert number_of(server.recv(1 << 16)) == 7
