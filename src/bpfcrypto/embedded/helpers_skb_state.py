"""Helpers on what an skb carries beside its bytes: type, time stamp, hash, checksum, and its socket (net/core/filter.c).

The socket of a test run's skb is one that the kernel made for the run: it has user 0, the root control group and no class, and the
skb has no route. What such helpers give is therefore the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, EFAULT, EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.embedded.flow import flow_hash
from bpfcrypto.embedded.helpers_header import IPV4, IPV6, ethertype, inner_ethertype
from bpfcrypto.embedded.helpers_skb import find_skb
from bpfcrypto.embedded.packet_csum import Summed
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.packet_skb import SkBuff
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_LAST_TYPE = 3  # PACKET_OTHERHOST
_CLOCKS = 3  # BPF_SKB_CLOCK_REALTIME, _MONOTONIC, _TAI
_MAX_OFFSET = 0xFFFF
_ROOT_CGROUP = 1
_CE = 3  # both bits of the ECN field: congestion experienced


def skb_change_type(run: RunState, handle: int, kind: int, *_: int) -> int:
    """Say whom the packet is for: PACKET_HOST to PACKET_OTHERHOST."""
    skb = find_skb(run, handle)
    if kind & _U32 > _LAST_TYPE or skb["pkt_type"] > _LAST_TYPE:
        return error(EINVAL)
    skb.set("pkt_type", kind & _U32)
    return 0


def skb_set_tstamp(run: RunState, handle: int, stamp: int, clock: int, *_: int) -> int:
    """Set the time stamp of an IP packet and the clock it is of; only that of the wall clock may be 0."""
    skb = find_skb(run, handle)
    clock &= _U32
    if ethertype(skb) not in (IPV4, IPV6):
        return error(EOPNOTSUPP)
    if clock >= _CLOCKS or (clock and not stamp):
        return error(EINVAL)
    skb.set("tstamp", stamp)
    skb.set("tstamp_type", clock)
    return 0


def get_hash_recalc(run: RunState, handle: int, *_: int) -> int:
    """The flow's hash, which is worked out if the skb has none. Its value says nothing outside of this engine."""
    skb = find_skb(run, handle)
    if not skb.hashed:
        skb.set_hash(_flow_hash(skb))
    return skb["hash"]


def _flow_hash(skb: SkBuff) -> int:
    tag = (skb["vlan_proto"], skb["vlan_tci"]) if skb["vlan_present"] else None
    return flow_hash(skb.to_bytes()[skb.network_offset :], ethertype(skb), tag)


def set_hash(run: RunState, handle: int, value: int, *_: int) -> int:
    """Give the skb a hash."""
    find_skb(run, handle).set_hash(value & _U32)
    return 0


def set_hash_invalid(run: RunState, handle: int, *_: int) -> int:
    """Forget the hash."""
    find_skb(run, handle).clear_hash()
    return 0


def csum_update(run: RunState, handle: int, difference: int, *_: int) -> int:
    """Add to the known sum of the packet: the new sum; ENOTSUPP where none is known."""
    state = find_skb(run, handle).checksum
    return state.add(difference & _U32) if state.is_complete else error(ENOTSUPP)


def csum_level(run: RunState, handle: int, level: int, *_: int) -> int:
    """Ask for, raise, lower or reset the number of checksums that were verified."""
    state = find_skb(run, handle).checksum
    match level:
        case 0:
            return state.level if state.state is Summed.UNNECESSARY else error(EACCES)
        case 1:
            state.raise_level()
        case 2:
            state.lower_level()
        case 3:
            state.reset_level()
        case _:
            return error(EINVAL)
    return 0


def skb_load_bytes_relative(run: RunState, handle: int, offset: int, dst: int, size: int, start: int) -> int:
    """Copy out of the linear part, from the Ethernet (0) or the network header (1) on; a failure leaves zeros."""
    skb = find_skb(run, handle)
    offset &= _U32
    size &= _U32
    base = {0: 0, 1: skb.network_offset}.get(start & _U32)
    inside = base is not None and offset <= _MAX_OFFSET and base + offset + size <= skb.linear_size
    data = skb.load(base + offset, size) if base is not None and inside else None
    run.memory.span(dst, size, write=True)[:] = bytes(size) if data is None else data
    return error(EFAULT) if data is None else 0


def skb_ecn_set_ce(run: RunState, handle: int, *_: int) -> int:
    """Mark congestion in an IP header that allows it: 1 if the header now has the mark, else 0.

    The kernel looks behind VLAN tags for the protocol, and then at the network header, which in a test run is the tag.
    """
    skb = find_skb(run, handle)
    at = skb.network_offset
    size = {IPV4: 20, IPV6: 40}.get(inner_ethertype(skb))
    if size is None or at + size > skb.linear_size:
        return 0
    header = skb.load(at, 12) or b""
    return _mark_v4(skb, at, header) if size == 20 else _mark_v6(skb, at, header)


def _mark_v4(skb: SkBuff, at: int, header: bytes) -> int:
    ecn = header[1] & _CE
    if ecn in (0, _CE):
        return int(ecn == _CE)
    skb.store(at + 1, bytes([header[1] | _CE]))
    total = int.from_bytes(header[10:12], "big") + (0xFFFD if ecn == 1 else 0xFFFE)
    skb.store(at + 10, ((total + (total >> 16)) & 0xFFFF).to_bytes(2, "big"))
    return 1


def _mark_v6(skb: SkBuff, at: int, header: bytes) -> int:
    if not header[1] >> 4 & _CE:
        return 0
    marked = bytes([header[0], header[1] | _CE << 4, *header[2:4]])
    skb.checksum.replaced(header[:4], marked)
    skb.store(at, marked)
    return 1


def _fixed(value: int) -> Native:
    """A helper that asks for what every test run's skb has alike."""

    def native(_run: RunState, *_: int) -> int:
        return value

    return native


def skb_ancestor_cgroup_id(run: RunState, handle: int, level: int, *_: int) -> int:
    """The control group above the socket's: of the root, only level 0 is one."""
    find_skb(run, handle)
    return 0 if level & _U32 else _ROOT_CGROUP


NATIVES: Mapping[str, Native] = {
    "bpf_skb_change_type": skb_change_type,
    "bpf_skb_set_tstamp": skb_set_tstamp,
    "bpf_get_hash_recalc": get_hash_recalc,
    "bpf_set_hash": set_hash,
    "bpf_set_hash_invalid": set_hash_invalid,
    "bpf_csum_update": csum_update,
    "bpf_csum_level": csum_level,
    "bpf_skb_load_bytes_relative": skb_load_bytes_relative,
    "bpf_skb_ecn_set_ce": skb_ecn_set_ce,
    "bpf_skb_ancestor_cgroup_id": skb_ancestor_cgroup_id,
    "bpf_skb_cgroup_id": _fixed(_ROOT_CGROUP),
    "bpf_skb_cgroup_classid": _fixed(0),
    "bpf_get_cgroup_classid": _fixed(0),
    "bpf_get_route_realm": _fixed(0),
    "bpf_get_socket_uid": _fixed(0),
}
