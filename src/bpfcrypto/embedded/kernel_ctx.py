"""The kernel's objects behind a context, as far as there is something behind it: struct sk_buff, struct xdp_buff, and what they refer to.

Programs that know the kernel's types look into them after bpf_cast_to_kern_ctx, with offsets that CO-RE takes from our own types. A
member is answered from the packet of the run or it is not answered at all: what a test run cannot know, or what is the machine's own
business (the size of an allocation, the socket, the name of a device), is an AccessFault with its name. Nothing can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfcrypto.embedded.kernel_object import KernelObject
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.packet import Packet

_FRAGMENT_SIZE = 4096
_REGISTERED = 1  # REG_STATE_REGISTERED
_HAS_FRAGS = 1  # XDP_FLAGS_HAS_FRAGS


def kernel_ctx(memory: Memory, packet: Packet) -> KernelObject:
    """The object behind the context of a packet."""
    if isinstance(packet, SkBuff):
        return _sk_buff(memory, packet)
    assert isinstance(packet, XdpFrame)
    return _xdp_buff(memory, packet)


def _device(memory: Memory, ifindex: Callable[[], int]) -> KernelObject:
    return KernelObject(memory, "net_device", {"ifindex": ifindex})


def _sk_buff(memory: Memory, skb: SkBuff) -> KernelObject:
    device = _device(memory, lambda: skb["ifindex"])
    same = ("len", "mark", "priority", "protocol", "hash", "queue_mapping", "vlan_tci", "vlan_proto")
    members = {name: lambda name=name: skb[name] for name in same}
    return KernelObject(
        memory,
        "sk_buff",
        {
            **members,
            "data_len": lambda: skb.size - skb.linear_size,
            "skb_iif": lambda: skb["ingress_ifindex"],
            "dev": lambda: device.address,
            "head": lambda: skb.head,
            "data": lambda: skb["data"],
            "tail": lambda: skb["data_end"] - skb.head,
            "network_header": lambda: skb["data"] - skb.head + skb.network_offset,
        },
    )


def _xdp_buff(memory: Memory, frame: XdpFrame) -> KernelObject:
    device = _device(memory, lambda: frame["ingress_ifindex"])
    queue = KernelObject(
        memory,
        "xdp_rxq_info",
        {
            "dev": lambda: device.address,
            "queue_index": lambda: frame["rx_queue_index"],
            "reg_state": lambda: _REGISTERED,
            "frag_size": lambda: _FRAGMENT_SIZE,
        },
    )
    return KernelObject(
        memory,
        "xdp_buff",
        {
            "data": lambda: frame["data"],
            "data_end": lambda: frame["data_end"],
            "data_meta": lambda: frame["data_meta"],
            "data_hard_start": lambda: frame.head,
            "rxq": lambda: queue.address,
            "txq": lambda: 0,
            "frame_sz": lambda: _FRAGMENT_SIZE,
            "flags": lambda: _HAS_FRAGS if frame.has_fragments else 0,
        },
    )
