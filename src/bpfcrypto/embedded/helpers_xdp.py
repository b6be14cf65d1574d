"""Helpers on xdp frames (net/core/filter.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import Native, error, signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def _frame(run: RunState, handle: int) -> XdpFrame:
    packet = run.packet
    if packet is None or packet.handle != handle or not isinstance(packet, XdpFrame):
        raise AccessFault(f"{handle:#x} is not the xdp frame of this run")
    return packet


def xdp_adjust_head(run: RunState, xdp: int, delta: int, *_: int) -> int:
    """Move the frame's first byte by a signed number of bytes."""
    return error(_frame(run, xdp).adjust_head(signed(delta, 32)))


def xdp_adjust_meta(run: RunState, xdp: int, delta: int, *_: int) -> int:
    """Move the first byte of the metadata by a signed number of bytes."""
    return error(_frame(run, xdp).adjust_meta(signed(delta, 32)))


def xdp_adjust_tail(run: RunState, xdp: int, delta: int, *_: int) -> int:
    """Move the frame's end by a signed number of bytes."""
    return error(_frame(run, xdp).adjust_tail(signed(delta, 32)))


def xdp_get_buff_len(run: RunState, xdp: int, *_: int) -> int:
    """The frame's size in bytes, fragments included."""
    return _frame(run, xdp).size


def xdp_load_bytes(run: RunState, xdp: int, offset: int, dst: int, size: int, *_: int) -> int:
    """Copy out of the frame; a failure leaves the destination as it was."""
    frame = _frame(run, xdp)
    offset &= _U32
    size &= _U32
    data = frame.load(offset, size)
    if data is None:
        return error(frame.range_errno(offset, size))
    run.memory.span(dst, size, write=True)[:] = data
    return 0


def xdp_store_bytes(run: RunState, xdp: int, offset: int, src: int, size: int, *_: int) -> int:
    """Copy into the frame."""
    frame = _frame(run, xdp)
    offset &= _U32
    data = bytes(run.memory.span(src, size & _U32))
    return 0 if frame.store(offset, data) else error(frame.range_errno(offset, len(data)))


NATIVES: Mapping[str, Native] = {
    "bpf_xdp_adjust_head": xdp_adjust_head,
    "bpf_xdp_adjust_meta": xdp_adjust_meta,
    "bpf_xdp_adjust_tail": xdp_adjust_tail,
    "bpf_xdp_get_buff_len": xdp_get_buff_len,
    "bpf_xdp_load_bytes": xdp_load_bytes,
    "bpf_xdp_store_bytes": xdp_store_bytes,
}
