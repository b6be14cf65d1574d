"""Our packets and those of scapy's IPsec layer: each opens what the other seals, to the same bytes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

from bpfcrypto.programs.esp.suites import Cipher, Mode
from support.esp import ONE_OF_EACH, SUITE_NAMES, Link, links, name_of, thorough
from support.esp_by_hand import ether
from support.esp_frames import kinds, largest_udp, udp

if TYPE_CHECKING:
    from support.esp import Bench

KNOWN = [name for name in SUITE_NAMES if not name.endswith("-8")]
"""Suites that scapy has: its AES-CCM has an ICV of 16 bytes, and no other."""

EVERY_SIZE = [name for name in ONE_OF_EACH if name in KNOWN]
LAYERS = {4: IP, 6: IPv6}


def sizes(link: Link) -> list[int]:
    """Sizes of what is in the datagrams, up to the largest that fits."""
    most = largest_udp(link)
    if link.suite_name in EVERY_SIZE:
        return [*range(65), *range(100, most, 97), *range(most - 4, most + 1)]
    return [*range(17), 100, most - 1, most]


@cache
def peer(link: Link, high: int = 0) -> SecurityAssociation:
    """The other end of a link, in scapy. ``high``: the upper half of its sequence numbers."""
    layer = LAYERS[link.outer]
    return SecurityAssociation(
        ESP,
        spi=link.spi,
        crypt_algo="CHACHA20-POLY1305" if link.suite.cipher is Cipher.CHACHA20_POLY1305 else "AES-CCM",
        crypt_key=link.key + link.salt,
        esn_en=link.esn,
        esn=high,
        tunnel_header=layer(src=str(link.source), dst=str(link.target)) if link.mode is Mode.TUNNEL else None,
    )


@cache
def opened_by_scapy(link: Link, frame: bytes, high: int = 0) -> bytes:
    """The IP packet in a frame of ours. Both engines make the same frames, so that the second one costs nothing."""
    return bytes(peer(link, high).decrypt(LAYERS[link.outer](frame[14:])))


@cache
def sealed_by_scapy(link: Link, frame: bytes, sequence: int) -> bytes:
    """A frame that scapy has made of this one."""
    packet: Any = LAYERS[link.inner](frame[14:])
    end = peer(link, sequence >> 32)
    end.seq_num = sequence & 0xFFFFFFFF  # as an argument, 0 would mean none
    return ether(bytes(end.encrypt(packet, iv=sequence.to_bytes(8, "big"))))


@pytest.mark.parametrize("link", thorough(KNOWN), ids=name_of)
def test_scapy_opens_what_we_seal(esp: Bench, link: Link) -> None:
    """Datagrams of all small sizes, of some between, and of the largest."""
    frames = [udp(link, size) for size in sizes(link)]
    esp.start(link)
    sealed = esp.sealed(frames)

    assert [opened_by_scapy(link, frame) for frame in sealed] == [frame[14:] for frame in frames]
    assert max(len(frame) - 14 for frame in sealed) in range(link.mtu - 3, link.mtu + 1)


@pytest.mark.parametrize("link", thorough(KNOWN), ids=name_of)
def test_we_open_what_scapy_seals(esp: Bench, link: Link) -> None:
    """The same the other way."""
    frames = [udp(link, size) for size in sizes(link)]
    esp.start(link)

    assert esp.opened([sealed_by_scapy(link, frame, number) for number, frame in enumerate(frames, 1)]) == frames


@pytest.mark.parametrize("link", links(suites=EVERY_SIZE, esn=[False]), ids=name_of)
def test_every_kind_of_packet(esp: Bench, link: Link) -> None:
    """TCP, ICMP, options, extensions that the target reads, and nothing at all: both ways.

    In transport mode scapy leaves destination options in front of ESP, where we do not look for it.
    """
    named = kinds(link)
    esp.start(link)
    sealed = esp.sealed([*named.values()])

    assert [opened_by_scapy(link, frame) for frame in sealed] == [frame[14:] for frame in named.values()]
    frames = [frame for name, frame in named.items() if link.mode is Mode.TUNNEL or name != "destination options"]
    assert esp.opened([sealed_by_scapy(link, frame, number) for number, frame in enumerate(frames, 1)]) == frames


@pytest.mark.parametrize("link", links(suites=EVERY_SIZE, esn=[True], shapes=["transport4", "6in6"]), ids=name_of)
def test_extended_numbers_that_are_used(esp: Bench, link: Link) -> None:
    """Over 2^32 the upper half, which no packet has in it, is authenticated as scapy does it."""
    frames = [udp(link, size) for size in range(8)]
    esp.start(link, sequence=2**32 - 5)
    sealed = esp.sealed(frames)

    opened = [opened_by_scapy(link, frame, int(at >= 4)) for at, frame in enumerate(sealed)]
    assert opened == [frame[14:] for frame in frames]
    assert esp.opened([sealed_by_scapy(link, frame, 2**32 - 4 + at) for at, frame in enumerate(frames)]) == frames
