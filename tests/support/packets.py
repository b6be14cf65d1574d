"""Small, valid packets as bytes, built field by field (RFC 791, 8200, 768, 9293, 826; IEEE 802.1Q)."""

from __future__ import annotations

import struct

ETHER = bytes.fromhex("020000000002020000000001")
MAC_BROADCAST = b"\xff" * 6


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(payload: bytes, ethertype: int, *, vlans: tuple[int, ...] = (), dst: bytes | None = None) -> bytes:
    """An Ethernet II frame; ``vlans`` are tag ids, outermost first (802.1ad outside when there are two)."""
    head = (dst + ETHER[6:]) if dst else ETHER
    for i, vid in enumerate(vlans):
        head += struct.pack("!HH", 0x88A8 if len(vlans) > 1 and i == 0 else 0x8100, vid)
    return head + struct.pack("!H", ethertype) + payload


def ipv4(
    payload: bytes,
    protocol: int,
    *,
    ident: int = 1,
    frag: int = 0,
    options: bytes = b"",
    ttl: int = 64,
    vlans: tuple[int, ...] = (),
) -> bytes:
    """An IPv4 packet from 10.0.0.1 to 10.0.0.2 in an Ethernet frame; ``frag`` is the flags and offset field."""
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | (5 + len(options) // 4), 0, 20 + len(options) + len(payload), ident, frag, ttl, protocol, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]),
    ) + options  # fmt: skip
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ethernet(head + payload, 0x0800, vlans=vlans)


V6_SRC, V6_DST = bytes.fromhex("fd00" + "0" * 26 + "01"), bytes.fromhex("fd00" + "0" * 26 + "02")


def ipv6(payload: bytes, next_header: int, *, vlans: tuple[int, ...] = ()) -> bytes:
    """An IPv6 packet from fd00::1 to fd00::2 in an Ethernet frame."""
    head = struct.pack("!IHBB16s16s", 6 << 28, len(payload), next_header, 64, V6_SRC, V6_DST)
    return ethernet(head + payload, 0x86DD, vlans=vlans)


def udp(payload: bytes, *, sport: int = 4000, dport: int = 5000) -> bytes:
    """A UDP datagram without a checksum, as IPv4 allows."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def tcp(payload: bytes, *, sport: int = 4000, dport: int = 80, seq: int = 1000, options: bytes = b"") -> bytes:
    """A TCP segment with ACK and PSH set and a zero checksum."""
    return (
        struct.pack("!HHIIBBHHH", sport, dport, seq, 2000, (5 + len(options) // 4) << 4, 0x18, 8192, 0, 0)
        + options
        + payload
    )


def payload(size: int) -> bytes:
    """``size`` bytes that repeat nowhere within 256."""
    return bytes((7 * i + 3) & 0xFF for i in range(size))


def sample() -> dict[str, bytes]:
    """Packets of every shape that a parser must tell apart, by name."""
    made = {f"udp4-{n}": ipv4(udp(payload(n)), 17) for n in (0, 1, 15, 16, 17, 32, 64, 100, 1400)}
    made |= {f"tcp4-{n}": ipv4(tcp(payload(n)), 6) for n in (0, 16, 40, 512)}
    made |= {f"udp6-{n}": ipv6(udp(payload(n)), 17) for n in (0, 16, 33)}
    made |= {f"tcp6-{n}": ipv6(tcp(payload(n), options=bytes(12)), 6) for n in (0, 48)}
    made |= {
        "vlan-udp4": ipv4(udp(payload(48)), 17, vlans=(7,)),
        "qinq-udp4": ipv4(udp(payload(48)), 17, vlans=(7, 8)),
        "vlan-udp6": ipv6(udp(payload(48)), 17, vlans=(7,)),
        "options-udp4": ipv4(udp(payload(32)), 17, options=b"\1" * 8),
        "first-fragment": ipv4(udp(payload(64)), 17, frag=0x2000),
        "later-fragment": ipv4(payload(64), 17, frag=0x0010),
        "icmp4": ipv4(b"\x08\0\0\0\0\1\0\1" + payload(56), 1),
        "icmp6": ipv6(b"\x80\0\0\0\0\1\0\1" + payload(56), 58),
        "ext-udp6": ipv6(b"\x11\0\1\4\0\0\0\0" + udp(payload(48)), 0),
        "fragment6": ipv6(b"\x11\0\0\1\0\0\0\7" + udp(payload(48)), 44),
        "arp": ethernet(bytes.fromhex("0001080006040001") + bytes(20), 0x0806, dst=MAC_BROADCAST),
        "odd-ethertype": ethernet(payload(50), 0x88B5),
        "cut-udp4": ipv4(udp(payload(64)), 17)[:60],
        "short": ethernet(b"", 0x88B5),
    }
    return made
