"""RINGBUF (kernel/bpf/ringbuf.c): programs append records, user space takes them out.

A record that a program has reserved is memory of its own until it is submitted or discarded: the program reaches the payload and nothing
beside it, and afterwards nothing at all. The ring's memory lies in one piece with room for a second copy behind it, so that a record
that runs over the end is contiguous while the program works on it; what is in the copy goes back to the start when the record is done.

Pages are as in the kernel: one for the ring itself, one for each position, then the data. So the page number in a record's header leads
from the record to its ring, which is all that machine code needs to finish it (jit/runtime/ringbuf_v4.bpf.c).
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from errno import EBUSY, EPERM
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.ringbuf import (
    BUSY,
    DISCARD,
    FORCE_WAKEUP,
    HEADER_SIZE,
    MAX_RECORD,
    META_PAGES,
    NO_WAKEUP,
    Ring,
    record_size,
    ring_size,
)
from bpfcrypto.embedded.map_keyless import KeylessMap
from bpfcrypto.embedded.map_record import MapKind
from bpfcrypto.embedded.map_values import new_storage
from bpfcrypto.embedded.memory import Memory, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.embedded.map_base import Surroundings
    from bpfcrypto.spec import MapSpec

PAGE = 4096
_DATA = META_PAGES * PAGE
_U64 = (1 << 64) - 1
_FIRST_PAUSE = 2e-5
_LONGEST_PAUSE = 1e-3


class RingPage(ctypes.Structure):
    """The first page of a ring, for its producers.

    Attributes:
        mask: bytes of the data less one.
        pending: position of the oldest record that may be unfinished.
        wakeups: how often machine code has woken readers.
    """

    _fields_ = (("mask", ctypes.c_uint64), ("pending", ctypes.c_uint64), ("wakeups", ctypes.c_uint64))

    mask: int
    pending: int
    wakeups: int


class RingMemory(KeylessMap):
    """A map whose only content is a ring.

    Attributes:
        ring: its positions and data.
    """

    no_keys = ENOTSUPP
    cannot_delete = ENOTSUPP

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        size = ring_size(spec.max_entries, PAGE)
        self._storage, self._start = new_storage(_DATA + 2 * size, align=PAGE)
        view = memoryview(self._storage).cast("B")[self._start :]
        consumer, producer = (view[at : at + 8] for at in (PAGE, 2 * PAGE))
        self.ring = Ring(spec.name, consumer, producer, view[_DATA : _DATA + size])
        self._mirror = view[_DATA + size : _DATA + 2 * size]
        self._mapped = False

    def freeze(self) -> None:
        """Forbid writing from user space, for good.

        Raises:
            MapError: user space has the ring mapped for writing (EBUSY), or the map is frozen already (EPERM).
        """
        if self._mapped and not self.frozen:
            self._fail("freeze", b"", EBUSY)
        super().freeze()

    def _map(self, operation: str) -> None:
        """What user space does before it first uses the ring: map a position for writing, which a frozen map forbids."""
        if not self._mapped and self.frozen:
            self._fail(operation, b"", EPERM)
        self._mapped = True

    def window(self, memory: Memory, position: int, size: int, name: str) -> Region:
        """Let programs reach ``size`` bytes of the ring, contiguous even over its end; :meth:`close_window` takes them back."""
        at = position & self.ring.mask
        over = self._over(at, size)
        self._mirror[:over] = self.ring.data[:over]
        return memory.map(Region(self._storage, name=name, offset=self._start + _DATA + at, size=size))

    def close_window(self, memory: Memory, region: Region, position: int) -> None:
        """End what :meth:`window` began."""
        memory.unmap(region)
        over = self._over(position & self.ring.mask, region.size)
        self.ring.data[:over] = self._mirror[:over]

    def _over(self, at: int, size: int) -> int:
        return max(0, at + size - self.ring.size)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A record that a program is writing: what the region of its payload belongs to.

    Attributes:
        map: where.
        position: of its header.
        memory: the address space that it is in.
        region: its payload.
    """

    map: RingBufMap
    position: int
    memory: Memory
    region: Region


class RingBufMap(RingMemory):
    """Records from programs to user space."""

    kind = MapKind.RING

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._page = RingPage.from_buffer(self._storage, self._start)
        self._page.mask = self.ring.mask
        self.record.table = ctypes.addressof(self._page)
        self._woken = 0  # how often Python has woken readers
        self._records = Region(
            self._storage, name=f"record of map '{self.name}'", offset=self._start + _DATA, size=2 * self.ring.size
        )
        around.memory.map_for_machine(self._records)

    def _destroy(self) -> None:
        self._around.memory.unmap_for_machine(self._records)
        super()._destroy()

    # --- user space

    def records(self) -> Iterator[bytes]:
        """Take out the finished records in order; see :class:`~bpfcrypto.engine.RingMap`."""
        self._map("records")
        return self.ring.records()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records; see :class:`~bpfcrypto.engine.RingMap`."""
        self._map("wait")
        before, pause = self._wakeups, _FIRST_PAUSE
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.ring.available:
            return True
        while self._wakeups == before:
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return bool(self.ring.available)

    @property
    def _wakeups(self) -> tuple[int, int]:
        return self._woken, self._page.wakeups

    # --- programs

    def reserve(self, memory: Memory, size: int) -> int:
        """Begin a record of ``size`` bytes; the address of its payload, or 0 when there is no room.

        Args:
            memory: the run's address space.
            size: bytes of the payload.
        """
        needed = record_size(size)
        if size > MAX_RECORD or needed > self.ring.size:
            return 0
        with self._lock:
            ring = self.ring
            consumer, position = ring.consumer, ring.producer
            end = position + needed
            self._skip_finished(position)
            if end - consumer & _U64 > ring.mask or end - self._page.pending & _U64 > ring.mask:
                return 0
            page = META_PAGES + (position & ring.mask) // PAGE
            ring.set_header(position, size | BUSY, page)
            ring.producer = end
            region = self.window(memory, position + HEADER_SIZE, size, f"record of map '{self.name}'")
            region.owner = Reservation(self, position, memory, region)
        return region.base

    def _skip_finished(self, producer: int) -> None:
        page = self._page
        while page.pending < producer:
            word = self.ring.header(page.pending)
            if word & BUSY:
                return
            page.pending += record_size(word & ~DISCARD)

    def commit(self, record: Reservation, flags: int, *, discard: bool) -> None:
        """Finish a record.

        Args:
            record: the record.
            flags: NO_WAKEUP, FORCE_WAKEUP; others mean nothing.
            discard: whether the reader is to skip it.
        """
        ring, position = self.ring, record.position
        with self._lock:
            self.close_window(record.memory, record.region, position + HEADER_SIZE)
            ring.set_header(position, record.region.size | (DISCARD if discard else 0))
        reached = (ring.consumer ^ position) & ring.mask == 0
        if flags & FORCE_WAKEUP or (reached and not flags & NO_WAKEUP):
            with self._lock:
                self._woken += 1

    def query(self, flags: int) -> int:
        """A number that describes the ring (bpf_ringbuf_query); 0 for an unknown question."""
        ring = self.ring
        numbers = (ring.available, ring.size, ring.consumer, ring.producer)
        return numbers[flags] if flags < len(numbers) else 0
