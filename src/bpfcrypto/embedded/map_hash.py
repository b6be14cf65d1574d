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
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapFlag, UpdateFlag
from bpfcrypto.embedded.hash_index import HashIndex
from bpfcrypto.embedded.map_base import USER_CPU, EmbeddedMap, Surroundings
from bpfcrypto.embedded.map_record import MapKind

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec


class HashMap(EmbeddedMap):
    """Values by key, per CPU or not."""

    kind = MapKind.HASH

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        spares = self._slot_count() - spec.max_entries if self.kind is MapKind.HASH else 0
        self._index = HashIndex(self.record, self._lock, self._slot_count(), self._table_size(), spares)
        around.memory.map_for_machine(self._index.region)
        self._preallocated = not spec.flags & MapFlag.NO_PREALLOC

    def _destroy(self) -> None:
        self._around.memory.unmap_for_machine(self._index.region)
        super()._destroy()

    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value, 0 where there is no such key."""
        slot = self._index.find(key)
        return 0 if slot is None else self.values.address(slot, cpu % self.values.cpus)

    def each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        """Every key with the address of its value, but those that go in the meantime (bpf_for_each_map_elem)."""
        for key in self._keys():
            slot = self._index.find(key)
            if slot is not None:
                yield key, self.values.address(slot, cpu % self.values.cpus)

    @property
    def count(self) -> int:
        """Number of elements."""
        return self._index.count

    def _slot_count(self) -> int:
        return self._spec.max_entries + (0 if self._rules.percpu else self._around.cpus)

    def _read(self, key: bytes) -> bytes | int:
        with self._lock:  # or else the slot may get another key before it is read
            slot = self._index.find_locked(key)
            return ENOENT if slot is None else self.values.read(slot)

    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int:
        in_place = bool(flags & UpdateFlag.LOCK)
        if flags & ~int(UpdateFlag.LOCK) > UpdateFlag.EXIST or (in_place and not self._has_lock):
            return EINVAL
        with self._lock:
            old = self._index.find_locked(key)
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
        if self._index.count >= self._spec.max_entries:
            return E2BIG
        slot = self._index.take()
        if not self._preallocated:
            self.values.drop(slot)
        self._fill(slot, value, cpu)
        self._index.link(key, slot)
        return 0

    def _replace(self, key: bytes, old: int, value: Bytes, cpu: int | None) -> None:
        slot = self._index.swap_spare(USER_CPU if cpu is None else cpu, old)
        self.values.write(slot, value)
        self._index.link(key, slot)
        self._index.unlink(old)
        self.values.drop(old)

    def _fill(self, slot: int, value: Bytes, cpu: int | None) -> None:
        """The value of a new element: a program on a CPU gives its own copy, the others become zero."""
        if self._rules.percpu and cpu is not None:
            self.values.write(slot, value, cpu)
            self.values.clear_others(slot, cpu)
        else:
            self.values.write(slot, value)

    def _remove(self, key: bytes) -> int:
        with self._lock:
            slot = self._index.find_locked(key)
            if slot is None:
                return ENOENT
            self._index.unlink(slot)
            self._discard(slot)
        return 0

    def _discard(self, slot: int) -> None:
        """Give back an element that is no longer in the table."""
        self.values.drop(slot)
        self._index.give(slot)

    def _take(self, key: bytes) -> bytes | int:
        with self._lock:
            value = self._read(key)
            return value if isinstance(value, int) else self._remove(key) or value

    def _keys(self) -> Iterable[bytes]:
        return [key for _, keys in self._buckets() for key in keys]

    def _buckets(self) -> list[tuple[int, list[bytes]]]:
        with self._lock:
            return self._index.buckets()

    def _table_size(self) -> int:
        """The number that, rounded up to a power of two, is that of the buckets."""
        return self._spec.max_entries


def presence_errno(exists: bool, flags: int) -> int:
    """EEXIST or ENOENT where BPF_NOEXIST or BPF_EXIST forbid an update, else 0."""
    if exists and flags & UpdateFlag.NOEXIST:
        return EEXIST
    if not exists and flags & UpdateFlag.EXIST:
        return ENOENT
    return 0
