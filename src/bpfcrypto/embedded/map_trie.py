"""LPM_TRIE (kernel/bpf/lpm_trie.c): values by prefix; a lookup finds the longest prefix of the key that is there.

A key is a 32-bit length in bits and the bytes that the prefix is taken from. Bytes behind the prefix are kept as they were given and
mean nothing. Keys are listed with longer prefixes before the shorter ones that hold them, else in the order of their bits; that is the
order of the kernel's tree, whatever order they came in.

Every update gives the element new memory, so a program that holds the address of the old value keeps seeing it; freed memory is used
again as late as possible.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from errno import EEXIST, EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING, NamedTuple

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.embedded.map_base import EmbeddedMap, Surroundings

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_LENGTH_SIZE = 4
_SPARE = 64  # old values that a program may go on holding


class _Element(NamedTuple):
    key: bytes
    slot: int


class TrieMap(EmbeddedMap):
    """Values by prefix."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._width = (spec.key_size - _LENGTH_SIZE) * 8
        self._elements: dict[tuple[int, int], _Element] = {}  # by length and bits of the prefix
        self._lengths: Counter[int] = Counter()
        self._longest_first: tuple[int, ...] = ()
        self._unused = iter(range(self.values.slots))
        self._freed: deque[int] = deque()

    def lookup_address(self, key: Bytes, _cpu: int) -> int:
        """Address of the value of the longest prefix, or 0."""
        found = self._find(bytes(key))
        return 0 if found is None else self.values.address(found.slot)

    def _slot_count(self) -> int:
        return self._spec.max_entries + _SPARE

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
            self._elements[prefix] = _Element(key, slot)
            if old is None:
                self._count(prefix[0], 1)
            else:
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
            self._count(prefix[0], -1)
            self._freed.append(old.slot)
        return 0

    def _count(self, length: int, change: int) -> None:
        self._lengths[length] += change
        self._longest_first = tuple(sorted(+self._lengths, reverse=True))

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
