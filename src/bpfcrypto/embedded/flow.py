"""The hash of a packet's flow, as bpf_get_hash_recalc gives it (net/core/flow_dissector.c).

The kernel's hash depends on a key that it draws at boot, so its value means nothing to a program. What a program can rely on is which
packets share it: those with the same protocols, outermost VLAN tag, IPv6 flow label and GRE key, and the same pair of addresses and
pair of ports in either direction. Ports count for unfragmented packets, and not where a flow label stands for them. The hash is never 0.

Headers are followed through tags, IPv6 extension headers, IP in IP, and GRE; of packets in packets the innermost addresses count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

_IPV4, _IPV6, _ETHERNET = 0x0800, 0x86DD, 0x6558  # the last is an Ethernet frame inside of GRE
_VLANS = (0x8100, 0x88A8)
_MAX_HEADERS = 15  # MAX_FLOW_DISSECT_HDRS
_ID_AND_PRIORITY = 0xEFFF  # of a TCI

_IPIP, _IPV6_IN_IP, _GRE, _FRAGMENT = 4, 41, 47, 44
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
_PORTS_AT = {6: 0, 17: 0, 33: 0, 50: 0, 51: 4, 132: 0, 136: 0}
"""IP protocol -> where its ports, or what stands for them, are (proto_ports_offset)."""

_GRE_CSUM, _GRE_ROUTING, _GRE_KEY, _GRE_SEQUENCE, _GRE_VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 7


@dataclass(slots=True)
class _Keys:
    """What the hash is made of; ``protocol`` is that of the header that comes next."""

    protocol: int
    transport: int = 0
    tag: tuple[int, ...] = ()
    label: int = 0
    gre_key: bytes = b""
    addresses: tuple[bytes, ...] = ()
    ports: tuple[bytes, ...] = ()


def flow_hash(data: bytes, ethertype: int, tag: tuple[int, int] | None = None) -> int:
    """A number from 1 to 2**32 - 1 that packets of one flow share.

    Args:
        data: the packet from its network header on.
        ethertype: what that header is.
        tag: protocol and TCI of a VLAN tag that is not in the packet.
    """
    keys = _Keys(ethertype)
    if tag is not None:
        keys.tag = (tag[0], tag[1] & _ID_AND_PRIORITY, ethertype)
    rest: bytes | None = data
    for _ in range(_MAX_HEADERS):
        if rest is None or keys.protocol not in _HEADERS:
            break
        rest = _HEADERS[keys.protocol](keys, rest)
    keys.addresses = tuple(sorted(keys.addresses))
    keys.ports = tuple(sorted(keys.ports))
    return int.from_bytes(hashlib.blake2s(repr(astuple(keys)).encode(), digest_size=4).digest(), "big") or 1


def _tag(keys: _Keys, data: bytes) -> bytes | None:
    if len(data) < 4:
        return None
    kind, keys.protocol = keys.protocol, int.from_bytes(data[2:4], "big")
    if not keys.tag and not keys.addresses:
        keys.tag = (kind, int.from_bytes(data[:2], "big") & _ID_AND_PRIORITY, keys.protocol)
    return data[4:]


def _ipv4(keys: _Keys, data: bytes) -> bytes | None:
    size = 4 * (data[0] & 15) if data else 0
    if len(data) < 20 or size < 20:
        return None
    keys.addresses = (data[12:16], data[16:20])
    keys.transport = data[9]
    is_fragment = int.from_bytes(data[6:8], "big") & 0x3FFF  # an offset, or more to come
    return None if is_fragment else _transport(keys, data[size:])


def _ipv6(keys: _Keys, data: bytes) -> bytes | None:
    if len(data) < 40:
        return None
    keys.addresses = (data[8:24], data[24:40])
    keys.transport = data[6]
    keys.label = int.from_bytes(data[1:4], "big") & 0xFFFFF
    if keys.label:
        return None
    data = data[40:]
    while keys.transport in _EXTENSIONS and len(data) >= 2:
        keys.transport, data = data[0], data[8 * (data[1] + 1) :]
    if keys.transport == _FRAGMENT and len(data) >= 8:
        keys.transport = data[0]
        return None
    return _transport(keys, data)


def _transport(keys: _Keys, data: bytes) -> bytes | None:
    """Note the ports; what follows if that is a packet again."""
    if keys.transport in (_IPIP, _IPV6_IN_IP):
        keys.protocol = _IPV4 if keys.transport == _IPIP else _IPV6
        return data
    if keys.transport == _GRE:
        return _gre(keys, data)
    at = _PORTS_AT.get(keys.transport)
    if at is not None and len(data) >= at + 4:
        keys.ports = (data[at : at + 2], data[at + 2 : at + 4])
    return None


def _gre(keys: _Keys, data: bytes) -> bytes | None:
    """GRE of version 0; of version 1 (PPTP) only the protocol counts."""
    flags = int.from_bytes(data[:2], "big")
    if len(data) < 4 or flags & _GRE_ROUTING or flags & _GRE_VERSION > 1:
        return None
    keys.protocol = int.from_bytes(data[2:4], "big")
    if flags & _GRE_VERSION:
        return None
    at = 8 if flags & _GRE_CSUM else 4
    if flags & _GRE_KEY:
        keys.gre_key = data[at : at + 4]
        at += 4
    at += 4 if flags & _GRE_SEQUENCE else 0
    if keys.protocol != _ETHERNET:
        return data[at:]
    keys.protocol = int.from_bytes(data[at + 12 : at + 14], "big")
    return data[at + 14 :]


_HEADERS: Mapping[int, Callable[[_Keys, bytes], bytes | None]] = {
    **dict.fromkeys(_VLANS, _tag),
    _IPV4: _ipv4,
    _IPV6: _ipv6,
}
