"""The memory of a ring buffer (kernel/bpf/ringbuf.c), and how its two ends walk it.

Two pages hold one 64-bit position each, then follow the data. Positions count bytes since the map was made; modulo the ring's size, a
power of two, they are offsets in the data. A record is a header of eight bytes and its payload, rounded up to 8. The header's first
word is the payload's size with two bits: *busy* while the record is being written, *discard* for one that the reader skips; the
second word is the record's distance from the start of the kernel's structure in pages, zero in a ring that user space fills.

A payload may run over the end of the data and go on at its start. The kernel maps the data twice, so that it is contiguous all the
same; here it is put together from its two pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from errno import ENOSPC

from bpfcrypto.errors import MapFullError

BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT
DISCARD = 1 << 30  # BPF_RINGBUF_DISCARD_BIT
HEADER_SIZE = 8  # BPF_RINGBUF_HDR_SZ
MAX_RECORD = ((1 << 32) - 1) // 4  # RINGBUF_MAX_RECORD_SZ
MAX_SAMPLES = 1 << 17  # BPF_MAX_USER_RINGBUF_SAMPLES
META_PAGES = 3  # in front of the data: struct bpf_ringbuf itself, and the two positions

NO_WAKEUP = 1 << 0  # BPF_RB_NO_WAKEUP
FORCE_WAKEUP = 1 << 1  # BPF_RB_FORCE_WAKEUP

_MASK64 = (1 << 64) - 1
_MAX_RING = 1 << 31


def ring_size(wanted: int, page: int) -> int:
    """The size of a ring that has room for ``wanted`` bytes, as libbpf asks for it: whole pages, and a power of two.

    Args:
        wanted: bytes. 0, and what no ring can hold, is left as it is for BPF_MAP_CREATE to refuse.
        page: bytes of a page.
    """
    if not 0 < wanted <= _MAX_RING:
        return wanted
    return max(page, 1 << (wanted - 1).bit_length())


def record_size(payload: int) -> int:
    """Bytes that a record takes in the ring."""
    return payload + HEADER_SIZE + 7 & ~7


class Ring:
    """The shared memory of one ring.

    Args:
        name: the map's.
        consumer, producer: the eight bytes of each position; at least one of them is writable.
        data: the ring's bytes, once.

    Attributes:
        name: the map's.
        data: the ring's bytes.
        size: how many.
        mask: what makes an offset of a position.
    """

    def __init__(self, name: str, consumer: memoryview, producer: memoryview, data: memoryview) -> None:
        self.name = name
        # whole words are loaded and stored at once: the other side works at the same time
        self._consumer = consumer.cast("Q")
        self._producer = producer.cast("Q")
        self._words = data.cast("I")
        self.data = data
        self.size = len(data)
        self.mask = self.size - 1
        self._released = False

    @property
    def consumer(self) -> int:
        """Position of the next byte to be read."""
        return self._consumer[0]

    @consumer.setter
    def consumer(self, position: int) -> None:
        self._consumer[0] = position & _MASK64

    @property
    def producer(self) -> int:
        """Position of the next byte to be written."""
        return self._producer[0]

    @producer.setter
    def producer(self, position: int) -> None:
        self._producer[0] = position & _MASK64

    @property
    def available(self) -> int:
        """Bytes between reader and writer, headers and unfinished records included."""
        return self.producer - self.consumer & _MASK64

    def header(self, position: int) -> int:
        """The first word of the header at a position."""
        return self._words[(position & self.mask) // 4]

    def set_header(self, position: int, word: int, page: int | None = None) -> None:
        """Write a header's first word; with ``page`` its second one too, and before."""
        at = (position & self.mask) // 4
        if page is not None:
            self._words[at + 1] = page
        self._words[at] = word

    def read(self, position: int, size: int) -> bytes:
        """A copy of ``size`` bytes."""
        at = position & self.mask
        return bytes(self.data[at : at + size]) + bytes(self.data[: max(0, at + size - self.size)])

    def write(self, position: int, payload: bytes) -> None:
        """Store bytes, over the end if need be."""
        at = position & self.mask
        first = min(len(payload), self.size - at)
        self.data[at : at + first] = payload[:first]
        self.data[: len(payload) - first] = payload[first:]

    def records(self) -> Iterator[bytes]:
        """Take out the finished records in order; a discarded one is skipped, an unfinished one ends it."""
        while not self._released and (position := self.consumer) != self.producer:
            word = self.header(position)
            if word & BUSY:
                return
            size = word & ~DISCARD
            payload = self.read(position + HEADER_SIZE, size)
            self.consumer = position + record_size(size)
            if not word & DISCARD:
                yield payload

    def submit(self, payload: bytes) -> None:
        """Append a record.

        Raises:
            MapFullError: it can never fit (E2BIG), or does not fit now (ENOSPC).
        """
        needed = record_size(len(payload))
        if needed > self.size:
            raise MapFullError(
                f"map '{self.name}': a record of {len(payload)} bytes does not fit a ring of {self.size}",
                hint="records take 8 bytes more than their data; make max_entries larger",
            )
        free = self.size - self.available
        if needed > free:
            raise MapFullError(
                f"map '{self.name}': a record of {len(payload)} bytes does not fit {free} free bytes",
                errno=ENOSPC,
                hint="run the program that drains the ring",
            )
        position = self.producer
        self.write(position + HEADER_SIZE, payload)
        self.set_header(position, len(payload), 0)
        self.producer = position + needed

    def release(self) -> None:
        """Let go of the memory; a reader that is still at it ends."""
        self._released = True
        for view in (self._consumer, self._producer, self._words, self.data):
            view.release()
