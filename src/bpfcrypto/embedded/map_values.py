"""The values of a map in real memory: one strided region, with the special fields kept out of everybody's hands.

A value's plain bytes are copied in and out; its special fields (kptrs, locks) are skipped on the way in and read as zero on the way
out, so neither user space nor an update can forge a pointer. A kptr leaves its slot by :meth:`Values.exchange` or is released by
:meth:`Values.drop`.

Slots of all CPUs lie in one buffer, CPU after CPU. The buffer is anonymous memory that costs nothing before it is touched: a map for
a hundred million elements is as cheap to create as in the kernel.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bpfcrypto.btf.record import FieldKind
from bpfcrypto.embedded.memory import AccessFault, Memory, Region, allocate

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.crypto.provider import Bytes

Destructor = Callable[[int], None]
"""Gives back the reference that a kptr slot held, or everything on the list or in the tree at an address."""

_LARGE = 1 << 20
_OWNING = frozenset({FieldKind.KPTR, FieldKind.KPTR_PERCPU})
_ROOTS = frozenset({FieldKind.LIST_HEAD, FieldKind.RB_ROOT})


def round_up(size: int) -> int:
    """The next multiple of 8, the distance of one value to the next."""
    return size + 7 & ~7


class WriteOnly:
    """Access to the values of a map that programs may write and not read (BPF_F_WRONLY_PROG)."""

    def __init__(self, view: memoryview, name: str) -> None:
        self._view = view
        self._name = name

    def load(self, offset: int, size: int) -> int:
        """Refused: AccessFault."""
        raise AccessFault(f"{size} bytes at offset {offset}: programs may only write {self._name}")

    def store(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes."""
        self._view[offset : offset + size] = value.to_bytes(size, "little")


class Values:
    """The values of one map.

    Args:
        memory: the address space they appear in.
        name: for messages.
        owner: the map.
        size: bytes of a value.
        slots: number of values.
        cpus: copies of each value: 1, or the number of possible CPUs.
        fields: special fields of a value.
        destructors: by the name of the struct that a kptr points to.
        readable, writable: what programs may do.

    Attributes:
        stride: bytes from one value to the next.
        region: the values as programs see them.
    """

    def __init__(
        self,
        memory: Memory,
        name: str,
        *,
        owner: object,
        size: int,
        slots: int,
        cpus: int = 1,
        fields: Sequence[SpecialField] = (),
        destructors: Mapping[str, Destructor] | None = None,
        readable: bool = True,
        writable: bool = True,
    ) -> None:
        self.size = size
        self.stride = round_up(size)
        self.slots = slots
        self.cpus = cpus
        self.fields = tuple(fields)
        self._destructors = destructors or {}
        self._pointers = {field.offset: field for field in self.fields if field.kind in _OWNING}
        self._roots = {field.offset: field for field in self.fields if field.kind in _ROOTS}
        self._plain = _gaps(self.fields, self.stride)
        self._memory = memory
        total = self.stride * slots * cpus
        storage, offset = new_storage(total)
        self._view = memoryview(storage).cast("B")[offset : offset + total]
        self._words = self._view.cast("Q")
        self.region = memory.map(
            Region(
                storage,
                name=name,
                offset=offset,
                size=total,
                writable=writable,
                readable=readable,
                access=None if readable else WriteOnly(self._view, name),
                owner=owner,
                stride=self.stride,
                chunk=size,
            )
        )

    def close(self) -> None:
        """Release what special fields hold and take the values out of memory."""
        words = self._words
        for offset, field in self._pointers.items():
            held = words[offset // 8 :: self.stride // 8].tolist()
            for index, pointer in enumerate(held):
                if pointer:
                    self._swap(index * self.stride + offset, 0)
                    self._destroy(field, pointer)
        for offset, field in self._roots.items():
            for index, first in enumerate(words[offset // 8 :: self.stride // 8].tolist()):
                if first:
                    self._destroy(field, self.region.base + index * self.stride + offset)
        self._memory.unmap(self.region)

    def pointers(self) -> Iterator[int]:
        """What the kptrs of all values hold, NULL left out."""
        words = self._words
        return (
            pointer
            for offset in self._pointers
            for pointer in words[offset // 8 :: self.stride // 8].tolist()
            if pointer
        )

    def address(self, slot: int, cpu: int = 0) -> int:
        """Where a program finds the value."""
        return self.region.base + self._at(slot, cpu)

    def read(self, slot: int) -> bytes:
        """The value as user space sees it: every CPU's copy rounded up to 8 bytes in per-CPU maps, special fields zero."""
        if self.cpus == 1:
            return self._read(slot, 0, self.size)
        return b"".join(self._read(slot, cpu, self.stride) for cpu in range(self.cpus))

    def read_part(self, slot: int, offset: int, size: int) -> bytes:
        """Some bytes of the value, special fields zero."""
        return self._read(slot, 0, self.size)[offset : offset + size]

    def write(self, slot: int, value: Bytes, cpu: int | None = None) -> None:
        """Store the plain bytes of ``value``.

        Args:
            slot: which.
            value: as :meth:`read` gives it; just ``size`` bytes where ``cpu`` is given.
            cpu: store the copy of that CPU alone; None stores all copies.
        """
        if cpu is not None:
            self._write(slot, cpu, 0, value)
            return
        for each in range(self.cpus):
            self._write(slot, each, 0, value[each * self.stride : (each + 1) * self.stride])

    def write_part(self, slot: int, offset: int, data: Bytes) -> None:
        """Store some bytes of the value, except where special fields are."""
        self._write(slot, 0, offset, data)

    def clear_others(self, slot: int, cpu: int) -> None:
        """Zero the plain bytes of every copy but that of ``cpu``."""
        for other in range(self.cpus):
            if other != cpu:
                self._write(slot, other, 0, bytes(self.stride))

    def drop(self, slot: int, cpu: int | None = None) -> None:
        """Empty the special fields of a value and release what they held; of one CPU's copy, or of all."""
        for each in range(self.cpus) if cpu is None else (cpu,):
            at = self._at(slot, each)
            for offset, field in self._pointers.items():
                self._destroy(field, self._swap(at + offset, 0))
            for offset, field in self._roots.items():
                self._destroy(field, self.region.base + at + offset)
            for field in self.fields:
                if field.kind is FieldKind.KPTR_UNTRUSTED:
                    self._swap(at + field.offset, 0)

    def pointer_field(self, address: int) -> SpecialField:
        """The kptr field at an address.

        Raises:
            AccessFault: there is none.
        """
        inside = address - self.region.base
        field = self._pointers.get(inside % self.stride) if 0 <= inside < self.region.size else None
        if field is None:
            raise AccessFault(f"address {address:#x} is not that of a kptr in {self.region.name}")
        return field

    def exchange(self, address: int, new: int) -> int:
        """Store a pointer in the kptr field at ``address``; what was there (bpf_kptr_xchg)."""
        self.pointer_field(address)
        return self._swap(address - self.region.base, new)

    def _destroy(self, field: SpecialField, pointer: int) -> None:
        if pointer and field.type_name in self._destructors:
            self._destructors[field.type_name](pointer)

    def _at(self, slot: int, cpu: int) -> int:
        return (cpu * self.slots + slot) * self.stride

    def _swap(self, at: int, new: int) -> int:
        """In one store: struct.pack_into clears the bytes before it writes them, and machine code would see that."""
        old = self._words[at // 8]
        self._words[at // 8] = new
        return old

    def _read(self, slot: int, cpu: int, size: int) -> bytes:
        at = self._at(slot, cpu)
        if not self.fields:
            return bytes(self._view[at : at + size])
        value = bytearray(size)
        for start, end in self._plain:
            value[start : min(end, size)] = self._view[at + start : at + min(end, size)]
        return bytes(value)

    def _write(self, slot: int, cpu: int, offset: int, data: Bytes) -> None:
        at = self._at(slot, cpu)
        stop = offset + len(data)
        for start, end in self._plain:
            first, last = max(start, offset), min(end, stop)
            if first < last:
                self._view[at + first : at + last] = data[first - offset : last - offset]


def _gaps(fields: Sequence[SpecialField], size: int) -> tuple[tuple[int, int], ...]:
    """The ranges between special fields, of which ``fields`` are given by offset."""
    starts = [0, *(field.offset + field.size for field in fields)]
    ends = [*(field.offset for field in fields), size]
    return tuple((start, end) for start, end in zip(starts, ends, strict=True) if start < end)


def new_storage(size: int, align: int = 8) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """Zeroed memory, and the offset in it that is aligned; large buffers come from the system page by page, when they are touched.

    Args:
        size: bytes.
        align: a power of two, a page at most.

    Raises:
        MemoryError: there is no such amount of it.
    """
    if size < _LARGE:
        return allocate(size, align)
    try:
        return (ctypes.c_char * size).from_buffer(mmap.mmap(-1, size)), 0
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(f"{size} bytes") from error
