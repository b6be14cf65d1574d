"""Maps whose elements are live objects: what all of them have in common (kernel/bpf/arraymap.c, "fd" arrays).

In the kernel user space stores a descriptor and reads an id. Here it stores the object itself, as on the kernel engine, and reads
its id. There are no descriptors: bytes are one that is not open. Programs look elements up by helpers of their own and change none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from errno import E2BIG, EBADF, EINVAL, ENOENT
from typing import TYPE_CHECKING, Generic, TypeVar

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapFlag, UpdateFlag
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.map_guarded import GuardedMap
from bpfcrypto.errors import NotSupportedError, SyscallError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.embedded.map_base import Surroundings
    from bpfcrypto.engine import Storable
    from bpfcrypto.spec import MapSpec

Held = TypeVar("Held")

_ID_SIZE = 4


class ObjectMap(GuardedMap, Generic[Held]):
    """Objects by key. Values take no memory that programs could see."""

    takes_objects = True
    """Whether user space can give the object itself."""

    def update(self, key: bytes, value: Storable, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store an object.

        Raises:
            KeyNotFoundError: EXIST, and no such key.
            MapFullError: no room for another element, or an index beyond the last one.
            MapTypeError: an object that this map does not take, a key of the wrong length, or flags that do not fit.
            MapError: bytes, which would be a descriptor (EBADF); NOEXIST, and there is such a key (EEXIST); the map is frozen or for
                reading only (EPERM).
            NotSupportedError: the program belongs to another collection, or the map to another engine.
            SyscallError: a map that was closed (EBADF).
        """
        self._check_key(key)
        if not self.takes_objects or isinstance(value, bytes | bytearray | memoryview):
            value = bytes(self._check_value(value))
        if isinstance(value, EmbeddedMap) and value.closed:
            raise SyscallError("bpf", EBADF, detail=f"map '{value.name}' used after it was closed")
        self._check_mode("update", key, MapFlag.RDONLY)
        errno = EINVAL if flags & UpdateFlag.LOCK else self._store(key, value, flags)
        if errno:
            self._fail("update", key, errno)

    @abstractmethod
    def _store(self, key: bytes, value: object, flags: int) -> int:
        """Put what user space gave into the map; 0 or an errno."""

    @abstractmethod
    def _accept(self, value: object) -> Held | int:
        """The object to hold, or the errno of refusing it."""

    @abstractmethod
    def _id(self, held: Held) -> int:
        """What user space reads."""

    def _give_up(self, held: Held) -> None:
        """The object is not in the map any more; running programs may still use it."""

    def _slot_count(self) -> int:
        return 0

    def _write(self, key: bytes, value: Bytes, flags: int, _cpu: int | None) -> int:
        return self._store(key, bytes(value), flags)

    def _shown(self, held: Held) -> bytes:
        return self._id(held).to_bytes(_ID_SIZE, "little")

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP


class ObjectArray(ObjectMap[Held]):
    """Objects by index; a slot may be empty."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._held: dict[int, Held] = {}

    def at(self, index: int) -> Held | None:
        """The object in a slot; None where there is none."""
        return self._held.get(index)

    def _placed(self, index: int, held: Held | None) -> None:
        """A slot has got another object, or is empty now."""

    def _read(self, key: bytes) -> bytes | int:
        held = self._held.get(int.from_bytes(key, "little"))
        return ENOENT if held is None else self._shown(held)

    def _store(self, key: bytes, value: object, flags: int) -> int:
        index = int.from_bytes(key, "little")
        if flags:
            return EINVAL
        if index >= self._spec.max_entries:
            return E2BIG
        with self._lock:
            accepted = self._accept(value)
            if isinstance(accepted, int):
                return accepted
            old = self._held.get(index)
            self._held[index] = accepted
            self._placed(index, accepted)
        if old is not None:
            self._give_up(old)
        return 0

    def _remove(self, key: bytes, /) -> int:
        index = int.from_bytes(key, "little")
        if index >= self._spec.max_entries:
            return E2BIG
        with self._lock:
            old = self._held.pop(index, None)
            self._placed(index, None)
        if old is None:
            return ENOENT
        self._give_up(old)
        return 0

    def _keys(self) -> Iterable[bytes]:
        with self._lock:
            return [index.to_bytes(4, "little") for index in sorted(self._held)]

    def _destroy(self) -> None:
        while self._held:
            self._give_up(self._held.popitem()[1])
        super()._destroy()


def descriptor_errno(value: object) -> int:
    """The errno of what is not an object of the right kind: bytes are a descriptor that is not open."""
    return EBADF if isinstance(value, bytes) else EINVAL


def check_home(home: object, wanted: object, what: str) -> None:
    """Refuse what is at home elsewhere: a map in another engine's memory, a program that goes when its own collection is closed.

    Raises:
        NotSupportedError: it is such a thing.
    """
    if home is not wanted:
        raise NotSupportedError(f"{what} as an element", requires="the kernel engine, or both loaded from one object")
