"""Helpers on the bytes of skbs (net/core/filter.c)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded import checksum
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_RECOMPUTE_CSUM = 1
_INVALIDATE_HASH = 2
_STORE_FLAGS = _RECOMPUTE_CSUM | _INVALIDATE_HASH
_FIELD_SIZE = 0xF  # BPF_F_HDR_FIELD_MASK
_MARK_MANGLED_0 = 0x20
_MARK_ENFORCE = 0x40
_PSEUDO_HEADER = 0x10
_IPV6 = 0x80  # the addresses are in the packet's sum already, and their change with them
_L4_FLAGS = _MARK_MANGLED_0 | _MARK_ENFORCE | _PSEUDO_HEADER | _IPV6 | _FIELD_SIZE
_MAX_CHECK_OFFSET = 0xFFFF


def find_skb(run: RunState, handle: int) -> SkBuff:
    """The skb of this run, if that is what the program passed."""
    packet = run.packet
    if packet is None or packet.handle != handle or not isinstance(packet, SkBuff):
        raise AccessFault(f"{handle:#x} is not the skb of this run")
    return packet


def skb_load_bytes(run: RunState, skb: int, offset: int, dst: int, size: int, *_: int) -> int:
    """Copy out of the packet; a failure leaves zeros."""
    size &= _U32
    data = find_skb(run, skb).load(offset & _U32, size)
    run.memory.span(dst, size, write=True)[:] = bytes(size) if data is None else data
    return error(EFAULT) if data is None else 0


def skb_store_bytes(run: RunState, skb: int, offset: int, src: int, size: int, flags: int) -> int:
    """Copy into the packet."""
    if flags & ~_STORE_FLAGS:
        return error(EINVAL)
    return store(find_skb(run, skb), offset & _U32, bytes(run.memory.span(src, size & _U32)), flags)


def store(packet: SkBuff, offset: int, data: bytes, flags: int) -> int:
    """Overwrite bytes of the packet with flags that are known to be good; 0 or a negative errno in 64 bits."""
    old = packet.load(offset, len(data)) if flags & _RECOMPUTE_CSUM else None
    if not packet.store(offset, data):
        return error(EFAULT)
    if old is not None:
        packet.checksum.stored(offset, old, data)
    if flags & _INVALIDATE_HASH:
        packet.clear_hash()
    return 0


def skb_pull_data(run: RunState, skb: int, size: int, *_: int) -> int:
    """Make the first bytes linear; 0 stands for those that are already."""
    packet = find_skb(run, skb)
    return error(packet.pull(size & _U32 or packet.linear_size))


def skb_change_tail(run: RunState, skb: int, size: int, flags: int, *_: int) -> int:
    """Cut or grow the packet."""
    return error(find_skb(run, skb).change_tail(size & _U32, flags))


def skb_change_head(run: RunState, skb: int, room: int, flags: int, *_: int) -> int:
    """Put zeros in front of the packet."""
    return error(find_skb(run, skb).change_head(room & _U32, flags))


def _replace(packet: SkBuff, offset: int, change: Callable[[int], int | None]) -> int:
    """Rewrite the 16-bit checksum at an even offset; ``change`` gives None for arguments that do not go together."""
    offset &= _U32
    if offset > _MAX_CHECK_OFFSET or offset & 1 or packet.pull(offset + 2):
        return error(EFAULT)
    new = change(int.from_bytes(packet.load(offset, 2) or b"", "little"))
    if new is None:
        return error(EINVAL)
    packet.store(offset, new.to_bytes(2, "little"))
    return 0


def _changed(check: int, old: int, new: int, size: int) -> int | None:
    """The checksum after a field of ``size`` bytes changed; size 0 means that ``new`` is a difference of sums."""
    if size == 0:
        return None if old else checksum.replace_by_diff(check, new)
    if size == 2:
        return checksum.replace2(check, old & 0xFFFF, new & 0xFFFF)
    return checksum.replace4(check, old & _U32, new & _U32) if size == 4 else None


def l3_csum_replace(run: RunState, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """Update the checksum of a network header."""
    packet = find_skb(run, skb)
    if flags & ~_FIELD_SIZE:
        return error(EINVAL)
    return _replace(packet, offset, lambda check: _changed(check, old, new, flags))


def l4_csum_replace(run: RunState, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """Update the checksum of a transport header; with BPF_F_MARK_MANGLED_0, 0 means that there is none."""
    packet = find_skb(run, skb)
    if flags & ~_L4_FLAGS:
        return error(EINVAL)
    optional = bool(flags & _MARK_MANGLED_0)

    def change(check: int) -> int | None:
        if optional and not flags & _MARK_ENFORCE and not check:
            return check
        changed = _changed(check, old, new, flags & _FIELD_SIZE)
        if changed is not None and flags & _PSEUDO_HEADER:
            _pseudo(packet, old, new, flags)
        return 0xFFFF if optional and changed == 0 else changed

    return _replace(packet, offset, change)


def _pseudo(packet: SkBuff, old: int, new: int, flags: int) -> None:
    """A changed address is not in the transport's bytes, but in their checksum: the packet's sum changes with the checksum alone."""
    size = flags & _FIELD_SIZE
    if size:
        mask = (1 << 8 * size) - 1
        packet.checksum.pseudo_changed(old & mask, new & mask)
    elif not flags & _IPV6:
        packet.checksum.pseudo_changed_by(new & _U32)


NATIVES: Mapping[str, Native] = {
    "bpf_skb_load_bytes": skb_load_bytes,
    "bpf_skb_store_bytes": skb_store_bytes,
    "bpf_skb_pull_data": skb_pull_data,
    "bpf_skb_change_tail": skb_change_tail,
    "bpf_skb_change_head": skb_change_head,
    "bpf_l3_csum_replace": l3_csum_replace,
    "bpf_l4_csum_replace": l4_csum_replace,
}
