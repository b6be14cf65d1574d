"""The commands on many elements at once, in terms of those on one (kernel/bpf/syscall.c and hashtab.c).

There are two ways to read in steps. Arrays and tries go from key to key: the token is the last key given, and the end shows when a
step comes out short. Hashes go from bucket to bucket: the token is the number of the next bucket, a bucket is given whole or not at
all, and the end shows at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from errno import EINVAL, ENOSPC
from typing import TYPE_CHECKING, NoReturn

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import BatchCommand, MapFlag, MapRules, UpdateFlag
from bpfcrypto.engine import Batch, check_batch
from bpfcrypto.errors import MapError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_TOKEN_SIZE = 4


class Batches(ABC):
    """What a map with elements does with many of them. Sizes, access and existence of the command are checked here."""

    _rules: MapRules

    def lookup_batch(self, count: int, token: bytes | None = None) -> Batch:
        """Some elements; see :class:`~bpfcrypto.engine.Map`."""
        check_batch("lookup_batch", self.spec.key_size, count, token)
        self._check_batch("lookup_batch", BatchCommand.LOOKUP, MapFlag.WRONLY)
        return self._step("lookup_batch", count, token)

    def lookup_and_delete_batch(self, count: int, token: bytes | None = None) -> Batch:
        """Some elements, which are taken out; see :class:`~bpfcrypto.engine.Map`."""
        name = "lookup_and_delete_batch"
        check_batch(name, self.spec.key_size, count, token)
        self._check_batch(name, BatchCommand.LOOKUP_AND_DELETE, MapFlag.WRONLY | MapFlag.RDONLY)
        batch = self._step(name, count, token)
        for key, _ in batch.elements:
            self._remove(key)
        return batch

    def update_batch(self, elements: Iterable[tuple[bytes, bytes]], flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store many elements; see :class:`~bpfcrypto.engine.Map`."""
        given = list(elements)
        for key, value in given:
            self._check_key(key)
            self._check_value(value)
        self._check_batch("update_batch", BatchCommand.UPDATE, MapFlag.RDONLY)
        if flags & ~int(UpdateFlag.LOCK) or (flags & UpdateFlag.LOCK and not self._has_lock):
            self._fail("update_batch", b"", EINVAL)
        for done, (key, value) in enumerate(given):
            self._end_at("update_batch", key, self._write(key, value, flags, None), done)

    def delete_batch(self, keys: Iterable[bytes]) -> None:
        """Take many elements out; see :class:`~bpfcrypto.engine.Map`."""
        given = list(keys)
        for key in given:
            self._check_key(key)
        self._check_batch("delete_batch", BatchCommand.DELETE, MapFlag.RDONLY)
        for done, key in enumerate(given):
            self._end_at("delete_batch", key, self._remove(key), done)

    def _check_batch(self, operation: str, command: BatchCommand, forbidden: MapFlag) -> None:
        self._check_mode(operation, b"", forbidden)
        if command not in self._rules.batches:
            self._fail(operation, b"", ENOTSUPP)

    def _end_at(self, operation: str, key: bytes, errno: int, done: int) -> None:
        """Raise what a refused element ends the batch with."""
        if errno:
            try:
                self._fail(operation, key, errno)
            except MapError as error:
                error.done = done
                raise

    def _step(self, operation: str, count: int, token: bytes | None) -> Batch:
        buckets = self._buckets()
        if buckets is None:
            return self._step_by_key(count, token)
        return self._step_by_bucket(operation, buckets, count, token)

    def _step_by_key(self, count: int, token: bytes | None) -> Batch:
        keys = list(self._keys())
        first = keys.index(token) + 1 if token in keys else 0
        chosen = keys[first : first + count]
        return Batch(self._elements_of(chosen), chosen[-1] if len(chosen) == count else None)

    def _step_by_bucket(
        self, operation: str, buckets: list[tuple[int, list[bytes]]], count: int, token: bytes | None
    ) -> Batch:
        first = int.from_bytes(token[:_TOKEN_SIZE], "little") if token is not None else 0
        chosen: list[bytes] = []
        for number, keys in buckets:
            if number < first:
                continue
            if len(chosen) + len(keys) > count:
                if not chosen:
                    self._fail(operation, b"", ENOSPC)
                following = number.to_bytes(max(_TOKEN_SIZE, self.spec.key_size), "little")
                return Batch(self._elements_of(chosen), following)
            chosen += keys
        return Batch(self._elements_of(chosen), None)

    def _elements_of(self, keys: Iterable[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        pairs = ((key, self._read(key)) for key in keys)
        return tuple((key, value) for key, value in pairs if isinstance(value, bytes))

    def _buckets(self) -> list[tuple[int, list[bytes]]] | None:
        """Numbers and keys of the buckets that are not empty, in order; None for a map without buckets."""
        return None

    @property
    @abstractmethod
    def spec(self) -> MapSpec: ...

    @property
    @abstractmethod
    def _has_lock(self) -> bool: ...

    @abstractmethod
    def _read(self, key: bytes) -> bytes | int: ...

    @abstractmethod
    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int: ...

    @abstractmethod
    def _remove(self, key: bytes, /) -> int: ...

    @abstractmethod
    def _keys(self) -> Iterable[bytes]: ...

    @abstractmethod
    def _check_key(self, key: bytes) -> None: ...

    @abstractmethod
    def _check_value(self, value: object) -> Bytes: ...

    @abstractmethod
    def _check_mode(self, operation: str, key: bytes, forbidden: MapFlag) -> None: ...

    @abstractmethod
    def _fail(self, operation: str, key: bytes, errno: int) -> NoReturn: ...
