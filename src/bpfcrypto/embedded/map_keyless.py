"""Maps without keys: QUEUE, STACK and BLOOM_FILTER (kernel/bpf/queue_stack_maps.c, bloom_filter.c).

User space reaches them by the commands on elements with no key: an update pushes, a lookup peeks, lookup_and_delete pops. Programs have
helpers of their own, and the verifier keeps them from the ones for keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from errno import E2BIG, EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapFlag, MapType, UpdateFlag
from bpfcrypto.embedded.jhash import jhash
from bpfcrypto.embedded.map_base import Surroundings
from bpfcrypto.embedded.map_guarded import GuardedMap
from bpfcrypto.errors import MapTypeError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_NO_KEY = b""
_DEFAULT_HASHES = 5
_MAX_BITS = 1 << 31  # beyond, a filter has all the bits that a 32-bit hash can name
_U32 = 0xFFFFFFFF


class KeylessMap(GuardedMap):
    """What maps without keys have in common: the refusals."""

    no_keys = EINVAL
    """errno of listing keys."""

    cannot_delete = EINVAL
    """errno of deleting."""

    def _slot_count(self) -> int:
        return 0

    def _read(self, _key: bytes) -> bytes | int:
        return ENOTSUPP

    def _write(self, _key: bytes, _value: Bytes, _flags: int, _cpu: int | None) -> int:
        return ENOTSUPP

    def _remove(self, _key: bytes, /) -> int:
        return self.cannot_delete

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        self._fail("keys", _NO_KEY, self.no_keys)


class PushMap(KeylessMap):
    """What programs push into: QUEUE, STACK, BLOOM_FILTER."""

    def push_from_program(self, value: Bytes, flags: int) -> int:
        """Add a value (bpf_map_push_elem): 0 or a positive errno.

        Raises:
            AccessFault: programs may not write this map.
        """
        self._check_program_writes()
        return self._write(_NO_KEY, value, flags, None)


class QueueStackMap(PushMap):
    """Values in order of arrival: a QUEUE gives the oldest, a STACK the newest.

    The memory is a ring with one slot more than there can be values, so that full and empty differ.
    """

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._head = 0  # where the next value goes
        self._tail = 0  # the oldest value
        self._newest_first = spec.type is MapType.STACK

    def push(self, value: bytes, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Add a value; with EXIST a full map drops its oldest."""
        self.update(_NO_KEY, value, flags)

    def peek(self) -> bytes:
        """The value that comes next."""
        return self.lookup(_NO_KEY)

    def pop(self) -> bytes:
        """The value that comes next, taken out."""
        return self.lookup_and_delete(_NO_KEY)

    def peek_from_program(self) -> bytes | int:
        """The next value, or a positive errno (bpf_map_peek_elem)."""
        return self._read(_NO_KEY)

    def pop_from_program(self) -> bytes | int:
        """The next value, taken out, or a positive errno (bpf_map_pop_elem).

        Raises:
            AccessFault: programs may not write this map.
        """
        self._check_program_writes()
        return self._take(_NO_KEY)

    def _slot_count(self) -> int:
        return self._spec.max_entries + 1

    def _read(self, _key: bytes) -> bytes | int:
        with self._lock:
            slot = self._next()
            return ENOENT if slot is None else self.values.read(slot)

    def _take(self, _key: bytes, /) -> bytes | int:
        with self._lock:
            slot = self._next()
            if slot is None:
                return ENOENT
            if self._newest_first:
                self._head = slot
            else:
                self._tail = self._after(slot)
            return self.values.read(slot)

    def _write(self, _key: bytes, value: Bytes, flags: int, _cpu: int | None) -> int:
        if flags not in (UpdateFlag.ANY, UpdateFlag.EXIST):
            return EINVAL
        with self._lock:
            following = self._after(self._head)
            if following == self._tail:
                if not flags & UpdateFlag.EXIST:
                    return E2BIG
                self._tail = self._after(self._tail)
            self.values.write(self._head, value)
            self._head = following
        return 0

    def _next(self) -> int | None:
        """The slot of the value to give; None when there is none."""
        if self._head == self._tail:
            return None
        return (self._head or self.values.slots) - 1 if self._newest_first else self._tail

    def _after(self, slot: int) -> int:
        return (slot + 1) % self.values.slots


class BloomFilter(PushMap):
    """A set that forgets nothing: it may say of a value that was never pushed that it is there, never the reverse."""

    no_keys = EOPNOTSUPP
    cannot_delete = EOPNOTSUPP

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._hashes = spec.map_extra or _DEFAULT_HASHES
        self._seed = 0 if spec.flags & MapFlag.ZERO_SEED else secrets.randbits(32)
        self._mask = _filter_bits(spec.max_entries, self._hashes) - 1
        self._bits = bytearray(self._mask + 1 >> 3)

    def push(self, value: bytes) -> None:
        """Add a value."""
        self.update(_NO_KEY, value)

    def contains(self, value: bytes) -> bool:
        """Whether the value may have been pushed; False is certain.

        Raises:
            MapTypeError: a value of the wrong length.
            MapError: the map is for writing only (EPERM).
        """
        if len(value) != self._spec.value_size:
            raise MapTypeError(f"map '{self.name}': a value has {self._spec.value_size} bytes, not {len(value)}")
        self._check_mode("lookup", _NO_KEY, MapFlag.WRONLY)
        return not self.peek_from_program(value)

    def peek_from_program(self, value: Bytes) -> int:
        """0 for a value that may be there, else ENOENT (bpf_map_peek_elem)."""
        return 0 if all(self._bits[at >> 3] >> (at & 7) & 1 for at in self._places(value)) else ENOENT

    def _read(self, _key: bytes) -> bytes | int:
        """The value of zeros, which stands for the buffer that the command takes the value from."""
        zeros = bytes(self._spec.value_size)
        return self.peek_from_program(zeros) or zeros

    def _write(self, _key: bytes, value: Bytes, flags: int, _cpu: int | None) -> int:
        if flags:
            return EINVAL
        with self._lock:
            for at in self._places(value):
                self._bits[at >> 3] |= 1 << (at & 7)
        return 0

    def _places(self, value: Bytes) -> Iterable[int]:
        data = bytes(value)
        return (jhash(data, self._seed + index & _U32) & self._mask for index in range(self._hashes))


def _filter_bits(entries: int, hashes: int) -> int:
    """Bits of a filter, a power of two: entries times hashes by ln 2, for which the kernel takes 5/7."""
    product = entries * hashes
    bits = product // 5 * 7
    if product > _U32 or bits > _MAX_BITS:
        return 1 << 32
    return max(64, 1 << (bits - 1).bit_length()) if bits else 64
