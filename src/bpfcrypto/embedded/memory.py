"""Memory of the embedded engine: real buffers at stable addresses, and the one place that decides what may be touched.

BPF code works with 64-bit addresses. Every buffer that it may see (stack, packet, map values, contexts) is a Region registered
here; the interpreter asks Memory for each access and gets an AccessFault for anything outside. Because the addresses are real,
machine code and Python see the same bytes.

Regions never overlap, so a sorted list of base addresses finds the only candidate by bisection. Three further kinds exist:
*opaque* regions have an address but no readable bytes (a map or an skb as the program sees it: a handle), *virtual* ones
compute what is read (struct __sk_buff, whose fields the kernel rewrites), and *strided* ones hold the elements of a map, where an
access must stay within one element.

A run has a Memory of its own (stack, packet) on top of its engine's (maps, contexts), so that runs in several threads do not meet.
Writers replace the sorted lists as a whole: a reader in another thread sees the old or the new ones, never half a change.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

MASK64 = (1 << 64) - 1

_CODES = {1: struct.Struct("<B"), 2: struct.Struct("<H"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}
_UNPACK = {size: code.unpack_from for size, code in _CODES.items()}
_PACK = {size: code.pack_into for size, code in _CODES.items()}


class AccessFault(Exception):
    """An access outside every region, or against its permissions. The interpreter turns it into a RunError."""


class Access(Protocol):
    """Computes the accesses of a virtual region. ``offset`` and ``size`` lie within it."""

    def load(self, offset: int, size: int) -> int: ...

    def store(self, offset: int, size: int, value: int) -> None: ...


class Region:
    """A range of addresses with one owner and one set of permissions.

    Attributes:
        base: address of the first byte.
        size: bytes.
        name: for messages, such as ``stack`` or ``map 'flows' value``.
        view: the bytes, or None for opaque and virtual regions.
        writable: whether programs may write.
        access: computes loads and stores of a virtual region.
        owner: the Python object the region stands for (a map, an skb, a crypto context).
        stride: distance of one element to the next in a strided region, else 0.
        chunk: bytes of an element that may be accessed, in a strided region.
        live: whether programs reach the region: from map to unmap, but while its owner lets it rest. Base, size, stride and
            chunk stay as they are in between.
        reach, extent: how many bytes can be accessed without asking anything else: ``size`` of a live region with bytes and
            without stride is its reach, with stride its extent (within which an access must also stay in one element); otherwise
            they are 0. The interpreter remembers regions, and sees with these comparisons whether one still serves.
    """

    __slots__ = (
        "access",
        "base",
        "chunk",
        "extent",
        "live",
        "name",
        "owner",
        "reach",
        "size",
        "storage",
        "stride",
        "view",
        "writable",
    )

    def __init__(
        self,
        storage: ctypes.Array[ctypes.c_char],
        *,
        name: str,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
        readable: bool = True,
        access: Access | None = None,
        owner: object = None,
        stride: int = 0,
        chunk: int = 0,
    ) -> None:
        self.storage = storage
        self.base = ctypes.addressof(storage) + offset
        self.size = ctypes.sizeof(storage) - offset if size is None else size
        self.name = name
        self.writable = writable
        self.view = memoryview(storage).cast("B")[offset : offset + self.size] if readable and access is None else None
        self.access = access
        self.owner = owner
        self.stride = stride
        self.chunk = chunk
        self.live = False
        self.reach = 0
        self.extent = 0

    def set_live(self, live: bool) -> None:
        """Let programs reach the region, or not; for the Memory that maps it, and for an owner that uses it now and then."""
        self.live = live
        direct = self.size if live and self.view is not None else 0
        self.reach, self.extent = (0, direct) if self.stride else (direct, 0)

    def holds(self, address: int, size: int) -> bool:
        """Whether an access lies within this region, and within one element of it, while it is live."""
        at = address - self.base
        return self.live and 0 <= at <= self.size - size and (not self.stride or at % self.stride + size <= self.chunk)

    def load(self, at: int, size: int) -> int:
        """Read 1, 2, 4 or 8 bytes at an offset that the region holds."""
        if self.view is not None:
            return _UNPACK[size](self.view, at)[0]  # type: ignore[no-any-return]
        if self.access is None:
            raise AccessFault(f"{self.name} cannot be read")
        return self.access.load(at, size)

    def store(self, at: int, size: int, value: int) -> None:
        """Write the low 1, 2, 4 or 8 bytes of ``value`` at an offset that the region holds."""
        if not self.writable:
            raise AccessFault(f"{self.name} cannot be written")
        if self.view is not None:
            _PACK[size](self.view, at, value & ((1 << size * 8) - 1))
        elif self.access is not None:
            self.access.store(at, size, value)
        else:
            raise AccessFault(f"{self.name} cannot be written")

    def clear(self) -> None:
        """Fill the region with zero bytes."""
        if self.view is not None:
            self.view[:] = bytes(self.size)

    def __repr__(self) -> str:
        return f"<Region {self.name!r} {self.base:#x}+{self.size}>"


def allocate(size: int, align: int = 8) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """Zeroed storage with room for ``size`` bytes at an aligned offset, which is returned with it."""
    storage = ctypes.create_string_buffer(size + align - 1 or 1)
    return storage, -ctypes.addressof(storage) % align


class Memory:
    """An address space: every region that programs may reach, on top of the parent's.

    Attributes:
        machine_regions: what only machine code reaches besides.
    """

    def __init__(self, parent: Memory | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._index: tuple[list[int], list[Region]] = ([], [])
        self.machine_regions: tuple[Region, ...] = ()

    def map_for_machine(self, region: Region) -> None:
        """Let helpers that machine code calls reach a region, and nobody else.

        Machine code takes pieces of it without telling, as the verifier's rules allow; the interpreter maps each piece.
        """
        with self._lock:
            self.machine_regions = (*self.machine_regions, region)
            region.set_live(True)

    def unmap_for_machine(self, region: Region) -> None:
        """Undo ``map_for_machine``."""
        with self._lock:
            self.machine_regions = tuple(each for each in self.machine_regions if each is not region)
            region.set_live(False)

    def map(self, region: Region) -> Region:
        """Make a region reachable. The caller keeps it alive until it is unmapped."""
        with self._lock:
            bases, regions = self._index
            at = bisect_right(bases, region.base)
            self._index = ([*bases[:at], region.base, *bases[at:]], [*regions[:at], region, *regions[at:]])
            region.set_live(True)
        return region

    def unmap(self, region: Region) -> None:
        """Make a region unreachable; a region that is not mapped is a defect and raises ValueError."""
        with self._lock:
            bases, regions = self._index
            at = bisect_right(bases, region.base) - 1
            if at < 0 or regions[at] is not region:
                raise ValueError(f"{region!r} is not mapped")
            self._index = (bases[:at] + bases[at + 1 :], regions[:at] + regions[at + 1 :])
            region.set_live(False)

    def new(
        self,
        size: int,
        name: str,
        *,
        writable: bool = True,
        readable: bool = True,
        access: Access | None = None,
        owner: object = None,
        stride: int = 0,
        chunk: int = 0,
        align: int = 8,
    ) -> Region:
        """Allocate zeroed storage and map it as a region of ``size`` bytes."""
        storage, offset = allocate(max(size, 1), align)
        region = Region(
            storage,
            name=name,
            offset=offset,
            size=size,
            writable=writable,
            readable=readable,
            access=access,
            owner=owner,
            stride=stride,
            chunk=chunk,
        )
        return self.map(region)

    def find(self, address: int, size: int = 1) -> Region:
        """The region that holds ``size`` bytes at ``address``.

        Raises:
            AccessFault: there is none, or it ends before.
        """
        bases, regions = self._index
        at = bisect_right(bases, address) - 1
        if at >= 0:
            region = regions[at]
            inside = address - region.base
            if inside + size <= region.size and region.live:
                if region.stride and inside % region.stride + size > region.chunk:
                    raise AccessFault(
                        f"{size} bytes at offset {inside % region.stride} of {region.name} reach beyond its {region.chunk} bytes"
                    )
                return region
            if inside < region.size and region.live:
                raise AccessFault(
                    f"{size} bytes at offset {inside} of {region.name} reach beyond its {region.size} bytes"
                )
        if self._parent is not None:
            return self._parent.find(address, size)
        raise AccessFault(f"address {address:#x} is not in any memory of this program")

    def owner(self, address: int) -> object:
        """The object whose handle is exactly ``address``, or None."""
        bases, regions = self._index
        at = bisect_right(bases, address) - 1
        if at >= 0 and bases[at] == address:
            return regions[at].owner
        return self._parent.owner(address) if self._parent is not None else None

    def owners(self) -> Iterator[object]:
        """What the regions of the moment stand for, the parent's left out."""
        return (region.owner for region in self._index[1])

    def load(self, address: int, size: int) -> int:
        """Read 1, 2, 4 or 8 bytes as an unsigned little-endian integer."""
        region = self.find(address, size)
        return region.load(address - region.base, size)

    def store(self, address: int, size: int, value: int) -> None:
        """Write the low ``size`` bytes (1, 2, 4 or 8) of ``value``."""
        region = self.find(address, size)
        region.store(address - region.base, size, value)

    def span(self, address: int, size: int, *, write: bool = False) -> memoryview:
        """The bytes of an address range, live: writes to the view are writes to memory. Empty ranges need no region."""
        if size == 0:
            return memoryview(bytearray())
        region = self.find(address, size)
        if region.view is None:
            raise AccessFault(f"{region.name} cannot be accessed as bytes")
        if write and not region.writable:
            raise AccessFault(f"{region.name} cannot be written")
        at = address - region.base
        return region.view[at : at + size]

    def string(self, address: int, limit: int) -> bytes:
        """The bytes from ``address`` up to a NUL, at most ``limit``, never beyond the region."""
        region = self.find(address)
        if region.view is None:
            raise AccessFault(f"{region.name} cannot be accessed as bytes")
        at = address - region.base
        return bytes(region.view[at : at + limit]).split(b"\0", 1)[0]
