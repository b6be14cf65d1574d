"""Epochs, peers and addresses as they stand in packets, maps and key derivation; see ``docs/internals/esp.md``."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FIRST_EPOCH, LAST_EPOCH = 1, (1 << 24) - 1
FIRST_PEER, LAST_PEER = 1, 255
FIRST_SPI, LAST_SPI = 256, (1 << 32) - 1  # lower ones are reserved (RFC 4303, section 2.1)

MAPPED = IPv6Network("::ffff:0:0/96")
"""The IPv6 addresses that stand for those of IPv4 (RFC 4291, section 2.5.5.2)."""


def spi_of(epoch: int, peer: int) -> int:
    """The SPI of both directions in an epoch.

    Raises:
        ValueError: the epoch is not within 1 to 2^24 - 1, or the peer not within 1 to 255.
    """
    if not FIRST_EPOCH <= epoch <= LAST_EPOCH:
        raise ValueError(f"epoch {epoch} is not within {FIRST_EPOCH} to {LAST_EPOCH}")
    if not FIRST_PEER <= peer <= LAST_PEER:
        raise ValueError(f"peer {peer} is not within {FIRST_PEER} to {LAST_PEER}")
    return epoch << 8 | peer


def epoch_of(spi: int) -> int:
    """The epoch of an SPI; 0 for a reserved one."""
    return spi >> 8


def peer_of(spi: int) -> int:
    """The peer's id in an SPI."""
    return spi & 0xFF


def packed(address: Address) -> bytes:
    """The 16 bytes of ``struct address``: an IPv4 address is ``::ffff:a.b.c.d``."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpacked(data: bytes) -> Address:
    """What the 16 bytes of ``struct address`` stand for."""
    address = IPv6Address(data)
    return address.ipv4_mapped or address


def words(address: bytes) -> dict[str, list[int]]:
    """The 16 bytes as ``struct address`` in BTF. The words stand in network order, which BTF does not know."""
    return {"word": [int.from_bytes(address[at : at + 4], "little") for at in range(0, 16, 4)]}


def address_of(raw: Mapping[str, list[int]]) -> Address:
    """What a ``struct address`` stands for."""
    return unpacked(b"".join(word.to_bytes(4, "little") for word in raw["word"]))
