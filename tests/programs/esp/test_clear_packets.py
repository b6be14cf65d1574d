"""Packets in the clear: what policies say of them, and which cannot be protected. Dropped or not, they stay as they came."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from bpfcrypto.programs.esp.policies import Action
from bpfcrypto.programs.esp.program import Settings
from support.esp import (
    NO_SLOT,
    OUT,
    Judged,
    Link,
    dropped,
    links,
    name_of,
    passed,
    row,
)
from support.esp_by_hand import (
    ESP,
    ether,
    sealed,
    with_checksum,
)
from support.esp_frames import frame, udp

if TYPE_CHECKING:
    from support.esp import Bench

T4, T6, IN4, IN6, IN64 = (Link(shape) for shape in ("transport4", "transport6", "4in4", "6in6", "6in4"))

# --- policies ---


@pytest.mark.parametrize("link", [T4, T6, IN4, IN6], ids=name_of)
def test_what_policies_say_of_sending(esp: Bench, link: Link) -> None:
    """By the target; the source has to be ours where the packet is to be protected."""
    frame = udp(link)
    ours = row(link.near, Action.LOCAL)

    def judge(*rows: Any, default: Action = Action.DISCARD) -> Judged:
        esp.set_policies(*rows)
        esp.program.settings = Settings(default=default)
        return esp.judge("seal", frame)

    esp.start(link)
    assert judge(ours) == dropped("NO_POLICY", NO_SLOT, frame)
    assert judge(ours, default=Action.BYPASS) == passed(frame)
    assert judge(ours, row(link.far, Action.DISCARD), default=Action.BYPASS) == dropped("DISCARDED", NO_SLOT, frame)
    assert judge(ours, row(link.far, Action.BYPASS)) == passed(frame)
    assert judge(ours, row(link.far, Action.LOCAL)) == dropped("NO_POLICY", NO_SLOT, frame)
    assert judge(ours, row(link.far, Action.LOCAL), default=Action.BYPASS) == dropped("NO_POLICY", NO_SLOT, frame)
    for source in ((), (row(link.near, Action.BYPASS),), (row(link.near, Action.PROTECT),)):
        protect = row(link.far, Action.PROTECT)
        assert judge(*source, protect, default=Action.BYPASS) == dropped("NO_POLICY", NO_SLOT, frame)


@pytest.mark.parametrize("link", [T4, T6, IN4, IN6], ids=name_of)
def test_what_policies_say_of_clear_packets_that_come(esp: Bench, link: Link) -> None:
    """By the source: what should have been protected is dropped, and so is what claims to come from us."""
    frame = udp(link)

    def judge(*rows: Any, default: Action = Action.DISCARD) -> Judged:
        esp.set_policies(row(link.far, Action.LOCAL), *rows)
        esp.program.settings = Settings(default=default)
        return esp.judge("open", frame)

    esp.start(link)
    assert judge() == dropped("NO_POLICY", NO_SLOT, frame)
    assert judge(default=Action.BYPASS) == passed(frame)
    for default in (Action.DISCARD, Action.BYPASS):
        assert judge(row(link.near, Action.PROTECT), default=default) == dropped("CLEARTEXT", NO_SLOT, frame)
        assert judge(row(link.near, Action.DISCARD), default=default) == dropped("DISCARDED", NO_SLOT, frame)
        assert judge(row(link.near, Action.LOCAL), default=default) == dropped("NO_POLICY", NO_SLOT, frame)
        assert judge(row(link.near, Action.BYPASS), default=default) == passed(frame)


@pytest.mark.parametrize("link", [T4, T6, IN4, IN6], ids=name_of)
def test_the_routed_way_lets_nothing_pass_in_the_clear(esp: Bench, link: Link) -> None:
    """What is routed to be protected leaves protected or not at all, whatever policies say."""
    frame = udp(link)
    esp.start(link)
    esp.program.settings = Settings(default=Action.BYPASS)
    for rows in ((), (row(link.far, Action.BYPASS),), (row(link.far, Action.LOCAL),)):
        esp.set_policies(row(link.near, Action.LOCAL), *rows)
        assert esp.judge("seal_routed", frame) == dropped("NO_POLICY", NO_SLOT, frame)
    esp.set_policies(row(link.far, Action.DISCARD))
    assert esp.judge("seal_routed", frame) == dropped("DISCARDED", NO_SLOT, frame)


def test_the_longest_prefix_decides(esp: Bench) -> None:
    """A hole in a protected prefix, and a protected host in a discarded one."""
    esp.start(IN4)
    frame = udp(IN4)
    everything = row("10.0.0.0/8", Action.DISCARD)
    esp.set_policies(row(IN4.near, Action.LOCAL), everything, row("10.2.0.0/24", Action.PROTECT))
    assert esp.judge("seal", frame).verdict == "SEALED"
    esp.set_policies(row(IN4.near, Action.LOCAL), row("10.2.0.0/24", Action.PROTECT), row(IN4.far, Action.BYPASS))
    assert esp.judge("seal", frame) == passed(frame)


@pytest.mark.parametrize("link", links(suites=["aes-128-ccm-16"], esn=[False]), ids=name_of)
def test_esp_passes_where_it_leaves(esp: Bench, link: Link) -> None:
    """What the routed way has sealed goes by the guard at the interface; ESP in ESP would take a tunnel."""
    esp.start(link)
    esp.set_policies()
    frame = sealed(link, udp(link), 1)

    assert esp.judge("seal", frame) == passed(frame)


# --- what is not to be protected, or cannot be ---


def test_no_ip_packet(esp: Bench) -> None:
    """ARP belongs to the link; VLANs and all else are dropped, both ways, and the routed way takes IP alone."""
    esp.start(IN4)
    arp = bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.1.0.1", pdst="10.2.0.1"))
    others = [
        bytes(Ether(dst="02:00:00:00:00:02", type=0x88B5) / Raw(bytes(46))),
        bytes(Ether(dst="02:00:00:00:00:02") / Dot1Q(vlan=7) / IP(src=str(IN4.near), dst=str(IN4.far)) / UDP()),
        sealed(IN4, udp(IN4), 1)[:12] + b"\x81\x00\x00\x07" + sealed(IN4, udp(IN4), 1)[12:],
    ]

    assert esp.judge("seal", arp) == passed(arp)
    assert esp.judge("open", arp) == passed(arp)
    assert esp.judge("seal_routed", arp) == dropped("NOT_IP", NO_SLOT, arp)
    for other in others:
        for program in ("seal", "seal_routed", "open"):
            assert esp.judge(program, other) == dropped("NOT_IP", NO_SLOT, other)


@pytest.mark.parametrize(
    "message",
    [ICMPv6ND_RS(), ICMPv6ND_RA(), ICMPv6ND_NS(), ICMPv6ND_NA(), ICMPv6ND_Redirect()],
    ids=lambda message: type(message).__name__,
)
def test_neighbour_discovery_passes(esp: Bench, message: Any) -> None:
    """It finds the link that ESP goes over: from a protected neighbour too, but only with the hop limit that no router lets by."""
    esp.start(T6)
    neighbour = frame(T6, message, hlim=255)
    routed = frame(T6, message, hlim=254)

    assert esp.judge("seal", neighbour) == passed(neighbour)
    assert esp.judge("seal_routed", neighbour) == dropped("NO_POLICY", NO_SLOT, neighbour)
    assert esp.judge("seal", routed).verdict == "SEALED"
    esp.be_receiver()
    assert esp.judge("open", neighbour) == passed(neighbour)
    assert esp.judge("open", routed) == dropped("CLEARTEXT", NO_SLOT, routed)


@pytest.mark.parametrize("message", [ICMPv6EchoRequest(), ICMPv6MLReport()], ids=lambda message: type(message).__name__)
def test_other_icmp_is_protected(esp: Bench, message: Any) -> None:
    """What only looks like neighbour discovery is a packet like others."""
    esp.start(T6)
    near = frame(T6, message, hlim=255)

    assert esp.judge("seal", near).verdict == "SEALED"
    esp.be_receiver()
    assert esp.judge("open", near) == dropped("CLEARTEXT", NO_SLOT, near)


def fragments(link: Link) -> Iterator[bytes]:
    """The first fragment of a packet, and a later one."""
    for more, offset in ((1, 0), (1, 8), (0, 8)):
        if link.inner == 4:
            yield frame(link, Raw(bytes(64)), proto=17, flags=more, frag=offset)
        else:
            yield frame(link, IPv6ExtHdrFragment(nh=17, m=more, offset=offset, id=7) / Raw(bytes(64)))


@pytest.mark.parametrize("link", [T4, T6], ids=name_of)
def test_fragments_are_for_tunnels(esp: Bench, link: Link) -> None:
    """RFC 4303, section 3.1.1: transport mode takes whole packets."""
    esp.start(link)
    for fragment in fragments(link):
        assert esp.judge("seal", fragment) == dropped("FRAGMENT", OUT, fragment)


@pytest.mark.parametrize("link", [IN4, IN6, Link("4in6"), IN64], ids=name_of)
def test_tunnels_take_fragments(esp: Bench, link: Link) -> None:
    """In tunnel mode a fragment is a packet like others, both ways."""
    esp.start(link)
    clear = [*fragments(link)]
    expected = [sealed(link, each, number) for number, each in enumerate(clear, 1)]

    assert esp.sealed(clear) == expected
    assert esp.opened(expected) == clear


def test_fragments_of_esp(esp: Bench) -> None:
    """They would have to be put together first, which is not done here."""
    esp.start(IN4)
    esp.be_receiver()
    whole = sealed(IN4, udp(IN4), 1)
    for flags in (0x2000, 0x2008, 0x0008):
        changed = ether(with_checksum(whole[14:20] + struct.pack("!H", flags) + whole[22:34]) + whole[34:])
        assert esp.judge("open", changed) == dropped("FRAGMENT", NO_SLOT, changed)


def test_headers_that_belong_in_front_of_esp(esp: Bench) -> None:
    """IPv6 in transport mode: what routers read would have to stay outside (RFC 4303, section 3.1.1)."""
    esp.start(T6)
    for header in (IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting()):
        clear = frame(T6, header / UDP() / Raw(b"x"))
        assert esp.judge("seal", clear) == dropped("EXTENSION_HEADER", OUT, clear)


@pytest.mark.parametrize("header", [IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(), IPv6ExtHdrDestOpt()])
def test_esp_behind_other_headers_is_not_found(esp: Bench, header: Any) -> None:
    """It counts as clear, and so is dropped: no sender of ours makes it."""
    esp.start(T6)
    esp.be_receiver()
    inside = sealed(T6, udp(T6), 1)[54:]
    received = frame(T6, header.copy() / Raw(inside))
    received = received[:54] + bytes([ESP]) + received[55:]

    assert esp.judge("open", received) == dropped("CLEARTEXT", NO_SLOT, received)


@pytest.mark.parametrize("link", links(esn=[False]), ids=name_of)
def test_too_big_for_the_mtu(esp: Bench, link: Link) -> None:
    """The largest packet that fits goes, and one byte more does not."""
    esp.start(link)
    fits = frame(link, Raw(bytes(link.largest - (20 if link.inner == 4 else 40))), **protocol(link))
    too_big = frame(link, Raw(bytes(link.largest - (20 if link.inner == 4 else 40) + 1)), **protocol(link))

    assert esp.judge("seal", too_big) == dropped("TOO_BIG", OUT, too_big)
    assert esp.judge("seal", fits).verdict == "SEALED"


def protocol(link: Link) -> dict[str, int]:
    return {"proto": 200} if link.inner == 4 else {"nh": 200}


def test_a_super_packet(esp: Bench) -> None:
    """A packet that the device is to cut into segments cannot be sealed as a whole."""
    esp.start(IN4)
    clear = udp(IN4, 1000)
    context = bytearray(192)
    context[164:168] = (4).to_bytes(4, "little")
    context[176:180] = (300).to_bytes(4, "little")
    context[160:164] = len(clear).to_bytes(4, "little")

    assert esp.judge("seal", clear, ctx=bytes(context)) == dropped("SUPER_PACKET", OUT, clear)


MALFORMED = {
    "version 5": (0, b"\x55"),
    "no version": (0, b"\x05"),
    "a header of 16 bytes": (0, b"\x44"),
    "a header longer than the packet": (2, b"\x00\x14\x00\x01\x00\x00"),
    "a length of 0": (2, b"\0\0"),
    "longer than the frame": (2, b"\xff\xff"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_packets(esp: Bench, what: str) -> None:
    """A header that cannot be: both ways, before anything else is looked at."""
    esp.start(T4)
    at, change = MALFORMED[what]
    for program, good in (("seal", udp(T4)), ("open", sealed(T4, udp(T4), 1))):
        bad = bytearray(good)
        bad[14 + at : 14 + at + len(change)] = change
        if what == "a header longer than the packet":
            bad[14] = 0x4F
        assert esp.judge(program, bytes(bad)) == dropped("MALFORMED", NO_SLOT, bytes(bad))


def test_malformed_packets_of_ipv6(esp: Bench) -> None:
    """Another version, and a payload that is not all there."""
    esp.start(T6)
    for program, good in (("seal", udp(T6)), ("open", sealed(T6, udp(T6), 1))):
        for bad in (good[:14] + b"\x40" + good[15:], good[:14] + b"\x70" + good[15:], good[:-1], good[:54]):
            assert esp.judge(program, bad) == dropped("MALFORMED", NO_SLOT, bad)
