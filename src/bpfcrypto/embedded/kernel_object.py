"""Objects of the kernel that programs look into: the members that are answered, at the offsets of our own types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bpfcrypto.btf.types import Composite, Kind
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory

Members = Mapping[str, Callable[[], int]]
"""Members that are answered, and how."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


@cache
def _layout(struct: str) -> tuple[int, tuple[_Member, ...]]:
    """Size and members of a kernel struct."""
    types = kernel_types()
    type_id = types.find(struct, Kind.STRUCT)
    record = types[type_id] if type_id is not None else None
    if not isinstance(record, Composite):
        raise ValueError(f"abi/kernel.btf has no struct {struct}")
    members = (
        _Member(each.name, each.bit_offset // 8, types.size_of(each.type_id))
        for each in record.members
        if not each.bit_size
    )
    return record.size, tuple(members)


class KernelObject:
    """One object: answers the loads of its virtual region.

    Args:
        memory: the run's memory.
        struct: its type.
        members: what is answered.
        name: what messages call it; None for the name of the struct.
        owner: whom the region belongs to; None for the object itself.
        room: bytes that are at its address at least; loads never see them.
    """

    def __init__(
        self,
        memory: Memory,
        struct: str,
        members: Members,
        *,
        name: str | None = None,
        owner: object | None = None,
        room: int = 0,
    ) -> None:
        size, self._members = _layout(struct)
        self.struct = struct
        self._answers = members
        self.region = memory.new(
            max(size, room),
            name or f"struct {struct}",
            access=self,
            owner=self if owner is None else owner,
            writable=False,
        )

    @property
    def address(self) -> int:
        """What programs hold."""
        return self.region.base

    def load(self, offset: int, size: int) -> int:
        """The value of a member, or of a part of it."""
        for member in self._members:
            inside = offset - member.offset
            if 0 <= inside <= member.size - size:
                answer = self._answers.get(member.name)
                if answer is None:
                    raise AccessFault(f"the embedded engine has no '{member.name}' of struct {self.struct}")
                return answer() >> 8 * inside & ((1 << 8 * size) - 1)
        raise AccessFault(f"no member of struct {self.struct} has {size} bytes at offset {offset}")

    def store(self, offset: int, size: int, value: int) -> None:
        """Refused: AccessFault."""
        raise AccessFault(f"struct {self.struct} cannot be written: {value} in {size} bytes at offset {offset}")
