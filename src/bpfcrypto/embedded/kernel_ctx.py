"""The kernel's objects behind a context, as far as there is something behind it: struct sk_buff, struct xdp_buff, and what they refer to.

Programs that know the kernel's types look into them after bpf_cast_to_kern_ctx, with offsets that CO-RE takes from our own types. A
member is answered from the packet of the run or it is not answered at all: what a test run cannot know, or what is the machine's own
business (the size of an allocation, the socket, the name of a device), is an AccessFault with its name. Nothing can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bpfcrypto.btf.types import Composite, Kind
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.packet import Packet

_FRAGMENT_SIZE = 4096
_REGISTERED = 1  # REG_STATE_REGISTERED
_HAS_FRAGS = 1  # XDP_FLAGS_HAS_FRAGS

Members = Mapping[str, Callable[[], int]]
"""Members that are answered, and how."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


@cache
def _layout(struct: str) -> tuple[int, tuple[_Member, ...]]:
    """Size and members of a kernel struct."""
    types = kernel_types()
    type_id = types.find(struct, Kind.STRUCT)
    record = types[type_id] if type_id is not None else None
    if not isinstance(record, Composite):
        raise ValueError(f"abi/kernel.btf has no struct {struct}")
    members = (
        _Member(each.name, each.bit_offset // 8, types.size_of(each.type_id))
        for each in record.members
        if not each.bit_size
    )
    return record.size, tuple(members)


class KernelObject:
    """One object: answers the loads of its virtual region.

    Args:
        memory: the run's memory.
        struct: its type.
        members: what is answered.
    """

    def __init__(self, memory: Memory, struct: str, members: Members) -> None:
        size, self._members = _layout(struct)
        self.struct = struct
        self._answers = members
        self.region = memory.new(size, f"struct {struct}", access=self, owner=self, writable=False)

    @property
    def address(self) -> int:
        """What programs hold."""
        return self.region.base

    def load(self, offset: int, size: int) -> int:
        """The value of a member, or of a part of it."""
        for member in self._members:
            inside = offset - member.offset
            if 0 <= inside <= member.size - size:
                answer = self._answers.get(member.name)
                if answer is None:
                    raise AccessFault(f"the embedded engine has no '{member.name}' of struct {self.struct}")
                return answer() >> 8 * inside & ((1 << 8 * size) - 1)
        raise AccessFault(f"no member of struct {self.struct} has {size} bytes at offset {offset}")

    def store(self, offset: int, size: int, value: int) -> None:
        """Refused: AccessFault."""
        raise AccessFault(f"struct {self.struct} cannot be written: {value} in {size} bytes at offset {offset}")


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
