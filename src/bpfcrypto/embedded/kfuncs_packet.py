"""kfuncs on packets and maps that need nothing else: bpf_xdp_pull_data (net/core/filter.c), bpf_map_sum_elem_count (map_iter.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.map_hash import HashMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def xdp_pull_data(run: RunState, xdp: int, size: int, *_: int) -> int:
    """Make the first bytes of a frame lie in one piece."""
    frame = run.packet
    if not isinstance(frame, XdpFrame) or frame.handle != xdp:
        raise AccessFault(f"{xdp:#x} is not the context of this program")
    return error(frame.pull(size & _U32))


def map_sum_elem_count(run: RunState, handle: int, *_: int) -> int:
    """The number of elements of a hash map; other types do not count theirs and give 0."""
    target = run.memory.owner(handle)
    if not isinstance(target, EmbeddedMap) or target.address != handle:
        raise AccessFault(f"{handle:#x} is not a map")
    return target.count if isinstance(target, HashMap) else 0


NATIVES: Mapping[str, Native] = {
    "bpf_xdp_pull_data": xdp_pull_data,
    "bpf_map_sum_elem_count": map_sum_elem_count,
}
