"""Structs that programs allocate: their special fields, and the lists and trees that they are elements of.

A list head or tree root says by a tag what it contains: ``contains:struct:member``, the struct of the elements and the member that
links them. Both the root and the member are special fields of their structs, as are the locks that protect them; btf.record finds
them, and here they have the names of the verifier's messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bpfcrypto.btf.record import FieldKind, object_fields, special_fields

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf

LIST_NODE: Final = "bpf_list_node"
RB_NODE: Final = "bpf_rb_node"


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
    return tuple(
        Field("kptr" if field.is_kptr else field.kind.value, field.offset, field.size)
        for field in object_fields(btf, type_id)
    )


def roots(btf: Btf, type_id: int) -> tuple[Root, ...]:
    """The list heads and tree roots of a struct or data section."""
    return tuple(
        Root(field.kind.value, field.offset, *field.content)
        for field in special_fields(btf, type_id)
        if field.content is not None
    )


def has(found: tuple[Field, ...], name: str) -> bool:
    """Whether there is a special field of that name among them."""
    return any(field.name == name for field in found)
