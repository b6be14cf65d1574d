"""Structs that programs allocate: their special fields, and the lists and trees that they are elements of.

A list head or tree root says by a tag what it contains: ``contains:struct:member``, the struct of the elements and the member that
links them. Both the root and the member are special fields of their structs, as are the locks that protect them. Mirrors
btf_parse_graph_root and btf_parse_struct_metas of kernel/bpf/btf.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bpfcrypto.btf.record import FieldKind, special_fields
from bpfcrypto.btf.types import Composite, Kind, Ref, Var

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf

LIST_NODE: Final = "bpf_list_node"
RB_NODE: Final = "bpf_rb_node"
_NODE_SIZES: Final = {LIST_NODE: 24, RB_NODE: 32}
_ROOTS: Final = {FieldKind.LIST_HEAD: LIST_NODE, FieldKind.RB_ROOT: RB_NODE}
_CONTAINS: Final = "contains:"


@dataclass(frozen=True, slots=True)
class Field:
    """A special field of a struct.

    Attributes:
        name: what messages call it: its struct's name, ``kptr``.
        offset: of its first byte.
        size: its bytes.
    """

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Root:
    """A list head or tree root.

    Attributes:
        name: its struct's name.
        offset: where it is.
        value_id: the struct of its elements.
        node_offset: where the member that links them is.
    """

    name: str
    offset: int
    value_id: int
    node_offset: int

    @property
    def node(self) -> str:
        """The name of the struct of the member that links the elements."""
        return LIST_NODE if self.name == FieldKind.LIST_HEAD.value else RB_NODE


def fields(btf: Btf, type_id: int) -> tuple[Field, ...]:
    """The special fields of a struct that programs allocate, by offset; none for other types."""
    found = [
        Field("kptr" if field.is_kptr else field.kind.value, field.offset, field.size)
        for field in special_fields(btf, type_id)
    ]
    found += _nodes(btf, btf.resolve(type_id), 0)
    return tuple(sorted(found, key=lambda field: field.offset))


def _nodes(btf: Btf, type_id: int, start: int) -> Iterator[Field]:
    record = btf[type_id]
    if not isinstance(record, Composite) or record.kind is not Kind.STRUCT:
        return
    for member in record.members:
        inner = btf[member.type_id]
        if not isinstance(inner, Composite) or inner.kind is not Kind.STRUCT or member.bit_offset % 8:
            continue
        at = start + member.bit_offset // 8
        if inner.name in _NODE_SIZES:
            yield Field(inner.name, at, _NODE_SIZES[inner.name])
        else:
            yield from _nodes(btf, member.type_id, at)


def roots(btf: Btf, type_id: int) -> tuple[Root, ...]:
    """The list heads and tree roots of a struct or data section."""
    if not any(field.kind in _ROOTS for field in special_fields(btf, type_id)):
        return ()
    return tuple(_roots(btf, type_id, 0))


def _roots(btf: Btf, type_id: int, start: int) -> Iterator[Root]:
    names = {kind.value for kind in _ROOTS}
    for member_type, offset, owner, component in _members(btf, type_id):
        inner = btf[member_type]
        if not isinstance(inner, Composite) or inner.kind is not Kind.STRUCT:
            continue
        if inner.name not in names:
            yield from _roots(btf, member_type, start + offset)
            continue
        for tag in btf.decl_tags(owner):
            if tag.component == component and tag.name.startswith(_CONTAINS):
                found = _content(btf, tag.name, inner.name)
                if found is not None:
                    yield Root(inner.name, start + offset, *found)


def _members(btf: Btf, type_id: int) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset and the place of the tags of each member of a struct, or variable of a data section."""
    record = btf[type_id]
    while isinstance(record, Ref):
        type_id = record.type_id
        record = btf[type_id]
    if isinstance(record, Composite):
        for index, member in enumerate(record.members):
            yield member.type_id, member.bit_offset // 8, type_id, index
        return
    for entry in getattr(record, "variables", ()):
        variable = btf[entry.type_id]
        if isinstance(variable, Var):
            yield variable.type_id, entry.offset, entry.type_id, -1


def _content(btf: Btf, tag: str, root: str) -> tuple[int, int] | None:
    """The struct that a root contains, and where its node is."""
    struct, _, member_name = tag.removeprefix(_CONTAINS).partition(":")
    value_id = btf.find(struct, Kind.STRUCT)
    record = btf[value_id] if value_id is not None else None
    if value_id is None or not isinstance(record, Composite):
        return None
    wanted = LIST_NODE if root == FieldKind.LIST_HEAD.value else RB_NODE
    for member in record.members:
        if member.name == member_name and btf[member.type_id].name == wanted:
            return value_id, member.bit_offset // 8
    return None


def has(found: tuple[Field, ...], name: str) -> bool:
    """Whether there is a special field of that name among them."""
    return any(field.name == name for field in found)
