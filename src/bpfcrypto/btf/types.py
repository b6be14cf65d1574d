"""BTF types as values, and the table that holds them.

Types refer to each other by id, as in the format: ids are cheap to compare, cycles need no care, and a reader can decode a type
only when somebody asks for it (a kernel has more than a hundred thousand).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Kind(IntEnum):
    """enum BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Linkage(IntEnum):
    """Linkage of functions and variables."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


@dataclass(frozen=True, slots=True)
class Void:
    """Type id 0."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer of ``size`` bytes, of which ``bits`` bits from ``offset`` hold the value."""

    name: str
    size: int
    bits: int
    signed: bool = False
    is_char: bool = False
    is_bool: bool = False
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Float:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Ref:
    """PTR, TYPEDEF, VOLATILE, CONST, RESTRICT and TYPE_TAG: one other type, sometimes a name."""

    kind: Kind
    type_id: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    element: int
    index: int
    count: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A member; ``bit_offset`` from the start, ``bit_size`` 0 unless it is a bit field."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int = 0


@dataclass(frozen=True, slots=True)
class Composite:
    """STRUCT or UNION."""

    kind: Kind
    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Enumerator:
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Enum:
    """ENUM or ENUM64; ``kind`` tells which."""

    kind: Kind
    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]


@dataclass(frozen=True, slots=True)
class Fwd:
    name: str
    is_union: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class FuncProto:
    returns: int
    params: tuple[Param, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Func:
    name: str
    type_id: int
    linkage: Linkage


@dataclass(frozen=True, slots=True)
class Var:
    name: str
    type_id: int
    linkage: Linkage


@dataclass(frozen=True, slots=True)
class SecVar:
    type_id: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DataSec:
    name: str
    size: int
    variables: tuple[SecVar, ...]


@dataclass(frozen=True, slots=True)
class DeclTag:
    """A tag on a type, or on its member or argument ``component`` (-1: the type itself)."""

    name: str
    type_id: int
    component: int = -1


Type = Void | Int | Float | Ref | Array | Composite | Enum | Fwd | FuncProto | Func | Var | DataSec | DeclTag


class Btf(Protocol):
    """A table of types. Ids run from 1; id 0 is void."""

    @property
    def raw(self) -> bytes:
        """The bytes it was read from, header included."""
        ...

    def __hash__(self) -> int:
        """Equal tables have equal hashes, so that what is found in one can be kept."""
        ...

    def __len__(self) -> int:
        """Number of types, void included: ids are ``range(len(btf))``."""
        ...

    def __getitem__(self, type_id: int) -> Type:
        """The type of that id; IndexError where there is none."""
        ...

    def find(self, name: str, kind: Kind | None = None) -> int | None:
        """The lowest id of that name (and kind), or None."""
        ...

    def find_all(self, name: str, kind: Kind | None = None) -> tuple[int, ...]:
        """Every id of that name (and kind), lowest first."""
        ...

    def flavours(self, name: str) -> tuple[int, ...]:
        """Every id whose name is ``name``, or ``name___`` and anything: the candidates of a CO-RE relocation."""
        ...

    def string_at(self, offset: int) -> str:
        """The string at an offset of the string table; BtfError where there is none."""
        ...

    def resolve(self, type_id: int) -> int:
        """The id behind typedefs, qualifiers and type tags."""
        ...

    def size_of(self, type_id: int) -> int:
        """Size in bytes; BtfError for types that have none."""
        ...

    def decl_tags(self, type_id: int) -> tuple[DeclTag, ...]:
        """Tags on that type, in the order of the source."""
        ...
