"""The hash of a packet's flow, as bpf_get_hash_recalc gives it (net/core/flow_dissector.c).

The kernel's hash depends on a key that it draws at boot, so its value means nothing to a program. What a program can rely on is which
packets share it: those with the same protocols, VLAN tags, IPv6 flow label, and the same pair of addresses and pair of ports in
either direction. Ports count for unfragmented packets, and not where a flow label stands for them. The hash is never 0.

Headers are followed through up to two tags, IPv6 extension headers and IP in IP.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8)
_MAX_TAGS = 2
_MAX_HEADERS = 15  # MAX_FLOW_DISSECT_HDRS
_PORTS_AT = {6: 0, 17: 0, 33: 0, 50: 0, 51: 4, 132: 0, 136: 0}
"""IP protocol -> where its ports, or what stands for them, are (proto_ports_offset)."""

_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
_FRAGMENT, _ANY_IPV4, _ANY_IPV6 = 44, 4, 41


@dataclass(slots=True)
class _Keys:
    protocol: int
    transport: int = 0
    tags: list[tuple[int, int]] = field(default_factory=list)
    label: int = 0
    addresses: tuple[bytes, ...] = ()
    ports: tuple[bytes, ...] = ()


def flow_hash(data: bytes, ethertype: int, tag: tuple[int, int] | None = None) -> int:
    """A number from 1 to 2**32 - 1 that packets of one flow share.

    Args:
        data: the packet from its network header on.
        ethertype: what that header is.
        tag: protocol and TCI of a VLAN tag that is not in the packet.
    """
    keys = _Keys(ethertype, tags=[tag] if tag else [])
    _network(keys, data)
    seed = repr((keys.protocol, keys.transport, keys.tags, keys.label, sorted(keys.addresses), sorted(keys.ports)))
    return int.from_bytes(hashlib.blake2s(seed.encode(), digest_size=4).digest(), "big") or 1


def _network(keys: _Keys, data: bytes) -> None:
    for _ in range(_MAX_HEADERS):
        if keys.protocol in _VLANS and len(keys.tags) < _MAX_TAGS and len(data) >= 4:
            keys.tags.append((keys.protocol, int.from_bytes(data[:2], "big")))
            keys.protocol, data = int.from_bytes(data[2:4], "big"), data[4:]
        elif keys.protocol == _IPV4 and len(data) >= 20 and data[0] & 15 >= 5:
            keys.addresses = (data[12:16], data[16:20])
            keys.transport = data[9]
            if int.from_bytes(data[6:8], "big") & 0x3FFF:  # an offset, or more fragments
                return
            if not _transport(keys, data[4 * (data[0] & 15) :]):
                return
            data = data[4 * (data[0] & 15) :]
        elif keys.protocol == _IPV6 and len(data) >= 40:
            keys.addresses = (data[8:24], data[24:40])
            keys.transport = data[6]
            label = int.from_bytes(data[1:4], "big") & 0xFFFFF
            if label:
                keys.label = label
                return
            rest = _extensions(keys, data[40:])
            if rest is None or not _transport(keys, rest):
                return
            data = rest
        else:
            return


def _extensions(keys: _Keys, data: bytes) -> bytes | None:
    """What follows the extension headers; None behind a fragment header or a cut one."""
    while keys.transport in _EXTENSIONS and len(data) >= 8:
        keys.transport, data = data[0], data[8 * (data[1] + 1) :]
    if keys.transport == _FRAGMENT and len(data) >= 8:
        keys.transport = data[0]
        return None
    return data


def _transport(keys: _Keys, data: bytes) -> bool:
    """Note the ports; True if another network header follows."""
    if keys.transport in (_ANY_IPV4, _ANY_IPV6):
        keys.protocol = _IPV4 if keys.transport == _ANY_IPV4 else _IPV6
        return True
    at = _PORTS_AT.get(keys.transport)
    if at is not None and len(data) >= at + 4:
        keys.ports = (data[at : at + 2], data[at + 2 : at + 4])
    return False
