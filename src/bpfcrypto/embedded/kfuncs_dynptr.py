"""kfuncs on dynptrs: making them of packets, slicing, narrowing, asking (kernel/bpf/helpers.c, net/core/filter.c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from errno import EINVAL, ERANGE
from typing import TYPE_CHECKING

from bpfcrypto.embedded.dynptr import NULL, Dynptr, DynptrKind
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def _from_packet(run: RunState, handle: int, flags: int, result: int, kind: DynptrKind, expected: type) -> int:
    packet = run.packet
    if packet is None or packet.handle != handle or not isinstance(packet, expected):
        raise AccessFault(f"{handle:#x} is not the context of this program")
    (NULL if flags else Dynptr(kind, handle, packet.size)).store(run.memory, result)
    return error(EINVAL) if flags else 0


def dynptr_from_skb(run: RunState, skb: int, flags: int, result: int, *_: int) -> int:
    """A dynptr over the whole skb. Its size is that of now and does not follow the skb."""
    return _from_packet(run, skb, flags, result, DynptrKind.SKB, SkBuff)


def dynptr_from_skb_meta(run: RunState, skb: int, flags: int, result: int, *_: int) -> int:
    """A dynptr over the metadata in front of an skb, of which a test run's has none."""
    failed = _from_packet(run, skb, flags, result, DynptrKind.SKB_META, SkBuff)
    if not failed:
        Dynptr(DynptrKind.SKB_META, skb, 0).store(run.memory, result)
    return failed


def dynptr_from_xdp(run: RunState, xdp: int, flags: int, result: int, *_: int) -> int:
    """A dynptr over the whole xdp frame, fragments included."""
    return _from_packet(run, xdp, flags, result, DynptrKind.XDP, XdpFrame)


def dynptr_slice(run: RunState, address: int, offset: int, buffer: int, size: int, *_: int) -> int:
    """The address of a range, or of the buffer with a copy of it where the range is not contiguous; NULL if there is neither."""
    offset &= _U32
    size &= _U32
    dynptr = Dynptr.load(run.memory, address)
    found = dynptr.pointer(run, offset, size)
    if found is not None or not buffer:
        return found or 0
    data = dynptr.read(run, offset, size)
    if isinstance(data, int):
        return 0
    run.memory.span(buffer, size, write=True)[:] = data
    return buffer


def dynptr_slice_rdwr(run: RunState, address: int, offset: int, buffer: int, size: int, *_: int) -> int:
    """As bpf_dynptr_slice, for writing; what is written to the buffer does not get back by itself."""
    if Dynptr.load(run.memory, address).rdonly:
        return 0
    return dynptr_slice(run, address, offset, buffer, size)


def dynptr_adjust(run: RunState, address: int, start: int, end: int, *_: int) -> int:
    """Narrow to [start, end) of the present view; a failure leaves it as it was."""
    start &= _U32
    end &= _U32
    dynptr = Dynptr.load(run.memory, address)
    if dynptr.is_null or start > end:
        return error(EINVAL)
    if end > dynptr.size:
        return error(ERANGE)
    replace(dynptr, offset=dynptr.offset + start, size=end - start).store(run.memory, address)
    return 0


def dynptr_is_null(run: RunState, address: int, *_: int) -> int:
    """1 for a null dynptr."""
    return int(Dynptr.load(run.memory, address).is_null)


def dynptr_is_rdonly(run: RunState, address: int, *_: int) -> int:
    """1 for a read-only dynptr; 0 for a null one."""
    dynptr = Dynptr.load(run.memory, address)
    return int(not dynptr.is_null and dynptr.rdonly)


def dynptr_size(run: RunState, address: int, *_: int) -> int:
    """The size in bytes; EINVAL as an unsigned 32-bit integer for a null dynptr."""
    dynptr = Dynptr.load(run.memory, address)
    return error(EINVAL) & _U32 if dynptr.is_null else dynptr.size


def dynptr_clone(run: RunState, address: int, result: int, *_: int) -> int:
    """A second dynptr with the same view."""
    dynptr = Dynptr.load(run.memory, address)
    (NULL if dynptr.is_null else dynptr).store(run.memory, result)
    return error(EINVAL) if dynptr.is_null else 0


NATIVES: Mapping[str, Native] = {
    "bpf_dynptr_from_skb": dynptr_from_skb,
    "bpf_dynptr_from_skb_meta": dynptr_from_skb_meta,
    "bpf_dynptr_from_xdp": dynptr_from_xdp,
    "bpf_dynptr_slice": dynptr_slice,
    "bpf_dynptr_slice_rdwr": dynptr_slice_rdwr,
    "bpf_dynptr_adjust": dynptr_adjust,
    "bpf_dynptr_is_null": dynptr_is_null,
    "bpf_dynptr_is_rdonly": dynptr_is_rdonly,
    "bpf_dynptr_size": dynptr_size,
    "bpf_dynptr_clone": dynptr_clone,
}
