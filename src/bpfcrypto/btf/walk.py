"""Following references between types: what is behind a name or qualifier, and how large it is.

References may form a cycle in a damaged table, so every walk is bounded as the kernel's are (MAX_RESOLVE_DEPTH in
kernel/bpf/btf.c).
"""

from __future__ import annotations

from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Enum, Float, Int, Kind, Ref, Var
from bpfcrypto.errors import BtfError

MAX_DEPTH = 32
POINTER_SIZE = 8
_MAX_SIZE = 0xFFFFFFFF

QUALIFIERS = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
"""Kinds that add a name, qualifier or tag to another type and change nothing about its layout."""


def resolve(btf: Btf, type_id: int) -> int:
    """The id behind typedefs, qualifiers and type tags.

    Raises:
        BtfError: more than 32 of them in a row, which is a cycle.
    """
    first = type_id
    for _ in range(MAX_DEPTH):
        record = btf[type_id]
        if not isinstance(record, Ref) or record.kind not in QUALIFIERS:
            return type_id
        type_id = record.type_id
    raise BtfError(f"type {first} is behind more than {MAX_DEPTH} names and qualifiers", section=".BTF")


def size_of(btf: Btf, type_id: int) -> int:
    """Size in bytes of a type; of a variable, that of its type.

    Raises:
        BtfError: void, functions and forward declarations have no size.
    """
    count = 1
    first = type_id
    for _ in range(MAX_DEPTH):
        type_id = resolve(btf, type_id)
        record = btf[type_id]
        match record:
            case Array():
                count *= record.count
                type_id = record.element
            case Var():
                type_id = record.type_id
            case Ref():  # all other references are resolved: a pointer
                return _checked(count * POINTER_SIZE, first)
            case Int() | Composite() | Enum() | Float() | DataSec():
                return _checked(count * record.size, first)
            case _:
                name = f" '{record.name}'" if record.name else ""
                raise BtfError(f"type {type_id}{name} ({type(record).__name__.lower()}) has no size", section=".BTF")
    raise BtfError(f"type {first} is an array in more than {MAX_DEPTH} dimensions", section=".BTF")


def _checked(size: int, type_id: int) -> int:
    if size > _MAX_SIZE:
        raise BtfError(f"type {type_id} is of {size} bytes, more than 4 GiB", section=".BTF")
    return size
