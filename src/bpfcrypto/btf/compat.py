"""When a type of an object stands for a type of the target: the rules behind CO-RE relocations.

Three relations, from loose to strict:

* *fields* are compatible when a program that was compiled for one can use the other in its place: any struct for any struct, any
  integer for any integer, any pointer for any pointer;
* *types* are compatible when their kinds agree along pointers, arrays and function prototypes;
* a type *matches* another when, besides, its members, enumerators and integer sizes are all there.

A name ends at its last ``___``: what follows is a flavour, by which one object can carry several versions of a type.

Source: tools/lib/bpf/relo_core.c, which the kernel shares.
"""

from __future__ import annotations

import re

from bpfcrypto.btf.types import Array, Btf, Composite, Enum, FuncProto, Fwd, Int, Kind, Ref, Type, Void
from bpfcrypto.errors import BtfError

_LEVELS = 16
_STEPS = 32
_FLAVOUR = re.compile(r"(.*[^_])___[^_].*", re.DOTALL)
_ENUMS = frozenset({Kind.ENUM, Kind.ENUM64})
_COMPOSITES = frozenset({Kind.STRUCT, Kind.UNION})


def essential_name(name: str) -> str:
    """The name without its flavour: ``task_struct`` of ``task_struct___old``."""
    found = _FLAVOUR.fullmatch(name)
    return found[1] if found else name


def kind_of(record: Type) -> Kind:
    """The kind of a record; each class of records stands for one, or says which."""
    return record.kind if isinstance(record, Ref | Composite | Enum) else Kind[_NAMES[type(record).__name__]]


_NAMES = {
    "Void": "VOID",
    "Int": "INT",
    "Float": "FLOAT",
    "Array": "ARRAY",
    "Fwd": "FWD",
    "FuncProto": "FUNC_PROTO",
    "Func": "FUNC",
    "Var": "VAR",
    "DataSec": "DATASEC",
    "DeclTag": "DECL_TAG",
}


def same_kind(local: Type, target: Type) -> bool:
    """Whether the kinds agree; enumerations of 32 and of 64 bits are one kind here."""
    first, second = kind_of(local), kind_of(target)
    return first is second or (first in _ENUMS and second in _ENUMS)


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a field of the target's type can be used as one of the local type."""
    for _ in range(_STEPS):
        mine, theirs = local[local.resolve(local_id)], target[target.resolve(target_id)]
        if isinstance(mine, Composite) and isinstance(theirs, Composite):
            return True
        if not same_kind(mine, theirs):
            return False
        match mine, theirs:
            case Array(), Array():
                local_id, target_id = mine.element, theirs.element
            case ((Fwd() | Enum()), _):
                return not mine.name or not theirs.name or _names_agree(mine.name, theirs.name)
            case Int(), Int():
                return mine.offset == 0 == theirs.offset
            case _:
                return kind_of(mine) in (Kind.PTR, Kind.FLOAT)
    return False


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int, _level: int = _LEVELS) -> bool:
    """Whether the target has that type; names are the caller's business."""
    if not same_kind(local[local_id], target[target_id]):
        return False
    for _ in range(_STEPS):
        mine, theirs = local[local.resolve(local_id)], target[target.resolve(target_id)]
        if not same_kind(mine, theirs):
            return False
        match mine, theirs:
            case ((Void() | Composite() | Enum() | Fwd()), _):
                return True
            case Int(), Int():
                return mine.offset == 0 == theirs.offset
            case Ref(), Ref():
                local_id, target_id = mine.type_id, theirs.type_id
            case Array(), Array():
                local_id, target_id = mine.element, theirs.element
            case FuncProto(), FuncProto():
                if len(mine.params) != len(theirs.params) or _level == 0:
                    return False
                for ours, others in zip(mine.params, theirs.params, strict=True):
                    first, second = local.resolve(ours.type_id), target.resolve(others.type_id)
                    if not types_compatible(local, first, target, second, _level - 1):
                        return False
                local_id, target_id = mine.returns, theirs.returns
            case _:
                return False
    return False


def types_match(
    local: Btf, local_id: int, target: Btf, target_id: int, *, behind_pointer: bool = False, _level: int = _LEVELS
) -> bool:
    """Whether everything that the local type says holds for the target's. Behind a pointer, a struct's name is enough.

    Raises:
        BtfError: structs that contain each other without end.
    """
    if _level == 0:
        raise BtfError(f"structs are nested more than {_LEVELS} deep", section=".BTF")
    for _ in range(_STEPS):
        mine, theirs = local[local.resolve(local_id)], target[target.resolve(target_id)]
        if not _names_agree(mine.name, theirs.name):
            return False
        match mine, theirs:
            case Void(), _:
                return isinstance(theirs, Void)
            case ((Fwd() | Composite()), (Fwd() | Composite())) if behind_pointer:
                return _is_union(mine) == _is_union(theirs)
            case Fwd(), Fwd():
                return mine.is_union == theirs.is_union
            case Enum(), Enum():
                return _enums_match(mine, theirs)
            case Composite(), Composite():
                return mine.kind is theirs.kind and _members_match(local, mine, target, theirs, _level)
            case Int(), Int():
                return mine.size == theirs.size and mine.signed == theirs.signed
            case Ref(), Ref():
                behind_pointer = True
                local_id, target_id = mine.type_id, theirs.type_id
            case Array(), Array():
                if mine.count != theirs.count:
                    return False
                local_id, target_id = mine.element, theirs.element
            case FuncProto(), FuncProto():
                if len(mine.params) != len(theirs.params):
                    return False
                for ours, others in zip(mine.params, theirs.params, strict=True):
                    if not types_match(
                        local, ours.type_id, target, others.type_id, behind_pointer=behind_pointer, _level=_level - 1
                    ):
                        return False
                local_id, target_id = mine.returns, theirs.returns
            case _:
                return False
    return False


def _names_agree(local: str, target: str) -> bool:
    return essential_name(local) == essential_name(target)


def _is_union(record: Fwd | Composite) -> bool:
    return record.is_union if isinstance(record, Fwd) else record.kind is Kind.UNION


def _enums_match(local: Enum, target: Enum) -> bool:
    if local.size != target.size:
        return False
    names = {essential_name(entry.name) for entry in target.values if entry.name}
    return len(local.values) <= len(target.values) and all(essential_name(e.name) in names for e in local.values)


def _members_match(local: Btf, mine: Composite, target: Btf, theirs: Composite, level: int) -> bool:
    """Whether each local member has one of its name and a matching type among the target's, in any place."""
    if len(mine.members) > len(theirs.members):
        return False
    return all(
        any(
            _names_agree(member.name, other.name)
            and types_match(local, member.type_id, target, other.type_id, _level=level - 1)
            for other in theirs.members
        )
        for member in mine.members
    )
