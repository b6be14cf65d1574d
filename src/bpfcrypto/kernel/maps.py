"""Live maps: elements as bytes, with the kernel's errnos as errors.

A per-CPU value is one value per *possible* CPU, each rounded up to 8 bytes. Reading goes in batches where the map type has them,
which is faster and, unlike stepping from key to key, cannot start over when a key vanishes meanwhile.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.errno import text as errno_text
from bpfcrypto.abi.maps import MapFlag, MapType, UpdateFlag
from bpfcrypto.engine import Batch, check_batch
from bpfcrypto.errors import KeyNotFoundError, MapError, MapFullError, MapTypeError, SyscallError
from bpfcrypto.kernel import bpf, pin
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.info import MapInfo, map_info

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.engine import Storable
    from bpfcrypto.spec import MapSpec
    from bpfcrypto.views import TypedMap

_Result = TypeVar("_Result")

PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH, MapType.PERCPU_CGROUP_STORAGE})
INDEXED = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})

ERRORS: dict[int, type[MapError]] = {
    errno.ENOENT: KeyNotFoundError,
    errno.E2BIG: MapFullError,
    errno.ENOSPC: MapFullError,
    errno.EINVAL: MapTypeError,
    errno.EOPNOTSUPP: MapTypeError,
    ENOTSUPP: MapTypeError,
}
HINTS = {
    errno.EPERM: "the map is frozen, or was created for reading (or writing) only",
    errno.EEXIST: "there is an element with that key; update it with UpdateFlag.ANY or EXIST",
    errno.E2BIG: "the map has max_entries elements, or the index is beyond them",
    errno.ENOSPC: "the map has max_entries elements, or one hash bucket holds more than the batch: ask for more at once",
    errno.EBUSY: "a program is writing that element just now; try again",
}
# Errnos with which a map type says that it has no batch operations, or the kernel that it is too old for them.
NO_BATCHES = frozenset({ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL})
_BATCH = 1024
_BATCH_LIMIT = 1 << 20


@functools.cache
def possible_cpus() -> int:
    """How many CPUs this kernel can ever have."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return 1 + int(text.rpartition(",")[2].rpartition("-")[2])


def value_bytes(map_type: int, value_size: int) -> int:
    """Bytes of a value as user space sees it."""
    return (value_size + 7 & ~7) * possible_cpus() if map_type in PER_CPU else value_size


class KernelMap:
    """A map in the kernel. Closing it, or dropping the last reference, gives up this process's hold on it.

    Args:
        fd: the map, which from now on belongs to this object.
        spec: what it is.
        btf: the types that ``spec.key_type`` and ``spec.value_type`` refer to.
    """

    sparse = False
    """Whether the kernel also lists keys under which there is nothing."""

    def __init__(self, fd: Fd, spec: MapSpec, btf: Btf | None = None) -> None:
        self.fd = fd
        self._spec = spec
        self._btf = btf
        self._value_bytes = value_bytes(spec.type, spec.value_size)

    def __repr__(self) -> str:
        return f"<KernelMap '{self.name}': {self._spec.type.name}>"

    @property
    def spec(self) -> MapSpec:
        return self._spec

    @property
    def name(self) -> str:
        return self._spec.name

    @cached_property
    def id(self) -> int:
        """The map's number in this kernel."""
        return self.info.id

    @property
    def btf(self) -> Btf | None:
        """The types that ``spec.key_type`` and ``spec.value_type`` refer to; None where they are not known."""
        return self._btf

    @property
    def value_bytes(self) -> int:
        """Bytes of a value as user space sees it."""
        return self._value_bytes

    @cached_property
    def typed(self) -> TypedMap:
        """The same map with keys and values as Python values, through BTF."""
        from bpfcrypto.views import TypedMap

        return TypedMap(self, self._btf)

    @property
    def info(self) -> MapInfo:
        """What the kernel says of it."""
        return map_info(self.fd)

    def lookup(self, key: bytes) -> bytes:
        """The value of ``key``; special fields read as zero bytes. For a queue or stack, b"" peeks."""
        self._check_key(key)
        return self._do("lookup", key, lambda: bpf.map_lookup(self.fd, key, self._value_bytes))

    def lookup_and_delete(self, key: bytes) -> bytes:
        """The value of ``key``, which is taken out. For a queue or stack, b"" pops."""
        self._check_key(key)
        return self._do("lookup_and_delete", key, lambda: bpf.map_lookup_and_delete(self.fd, key, self._value_bytes))

    def update(self, key: bytes, value: Storable, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store ``value``: bytes, or an object where the map holds objects. A context kept in the element is dropped."""
        self._check_key(key)
        data = self._bytes_of(value)
        self._do("update", key, lambda: bpf.map_update(self.fd, key, data, flags))

    def delete(self, key: bytes) -> None:
        """Take the element out."""
        self._check_key(key)
        self._do("delete", key, lambda: bpf.map_delete(self.fd, key))

    def keys(self) -> Iterator[bytes]:
        """All keys, in the kernel's order. Elements that come or go meanwhile may be missed."""
        if self._spec.type in INDEXED and not self._spec.flags & MapFlag.WRONLY:
            return (index.to_bytes(4, "little") for index in range(self._spec.max_entries))
        return (key for key, _ in self._elements(values=False))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values."""
        return self._elements(values=True)

    def lookup_batch(self, count: int, token: bytes | None = None) -> Batch:
        """Some elements; see :class:`~bpfcrypto.engine.Map`."""
        return self._read_batch("lookup_batch", count, token)

    def lookup_and_delete_batch(self, count: int, token: bytes | None = None) -> Batch:
        """Some elements, which are taken out; see :class:`~bpfcrypto.engine.Map`."""
        return self._read_batch("lookup_and_delete_batch", count, token, delete=True)

    def _read_batch(self, operation: str, count: int, token: bytes | None, *, delete: bool = False) -> Batch:
        key_size, size = self._spec.key_size, self._value_bytes
        check_batch(operation, key_size, count, token)
        raw = self._do(
            operation, b"", lambda: bpf.map_lookup_batch(self.fd, token, count, key_size, size, delete=delete)
        )
        return Batch(tuple(_pairs(raw, key_size, size)), raw.token)

    def update_batch(self, elements: Iterable[tuple[bytes, bytes]], flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store many elements; see :class:`~bpfcrypto.engine.Map`."""
        given = list(elements)
        for key, value in given:
            self._check_key(key)
            self._check_value(value)
        keys, values = b"".join(key for key, _ in given), b"".join(value for _, value in given)
        outcome = bpf.map_update_batch(self.fd, keys, values, len(given), elem_flags=flags)
        self._end_batch("update_batch", outcome)

    def delete_batch(self, keys: Iterable[bytes]) -> None:
        """Take many elements out; see :class:`~bpfcrypto.engine.Map`."""
        given = list(keys)
        for key in given:
            self._check_key(key)
        self._end_batch("delete_batch", bpf.map_delete_batch(self.fd, b"".join(given), len(given)))

    def _end_batch(self, operation: str, outcome: bpf.BatchOutcome) -> None:
        if outcome.errno:
            error = self._error(operation, b"", SyscallError(operation, outcome.errno))
            error.done = outcome.done
            raise error

    def freeze(self) -> None:
        """Forbid writing from user space, for good; programs still can."""
        self._do("freeze", b"", lambda: bpf.map_freeze(self.fd))

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the map a name in a BPF file system, which keeps it and the contexts in it alive.

        Raises:
            SyscallError: the path exists, its directory does not, or it is not in a BPF file system.
        """
        pin.pin(self.fd, path)

    def close(self) -> None:
        """Give up this process's hold on the map."""
        self.fd.close()

    def _check_key(self, key: bytes) -> None:
        if len(key) != self._spec.key_size:
            raise MapTypeError(f"map '{self.name}': a key has {self._spec.key_size} bytes, not {len(key)}")

    def _bytes_of(self, value: Storable) -> bytes:
        """What the kernel takes for a value."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise MapTypeError(
                f"map '{self.name}': a value has {self._value_bytes} bytes, it is no {type(value).__name__}"
            )
        self._check_value(value)
        return bytes(value)

    def _check_value(self, value: bytes) -> None:
        if len(value) != self._value_bytes:
            raise MapTypeError(f"map '{self.name}': a value has {self._value_bytes} bytes, not {len(value)}")

    def _do(self, operation: str, key: bytes, call: Callable[[], _Result]) -> _Result:
        try:
            return call()
        except SyscallError as error:
            raise self._error(operation, key, error) from None

    def _error(self, operation: str, key: bytes, error: SyscallError) -> MapError:
        number = error.errno or 0
        where = f" of key {key[:16].hex()}" if key else ""
        kind = ERRORS.get(number, MapError)
        return kind(
            f"map '{self.name}': {operation}{where}: {errno_text(number)}",
            errno=number,
            hint=HINTS.get(number, error.hint),
        )

    def _elements(self, *, values: bool) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from self._batches()
        except SyscallError as error:
            if error.errno not in NO_BATCHES:
                raise self._error("keys", b"", error) from None
            yield from self._steps(values=values or self.sparse)

    def _batches(self) -> Iterator[tuple[bytes, bytes]]:
        """Elements by batch reads; SyscallError with one of ``NO_BATCHES`` before the first one where there are none."""
        key_size, size = self._spec.key_size, self._value_bytes
        count = max(1, min(_BATCH, self._spec.max_entries))
        token: bytes | None = None
        while True:
            try:
                batch = bpf.map_lookup_batch(self.fd, token, count, key_size, size)
            except SyscallError as error:
                if error.errno != errno.ENOSPC or count >= _BATCH_LIMIT:
                    raise
                count *= 4  # one hash bucket holds more elements than were asked for
                continue
            yield from _pairs(batch, key_size, size)
            token = batch.token
            if token is None:
                return

    def _steps(self, *, values: bool) -> Iterator[tuple[bytes, bytes]]:
        """Elements one by one. No key twice: after a deletion the kernel starts over, and so the walk ends there."""
        seen = set()
        key = self._do("keys", b"", lambda: bpf.map_get_next_key(self.fd, None, self._spec.key_size))
        while key is not None and key not in seen:
            seen.add(key)
            following = bpf.map_get_next_key(self.fd, key, self._spec.key_size)
            try:
                yield key, bpf.map_lookup(self.fd, key, self._value_bytes) if values else b""
            except SyscallError as error:
                if error.errno != errno.ENOENT:  # an element may vanish, or a slot be empty
                    raise self._error("lookup", key, error) from None
            key = following


def _pairs(batch: bpf.Batch, key_size: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The elements of a batch, of which the kernel gives keys and values packed."""
    for index in range(batch.count):
        yield (
            batch.keys[index * key_size : (index + 1) * key_size],
            batch.values[index * size : (index + 1) * size],
        )
