"""RINGBUF (kernel/bpf/ringbuf.c): programs append records, user space takes them out.

A record that a program has reserved is memory of its own until it is submitted or discarded: the program reaches the payload and nothing
beside it, and afterwards nothing at all. The ring's memory lies in one piece with room for a second copy behind it, so that a record
that runs over the end is contiguous while the program works on it; what is in the copy goes back to the start when the record is done.
"""

from __future__ import annotations

import threading
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
from bpfcrypto.embedded.map_values import new_storage
from bpfcrypto.embedded.memory import Memory, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.embedded.map_base import Surroundings
    from bpfcrypto.spec import MapSpec

PAGE = 4096
_POSITIONS = 2 * PAGE
_U64 = (1 << 64) - 1


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
        self._storage, self._start = new_storage(_POSITIONS + 2 * size)
        view = memoryview(self._storage).cast("B")[self._start :]
        self.ring = Ring(spec.name, view[:8], view[PAGE : PAGE + 8], view[_POSITIONS : _POSITIONS + size])
        self._mirror = view[_POSITIONS + size : _POSITIONS + 2 * size]
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
        return memory.map(Region(self._storage, name=name, offset=self._start + _POSITIONS + at, size=size))

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

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._pending = 0  # position of the oldest record that may be unfinished
        self._woken = threading.Condition()
        self._wakeups = 0

    # --- user space

    def records(self) -> Iterator[bytes]:
        """Take out the finished records in order; see :class:`~bpfcrypto.engine.RingMap`."""
        self._map("records")
        return self.ring.records()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records; see :class:`~bpfcrypto.engine.RingMap`."""
        self._map("wait")
        with self._woken:
            before = self._wakeups
            if not self.ring.available:
                self._woken.wait_for(lambda: self._wakeups != before, timeout)
        return bool(self.ring.available)

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
            if end - consumer & _U64 > ring.mask or end - self._pending & _U64 > ring.mask:
                return 0
            page = META_PAGES + (position & ring.mask) // PAGE
            ring.set_header(position, size | BUSY, page)
            ring.producer = end
            region = self.window(memory, position + HEADER_SIZE, size, f"record of map '{self.name}'")
            region.owner = Reservation(self, position, memory, region)
        return region.base

    def _skip_finished(self, producer: int) -> None:
        while self._pending < producer:
            word = self.ring.header(self._pending)
            if word & BUSY:
                return
            self._pending += record_size(word & ~DISCARD)

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
            with self._woken:
                self._wakeups += 1
                self._woken.notify_all()

    def query(self, flags: int) -> int:
        """A number that describes the ring (bpf_ringbuf_query); 0 for an unknown question."""
        ring = self.ring
        numbers = (ring.available, ring.size, ring.consumer, ring.producer)
        return numbers[flags] if flags < len(numbers) else 0
