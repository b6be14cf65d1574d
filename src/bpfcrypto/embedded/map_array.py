"""ARRAY and PERCPU_ARRAY (kernel/bpf/arraymap.c): every index below max_entries has a value from the start, and none can go.

An update writes in place, so a program that holds an address sees it, and drops the kptrs of the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from errno import E2BIG, EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.map_record import MapKind

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes


class ArrayMap(EmbeddedMap):
    """Values by index, per CPU or not. The value of a data section is the only one of such a map."""

    kind = MapKind.ARRAY

    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value, 0 for an index beyond the last."""
        index = int.from_bytes(key, "little")
        return self.values.address(index, cpu % self.values.cpus) if index < self._spec.max_entries else 0

    def each(self, cpu: int) -> Iterator[tuple[bytes, int]]:
        """Every key with the address of its value (bpf_for_each_map_elem)."""
        where = cpu % self.values.cpus
        for index in range(self._spec.max_entries):
            yield index.to_bytes(4, "little"), self.values.address(index, where)

    def value_address(self, offset: int) -> int:
        """Address within the value at index 0, as ``lddw`` takes it for a variable (map_direct_value_addr)."""
        return self.values.address(0) + offset

    def _slot_count(self) -> int:
        return self._spec.max_entries

    def _read(self, key: bytes) -> bytes | int:
        index = int.from_bytes(key, "little")
        return self.values.read(index) if index < self._spec.max_entries else ENOENT

    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int:
        index = int.from_bytes(key, "little")
        if flags & ~int(UpdateFlag.LOCK) > UpdateFlag.EXIST:
            return EINVAL
        if index >= self._spec.max_entries:
            return E2BIG
        if flags & UpdateFlag.NOEXIST:
            return EEXIST
        if flags & UpdateFlag.LOCK and not self._has_lock:
            return EINVAL
        where = cpu if self._rules.percpu else None
        with self._lock, self._lock_of(index) if flags & UpdateFlag.LOCK else nullcontext():
            self.values.write(index, value, where)
            self.values.drop(index, where)
        return 0

    def _remove(self, _key: bytes, /) -> int:
        return EINVAL

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        return (index.to_bytes(4, "little") for index in range(self._spec.max_entries))
