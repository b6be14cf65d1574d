"""What skb and xdp frames have in common: bytes that are contiguous in parts, and a handle that the program knows them by.

A packet is a linear part that the program reaches through ``data`` and ``data_end``, and perhaps more bytes behind it that only
helpers reach. Every offset here counts from ``data``, the packet's first byte.

Whatever moves the packet's borders maps its memory anew, so that an address beyond the new borders faults. Addresses that stay
inside keep their meaning, as they do in the kernel, where only the verifier forbids their use.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

from bpfcrypto.embedded.memory import Memory, Region

ETH_HLEN = 14
PAGE_SIZE = 4096
SHARED_INFO = 320  # struct skb_shared_info, rounded up to a cache line, at the end of every buffer
CACHE_LINE = 64


class Packet(Protocol):
    """An skb or an xdp frame during a run."""

    @property
    def handle(self) -> int:
        """Address of the context; the program's first argument."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the packet, linear or not, without metadata."""
        ...

    def follow(self) -> None:
        """Machine code may have moved the packet's borders: see it as it is now."""
        ...

    def pointer(self, offset: int, size: int) -> int | None:
        """The address of a range that is contiguous; None where it is not, or leaves the packet."""
        ...

    def load(self, offset: int, size: int) -> bytes | None:
        """A copy of a range; None where it leaves the packet."""
        ...

    def store(self, offset: int, data: bytes) -> bool:
        """Overwrite a range; False, and nothing written, where it leaves the packet."""
        ...

    def range_errno(self, offset: int, size: int) -> int:
        """0, or the positive errno of reading or writing a range that is not in the packet."""
        ...

    def to_bytes(self) -> bytes:
        """What a test run gives back: the metadata, where it counts, and the packet."""
        ...


class Window:
    """A buffer of which a part is mapped; moving the part's borders maps it anew.

    Args:
        memory: where it is mapped.
        name: of the region.
        capacity: bytes of the buffer.
        start, end: the part that programs may touch, as offsets in the buffer.
        borders: two words that hold the addresses of the part's first byte and of the byte behind it. They alone say where the part
            is, so that machine code can move it; None for words of its own.
        storage: the buffer, of ``capacity`` bytes or more; None for a new one.
    """

    __slots__ = ("_borders", "_memory", "_name", "_region", "_storage", "address", "capacity", "view")

    def __init__(
        self,
        memory: Memory,
        name: str,
        capacity: int,
        start: int,
        end: int,
        *,
        borders: memoryview | None = None,
        storage: ctypes.Array[ctypes.c_char] | None = None,
    ) -> None:
        self._memory = memory
        self._name = name
        self._region: Region | None = None
        self._borders = memoryview(bytearray(16)).cast("Q") if borders is None else borders
        self._use(capacity, ctypes.create_string_buffer(max(capacity, 1)) if storage is None else storage)
        self.move(start, end)

    def _use(self, capacity: int, storage: ctypes.Array[ctypes.c_char]) -> None:
        self.capacity = capacity
        self._storage = storage
        self.address = ctypes.addressof(storage)
        self.view = memoryview(storage).cast("B")[:capacity]

    @property
    def room(self) -> int:
        """Bytes of the buffer's memory."""
        return ctypes.sizeof(self._storage)

    @property
    def start(self) -> int:
        """Where the part begins in the buffer."""
        return self._borders[0] - self.address

    @property
    def end(self) -> int:
        """Where the part ends in the buffer."""
        return self._borders[1] - self.address

    @property
    def size(self) -> int:
        """Bytes that are mapped."""
        return self.end - self.start

    @property
    def content(self) -> memoryview:
        """The bytes that are mapped."""
        return self.view[self.start : self.end]

    def move(self, start: int, end: int) -> None:
        """Map exactly [start, end)."""
        if self._region is not None:
            self._memory.unmap(self._region)
        self._borders[0], self._borders[1] = self.address + start, self.address + end
        self._region = Region(self._storage, name=self._name, offset=start, size=end - start) if end > start else None
        if self._region is not None:
            self._memory.map(self._region)

    def follow(self, capacity: int | None = None) -> None:
        """See what machine code has done: the part that the borders say, and a buffer that may have become longer within its memory."""
        if capacity is not None and capacity != self.capacity:
            self._use(capacity, self._storage)
        start, size, region = self._borders[0], self.size, self._region
        if (region is None and size > 0) or (region is not None and (region.base != start or region.size != size)):
            self.move(self.start, self.end)

    def replace(self, capacity: int, start: int) -> None:
        """Move the mapped bytes into a new buffer, at ``start``; the old addresses are gone."""
        kept = bytes(self.content)
        self.unmap()
        self._use(capacity, ctypes.create_string_buffer(capacity))
        self.view[start : start + len(kept)] = kept
        self.move(start, start + len(kept))

    def unmap(self) -> None:
        """Take it out of the program's reach."""
        if self._region is not None:
            self._memory.unmap(self._region)
            self._region = None


def align(value: int, to: int) -> int:
    """``value`` rounded up to a multiple of ``to``."""
    return -(-value // to) * to
