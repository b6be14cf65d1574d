"""The index of a hash map, in memory that machine code works on too (jit/runtime/hash.h).

Elements are numbered. Each has its hash, its key and the next element of its bucket's chain; the newest is the first of its chain.
Numbers in chains are counted from 1, 0 ends a chain.

Writers hold the map's lock. Readers hold nothing: an element appears by one store, when it is complete. One that leaves its chain keeps
its way on, but when it is used again a reader that stands on it goes astray. So the number of changes grows before and after an element
leaves; whoever found nothing while it grew looks again, and after a few times takes the lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jhash import hash_key
from bpfcrypto.embedded.map_values import new_storage, round_up
from bpfcrypto.embedded.memory import Region
from bpfcrypto.embedded.word_lock import WordLock, order_stores

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.embedded.map_record import MapRecord

HEAD_SIZE = 8  # bytes of an element before its key: next, hash
_TRIES = 4
_U32 = 0xFFFFFFFF


def element_size(key_size: int) -> int:
    """Bytes from one element to the next."""
    return HEAD_SIZE + round_up(key_size)


class HashIndex:
    """Elements by key.

    Args:
        record: of the map; the addresses of the index are stored there.
        lock: the map's.
        slots: number of elements.
        size: the number that, rounded up to a power of two, is that of the buckets.
        spares: elements to keep out of the table, the last ones.

    Attributes:
        region: all of it, for machine code that hands an element's key to Python.
        referenced: one byte for each element (LRU maps).
    """

    def __init__(self, record: MapRecord, lock: WordLock, slots: int, size: int, spares: int = 0) -> None:
        self._record = record
        self._lock = lock
        self._key_size = record.key_size
        element = element_size(record.key_size)
        self._width = element // 4
        buckets = 1 << (size - 1).bit_length()
        self._mask = buckets - 1
        sizes = [round_up(4 * buckets), element * slots, round_up(4 * slots), round_up(4 * spares), slots]
        storage, start = new_storage(sum(sizes))
        self.region = Region(storage, name="key in a map", offset=start, size=sum(sizes), writable=False)
        whole = memoryview(storage).cast("B")
        views = list[memoryview]()
        addresses = list[int]()
        for each in sizes:
            views.append(whole[start : start + each])
            addresses.append(ctypes.addressof(storage) + start)
            start += each
        heads, self._bytes, free, spare, self.referenced = views
        self._heads, self._words, self._free = heads.cast("I"), self._bytes.cast("I"), free.cast("I")
        self._spares = spare.cast("I")
        self._first_spares = range(slots - spares, slots)
        for number, slot in enumerate(self._first_spares):
            self._spares[number] = slot
        record.table, record.elements, record.free, record.spares, record.referenced = addresses
        record.mask, record.element_size, record.spare_count = self._mask, element, spares

    @property
    def count(self) -> int:
        """Elements in the table."""
        return self._record.count

    # --- readers

    def find(self, key: Bytes) -> int | None:
        """The element of a key, for those who hold no lock."""
        key = bytes(key)
        record = self._record
        for _ in range(_TRIES):
            changes = record.changes
            slot = self.find_locked(key)
            if slot is not None or record.changes == changes:
                return slot
        with self._lock:
            return self.find_locked(key)

    def find_locked(self, key: bytes) -> int | None:
        """The element of a key, for those who hold the map's lock."""
        hash_ = hash_key(key)
        words, width = self._words, self._width
        number = self._heads[hash_ & self._mask]
        while number:
            at = (number - 1) * width
            if words[at + 1] == hash_ and self.key(number - 1) == key:
                return number - 1
            number = words[at]
        return None

    def key(self, slot: int) -> bytes:
        """The key that an element has, or had."""
        at = 4 * slot * self._width + HEAD_SIZE
        return bytes(self._bytes[at : at + self._key_size])

    def buckets(self, slots: Iterable[int] = ()) -> list[tuple[int, list[bytes]]]:
        """Numbers and keys of the buckets that are not empty, by number. The caller holds the lock.

        Args:
            slots: elements that may be in the table, besides those that ``take`` gave and those that were spare ones at first.
        """
        words, width, mask = self._words, self._width, self._mask
        hashes = words[1 : max(1, self._record.fresh * width) : width].tolist()
        hashes += [words[slot * width + 1] for slot in (*self._first_spares, *slots)]
        found = ((number, self._chain(number)) for number in sorted({each & mask for each in hashes}))
        return [(number, keys) for number, keys in found if keys]

    def _chain(self, bucket: int) -> list[bytes]:
        keys = []
        number = self._heads[bucket]
        while number:
            keys.append(self.key(number - 1))
            number = self._words[(number - 1) * self._width]
        return keys

    # --- writers, which hold the lock

    def take(self) -> int:
        """An element that is not in use; there has to be one."""
        record = self._record
        if record.free_count:
            record.free_count -= 1
            return self._free[record.free_count]
        slot = record.fresh
        record.fresh += 1
        return slot

    def give(self, slot: int) -> None:
        """Give back an element that ``take`` gave and that is not in the table."""
        self._free[self._record.free_count] = slot
        self._record.free_count += 1

    def swap_spare(self, number: int, slot: int) -> int:
        """Keep an element as a spare one; the one that was kept."""
        number %= len(self._spares)
        spare, self._spares[number] = self._spares[number], slot
        return spare

    def link(self, key: bytes, slot: int) -> None:
        """Make an element the first of the bucket of ``key``."""
        hash_ = hash_key(key)
        bucket = hash_ & self._mask
        at = slot * self._width
        self._words[at + 1] = hash_
        self._bytes[4 * at + HEAD_SIZE : 4 * at + HEAD_SIZE + self._key_size] = key
        order_stores()
        self._words[at] = self._heads[bucket]
        order_stores()
        self._heads[bucket] = slot + 1
        self._record.count += 1

    def unlink(self, slot: int) -> bool:
        """Take an element out of its chain; False where it is in none."""
        words, width = self._words, self._width
        bucket = words[slot * width + 1] & self._mask
        number, before = self._heads[bucket], None
        while number and number != slot + 1:
            before = number - 1
            number = words[before * width]
        if not number:
            return False
        self.change()
        if before is None:
            self._heads[bucket] = words[slot * width]
        else:
            words[before * width] = words[slot * width]
        self.change()
        self._record.count -= 1
        return True

    def change(self) -> None:
        """Let readers who hold no lock know that what they find may be something else by now."""
        order_stores()
        self._record.changes = self._record.changes + 1 & _U32
        order_stores()
