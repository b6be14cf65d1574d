"""Finds the special fields of a map value: kptrs, locks, timers and their kin, which the kernel keeps for itself.

User space sees zero bytes where they are, and helpers may not touch them. A field is special by its type: a struct of a reserved
name, or a pointer with a kptr tag. The search goes through nested structs and arrays, and is all or nothing: where the kernel finds
something that it cannot accept, it gives up on the whole value and treats every byte of it as plain, without a word. So do we.
It gives up on

* a tagged pointer with a tag of another name, with two tags, or whose target is not a struct that is defined;
* more than 11 fields, or two of a kind of which a value may have one;
* an array of anything but kptrs, list heads and rbtree roots;
* structs nested more than 15 deep.

Names for types and qualifiers are not looked through, except behind a kptr tag: a typedef of ``struct bpf_spin_lock`` is no lock.

Source: btf_find_field and its helpers in kernel/bpf/btf.c (6.18).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Kind, Ref, Var
from bpfcrypto.btf.walk import MAX_DEPTH, POINTER_SIZE

MAX_FIELDS = 11
_MAX_NESTING = 15


class FieldKind(Enum):
    """What a special field is; the value is its type's or tag's name."""

    SPIN_LOCK = "bpf_spin_lock"
    RES_SPIN_LOCK = "bpf_res_spin_lock"
    TIMER = "bpf_timer"
    WORKQUEUE = "bpf_wq"
    TASK_WORK = "bpf_task_work"
    REFCOUNT = "bpf_refcount"
    LIST_HEAD = "bpf_list_head"
    RB_ROOT = "bpf_rb_root"
    KPTR = "kptr"
    KPTR_UNTRUSTED = "kptr_untrusted"
    KPTR_PERCPU = "percpu_kptr"
    UPTR = "uptr"


@dataclass(frozen=True, slots=True)
class SpecialField:
    """One special field.

    Attributes:
        kind: what it is.
        offset, size: its bytes within the value.
        type_name: of a kptr, the name of the struct it points to; otherwise of the field's own struct.
        type_id: the id of that struct.
    """

    kind: FieldKind
    offset: int
    size: int
    type_name: str
    type_id: int

    @property
    def is_kptr(self) -> bool:
        """Whether it is a pointer that programs exchange with bpf_kptr_xchg or load."""
        return self.kind in _POINTERS.values()


@dataclass(frozen=True, slots=True)
class _Reserved:
    kind: FieldKind
    size: int
    align: int
    repeats: bool = False


_STRUCTS = {
    row.kind.value: row
    for row in (
        _Reserved(FieldKind.SPIN_LOCK, 4, 4),
        _Reserved(FieldKind.RES_SPIN_LOCK, 4, 4),
        _Reserved(FieldKind.TIMER, 16, 8),
        _Reserved(FieldKind.WORKQUEUE, 16, 8),
        _Reserved(FieldKind.TASK_WORK, 8, 8),
        _Reserved(FieldKind.REFCOUNT, 4, 4),
        _Reserved(FieldKind.LIST_HEAD, 16, 8, repeats=True),
        _Reserved(FieldKind.RB_ROOT, 16, 8, repeats=True),
    )
}
_POINTERS = {
    kind.value: kind for kind in (FieldKind.KPTR, FieldKind.KPTR_UNTRUSTED, FieldKind.KPTR_PERCPU, FieldKind.UPTR)
}
_REPEATING = frozenset(_POINTERS.values()) | {row.kind for row in _STRUCTS.values() if row.repeats}


class _GivenUp(Exception):
    """The kernel's search ends with an error here: the value has no special fields at all."""


def special_fields(btf: Btf, type_id: int) -> tuple[SpecialField, ...]:
    """The special fields of a map value, by offset.

    Args:
        btf: the object's types.
        type_id: the value type: a struct, or the DATASEC of a data section. Other types have no special fields.
    """
    record = btf[type_id]
    try:
        if isinstance(record, DataSec):
            found = _in_datasec(btf, record)
        else:
            record = btf[btf.resolve(type_id)]
            found = _in_struct(btf, record, 0) if isinstance(record, Composite) and record.kind is Kind.STRUCT else []
    except _GivenUp:
        return ()
    return tuple(sorted(found, key=lambda field: field.offset))


def pointer_kind(btf: Btf, type_id: int) -> FieldKind | None:
    """The kind of kptr that a member of this type is, or None."""
    try:
        field = _pointer(btf, type_id, 0)
    except _GivenUp:
        return None
    return field.kind if field else None


def _in_struct(btf: Btf, struct: Composite, level: int) -> list[SpecialField]:
    if level > _MAX_NESTING:
        raise _GivenUp
    places = ((member.type_id, member.bit_offset, None) for member in struct.members if not member.bit_size)
    return _collect(btf, places, level)


def _in_datasec(btf: Btf, section: DataSec) -> list[SpecialField]:
    places = []
    for entry in section.variables:
        variable = btf[entry.type_id]
        if isinstance(variable, Var):
            places.append((variable.type_id, entry.offset * 8, entry.size))
    return _collect(btf, iter(places), 0)


def _collect(btf: Btf, places: Iterator[tuple[int, int, int | None]], level: int) -> list[SpecialField]:
    """Fields of all members or variables, each given as type, offset in bits, and size where the place has one."""
    found: list[SpecialField] = []
    for type_id, bit_offset, expected in places:
        found += _at(btf, type_id, bit_offset, expected, level)
        if len(found) > MAX_FIELDS:
            raise _GivenUp
        once = [field.kind for field in found if field.kind not in _REPEATING]
        if len(once) != len(set(once)):
            raise _GivenUp
    return found


def _at(btf: Btf, type_id: int, bit_offset: int, expected: int | None, level: int) -> list[SpecialField]:
    """Fields of one member or variable, arrays spread out."""
    count = 1
    record = btf[type_id]
    for _ in range(MAX_DEPTH):
        if not isinstance(record, Array):
            break
        count *= record.count
        type_id, record = record.element, btf[record.element]
    if count == 0:
        return []
    row = _STRUCTS.get(record.name) if isinstance(record, Composite) and record.kind is Kind.STRUCT else None
    if isinstance(record, Composite) and record.kind is Kind.STRUCT and row is None:
        fields, size = _in_struct(btf, record, level + 1), record.size
    else:
        fields, size = _single(btf, type_id, row)
    offset, rest = divmod(bit_offset, 8)
    if not fields or (expected is not None and expected != size * count):
        return []
    if rest:
        raise _GivenUp
    align = row.align if row else (POINTER_SIZE if not isinstance(record, Composite) else 1)
    if offset % align:
        return []
    if count > 1 and any(field.kind not in _REPEATING for field in fields):
        raise _GivenUp
    if len(fields) * count > MAX_FIELDS:
        raise _GivenUp
    return [replace(field, offset=field.offset + offset + i * size) for i in range(count) for field in fields]


def _single(btf: Btf, type_id: int, row: _Reserved | None) -> tuple[list[SpecialField], int]:
    """The field that this type itself is, if any, and the size it takes."""
    record = btf[type_id]
    if row is not None and isinstance(record, Composite):
        fits = record.size == row.size
        return ([SpecialField(row.kind, 0, row.size, record.name, type_id)] if fits else []), row.size
    field = _pointer(btf, type_id, 0)
    return ([field] if field else []), POINTER_SIZE


def _pointer(btf: Btf, type_id: int, offset: int) -> SpecialField | None:
    """The kptr that a pointer type is.

    Raises:
        _GivenUp: it is tagged, and not in a way that the kernel takes.
    """
    pointer = btf[type_id]
    if not isinstance(pointer, Ref) or pointer.kind is not Kind.PTR:
        return None
    tag = btf[pointer.type_id]
    if not isinstance(tag, Ref) or tag.kind is not Kind.TYPE_TAG:
        return None
    behind = btf[tag.type_id]
    if isinstance(behind, Ref) and behind.kind is Kind.TYPE_TAG:
        raise _GivenUp
    kind = _POINTERS.get(tag.name)
    target_id = btf.resolve(tag.type_id)
    target = btf[target_id]
    if kind is None or not isinstance(target, Composite) or target.kind is not Kind.STRUCT:
        raise _GivenUp
    return SpecialField(kind, offset, POINTER_SIZE, target.name, target_id)
