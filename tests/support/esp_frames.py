"""Packets in the clear for ESP, made by scapy."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Raw

if TYPE_CHECKING:
    from support.esp import Link

_IP_SIZE = {4: 20, 6: 40}


def ip_layer(link: Link, **fields: Any) -> Any:
    """The IP header of a packet in the clear."""
    return (IP if link.inner == 4 else IPv6)(src=str(link.near), dst=str(link.far), **fields)


def frame(link: Link, payload: Any, **fields: Any) -> bytes:
    """A frame with this behind its IP header."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x0800 if link.inner == 4 else 0x86DD)
    return bytes(ether / ip_layer(link, **fields) / payload)


def text(size: int, seed: int = 0) -> bytes:
    """Random bytes, the same ones for the same size."""
    return Random(f"{size} {seed}").randbytes(size)


def udp(link: Link, size: int = 16, **fields: Any) -> bytes:
    """A datagram with so many bytes in it."""
    return frame(link, UDP(sport=4000, dport=5000) / Raw(text(size)), **fields)


def largest_udp(link: Link) -> int:
    """Bytes in the largest datagram that fits."""
    return link.largest - _IP_SIZE[link.inner] - 8


def kinds(link: Link) -> dict[str, bytes]:
    """Packets of several protocols, by name."""
    echo = ICMP(id=7, seq=1) if link.inner == 4 else ICMPv6EchoRequest(id=7, seq=1)
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
    found = {
        "tcp": frame(link, TCP(sport=4000, dport=80, flags="PA", seq=9) / Raw(text(33))),
        "tcp syn": frame(link, TCP(sport=4000, dport=80, flags="S", options=options)),
        "icmp": frame(link, echo / Raw(text(56))),
        "udp without content": udp(link, 0),
        "no payload": frame(link, b"", **({"proto": 200} if link.inner == 4 else {"nh": 200})),
        "one byte": frame(link, Raw(b"x"), **({"proto": 200} if link.inner == 4 else {"nh": 200})),
    }
    if link.inner == 4:
        found["options"] = udp(link, 21, options=[IPOption_RR(routers=["0.0.0.0"] * 3)])
        found["most options"] = udp(link, 22, options=[IPOption_RR(routers=["0.0.0.0"] * 9)])
    else:
        found["flow label"] = udp(link, 23, fl=0xABCDE, tc=0xB8)
        destination = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
        found["destination options"] = frame(link, destination / UDP(sport=4000, dport=5000) / Raw(text(24)))
    return found
