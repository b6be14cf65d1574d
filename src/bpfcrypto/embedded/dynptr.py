"""Dynptrs: bounded, typed pointers that a program keeps on its stack and hands to helpers.

The 16 bytes are those of the kernel's struct bpf_dynptr_kern, so that code generated later can work on them:

    0  u64  what it points into: an address, or the handle of an skb or xdp frame; 0 in a null dynptr
    8  u32  size in the low 24 bits, the kind in bits 28-30, read-only in bit 31
    12 u32  offset of its first byte

Kernel programs cannot forge these bytes because the verifier watches the stack slot. Unverified programs can: so nothing here trusts
them. Memory is reached through Memory, which knows what may be touched, and a packet only as the packet of this very run; what does
not fit is an AccessFault.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from errno import E2BIG, EINVAL
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault, Memory

if TYPE_CHECKING:
    from bpfcrypto.embedded.packet import Packet
    from bpfcrypto.embedded.state import RunState

DYNPTR_SIZE = 16
MAX_SIZE = (1 << 24) - 1

_LAYOUT = Struct("<QII")
_KIND_SHIFT = 28
_RDONLY = 1 << 31


class DynptrKind(IntEnum):
    """enum bpf_dynptr_type of the kernel."""

    INVALID = 0
    LOCAL = 1
    RINGBUF = 2
    SKB = 3
    XDP = 4
    SKB_META = 5


_IN_MEMORY = (DynptrKind.LOCAL, DynptrKind.RINGBUF)


@dataclass(frozen=True, slots=True)
class Dynptr:
    """A dynptr's value.

    Attributes:
        kind: what it points into.
        data: address or handle; 0 for a null dynptr.
        size: bytes.
        offset: of the first byte, within the data.
        rdonly: whether writes through it are refused.
    """

    kind: DynptrKind = DynptrKind.INVALID
    data: int = 0
    size: int = 0
    offset: int = 0
    rdonly: bool = False

    @classmethod
    def load(cls, memory: Memory, address: int) -> Dynptr:
        """Read the 16 bytes at ``address``.

        Raises:
            AccessFault: no such memory, or bytes that no dynptr has.
        """
        data, packed, offset = _LAYOUT.unpack(memory.span(address, DYNPTR_SIZE))
        kind = packed >> _KIND_SHIFT & 7
        if kind > DynptrKind.SKB_META or (data and not kind):
            raise AccessFault(f"the 16 bytes at {address:#x} are not a dynptr")
        return cls(DynptrKind(kind), data, packed & MAX_SIZE, offset, bool(packed & _RDONLY))

    def store(self, memory: Memory, address: int) -> None:
        """Write the 16 bytes at ``address``."""
        packed = self.size | self.kind << _KIND_SHIFT | (_RDONLY if self.rdonly else 0)
        memory.span(address, DYNPTR_SIZE, write=True)[:] = _LAYOUT.pack(self.data, packed, self.offset)

    @property
    def is_null(self) -> bool:
        """Whether it points to nothing."""
        return self.data == 0

    @property
    def in_memory(self) -> bool:
        """Whether its bytes are plain memory, all of them contiguous."""
        return self.kind in _IN_MEMORY

    def range_error(self, offset: int, size: int) -> int:
        """0 if ``size`` bytes at ``offset`` are within the dynptr, else E2BIG."""
        return E2BIG if size > self.size or offset > self.size - size else 0

    def packet(self, run: RunState) -> Packet:
        """The packet it points into.

        Raises:
            AccessFault: not the packet of this run.
        """
        if run.packet is None or run.packet.handle != self.data:
            raise AccessFault(f"a dynptr refers to {self.data:#x}, which is not the packet of this run")
        return run.packet

    def pointer(self, run: RunState, offset: int, size: int) -> int | None:
        """The address of a contiguous range of it, or None."""
        if self.is_null or self.range_error(offset, size):
            return None
        if self.in_memory:
            run.memory.span(self.data + self.offset + offset, size)
            return self.data + self.offset + offset
        return self.packet(run).pointer(self.offset + offset, size)

    def read(self, run: RunState, offset: int, size: int) -> bytes | int:
        """A copy of a range, or a positive errno (bpf_dynptr_read)."""
        if self.is_null:
            return EINVAL
        if failed := self.range_error(offset, size):
            return failed
        if self.in_memory:
            return bytes(run.memory.span(self.data + self.offset + offset, size))
        packet = self.packet(run)
        data = packet.load(self.offset + offset, size)
        return packet.range_errno(self.offset + offset, size) if data is None else data

    def write(self, run: RunState, offset: int, data: bytes) -> int:
        """Overwrite a range; 0 or a positive errno (bpf_dynptr_write without its flags)."""
        if self.is_null or self.rdonly:
            return EINVAL
        if failed := self.range_error(offset, len(data)):
            return failed
        if self.in_memory:
            run.memory.span(self.data + self.offset + offset, len(data), write=True)[:] = data
            return 0
        packet = self.packet(run)
        if packet.store(self.offset + offset, data):
            return 0
        return packet.range_errno(self.offset + offset, len(data))


NULL = Dynptr()
