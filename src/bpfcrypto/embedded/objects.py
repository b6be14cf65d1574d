"""Objects that programs allocate (bpf_obj_new and its kin in kernel/bpf/helpers.c), and what the special fields in them own.

An object is a struct of the program's own types in memory of its own. Who holds it is said by the program, by a kptr field, or by the
list or tree that it is in; an object with a bpf_refcount field can have several holders. When the last one lets go, what its fields
own is released at once, as by bpf_obj_free_fields, and its memory goes after a grace period.

Per-CPU objects are handles: their memory is reached by bpf_this_cpu_ptr and bpf_per_cpu_ptr.

The verifier keeps references whole. A program that was not verified can lose them, which is a leak, and can write any bytes where the
kernel keeps its pointers; so no pointer out of memory is used before it is known to be what it should be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bpfcrypto.btf.record import FieldKind, object_fields
from bpfcrypto.btf.types import Composite, Kind
from bpfcrypto.embedded import graph_list, graph_tree
from bpfcrypto.embedded.cpumask import CpuMasks
from bpfcrypto.embedded.field_owner import FieldOwner, require
from bpfcrypto.embedded.map_values import Destructor, round_up
from bpfcrypto.embedded.memory import AccessFault, Region, allocate
from bpfcrypto.embedded.spinlock import SpinLock

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.embedded.contexts import CryptoContexts
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.rcu import Rcu

MAX_SIZE = (
    4096 - 8
)  # what the kernel's allocator for programs gives at most (bpf_mem_alloc); beyond, bpf_obj_new gives NULL

_OWNING = frozenset({FieldKind.KPTR, FieldKind.KPTR_PERCPU})
_LOCKS = frozenset({FieldKind.SPIN_LOCK, FieldKind.RES_SPIN_LOCK})


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of kernel object that kptrs can point to.

    Attributes:
        check: raises AccessFault for an address where none is.
        release: gives a reference back.
    """

    check: Callable[[int], object]
    release: Destructor


@dataclass(frozen=True)
class Layout:
    """A struct of the program's types as an object.

    Attributes:
        type_id, name, size: of the struct.
        fields: its special fields, by offset.
    """

    type_id: int
    name: str
    size: int
    fields: tuple[SpecialField, ...]

    @cached_property
    def by_offset(self) -> Mapping[int, SpecialField]:
        """The fields by their offsets."""
        return {field.offset: field for field in self.fields}

    @cached_property
    def refcount(self) -> int | None:
        """Offset of the reference count, None for objects with one holder."""
        return next((field.offset for field in self.fields if field.kind is FieldKind.REFCOUNT), None)


class ProgramObject(FieldOwner):
    """One object: owner of its memory region.

    Args:
        layout: its type.
        objects: where it belongs.

    Attributes:
        alive: whether somebody holds it.
    """

    def __init__(self, layout: Layout, objects: Objects) -> None:
        storage, offset = allocate(layout.size)
        self.layout = layout
        self.alive = True
        self._objects = objects
        self._locks: dict[int, SpinLock] = {}
        self.region = Region(storage, name=f"struct {layout.name}", offset=offset, size=layout.size, owner=self)

    @property
    def address(self) -> int:
        """What programs hold."""
        return self.region.base

    def field(self, address: int) -> SpecialField | None:
        """The special field at an address."""
        return self.layout.by_offset.get(address - self.region.base)

    def exchange(self, address: int, new: int) -> int:
        """Store a pointer in the kptr field at ``address``; what was there (bpf_kptr_xchg).

        Raises:
            AccessFault: no kptr is there, or ``new`` is not 0 and not what it may hold.
        """
        field = self.field(address)
        if field is None or field.kind not in _OWNING:
            raise AccessFault(f"address {address:#x} is not that of a kptr in {self.region.name}")
        if new:
            self._objects.target(field).check(new)
        return self._objects.swap(address, new)

    def spin_lock(self, address: int) -> SpinLock:
        """The lock at an address within the object.

        Raises:
            AccessFault: no lock is there.
        """
        field = self.field(address)
        if field is None or field.kind not in _LOCKS:
            raise AccessFault(f"address {address:#x} is not that of a spin lock in {self.region.name}")
        return self._locks.setdefault(address, SpinLock(address))


class PercpuObject:
    """One object for each CPU, known to programs by a handle.

    Args:
        layout: its type, which has no special fields.
        memory: the collection's address space.
        cpus: how many CPUs there are.
    """

    def __init__(self, layout: Layout, memory: Memory, cpus: int) -> None:
        name = f"per-CPU struct {layout.name}"
        self.layout = layout
        self.alive = True
        self._cpus = cpus
        self._stride = round_up(layout.size)
        self.region = memory.new(8, name, readable=False, writable=False, owner=self)
        self.data = memory.new(self._stride * cpus, name, stride=self._stride, chunk=layout.size)

    def on(self, cpu: int) -> int:
        """Address of the copy of a CPU; 0 where there is no such CPU."""
        return self.data.base + cpu * self._stride if cpu < self._cpus else 0


Allocated = ProgramObject | PercpuObject


def kernel_targets(contexts: CryptoContexts) -> Mapping[str, Target]:
    """The kernel objects that kptrs can point to, by the name of the struct."""
    return {"bpf_crypto_ctx": Target(contexts.get, contexts.release)}


class Objects:
    """The objects of one collection, and its CPU masks.

    Args:
        memory: the address space that they appear in.
        rcu: tells when the memory of a dropped object may go.
        btf: the types of the programs.
        targets: kernel objects that kptrs can point to, by the name of the struct.
        cpus: number of possible CPUs.

    Attributes:
        masks: the CPU masks.
    """

    def __init__(
        self,
        memory: Memory,
        rcu: Rcu,
        btf: Btf | None = None,
        *,
        targets: Mapping[str, Target] | None = None,
        cpus: int = 1,
    ) -> None:
        self.memory = memory
        self.lock = threading.RLock()
        self._rcu = rcu
        self._btf = btf
        self.masks = CpuMasks(memory, rcu, cpus)
        self._targets = {**(targets or {}), "bpf_cpumask": Target(self.masks.get, self.masks.release)}
        self._cpus = cpus
        self._layouts: dict[int, Layout] = {}
        self._living: set[Allocated] = set()

    @property
    def live(self) -> int:
        """Number of objects and CPU masks that somebody holds, or has lost."""
        return len(self._living) + self.masks.live

    # --- allocation

    def new(self, type_id: int) -> int:
        """bpf_obj_new: the address of a new object of zero bytes, 0 where it is too large.

        Raises:
            AccessFault: no such struct.
        """
        layout = self._layout(type_id)
        if layout.size > MAX_SIZE:
            return 0
        made = ProgramObject(layout, self)
        with self.lock:
            self.memory.map(made.region)
            self._living.add(made)
            if layout.refcount is not None:
                self.memory.store(made.address + layout.refcount, 4, 1)
        return made.address

    def new_percpu(self, type_id: int) -> int:
        """bpf_percpu_obj_new: the handle of a new per-CPU object.

        Raises:
            AccessFault: no such struct.
        """
        made = PercpuObject(self._layout(type_id), self.memory, self._cpus)
        with self.lock:
            self._living.add(made)
        return made.region.base

    def acquire(self, address: int) -> int:
        """bpf_refcount_acquire: the address with one holder more, or 0 where the last one is gone.

        Raises:
            AccessFault: no object with a count is there.
        """
        with self.lock:
            found = self._find(address)
            at = found.layout.refcount
            if at is None:
                raise AccessFault(f"{found.region.name} at {address:#x} has no reference count")
            count = self.memory.load(address + at, 4)
            if not count:
                return 0
            self.memory.store(address + at, 4, count + 1)
        return address

    def drop(self, address: int) -> None:
        """bpf_obj_drop and bpf_percpu_obj_drop: one holder less; without any, the object goes.

        Raises:
            AccessFault: no object is there, or nobody holds it.
        """
        with self.lock:
            found = self.get(address)
            at = found.layout.refcount
            if at is not None:
                count = self.memory.load(address + at, 4) - 1
                self.memory.store(address + at, 4, count)
                if count > 0:
                    return
            found.alive = False
            self._living.discard(found)
            if isinstance(found, ProgramObject):
                self.free_fields(found.address, found.layout.fields)
        self._rcu.call(lambda: self._unmap(found))

    def get(self, address: int) -> Allocated:
        """The object at an address.

        Raises:
            AccessFault: there is none, or nobody holds it.
        """
        owner = self.memory.owner(address)
        found = owner if isinstance(owner, PercpuObject) else self._find(address)
        if not found.alive:
            raise AccessFault(f"{found.region.name} at {address:#x} has been dropped")
        return found

    def close(self) -> None:
        """Take every object out of memory, whoever held it. No program may run any more."""
        for each in list(self._living):
            self._living.discard(each)
            self._unmap(each)
        self.masks.close()

    # --- what special fields own

    def target(self, field: SpecialField) -> Target:
        """What a kptr field can point to."""
        if field.type_name in self._targets:
            return self._targets[field.type_name]

        def check(address: int) -> None:
            found = self.get(address)
            percpu = isinstance(found, PercpuObject)
            if found.layout.type_id != field.type_id or percpu is not (field.kind is FieldKind.KPTR_PERCPU):
                raise AccessFault(f"{found.region.name} at {address:#x} is not a '{field.type_name}'")

        return Target(check, self.drop)

    def free_fields(self, base: int, fields: Sequence[SpecialField]) -> None:
        """Release what the special fields of a value or object own (bpf_obj_free_fields)."""
        for field in fields:
            self.free_field(field, base + field.offset)

    def free_field(self, field: SpecialField, address: int) -> None:
        """Release what the special field at an address owns.

        Bytes that a program has written over it own nothing.
        """
        with suppress(AccessFault):
            if field.kind in _OWNING and (pointer := self.swap(address, 0)):
                self.target(field).release(pointer)
            elif field.kind is FieldKind.LIST_HEAD:
                graph_list.drain(self, address)
            elif field.kind is FieldKind.RB_ROOT:
                graph_tree.drain(self, address)

    def holder(self, address: int, kind: FieldKind) -> ProgramObject:
        """The object whose list or tree node is at an address.

        Raises:
            AccessFault: no such node is there.
        """
        owner = require(self.memory, address, kind)
        if not isinstance(owner, ProgramObject):
            raise AccessFault(f"'{kind.value}' at {address:#x} is not in an object")
        return owner

    def swap(self, address: int, new: int) -> int:
        """Store eight bytes; what was there."""
        with self.lock:
            old = self.memory.load(address, 8)
            self.memory.store(address, 8, new)
        return old

    def destructors(self, fields: Sequence[SpecialField]) -> Mapping[str, Destructor]:
        """What releases a field of a map value, by the name of its struct: a kptr by what it holds, a list or tree by its address."""

        def free(field: SpecialField) -> Destructor:
            if field.kind not in _OWNING:
                return lambda address: self.free_field(field, address)
            release = self.target(field).release

            def destructor(pointer: int) -> None:
                with suppress(AccessFault):
                    release(pointer)

            return destructor

        return {field.type_name: free(field) for field in fields}

    def checks(self, fields: Sequence[SpecialField]) -> Mapping[str, Callable[[int], object]]:
        """What raises AccessFault for an address that must not go into a kptr, by the name of its struct."""
        return {field.type_name: self.target(field).check for field in fields if field.kind in _OWNING}

    # --- inside

    def _find(self, address: int) -> ProgramObject:
        owner = self.memory.owner(address)
        if not isinstance(owner, ProgramObject):
            raise AccessFault(f"address {address:#x} is not that of an object that the program has allocated")
        return owner

    def _layout(self, type_id: int) -> Layout:
        found = self._layouts.get(type_id)
        if found is None:
            record = self._btf[type_id] if self._btf is not None and 0 < type_id < len(self._btf) else None
            if self._btf is None or not isinstance(record, Composite) or record.kind is not Kind.STRUCT:
                raise AccessFault(f"type {type_id} is not a struct of the program")
            found = Layout(type_id, record.name, record.size, object_fields(self._btf, type_id))
            self._layouts[type_id] = found
        return found

    def _unmap(self, gone: Allocated) -> None:
        self.memory.unmap(gone.region)
        if isinstance(gone, PercpuObject):
            self.memory.unmap(gone.data)
