"""LPM_TRIE (kernel/bpf/lpm_trie.c): values by prefix; a lookup finds the longest prefix of the key that is there.

A key is a 32-bit length in bits and the bytes that the prefix is taken from. Bytes behind the prefix are kept as they were given and
mean nothing. Keys are listed with longer prefixes before the shorter ones that hold them, else in the order of their bits; that is the
order of the kernel's tree, whatever order they came in.

Every update gives the element new memory, so a program that holds the address of the old value keeps seeing it; freed memory is used
again as late as possible.

Programs look up in machine code as well (jit/runtime/trie.h). For that the prefixes are also the elements of a hash index, where a key is
the length and the bits with zeros behind, and a table of lengths says for each which one is the next shorter that there is. What a lookup
finds is what was there at one moment: it counts only if the number of changes is still the same.
"""

from __future__ import annotations

import ctypes
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EEXIST, EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING, NamedTuple

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.embedded.hash_index import HashIndex
from bpfcrypto.embedded.map_base import EmbeddedMap, Surroundings
from bpfcrypto.embedded.map_record import MapKind
from bpfcrypto.embedded.word_lock import order_stores

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_LENGTH_SIZE = 4
_SPARE = 64  # old values that a program may go on holding
_TRIES = 4


class _Element(NamedTuple):
    key: bytes
    slot: int


class TrieMap(EmbeddedMap):
    """Values by prefix."""

    kind = MapKind.TRIE

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._width = (spec.key_size - _LENGTH_SIZE) * 8
        self._elements: dict[tuple[int, int], _Element] = {}  # by length and bits of the prefix
        self._lengths: Counter[int] = Counter()
        self._longest_first: tuple[int, ...] = ()
        self._unused = iter(range(self.values.slots))
        self._freed: deque[int] = deque()
        self._index = HashIndex(self.record, self._lock, self.values.slots, spec.max_entries)
        # at n + 1, or 0 for none: one more than the longest length up to n
        self._shorter = (ctypes.c_uint16 * (self._width + 2))()
        self.record.lengths = ctypes.addressof(self._shorter)

    def lookup_address(self, key: Bytes, _cpu: int) -> int:
        """Address of the value of the longest prefix, or 0."""
        found = self._find_once(bytes(key))
        return 0 if found is None else self.values.address(found.slot)

    def _slot_count(self) -> int:
        return self._spec.max_entries + _SPARE

    def _find_once(self, key: bytes) -> _Element | None:
        """What was there at one moment, for those who hold no lock."""
        record = self.record
        for _ in range(_TRIES):
            changes = record.changes
            found = self._find(key)
            if record.changes == changes:
                return found
        with self._lock:
            return self._find(key)

    def _find(self, key: bytes) -> _Element | None:
        length, bits = self._split(key)
        if length > self._width:
            return None
        for shorter in self._longest_first:
            if shorter <= length:
                found = self._elements.get((shorter, bits >> self._width - shorter))
                if found is not None:
                    return found
        return None

    def _split(self, key: bytes) -> tuple[int, int]:
        """Length of the prefix, and all the bits it is taken from."""
        return int.from_bytes(key[:_LENGTH_SIZE], "little"), int.from_bytes(key[_LENGTH_SIZE:], "big")

    def _prefix(self, key: bytes) -> tuple[int, int] | None:
        """What stands for a key in the table; None for one whose prefix is longer than the key."""
        length, bits = self._split(key)
        return (length, bits >> self._width - length) if length <= self._width else None

    def _read(self, key: bytes) -> bytes | int:
        with self._lock:
            found = self._find(key)
            return ENOENT if found is None else self.values.read(found.slot)

    def _write(self, key: bytes, value: Bytes, flags: int, _cpu: int | None) -> int:
        prefix = self._prefix(key)
        if flags > UpdateFlag.EXIST or prefix is None:
            return EINVAL
        with self._lock:
            old = self._elements.get(prefix)
            if old is not None and flags == UpdateFlag.NOEXIST:
                return EEXIST
            if old is None and flags == UpdateFlag.EXIST:
                return ENOENT
            if old is None and len(self._elements) >= self._spec.max_entries:
                return ENOSPC
            slot = next(self._unused, None)
            slot = self._freed.popleft() if slot is None else slot
            self.values.write(slot, value)
            with self._change():
                self._elements[prefix] = _Element(key, slot)
                self._index.link(self._canonical(prefix), slot)
                if old is None:
                    self._count(prefix[0], 1)
                else:
                    self._index.unlink(old.slot)
                    self._freed.append(old.slot)
        return 0

    def _remove(self, key: bytes, /) -> int:
        prefix = self._prefix(key)
        if prefix is None:
            return EINVAL
        with self._lock:
            old = self._elements.pop(prefix, None)
            if old is None:
                return ENOENT
            with self._change():
                self._index.unlink(old.slot)
                self._count(prefix[0], -1)
                self._freed.append(old.slot)
        return 0

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A change that machine code may look on at: each of its steps leaves the map as it was or as it will be."""
        self._index.change()
        yield
        self._index.change()

    def _canonical(self, prefix: tuple[int, int]) -> bytes:
        """The key of a prefix in the index: all that have it give the same."""
        length, bits = prefix
        return length.to_bytes(_LENGTH_SIZE, "little") + (bits << self._width - length).to_bytes(
            self._width // 8, "big"
        )

    def _count(self, length: int, change: int) -> None:
        before = self._lengths[length]
        self._lengths[length] = after = before + change
        if before and after:
            return
        lengths = +self._lengths
        self._longest_first = tuple(sorted(lengths, reverse=True))
        longer = min((each for each in lengths if each > length), default=self._width + 1)
        order_stores()
        found = length + 1 if after else self._shorter[length]
        self._shorter[length + 1 : longer + 1] = [found] * (longer - length)

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        with self._lock:
            return [self._elements[prefix].key for prefix in sorted(self._elements, key=self._order)]

    def _order(self, prefix: tuple[int, int]) -> tuple[int, int]:
        """Where a prefix stands: behind everything that it holds."""
        length, bits = prefix
        rest = self._width - length
        return (bits << rest | (1 << rest) - 1, -length)
