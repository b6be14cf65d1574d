"""Helpers that make room for headers, take headers out, and say what headers there are (net/core/filter.c, net/core/skbuff.c).

The Ethernet header of a test run's skb starts at its first byte, and every helper keeps it there; only the network header's offset
moves. A VLAN tag is either beside the packet (vlan_tci and vlan_proto of the context, as if a device had taken it out) or in it: a push
puts the tag beside the packet and one that is already there into it, a pop does the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EALREADY, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.embedded.helpers_skb import find_skb
from bpfcrypto.embedded.packet import ETH_HLEN
from bpfcrypto.embedded.packet_skb import MAX_SIZE, MIN_802_3, length_protocol
from bpfcrypto.embedded.state import Native, error, signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.packet_skb import SkBuff
    from bpfcrypto.embedded.state import RunState

IPV4, IPV6 = 0x0800, 0x86DD
VLAN_8021Q, VLAN_8021AD = 0x8100, 0x88A8
_VLANS = (VLAN_8021Q, VLAN_8021AD)
_ADDRESSES = 12  # bytes of an Ethernet header before its type
_VLAN_HLEN = 4
_U16 = 0xFFFF
_U32 = 0xFFFFFFFF
_BASE: Mapping[int, int] = {IPV4: 20, IPV6: 40}
"""Ethertype -> bytes of the network header without options."""

# bpf_skb_adjust_room
_MAX_ROOM = 0xFFF
_NET, _MAC = 0, 1  # enum bpf_adj_room_mode
_FIXED_GSO = 1 << 0
_ENCAP_IPV4, _ENCAP_IPV6 = 1 << 1, 1 << 2
_ENCAP_GRE, _ENCAP_UDP = 1 << 3, 1 << 4
_NO_CSUM_RESET = 1 << 5
_ENCAP_ETH = 1 << 6
_DECAP_IPV4, _DECAP_IPV6 = 1 << 7, 1 << 8
_INNER_MAC_SHIFT = 56
_ENCAP = _ENCAP_IPV4 | _ENCAP_IPV6
_DECAP = _DECAP_IPV4 | _DECAP_IPV6
_SHRINK_FLAGS = _FIXED_GSO | _DECAP | _NO_CSUM_RESET
_GROW_FLAGS = _FIXED_GSO | _ENCAP | _ENCAP_GRE | _ENCAP_UDP | _ENCAP_ETH | 0xFF << _INNER_MAC_SHIFT
_ROOM_FLAGS = _GROW_FLAGS | _SHRINK_FLAGS


def _swap(value: int) -> int:
    """A 16-bit number in the other byte order."""
    return (value >> 8 | value << 8) & _U16


def ethertype(skb: SkBuff) -> int:
    """skb->protocol as a number."""
    return _swap(skb["protocol"])


def inner_ethertype(skb: SkBuff) -> int:
    """The ethertype behind the tags in the packet (vlan_get_protocol); 0 where the packet ends before."""
    kind = ethertype(skb)
    at = skb.mac_size - _VLAN_HLEN if skb.mac_size else ETH_HLEN
    while kind in _VLANS:
        tag = skb.load(at, _VLAN_HLEN)
        if tag is None:
            return 0
        kind = int.from_bytes(tag[2:], "big")
        at += _VLAN_HLEN
    return kind


def _remove(skb: SkBuff, offset: int, size: int) -> int:
    """Take header bytes out of the packet and of its known sum."""
    gone = skb.load(offset, size)
    failed = skb.remove(offset, size)
    if gone is not None and not failed:
        skb.checksum.pulled(gone)
    return failed


def skb_change_proto(run: RunState, handle: int, protocol: int, flags: int, *_: int) -> int:
    """Turn room for an IPv4 header into room for an IPv6 header, or back; bytes and lengths are the program's business."""
    skb = find_skb(run, handle)
    wanted, present = _swap(protocol & _U16), ethertype(skb)
    if flags:
        return error(EINVAL)
    if wanted == present or wanted not in _BASE or present not in _BASE:
        return error(ENOTSUPP)
    difference = _BASE[wanted] - _BASE[present]
    if difference > 0:
        skb.insert_header(skb.network_offset, difference)
    elif failed := _remove(skb, skb.network_offset, -difference):
        return error(failed)
    skb.set("protocol", _swap(wanted))
    skb.clear_hash()
    return 0


def skb_adjust_room(run: RunState, handle: int, delta: int, mode: int, flags: int, *_: int) -> int:
    """Make room behind the Ethernet header or behind the network header, or take as many bytes out."""
    skb = find_skb(run, handle)
    delta = signed(delta, 32)
    failed = _room_errno(skb, delta, mode & _U32, flags)
    if not failed:
        offset = skb.network_offset + (_BASE[ethertype(skb)] if mode & _U32 == _NET else 0)
        failed = _shrink(skb, offset, -delta, flags) if delta < 0 else _grow(skb, offset, delta, flags)
    if not failed and not flags & _NO_CSUM_RESET:
        skb.checksum.reset_level()
    return error(failed)


def _room_errno(skb: SkBuff, delta: int, mode: int, flags: int) -> int:
    """What is wrong with the arguments of bpf_skb_adjust_room, in its order; 0 where nothing is."""
    if flags & ~_ROOM_FLAGS:
        return EINVAL
    if abs(delta) > _MAX_ROOM:
        return EFAULT
    protocol = ethertype(skb)
    if protocol not in _BASE or mode not in (_NET, _MAC):
        return ENOTSUPP
    least = _BASE[protocol]
    if flags & _DECAP:
        if delta >= 0 or flags & _DECAP == _DECAP:
            return EINVAL
        least = _BASE[IPV4 if flags & _DECAP_IPV4 else IPV6]
    too_small = delta < 0 and skb.size - skb.network_offset + delta < least
    too_large = delta >= 0 and skb.size + delta > MAX_SIZE and not skb.is_gso
    return ENOTSUPP if too_small or too_large else 0


def _shrink(skb: SkBuff, offset: int, size: int, flags: int) -> int:
    if flags & ~_SHRINK_FLAGS:
        return EINVAL
    if skb.is_gso:
        return ENOTSUPP  # a test run's skb says how large its segments are, but not of which protocol
    if failed := _remove(skb, offset, size):
        return failed
    if flags & _DECAP:
        skb.set("protocol", _swap(IPV4 if flags & _DECAP_IPV4 else IPV6))
    return 0


def _grow(skb: SkBuff, offset: int, size: int, flags: int) -> int:
    if skb.is_gso:
        return ENOTSUPP
    if flags & _ENCAP and (failed := _encap_errno(skb, size, flags)):
        return failed
    mac = skb.network_offset
    skb.insert_header(offset, size)
    if flags & _ENCAP:
        if flags & (_ENCAP_GRE | _ENCAP_UDP):
            skb.set_transport_offset(mac + _BASE[IPV6 if flags & _ENCAP_IPV6 else IPV4])
        skb.encapsulated = True
        skb.set("protocol", _swap(IPV4 if flags & _ENCAP_IPV4 else IPV6))
    return 0


def _encap_errno(skb: SkBuff, size: int, flags: int) -> int:
    inner = flags >> _INNER_MAC_SHIFT
    both = (_ENCAP, _ENCAP_GRE | _ENCAP_UDP)
    if any(flags & pair == pair for pair in both) or (flags & _ENCAP_ETH and inner < ETH_HLEN):
        return EINVAL
    if skb.encapsulated:
        return EALREADY
    return EINVAL if inner > size else 0


def skb_vlan_push(run: RunState, handle: int, protocol: int, tci: int, *_: int) -> int:
    """Give the packet a tag; one that it already had beside it goes into the packet."""
    skb = find_skb(run, handle)
    kind = _swap(protocol & _U16)
    if skb["vlan_present"]:
        skb.insert(_ADDRESSES, _VLAN_HLEN)
        tag = _swap(skb["vlan_proto"]).to_bytes(2, "big") + skb["vlan_tci"].to_bytes(2, "big")
        skb.store(_ADDRESSES, tag)
        skb.set("protocol", skb["vlan_proto"])
        skb.checksum.pushed(tag)
    _set_tag(skb, kind if kind in _VLANS else VLAN_8021Q, tci & _U16)
    return 0


def skb_vlan_pop(run: RunState, handle: int, *_: int) -> int:
    """Take the outermost tag off; the next one, if there is one, goes beside the packet."""
    skb = find_skb(run, handle)
    if skb["vlan_present"]:
        _set_tag(skb, 0, 0)
    elif ethertype(skb) not in _VLANS:
        return 0
    elif (tag := _take_tag(skb)) is None:
        return error(ENOMEM)
    if ethertype(skb) not in _VLANS:
        return 0
    kind = ethertype(skb)
    tag = _take_tag(skb)
    if tag is None:
        return error(ENOMEM)
    _set_tag(skb, kind, tag)
    return 0


def _set_tag(skb: SkBuff, kind: int, tci: int) -> None:
    skb.set("vlan_present", int(bool(kind)))
    skb.set("vlan_proto", _swap(kind))
    skb.set("vlan_tci", tci)


def _take_tag(skb: SkBuff) -> int | None:
    """Take the tag out of the packet: its TCI, None where the packet is too short (__skb_vlan_pop)."""
    if skb.pull(ETH_HLEN + _VLAN_HLEN):
        return None
    header = skb.to_bytes()[: ETH_HLEN + _VLAN_HLEN + 2]
    _remove(skb, _ADDRESSES, _VLAN_HLEN)
    inner = int.from_bytes(header[16:18], "big")
    skb.set("protocol", _swap(inner if inner >= MIN_802_3 else length_protocol(header[18:20])))
    skb.network_offset = skb.mac_size = max(skb.network_offset - _VLAN_HLEN, ETH_HLEN)
    return int.from_bytes(header[14:16], "big")


NATIVES: Mapping[str, Native] = {
    "bpf_skb_change_proto": skb_change_proto,
    "bpf_skb_adjust_room": skb_adjust_room,
    "bpf_skb_vlan_push": skb_vlan_push,
    "bpf_skb_vlan_pop": skb_vlan_pop,
}
