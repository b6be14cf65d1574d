"""A map of the embedded engine, as its two sides see it.

*User space* has the engine's Map protocol: bytes in, bytes out, errors as exceptions, all CPUs' copies at once. What the system call
checks before a type is asked (access mode, frozen, sizes, BPF_F_LOCK) is done here.

*Programs* have addresses and errnos: they look up the address of a value, update the copy of the CPU they run on, and hold the map
itself as the address of an opaque handle. Those methods are the ones without a checked front: ``lookup_address``,
``update_from_program``, ``delete_from_program``.

A map lives as long as somebody holds it: user space until ``close``, and every map of maps that has it as an element.

A type implements five operations on elements, which answer with errnos: ``_read``, ``_write``, ``_remove``, ``_take``, ``_keys``.
"""

from __future__ import annotations

import ctypes
import itertools
from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import E2BIG, EBADF, EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP, EPERM
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.errno import text as errno_text
from bpfcrypto.abi.maps import RULES, MapFlag, UpdateFlag
from bpfcrypto.btf.record import FieldKind, SpecialField
from bpfcrypto.embedded.field_owner import FieldOwner
from bpfcrypto.embedded.kernel_object import KernelObject
from bpfcrypto.embedded.map_batch import Batches
from bpfcrypto.embedded.map_kptrs import held_kptrs
from bpfcrypto.embedded.map_owner import Owner
from bpfcrypto.embedded.map_record import LOCK, MapAbility, MapKind, MapRecord
from bpfcrypto.embedded.map_values import Destructor, Values, round_up
from bpfcrypto.embedded.memory import AccessFault, Memory, Region
from bpfcrypto.embedded.rcu import Rcu
from bpfcrypto.embedded.spinlock import SpinLock
from bpfcrypto.embedded.word_lock import WordLock
from bpfcrypto.errors import KeyNotFoundError, MapError, MapFullError, MapTypeError, SyscallError

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.engine import HeldKptr, Storable
    from bpfcrypto.spec import MapSpec
    from bpfcrypto.views import TypedMap

_ERRORS: Mapping[int, type[MapError]] = {
    ENOENT: KeyNotFoundError,
    E2BIG: MapFullError,
    ENOSPC: MapFullError,
    EINVAL: MapTypeError,
    EOPNOTSUPP: MapTypeError,
    ENOTSUPP: MapTypeError,
}
_HINTS: Mapping[int, str] = {
    EBADF: "the embedded engine has no file descriptors: give the map or program itself",
    EPERM: "the map is frozen, or was created for reading (or writing) only",
    EEXIST: "there is an element with that key; update it with UpdateFlag.ANY or EXIST",
    E2BIG: "the map has max_entries elements, or the index is beyond them",
    ENOSPC: "the map has max_entries elements, or one hash bucket holds more than the batch: ask for more at once",
}
_LOCKS = frozenset({FieldKind.SPIN_LOCK, FieldKind.RES_SPIN_LOCK})

_numbers = itertools.count(1)

USER_CPU = 0  # the CPU that user space runs on, where a map's memory is divided by CPU


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a map needs besides its blueprint.

    Attributes:
        memory: the engine's address space.
        home: what only the maps and programs of one collection have in common.
        btf: the object's types.
        cpus: number of possible CPUs.
        fields: special fields of the value.
        destructors: what releases a kptr, by the name of the struct it points to.
        check_pointer: raises AccessFault for an address that must not go into a kptr slot, by the same name.
        rcu: tells when what running programs may have found can go.
        interfaces: indices of the network interfaces that exist.
        create: makes another map in the same surroundings.
    """

    memory: Memory
    btf: Btf | None
    cpus: int
    fields: tuple[SpecialField, ...] = ()
    destructors: Mapping[str, Destructor] | None = None
    check_pointer: Mapping[str, Callable[[int], object]] | None = None
    rcu: Rcu = field(default_factory=Rcu)
    interfaces: Container[int] = frozenset()
    home: object = None
    create: Callable[[MapSpec], EmbeddedMap] | None = None


class EmbeddedMap(Batches, FieldOwner):
    """A live map. Its values and its handle are in memory until it is closed.

    Args:
        spec: what it is; checked before.
        around: where it lives.
    """

    owner: Owner | None = None
    """The kind of programs that the map belongs to, where it can hold programs."""

    kind: MapKind = MapKind.OTHER
    """How machine code finds its elements."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        self._spec = spec
        self._around = around
        self._rules = RULES[spec.type]
        self._frozen = False
        self._closed = False
        self._holders = 1
        self._spin_locks: dict[int, SpinLock] = {}
        self.id = next(_numbers)
        self._lock_offset = next((each.offset for each in around.fields if each.kind in _LOCKS), -1)
        self.values = Values(
            around.memory,
            f"map '{spec.name}' value",
            owner=self,
            size=spec.value_size,
            slots=self._slot_count(),
            cpus=around.cpus if self._rules.percpu else 1,
            fields=around.fields,
            destructors=around.destructors,
            readable=not spec.flags & MapFlag.WRONLY_PROG,
            writable=not spec.flags & MapFlag.RDONLY_PROG,
        )
        facts = {
            "map_type": spec.type.value,
            "key_size": spec.key_size,
            "value_size": spec.value_size,
            "max_entries": spec.max_entries,
            "id": self.id,
        }
        answers = {name: lambda value=value: value for name, value in facts.items()}
        self.handle: Region = KernelObject(
            around.memory, "bpf_map", answers, name=f"map '{spec.name}'", owner=self, room=ctypes.sizeof(MapRecord)
        ).region
        self.record = MapRecord.from_address(self.handle.base)
        self._fill_record()
        self._lock = WordLock(self.handle.base + LOCK)

    def _fill_record(self) -> None:
        record, values, spec = self.record, self.values, self._spec
        record.values, record.stride = values.region.base, values.stride
        record.slots, record.cpus = values.slots, values.cpus
        record.key_size, record.value_size, record.max_entries = spec.key_size, spec.value_size, spec.max_entries
        record.kind = self.kind
        if not self._around.fields and not spec.flags & MapFlag.RDONLY_PROG:
            record.abilities |= MapAbility.WRITE
        if self._rules.percpu:
            record.abilities |= MapAbility.PERCPU

    def __repr__(self) -> str:
        return f"<EmbeddedMap '{self.name}': {self._spec.type.name}>"

    # --- what it is

    @property
    def spec(self) -> MapSpec:
        return self._spec

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def address(self) -> int:
        """The map as programs hold it: an address with nothing to be read there."""
        return self.handle.base

    @property
    def value_bytes(self) -> int:
        """Bytes of a value as user space sees it: for per-CPU maps, 8-byte rounded value size times possible CPUs."""
        size = self._spec.value_size
        return round_up(size) * self._around.cpus if self._rules.percpu else size

    @property
    def fields(self) -> tuple[SpecialField, ...]:
        """Special fields of the value."""
        return self._around.fields

    @property
    def memory(self) -> Memory:
        """The address space that it is in."""
        return self._around.memory

    @property
    def home(self) -> object:
        """What only the maps and programs of its collection have in common."""
        return self._around.home

    @property
    def btf(self) -> Btf | None:
        """The types that ``spec.key_type`` and ``spec.value_type`` refer to."""
        return self._around.btf

    @property
    def closed(self) -> bool:
        """Whether user space has given it up."""
        return self._closed

    @property
    def frozen(self) -> bool:
        """Whether user space may no longer write."""
        return self._frozen

    @cached_property
    def typed(self) -> TypedMap:
        """The same map with keys and values as Python values, through BTF."""
        from bpfcrypto.views import TypedMap

        return TypedMap(self, self._around.btf)

    # --- user space

    def lookup(self, key: bytes) -> bytes:
        """The value of ``key``; special fields read as zero bytes.

        Raises:
            KeyNotFoundError: no such key.
            MapTypeError: a key of the wrong length.
            MapError: the map is for writing only (EPERM).
        """
        self._check_key(key)
        self._check_mode("lookup", key, MapFlag.WRONLY)
        value = self._read(key)
        return value if isinstance(value, bytes) else self._fail("lookup", key, value)

    def lookup_and_delete(self, key: bytes) -> bytes:
        """The value of ``key``, which is taken out.

        Raises:
            KeyNotFoundError: no such key.
            MapTypeError: a key of the wrong length, or a type whose elements cannot be deleted (ENOTSUPP).
            MapError: the map is frozen, or not for reading and writing (EPERM).
        """
        self._check_key(key)
        self._check_mode("lookup_and_delete", key, MapFlag.WRONLY | MapFlag.RDONLY)
        value = self._take(key)
        return value if isinstance(value, bytes) else self._fail("lookup_and_delete", key, value)

    def update(self, key: bytes, value: Storable, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store ``value``, which is bytes. A context kept in the element is dropped.

        Raises:
            KeyNotFoundError: EXIST, and no such key.
            MapFullError: no room for another element, or an index beyond the last one.
            MapTypeError: a key or value of the wrong length, or flags that do not fit.
            MapError: NOEXIST, and there is such a key (EEXIST); the map is frozen or for reading only (EPERM).
        """
        self._check_key(key)
        data = self._check_value(value)
        self._check_mode("update", key, MapFlag.RDONLY)
        errno = EINVAL if flags & UpdateFlag.LOCK and not self._has_lock else self._write(key, data, flags, None)
        if errno:
            self._fail("update", key, errno)

    def delete(self, key: bytes) -> None:
        """Take the element out; a context in it is dropped.

        Raises:
            KeyNotFoundError: no such key.
            MapTypeError: a key of the wrong length, or a type whose elements cannot be deleted.
            MapError: the map is frozen or for reading only (EPERM).
        """
        self._check_key(key)
        self._check_mode("delete", key, MapFlag.RDONLY)
        errno = self._remove(key)
        if errno:
            self._fail("delete", key, errno)

    def keys(self) -> Iterator[bytes]:
        """All keys of the moment.

        Raises:
            MapError: the map is for writing only (EPERM).
        """
        self._check_mode("keys", b"", MapFlag.WRONLY)
        return iter(self._keys())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys of the moment with their values; what is deleted meanwhile is left out.

        Raises:
            MapTypeError: a type whose elements cannot be read.
        """
        for key in self.keys():
            value = self._read(key)
            if isinstance(value, bytes):
                yield key, value
            elif value != ENOENT:
                self._fail("lookup", key, value)

    def freeze(self) -> None:
        """Forbid writing from user space, for good; programs still can.

        Raises:
            MapTypeError: the value has special fields (ENOTSUPP).
            MapError: the map is frozen already, or for reading only (EPERM).
        """
        if self._around.fields:
            self._fail("freeze", b"", ENOTSUPP)
        self._check_mode("freeze", b"", MapFlag.RDONLY)
        self._frozen = True

    def close(self) -> None:
        """Give up the map. Without another holder, every context in it is released, and no address of it is valid any more."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self.drop()

    def hold(self) -> None:
        """Keep the map alive until ``drop``, closed or not.

        Raises:
            SyscallError: it is gone already (EBADF).
        """
        with self._lock:
            if not self._holders:
                raise SyscallError("bpf", EBADF, detail=f"map '{self.name}' used after it was closed")
            self._holders += 1

    def drop(self) -> None:
        """Undo one ``hold``."""
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            self._destroy()

    def _destroy(self) -> None:
        """Nobody holds the map any more."""
        self.values.close()
        self._around.memory.unmap(self.handle)

    def kptrs(self, key: bytes) -> tuple[HeldKptr, ...]:
        """What the kptrs of an element hold; see :class:`~bpfcrypto.engine.Inspectable`.

        Raises:
            MapTypeError: a key of the wrong length.
        """
        self._check_key(key)
        if not any(field.is_kptr for field in self._around.fields):
            return ()
        with self._lock:
            places = ((cpu, self._place(key, cpu)) for cpu in range(self.values.cpus))
            found = [(cpu, address) for cpu, address in places if address]
            return tuple(held_kptrs(self._around.memory, self._around.fields, found))

    # --- programs

    @abstractmethod
    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value (of that CPU's copy), 0 where there is none (bpf_map_lookup_elem)."""

    def update_from_program(self, key: Bytes, value: Bytes, flags: int, cpu: int) -> int:
        """Store a value of ``value_size`` bytes, in per-CPU maps as the copy of that CPU (bpf_map_update_elem).

        Returns:
            0 or a positive errno.

        Raises:
            AccessFault: programs may not write this map.
        """
        self._check_program_writes()
        return self._write(bytes(key), value, flags, cpu)

    def delete_from_program(self, key: Bytes) -> int:
        """Take an element out (bpf_map_delete_elem): 0 or a positive errno.

        Raises:
            AccessFault: programs may not write this map.
        """
        self._check_program_writes()
        return self._remove(bytes(key))

    def field(self, address: int) -> SpecialField | None:
        """The special field of a value that starts at an address."""
        offset = (address - self.values.region.base) % self.values.stride
        return next((each for each in self._around.fields if each.offset == offset), None)

    def exchange(self, address: int, new: int) -> int:
        """Store a pointer in the kptr slot at ``address``; what was there (bpf_kptr_xchg).

        Raises:
            AccessFault: no kptr is there, or ``new`` is not 0 and not what the slot may hold.
        """
        field = self.values.pointer_field(address)
        if new:
            check = (self._around.check_pointer or {}).get(field.type_name)
            if check is None:
                raise AccessFault(f"address {new:#x} is not a '{field.type_name}'")
            check(new)
        with self._lock:
            return self.values.exchange(address, new)

    def spin_lock(self, address: int) -> SpinLock:
        """The lock at an address within a value.

        Raises:
            AccessFault: no lock is there.
        """
        inside = address - self.values.region.base
        if self._lock_offset < 0 or inside % self.values.stride != self._lock_offset:
            raise AccessFault(f"address {address:#x} is not that of a spin lock in {self.values.region.name}")
        return self._spin_locks.setdefault(address, SpinLock(address))

    def _place(self, key: bytes, cpu: int) -> int:
        """What ``lookup_address`` gives, without counting as a use."""
        return self.lookup_address(key, cpu)

    @property
    def _has_lock(self) -> bool:
        return self._lock_offset >= 0

    def _lock_of(self, slot: int) -> SpinLock:
        """The lock of an element of a map that has locks."""
        return self.spin_lock(self.values.address(slot) + self._lock_offset)

    # --- what a type implements

    @abstractmethod
    def _slot_count(self) -> int:
        """How many values there is room for."""

    @abstractmethod
    def _read(self, key: bytes) -> bytes | int:
        """The value for user space, or an errno."""

    @abstractmethod
    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int:
        """Store a value from the program on ``cpu``, or from user space (None); 0 or an errno."""

    @abstractmethod
    def _remove(self, key: bytes, /) -> int:
        """Take an element out; 0 or an errno."""

    @abstractmethod
    def _take(self, key: bytes, /) -> bytes | int:
        """The value for user space, taken out, or an errno."""

    @abstractmethod
    def _keys(self) -> Iterable[bytes]:
        """All keys of the moment."""

    # --- checks

    def _check_key(self, key: bytes) -> None:
        if len(key) != self._spec.key_size:
            raise MapTypeError(f"map '{self.name}': a key has {self._spec.key_size} bytes, not {len(key)}")

    def _check_value(self, value: object) -> Bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise MapTypeError(
                f"map '{self.name}': a value has {self.value_bytes} bytes, it is no {type(value).__name__}"
            )
        if len(value) != self.value_bytes:
            raise MapTypeError(f"map '{self.name}': a value has {self.value_bytes} bytes, not {len(value)}")
        return value

    def _check_mode(self, operation: str, key: bytes, forbidden: MapFlag) -> None:
        frozen = self._frozen and forbidden & MapFlag.RDONLY
        if frozen or self._spec.flags & forbidden:
            self._fail(operation, key, EPERM)

    def _check_program_writes(self) -> None:
        if self._spec.flags & MapFlag.RDONLY_PROG:
            raise AccessFault(f"programs may only read map '{self.name}'")

    def _fail(self, operation: str, key: bytes, errno: int) -> NoReturn:
        where = f" of key {key[:16].hex()}" if key else ""
        raise _ERRORS.get(errno, MapError)(
            f"map '{self.name}': {operation}{where}: {errno_text(errno)}", errno=errno, hint=_HINTS.get(errno)
        )
