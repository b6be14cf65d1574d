"""Who keeps special fields: maps in their values, and the objects that programs allocate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.btf.record import FieldKind, SpecialField
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.spinlock import SpinLock

_POINTER_SIZE = 8


class FieldOwner(ABC):
    """The owner of a region in which there are special fields. Addresses are those of fields; where none is, AccessFault."""

    @abstractmethod
    def field(self, address: int) -> SpecialField | None:
        """The special field that starts at an address."""

    @abstractmethod
    def exchange(self, address: int, new: int) -> int:
        """Store a pointer in a kptr; what was there (bpf_kptr_xchg)."""

    @abstractmethod
    def spin_lock(self, address: int) -> SpinLock:
        """The lock of a field."""


def field_owner(memory: Memory, address: int, size: int = _POINTER_SIZE) -> FieldOwner:
    """The owner of the field at an address.

    Raises:
        AccessFault: neither a map nor an object has fields there.
    """
    owner = memory.find(address, size).owner
    if not isinstance(owner, FieldOwner):
        raise AccessFault(f"{address:#x} is neither in the value of a map nor in an object")
    return owner


def require(memory: Memory, address: int, kind: FieldKind) -> FieldOwner:
    """The owner of a field of some kind.

    Raises:
        AccessFault: no such field is there.
    """
    owner = field_owner(memory, address)
    field = owner.field(address)
    if field is None or field.kind is not kind:
        raise AccessFault(f"no '{kind.value}' is at {address:#x}")
    return owner
