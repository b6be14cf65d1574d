"""ARRAY_OF_MAPS and HASH_OF_MAPS (kernel/bpf/map_in_map.c): what programs find under a key is a map, to be used as any other.

An inner map must be of the template's shape: type, sizes, flags and special fields (bpf_map_meta_equal). The number of entries may
differ, but for an ARRAY without BPF_F_INNER_MAP, whose bounds the verifier may have built into the program, and an XSKMAP.

A map that leaves its slot lives on until the programs that may have found it have ended.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING
from weakref import WeakSet

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MAPS_OF_MAPS, MapFlag, MapType, UpdateFlag
from bpfcrypto.embedded.hash_index import HashIndex
from bpfcrypto.embedded.map_base import EmbeddedMap, Surroundings
from bpfcrypto.embedded.map_hash import presence_errno
from bpfcrypto.embedded.map_objects import ObjectArray, ObjectMap, check_home, descriptor_errno
from bpfcrypto.embedded.map_record import MapKind
from bpfcrypto.embedded.map_values import new_storage
from bpfcrypto.errors import InternalError, SyscallError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec

_PERMANENT = ~(MapFlag.RDONLY | MapFlag.WRONLY)  # those two belong to the descriptor, not to the map


@dataclass(frozen=True, slots=True)
class Shape:
    """What an inner map and its template have in common.

    Attributes:
        type, key_size, value_size, flags: as in the blueprint.
        fields: kind, offset and type name of each special field.
        max_entries: 0 where it does not matter.
    """

    type: MapType
    key_size: int
    value_size: int
    flags: MapFlag
    fields: tuple[tuple[str, int, str], ...]
    max_entries: int


def shape(each: EmbeddedMap) -> Shape:
    """The shape of a live map."""
    spec = each.spec
    fixed = spec.type is MapType.XSKMAP or (spec.type is MapType.ARRAY and not spec.flags & MapFlag.INNER_MAP)
    return Shape(
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.flags & _PERMANENT,
        tuple((field.kind.value, field.offset, field.type_name) for field in each.fields),
        spec.max_entries if fixed else 0,
    )


class MapOfMaps(ObjectMap[EmbeddedMap]):
    """What both kinds share: the template, and how long inner maps live."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        if spec.inner is None or around.create is None:
            raise InternalError(f"map '{spec.name}' has no template")
        self._create = around.create
        self._template = spec.inner
        if spec.inner.type in MAPS_OF_MAPS or spec.inner.type is MapType.PROG_ARRAY:
            raise SyscallError(
                "BPF_MAP_CREATE",
                EINVAL if spec.inner.type in MAPS_OF_MAPS else ENOTSUPP,
                detail=f"map '{spec.name}': its inner maps are of type {spec.inner.type.name}",
                hint="maps of maps and program arrays cannot be inner maps",
            )
        model = self._create(spec.inner)
        self._shape = shape(model)
        model.close()
        self._made: WeakSet[EmbeddedMap] = WeakSet()
        super().__init__(spec, around)

    def new_inner(self, name: str = "", *, max_entries: int | None = None) -> EmbeddedMap:
        """A new map by the template, which is in no slot yet.

        Args:
            name: its name; the template's by default.
            max_entries: its size; the template's by default.

        Raises:
            SyscallError: the kernel would refuse a map of that size (BPF_MAP_CREATE).
        """
        template = self._template
        entries = template.max_entries if max_entries is None else max_entries
        made = self._create(replace(template, name=name or template.name, max_entries=entries))
        self._made.add(made)
        return made

    def _table(self, slots: int) -> memoryview:
        """Room for the addresses of inner maps, where machine code finds it."""
        storage, start = new_storage(8 * slots)
        self.record.values = ctypes.addressof(storage) + start
        return memoryview(storage).cast("B")[start : start + 8 * slots].cast("Q")

    def _accept(self, value: object) -> EmbeddedMap | int:
        if not isinstance(value, EmbeddedMap):
            return descriptor_errno(value)
        check_home(value.memory, self.memory, "a map of another engine")
        if shape(value) != self._shape:
            return EINVAL
        value.hold()
        return value

    def _id(self, held: EmbeddedMap) -> int:
        return held.id

    def _give_up(self, held: EmbeddedMap) -> None:
        self._around.rcu.call(held.drop)

    def _destroy(self) -> None:
        super()._destroy()
        for made in list(self._made):
            made.close()


class ArrayOfMaps(MapOfMaps, ObjectArray[EmbeddedMap]):
    """Maps by index."""

    kind = MapKind.ARRAY_OF_MAPS

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._addresses = self._table(spec.max_entries)

    def _placed(self, index: int, held: EmbeddedMap | None) -> None:
        self._addresses[index] = 0 if held is None else held.address

    def lookup_address(self, key: Bytes, _cpu: int) -> int:
        """The inner map, 0 where there is none."""
        index = int.from_bytes(key, "little")
        return self._addresses[index] if index < self._spec.max_entries else 0


class HashOfMaps(MapOfMaps):
    """Maps by key."""

    kind = MapKind.HASH_OF_MAPS

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        slots = spec.max_entries + 1  # one is spare, so that a new element can take the place of an old one
        self._index = HashIndex(self.record, self._lock, slots, spec.max_entries, spares=1)
        self._addresses = self._table(slots)
        self._held: dict[int, EmbeddedMap] = {}

    def lookup_address(self, key: Bytes, _cpu: int) -> int:
        """The inner map, 0 where there is none."""
        slot = self._index.find(key)
        return 0 if slot is None else self._addresses[slot]

    def _read(self, key: bytes) -> bytes | int:
        with self._lock:
            slot = self._index.find_locked(key)
            return ENOENT if slot is None else self._shown(self._held[slot])

    def _store(self, key: bytes, value: object, flags: int) -> int:
        with self._lock:
            accepted = self._accept(value)
            if isinstance(accepted, int):
                return accepted
            old = self._index.find_locked(key)
            errno = EINVAL if flags > UpdateFlag.EXIST else presence_errno(old is not None, flags)
            if not errno and old is None and self._index.count >= self._spec.max_entries:
                errno = E2BIG
            goes = accepted if errno else self._put(key, accepted, old)
        if goes is not None:
            self._give_up(goes)
        return errno

    def _put(self, key: bytes, new: EmbeddedMap, old: int | None) -> EmbeddedMap | None:
        """Make a map the one of ``key``; the one that it was."""
        slot = self._index.take() if old is None else self._index.swap_spare(0, old)
        self._held[slot] = new
        self._addresses[slot] = new.address
        self._index.link(key, slot)
        if old is None:
            return None
        self._index.unlink(old)
        return self._held.pop(old)

    def _remove(self, key: bytes, /) -> int:
        with self._lock:
            slot = self._index.find_locked(key)
            if slot is None:
                return ENOENT
            self._index.unlink(slot)
            self._index.give(slot)
            old = self._held.pop(slot)
        self._give_up(old)
        return 0

    def _keys(self) -> Iterable[bytes]:
        return [key for _, keys in self._buckets() for key in keys]

    def _buckets(self) -> list[tuple[int, list[bytes]]]:
        with self._lock:
            return self._index.buckets()

    def _destroy(self) -> None:
        while self._held:
            self._give_up(self._held.popitem()[1])
        super()._destroy()
