"""Every byte of a packet, held against ESP by the book: headers, numbers, padding, and the ciphers of ``cryptography``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bpfcrypto.programs.esp.suites import Mode
from support.esp import IN, NEXT, ONE_OF_EACH, OUT, Judged, Link, links, name_of, thorough
from support.esp_by_hand import (
    IPIP,
    IPV6,
    esp_packet,
    ether,
    header_size,
    rewritten,
    sealed,
    trailer,
    wrapped,
)
from support.esp_frames import kinds, largest_udp, text, udp
from support.packets import checksum

if TYPE_CHECKING:
    from support.esp import Bench

TUNNELS = ["4in4", "6in4", "4in6", "6in6"]
NOT_ECT, ECT1, ECT0, CE = range(4)

# RFC 6040, figure 4: what is delivered, by inner and outer; None is dropped.
DELIVERED = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}


def with_class(link: Link, tos: int, size: int = 16) -> bytes:
    """A datagram with this DSCP and ECN."""
    return udp(link, size, **({"tos": tos} if link.inner == 4 else {"tc": tos}))


@pytest.mark.parametrize("link", thorough(), ids=name_of)
def test_every_byte_that_we_send(esp: Bench, link: Link) -> None:
    """Frames of every amount of padding, and the largest, are those that the book has."""
    frames = [udp(link, size) for size in (*range(34), 100, 1000, *range(largest_udp(link) - 3, largest_udp(link) + 1))]
    frames += kinds(link).values()
    esp.start(link, sequence=6)

    assert esp.sealed(frames) == [sealed(link, frame, number) for number, frame in enumerate(frames, 7)]
    assert esp.counts()[OUT] == {"SEALED": len(frames)}
    assert esp.program.tally(OUT).bytes == sum(len(frame) - 14 for frame in frames)


@pytest.mark.parametrize("link", thorough(), ids=name_of)
def test_every_byte_that_we_deliver(esp: Bench, link: Link) -> None:
    """The same frames back, with an IV that is no sequence number, as other senders choose it."""
    frames = [udp(link, size) for size in (*range(34), 100, 1000, *range(largest_udp(link) - 3, largest_udp(link) + 1))]
    frames += kinds(link).values()
    esp.start(link)
    received = [sealed(link, frame, number, iv=text(8, number)) for number, frame in enumerate(frames, 1)]

    assert esp.opened(received) == frames
    assert esp.counts()[IN] == {"OPENED": len(frames)}
    assert esp.program.tally(IN).bytes == sum(len(frame) - 14 for frame in frames)


@pytest.mark.parametrize("shape", ["4in4", "4in6"])
def test_the_outer_header_field_by_field(esp: Bench, shape: str) -> None:
    """What no helper of this test computes: a whole outer header, as it is to be read from the wire."""
    link = Link(shape, spi=0xA1B2C3D4)
    esp.start(link, sequence=0x01020303)
    (frame,) = esp.sealed([with_class(link, 0xB9)])  # 44 bytes of IPv4, so 48 of text; 8, 8 and 16 of ESP
    outer = frame[14 : 34 if shape == "4in4" else 54]

    if shape == "4in4":
        assert frame[12:14].hex() == "0800"
        assert outer[:10].hex() == "45b9006400004000" + "4032"
        assert checksum(outer) == 0
        assert outer[12:].hex() == "c0000201" + "c6336401"
    else:
        assert frame[12:14].hex() == "86dd"
        assert outer[:8].hex() == "6b900000" + "0050" + "3240"
        assert outer[8:] == link.source.packed + link.target.packed
    assert frame[14 + len(outer) :][:16].hex() == "a1b2c3d4" + "01020304" + "0000000001020304"


@pytest.mark.parametrize("shape", ["transport4", "transport6", "4in6"])
def test_what_stands_behind_a_packet_is_not_sealed(esp: Bench, shape: str) -> None:
    """Ethernet pads short frames, and the IP header says where the packet ends: both ways."""
    link = Link(shape)
    frame = udp(link, 1)
    esp.start(link)

    assert esp.sealed([frame + bytes(17)]) == [sealed(link, frame, 1)]
    assert esp.opened([sealed(link, frame, 1) + b"\xff" * 17]) == [frame]


@pytest.mark.parametrize("link", links(suites=["aes-128-ccm-16"], esn=[False]), ids=name_of)
def test_the_routed_way_makes_the_same_packets(esp: Bench, link: Link) -> None:
    """``seal_routed`` differs in what it lets pass, not in what it makes."""
    frames = [udp(link, size) for size in (0, 1, 2, 3, 100)]
    esp.start(link)
    results = esp.run_many("seal_routed", frames)

    assert [bytes(packet) for packet in results.packets] == [
        sealed(link, frame, at) for at, frame in enumerate(frames, 1)
    ]


@pytest.mark.parametrize("shape", TUNNELS)
def test_dscp_and_ecn_of_the_outer_header(esp: Bench, shape: str) -> None:
    """All 256 values are copied to the outer header, ECN included: the normal mode of RFC 6040, section 4.1."""
    link = Link(shape)
    frames = [with_class(link, tos) for tos in range(256)]
    esp.start(link)
    outer = esp.sealed(frames)

    classes = [frame[15] if link.outer == 4 else (frame[14] << 4 | frame[15] >> 4) & 0xFF for frame in outer]
    assert classes == [*range(256)]
    assert outer == [sealed(link, frame, number) for number, frame in enumerate(frames, 1)]


def marked_on_its_way(link: Link, sequence: int, inner: int, outer: int) -> bytes:
    """A packet whose outer header has another ECN than the inner one, and another DSCP."""
    packet = with_class(link, 0xB8 | inner)[14:]
    text = packet + trailer(len(packet), IPIP if link.inner == 4 else IPV6)
    return wrapped(link, esp_packet(link, text, sequence), tos=0x60 | outer)


@pytest.mark.parametrize("shape", TUNNELS)
@pytest.mark.parametrize("outer", [NOT_ECT, ECT0, ECT1, CE])
def test_congestion_on_the_way(esp: Bench, shape: str, outer: int) -> None:
    """RFC 6040, figure 4: ECN of what is delivered. DSCP stays the inner one."""
    link = Link(shape)
    esp.start(link)
    esp.be_receiver()
    for inner, delivered in DELIVERED.items():
        expected = delivered[outer]
        judged = esp.judge("open", marked_on_its_way(link, 1 + inner, inner, outer))
        if expected is None:
            assert judged.verdict == "BAD_ECN"
        else:
            assert judged == Judged("OPENED", IN, NEXT, with_class(link, 0xB8 | expected))


@pytest.mark.parametrize("link", links(suites=ONE_OF_EACH, esn=[False]), ids=name_of)
def test_all_padding_that_a_sender_may_add(esp: Bench, link: Link) -> None:
    """Up to 255 bytes of padding (RFC 4303, section 2.4) open to the same packet."""
    frame = udp(link, 5)
    packet = frame[14:]
    inside = packet if link.mode is Mode.TUNNEL else packet[header_size(packet) :]
    protocol = {4: IPIP, 6: IPV6}[link.inner] if link.mode is Mode.TUNNEL else 17
    amounts = [amount for amount in range(256) if (len(inside) + amount + 2) % 4 == 0]
    texts = [inside + bytes([*range(1, amount + 1), amount, protocol]) for amount in amounts]
    esp.start(link)

    received = [wrapped(link, esp_packet(link, text, at), like=packet) for at, text in enumerate(texts, 1)]
    assert esp.opened(received) == [frame] * len(amounts)


@pytest.mark.parametrize("shape", TUNNELS)
def test_padding_that_hides_the_length(esp: Bench, shape: str) -> None:
    """Tunnel mode: what stands behind the inner packet is taken away (RFC 4303, section 2.7)."""
    link = Link(shape)
    frame = udp(link, 5)
    texts = [frame[14:] + bytes(more) for more in (1, 2, 3, 50, 1000)]
    esp.start(link)

    protocol = {4: IPIP, 6: IPV6}[link.inner]
    inside = [esp_packet(link, text + trailer(len(text), protocol), at) for at, text in enumerate(texts, 1)]
    assert esp.opened([wrapped(link, each) for each in inside]) == [frame] * len(texts)


@pytest.mark.parametrize("shape", ["transport4", "transport6"])
def test_what_routers_change_in_the_header(esp: Bench, shape: str) -> None:
    """Transport mode keeps the header as it came: hop limit, DSCP, ECN, identification and options."""
    link = Link(shape)
    frame = kinds(link)["options" if link.inner == 4 else "flow label"]
    header = bytearray(frame[14 : 14 + header_size(frame[14:])])
    header[8 if link.inner == 4 else 7] = 3
    header[1] |= 3
    payload = frame[14 + len(header) :]
    esp.start(link)

    on_its_way = rewritten(bytes(header), len(sealed(link, frame, 1)) - 14 - len(header), 50)
    received = ether(on_its_way + sealed(link, frame, 1)[14 + len(header) :])
    assert esp.opened([received]) == [ether(rewritten(bytes(header), len(payload), 17) + payload)]
