"""ARRAY and PERCPU_ARRAY (kernel/bpf/arraymap.c): every index below max_entries has a value from the start, and none can go.

An update writes in place, so a program that holds an address sees it, and drops the kptrs of the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import E2BIG, EEXIST, EINVAL, ENOENT, EPERM
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.errors import MapError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes


class ArrayMap(EmbeddedMap):
    """Values by index, per CPU or not. The value of a data section is the only one of such a map."""

    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value, 0 for an index beyond the last."""
        index = int.from_bytes(key, "little")
        return self.values.address(index, cpu % self.values.cpus) if index < self._spec.max_entries else 0

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
        if flags & ~UpdateFlag.LOCK > UpdateFlag.EXIST:
            return EINVAL
        if index >= self._spec.max_entries:
            return E2BIG
        if flags & UpdateFlag.NOEXIST:
            return EEXIST
        if flags & UpdateFlag.LOCK and not self._has_lock:
            return EINVAL
        where = cpu if self._rules.percpu else None
        with self._lock:
            self.values.write(index, value, where)
            self.values.drop(index, where)
        return 0

    def _remove(self, _key: bytes, /) -> int:
        return EINVAL

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        return (index.to_bytes(4, "little") for index in range(self._spec.max_entries))


class Section:
    """The bytes behind a data section's variables, as views.Storage.

    A section with special fields is written by programs alone: on a kernel, user space could only replace its whole value, which
    would drop what the fields hold.
    """

    def __init__(self, target: EmbeddedMap) -> None:
        self._map = target

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; special fields read as zero bytes."""
        return self._map.values.read_part(0, offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """Store ``data`` at ``offset``.

        Raises:
            MapError: the section is frozen (EPERM), or holds special fields (ENOTSUPP).
        """
        if self._map.frozen:
            raise MapError(
                f"'{self._map.name}' is read-only once it is loaded",
                errno=EPERM,
                hint="change the data of its map spec before loading",
            )
        if self._map.values.fields:
            raise MapError(
                f"'{self._map.name}' holds a kptr, lock or timer: writing a variable would replace the whole section and drop it",
                errno=ENOTSUPP,
                hint='give such variables a section of their own, such as SEC(".bss.ctx"), or write from a program',
            )
        self._map.values.write_part(0, offset, data)
