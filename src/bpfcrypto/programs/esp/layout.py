"""Where the members of a struct are, from its BTF: for what is read too often to be decoded as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfcrypto.btf.types import Composite, Kind

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf


class Layout:
    """A struct, whose members that are structs themselves count as its own, as far as their names are new.

    Args:
        btf: the types.
        name: of the struct.
    """

    def __init__(self, btf: Btf, name: str) -> None:
        type_id = btf.find(name, Kind.STRUCT)
        assert type_id is not None
        self._places: dict[str, slice] = {}
        for member, place in _members(btf, type_id, 0):
            self._places.setdefault(member, place)

    def raw(self, value: bytes, member: str) -> bytes:
        """The bytes of a member."""
        return value[self._places[member]]

    def number(self, value: bytes, member: str) -> int:
        """A member that is an unsigned integer."""
        return int.from_bytes(value[self._places[member]], "little")


def _members(btf: Btf, type_id: int, base: int) -> Iterator[tuple[str, slice]]:
    record = btf[btf.resolve(type_id)]
    assert isinstance(record, Composite)
    inner = []
    for member in record.members:
        at, resolved = base + member.bit_offset // 8, btf.resolve(member.type_id)
        yield member.name, slice(at, at + btf.size_of(member.type_id))
        if isinstance(btf[resolved], Composite):
            inner.append((resolved, at))
    for resolved, at in inner:
        yield from _members(btf, resolved, at)
