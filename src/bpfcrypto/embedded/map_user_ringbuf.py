"""USER_RINGBUF (kernel/bpf/ringbuf.c): user space appends samples, a program drains them.

Nothing that user space writes is trusted: a position or a header that does not fit ends the drain with an errno.
"""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EBUSY, EINVAL, ENODATA
from typing import TYPE_CHECKING

from bpfcrypto.abi.ringbuf import BUSY, DISCARD, HEADER_SIZE, MAX_SAMPLES, record_size
from bpfcrypto.embedded.dynptr import MAX_SIZE
from bpfcrypto.embedded.map_ringbuf import RingMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.map_base import Surroundings
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.spec import MapSpec

Sample = tuple[int, int]
"""Position of the header, and bytes of the payload."""


class UserRingBufMap(RingMemory):
    """Samples from user space to programs."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._busy = False

    def submit(self, data: bytes) -> None:
        """Append a sample; see :class:`~bpfcrypto.engine.UserRingMap`."""
        self._map("submit")
        with self._lock:
            self.ring.submit(data)

    def drain(self, memory: Memory, deliver: Callable[[int, int], int]) -> int:
        """Give samples to a program until there is none or it has enough (bpf_user_ringbuf_drain).

        Args:
            memory: the run's address space.
            deliver: takes address and size of a sample that can be reached; not 0 stops.

        Returns:
            How many samples were given, or a negative errno.
        """
        with self._lock:
            if self._busy:
                return -EBUSY
            self._busy = True
        try:
            given = 0
            for _ in range(MAX_SAMPLES):
                found = self._peek()
                if found == -EAGAIN:
                    continue
                if isinstance(found, int):
                    return given if found == -ENODATA else found
                given += 1
                if self._give(memory, *found, deliver):
                    break
            return given
        finally:
            self._busy = False

    def _peek(self) -> Sample | int:
        """The next sample; -EAGAIN for a discarded one, which is passed over; other negative errnos end the drain."""
        ring = self.ring
        if ring.producer % 8:
            return -EINVAL
        position, producer = ring.consumer, ring.producer
        if position >= producer:
            return -ENODATA
        word = ring.header(position)
        size = word & ~(BUSY | DISCARD)
        needed = record_size(size)
        if needed > producer - position:
            return -EINVAL
        if needed > ring.size or size > MAX_SIZE:
            return -E2BIG
        if word & DISCARD:
            ring.consumer = position + needed
            return -EAGAIN
        return -ENODATA if word & BUSY else (position, size)

    def _give(self, memory: Memory, position: int, size: int, deliver: Callable[[int, int], int]) -> int:
        payload = position + HEADER_SIZE
        region = self.window(memory, payload, size, f"sample of map '{self.name}'")
        try:
            return deliver(region.base, size)
        finally:
            self.close_window(memory, region, payload)
            self.ring.consumer = position + record_size(size)
