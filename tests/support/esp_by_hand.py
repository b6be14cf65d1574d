"""ESP packets by the book, with AES-CCM and ChaCha20-Poly1305 of ``cryptography``: what the programs are held against."""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from bpfcrypto.programs.esp.suites import Cipher, Mode
from support.packets import checksum

if TYPE_CHECKING:
    from support.esp import Link

ETHER = bytes.fromhex("020000000002020000000001")
ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
ESP, IPIP, IPV6, NONE = 50, 4, 41, 59
DF = 0x4000


def ether(packet: bytes) -> bytes:
    """An IP packet in a frame."""
    return ETHER + ETHERTYPE[packet[0] >> 4] + packet


def ip(packet: bytes) -> bytes:
    """The IP packet of a frame, without what Ethernet may have put behind it."""
    packet = packet[14:]
    (size,) = struct.unpack("!H", packet[2:4] if packet[0] >> 4 == 4 else packet[4:6])
    return packet[: size if packet[0] >> 4 == 4 else size + 40]


def header_size(packet: bytes) -> int:
    """Of IPv4 with its options, or of IPv6 without extensions."""
    return packet[0] % 16 * 4 if packet[0] >> 4 == 4 else 40


def with_checksum(header: bytes) -> bytes:
    """An IPv4 header whose checksum is right."""
    return header[:10] + struct.pack("!H", checksum(header[:10] + b"\0\0" + header[12:])) + header[12:]


def ip_header(link: Link, size: int, *, tos: int = 0, protocol: int = ESP) -> bytes:
    """The outer header of tunnel mode, in front of so many bytes."""
    addresses = link.source.packed + link.target.packed
    if link.outer == 6:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, size, protocol, 64) + addresses
    return with_checksum(struct.pack("!BBHHHBBH", 0x45, tos, 20 + size, 0, DF, 64, protocol, 0) + addresses)


def rewritten(header: bytes, size: int, protocol: int) -> bytes:
    """The header of transport mode: another protocol, another size, and nothing else."""
    if header[0] >> 4 == 6:
        return header[:4] + struct.pack("!HB", size, protocol) + header[7:]
    return with_checksum(
        header[:2] + struct.pack("!H", len(header) + size) + header[4:9] + bytes([protocol]) + header[10:]
    )


@cache
def _aead(suite: Cipher, key: bytes) -> AESCCM | ChaCha20Poly1305:
    if suite is Cipher.CHACHA20_POLY1305:
        return ChaCha20Poly1305(key)
    return AESCCM(key, tag_length=8 if suite is Cipher.AES_CCM_8 else 16)


def associated_data(spi: int, sequence: int, *, esn: bool) -> bytes:
    """RFC 4309, section 5; RFC 7634, section 2.1."""
    return struct.pack("!IQ", spi, sequence) if esn else struct.pack("!II", spi, sequence & 0xFFFFFFFF)


def trailer(size: int, next_header: int) -> bytes:
    """The least padding, and what stands behind it (RFC 4303, section 2.4)."""
    padding = -(size + 2) % 4
    return bytes([*range(1, padding + 1), padding, next_header])


def esp_packet(link: Link, text: bytes, sequence: int, *, iv: bytes | None = None) -> bytes:
    """What stands behind the IP header: a text with its trailer, as ESP packet."""
    iv = struct.pack("!Q", sequence) if iv is None else iv
    sealed = _aead(link.suite.cipher, link.key).encrypt(
        link.salt + iv, text, associated_data(link.spi, sequence, esn=link.esn)
    )
    return struct.pack("!II", link.spi, sequence & 0xFFFFFFFF) + iv + sealed


def wrapped(link: Link, inside: bytes, *, like: bytes = b"", tos: int | None = None) -> bytes:
    """An ESP packet as a frame: behind an outer header, or in transport mode behind that of the packet ``like``."""
    if link.mode is Mode.TUNNEL:
        return ether(ip_header(link, len(inside), tos=tos or 0) + inside)
    return ether(rewritten(like[: header_size(like)], len(inside), ESP) + inside)


def sealed(link: Link, frame: bytes, sequence: int, *, iv: bytes | None = None) -> bytes:
    """The frame that the programs have to make of this one, every byte of it."""
    packet = ip(frame)
    if link.mode is Mode.TUNNEL:
        payload, next_header = packet, IPIP if link.inner == 4 else IPV6
        tos = packet[1] if link.inner == 4 else (packet[0] << 4 | packet[1] >> 4) & 0xFF
    else:
        payload, next_header, tos = packet[header_size(packet) :], packet[9] if link.inner == 4 else packet[6], 0
    text = payload + trailer(len(payload), next_header)
    return wrapped(link, esp_packet(link, text, sequence, iv=iv), like=packet, tos=tos)
