"""What lies behind the address of a map's handle: sizes, addresses and counts that Python and machine code both work with.

Programs hold the address and may read nothing there. ``jit/runtime/map.h`` is the same layout in C.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag


class MapKind(IntEnum):
    """How machine code finds elements."""

    OTHER = 0
    ARRAY = 1
    HASH = 2
    LRU = 3
    ARRAY_OF_MAPS = 4
    HASH_OF_MAPS = 5
    RING = 6
    TRIE = 7


class MapAbility(IntFlag):
    """What else machine code may do by itself."""

    NONE = 0
    WRITE = 1
    PERCPU = 2


class MapRecord(ctypes.Structure):
    """One map.

    Attributes:
        values: address of the first value; of the first inner map's address in a map of maps.
        stride: bytes from one value to the next.
        slots: values of one CPU.
        key_size, value_size, max_entries: as in the blueprint.
        kind: a :class:`MapKind`.
        abilities: :class:`MapAbility` flags.
        cpus: copies of each value.
        lock: held by whoever changes the map.
        table: address of the bucket heads of a hash, or of the first page of a ring.
        elements: address of a hash's elements.
        free: address of the numbers of its free elements.
        referenced: address of one byte for each element of an LRU map, not 0 where it was used.
        spares: address of the number of each CPU's spare element.
        mask: number of buckets less one; of a ring, bytes less one.
        element_size: bytes from one element to the next.
        spare_count: how many spare elements there are.
        count: elements in the table.
        free_count: free elements; those that were never used are not counted.
        fresh: the first element that was never used.
        changes: becomes another number before and after an element leaves its chain; of a trie, before and after every change.
        lengths: address of a trie's table of lengths.
    """

    _fields_ = (
        ("values", ctypes.c_uint64),
        ("stride", ctypes.c_uint64),
        ("slots", ctypes.c_uint64),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("abilities", ctypes.c_uint32),
        ("cpus", ctypes.c_uint32),
        ("lock", ctypes.c_uint32),
        ("mask", ctypes.c_uint32),
        ("table", ctypes.c_uint64),
        ("elements", ctypes.c_uint64),
        ("free", ctypes.c_uint64),
        ("referenced", ctypes.c_uint64),
        ("spares", ctypes.c_uint64),
        ("element_size", ctypes.c_uint32),
        ("spare_count", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("free_count", ctypes.c_uint32),
        ("fresh", ctypes.c_uint32),
        ("changes", ctypes.c_uint32),
        ("lengths", ctypes.c_uint64),
    )

    values: int
    stride: int
    slots: int
    key_size: int
    value_size: int
    max_entries: int
    kind: int
    abilities: int
    cpus: int
    lock: int
    mask: int
    table: int
    elements: int
    free: int
    referenced: int
    spares: int
    element_size: int
    spare_count: int
    count: int
    free_count: int
    fresh: int
    changes: int
    lengths: int


LOCK = MapRecord.lock.offset  # type: ignore[attr-defined]
