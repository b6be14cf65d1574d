"""HASH and PERCPU_HASH (kernel/bpf/hashtab.c).

An update of an existing element of a HASH does not touch it: a new element takes its place, and a program that still holds the old
address keeps seeing the old value until that memory is used again. A preallocated map keeps one spare element per CPU for that. Two
updates do write in place: those of per-CPU maps, and those with BPF_F_LOCK, which leave the kptrs of the value alone.

Memory of deleted elements stays mapped and waits for the next insertion.

Keys are listed bucket by bucket, in each the newest element first. The kernel draws the seed of its hash for every map that has not
BPF_F_ZERO_SEED; here it is 0 for all, so that a run repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from errno import E2BIG, EEXIST, EINVAL, ENOENT
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapFlag, UpdateFlag
from bpfcrypto.embedded.jhash import jhash
from bpfcrypto.embedded.map_base import USER_CPU, EmbeddedMap, Surroundings

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_hash = lru_cache(maxsize=1 << 16)(jhash)


class HashMap(EmbeddedMap):
    """Values by key, per CPU or not."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._elements: dict[bytes, int] = {}
        self._free: list[int] = []
        self._unused = iter(range(spec.max_entries))
        self._spare = list(range(spec.max_entries, self._slot_count()))
        self._preallocated = not spec.flags & MapFlag.NO_PREALLOC
        self._born: dict[int, int] = {}  # when an element came into its bucket, by slot
        self._births = count()

    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value, 0 where there is no such key."""
        slot = self._elements.get(bytes(key))
        return 0 if slot is None else self.values.address(slot, cpu % self.values.cpus)

    def each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        """Every key with the address of its value, but those that go in the meantime (bpf_for_each_map_elem)."""
        for key in self._keys():
            slot = self._elements.get(key)
            if slot is not None:
                yield key, self.values.address(slot, cpu % self.values.cpus)

    def _slot_count(self) -> int:
        return self._spec.max_entries + (0 if self._rules.percpu else self._around.cpus)

    def _read(self, key: bytes) -> bytes | int:
        with self._lock:  # or else the slot may get another key before it is read
            slot = self._elements.get(key)
            return ENOENT if slot is None else self.values.read(slot)

    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int:
        in_place = bool(flags & UpdateFlag.LOCK)
        if flags & ~int(UpdateFlag.LOCK) > UpdateFlag.EXIST or (in_place and not self._has_lock):
            return EINVAL
        with self._lock:
            old = self._elements.get(key)
            errno = presence_errno(old is not None, flags)
            if errno:
                return errno
            if old is None:
                return self._insert(key, value, cpu)
            if self._rules.percpu:
                self.values.write(old, value, cpu)
                self.values.drop(old, cpu)
            elif in_place:
                with self._lock_of(old):
                    self.values.write(old, value)
            else:
                self._replace(key, old, value, cpu)
        return 0

    def _insert(self, key: bytes, value: Bytes, cpu: int | None) -> int:
        if len(self._elements) >= self._spec.max_entries:
            return E2BIG
        slot = self._free.pop() if self._free else next(self._unused)
        if not self._preallocated:
            self.values.drop(slot)
        self._fill(slot, value, cpu)
        self._link(key, slot)
        return 0

    def _replace(self, key: bytes, old: int, value: Bytes, cpu: int | None) -> None:
        where = USER_CPU if cpu is None else cpu % len(self._spare)
        slot, self._spare[where] = self._spare[where], old
        self.values.write(slot, value)
        self._link(key, slot)
        self.values.drop(old)

    def _link(self, key: bytes, slot: int) -> None:
        """Make an element the one of ``key``, at the head of its bucket."""
        self._born[slot] = next(self._births)
        self._elements[key] = slot

    def _fill(self, slot: int, value: Bytes, cpu: int | None) -> None:
        """The value of a new element: a program on a CPU gives its own copy, the others become zero."""
        if self._rules.percpu and cpu is not None:
            self.values.write(slot, value, cpu)
            self.values.clear_others(slot, cpu)
        else:
            self.values.write(slot, value)

    def _remove(self, key: bytes) -> int:
        with self._lock:
            slot = self._elements.pop(key, None)
            if slot is None:
                return ENOENT
            self._discard(slot)
        return 0

    def _discard(self, slot: int) -> None:
        """Give back an element that is no longer in the table."""
        self.values.drop(slot)
        self._free.append(slot)

    def _take(self, key: bytes) -> bytes | int:
        with self._lock:
            value = self._read(key)
            return value if isinstance(value, int) else self._remove(key) or value

    def _keys(self) -> Iterable[bytes]:
        return [key for _, keys in self._buckets() for key in keys]

    def _buckets(self) -> list[tuple[int, list[bytes]]]:
        with self._lock:
            newest_first = sorted(self._elements, key=lambda key: -self._born[self._elements[key]])
        return in_buckets(newest_first, self._table_size())

    def _table_size(self) -> int:
        """The number that, rounded up to a power of two, is that of the buckets."""
        return self._spec.max_entries


def in_buckets(keys: Iterable[bytes], size: int) -> list[tuple[int, list[bytes]]]:
    """Numbers and keys of the buckets that are not empty, by number.

    Args:
        keys: the newest first.
        size: the number that, rounded up to a power of two, is that of the buckets.
    """
    mask = (1 << (size - 1).bit_length()) - 1
    buckets: dict[int, list[bytes]] = {}
    for key in keys:
        buckets.setdefault(_hash(key) & mask, []).append(key)
    return sorted(buckets.items())


def presence_errno(exists: bool, flags: int) -> int:
    """EEXIST or ENOENT where BPF_NOEXIST or BPF_EXIST forbid an update, else 0."""
    if exists and flags & UpdateFlag.NOEXIST:
        return EEXIST
    if not exists and flags & UpdateFlag.EXIST:
        return ENOENT
    return 0
