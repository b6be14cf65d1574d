"""Finds the special fields of a map value or of an object of a program: kptrs, locks, timers and their kin, which the kernel keeps.

User space sees zero bytes where they are, and helpers may not touch them. A field is special by its type: a struct of a reserved
name, or a pointer with a kptr tag. The search goes through nested structs and arrays, and is all or nothing: where the kernel finds
something that it cannot accept, it gives up on the whole value and treats every byte of it as plain, without a word. So do we.
It gives up on

* a tagged pointer with a tag of another name, with two tags, or whose target is not a struct that is defined;
* a list head or rbtree root that does not say what it contains, names something that does not fit, or has no lock beside it;
* a spin lock and a resilient one together, or, within one struct, two of anything but kptrs, list heads and rbtree roots;
* an array of anything but those;
* a member that does not start on a byte, such as most bit fields;
* more than 11 fields, or structs nested more than 15 deep.

Objects that programs allocate have nodes of lists and trees besides, and no timers and work queues: those are plain bytes there, as
nodes are in map values.

Names for types and qualifiers are not looked through, except behind a kptr tag and for one ``volatile`` in front of a pointer: a
typedef of ``struct bpf_spin_lock`` is no lock. BTF_LOAD refuses some of these structs altogether; those that it takes behave as
described. Whether a kptr's target has a destructor, only a kernel knows; it is taken for granted here.

Source: btf_find_field and its helpers in kernel/bpf/btf.c (6.18).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Kind, Ref, Type, Var
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
    LIST_NODE = "bpf_list_node"
    RB_ROOT = "bpf_rb_root"
    RB_NODE = "bpf_rb_node"
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
        content: of a list head or rbtree root, what it contains: the id of the struct, and the offset of the member that links it.
    """

    kind: FieldKind
    offset: int
    size: int
    type_name: str
    type_id: int
    content: tuple[int, int] | None = None

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


_Rows = Mapping[str, _Reserved]

_IN_VALUES: _Rows = {
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
_NOT_IN_OBJECTS = frozenset({FieldKind.TIMER, FieldKind.WORKQUEUE, FieldKind.TASK_WORK})
_IN_OBJECTS: _Rows = {
    **{name: row for name, row in _IN_VALUES.items() if row.kind not in _NOT_IN_OBJECTS},
    FieldKind.LIST_NODE.value: _Reserved(FieldKind.LIST_NODE, 24, 8, repeats=True),
    FieldKind.RB_NODE.value: _Reserved(FieldKind.RB_NODE, 32, 8, repeats=True),
}
_POINTERS = {
    kind.value: kind for kind in (FieldKind.KPTR, FieldKind.KPTR_UNTRUSTED, FieldKind.KPTR_PERCPU, FieldKind.UPTR)
}
_REPEATING = frozenset(_POINTERS.values()) | {row.kind for row in _IN_OBJECTS.values() if row.repeats}


class _GivenUp(Exception):
    """The kernel's search ends with an error here: the value has no special fields at all."""


_NODE_OF = {FieldKind.LIST_HEAD: FieldKind.LIST_NODE, FieldKind.RB_ROOT: FieldKind.RB_NODE}
_NODE_ALIGN = 8
_ROOTS = frozenset(_NODE_OF)
_LOCKS = frozenset({FieldKind.SPIN_LOCK, FieldKind.RES_SPIN_LOCK})


def special_fields(btf: Btf, type_id: int) -> tuple[SpecialField, ...]:
    """The special fields of a map value, by offset.

    Args:
        btf: the object's types.
        type_id: the value type: a struct, or the DATASEC of a data section. Other types have no special fields.
    """
    return _find(btf, type_id, _IN_VALUES)


def object_fields(btf: Btf, type_id: int) -> tuple[SpecialField, ...]:
    """The special fields of an object that a program allocates, by offset.

    Args:
        btf: the object file's types.
        type_id: a struct.
    """
    return _find(btf, type_id, _IN_OBJECTS)


def _find(btf: Btf, type_id: int, rows: _Rows) -> tuple[SpecialField, ...]:
    record = btf[type_id]
    try:
        if isinstance(record, DataSec):
            found = _in_datasec(btf, rows, record)
        else:
            type_id = btf.resolve(type_id)
            record = btf[type_id]
            found = (
                _in_struct(btf, rows, type_id, record, 0)
                if isinstance(record, Composite) and record.kind is Kind.STRUCT
                else []
            )
        _check_together({field.kind for field in found})
    except _GivenUp:
        return ()
    return tuple(sorted(found, key=lambda field: field.offset))


def pointer_kind(btf: Btf, type_id: int) -> FieldKind | None:
    """The kind of kptr that a member of this type is, or None."""
    try:
        field = _pointer(btf, type_id)
    except _GivenUp:
        return None
    return field.kind if field else None


def _check_together(kinds: set[FieldKind]) -> None:
    locks = kinds & _LOCKS
    if len(locks) > 1 or (kinds & _ROOTS and not locks):
        raise _GivenUp


@dataclass(frozen=True, slots=True)
class _Spot:
    """A member or variable: its type, first bit, size where it has one of its own, and where its decl tags are."""

    type_id: int
    bit_offset: int
    size: int | None
    owner: int
    component: int


def _in_struct(btf: Btf, rows: _Rows, type_id: int, struct: Composite, level: int) -> list[SpecialField]:
    if level > _MAX_NESTING:
        raise _GivenUp
    return _collect(
        btf,
        rows,
        (_Spot(m.type_id, m.bit_offset, None, type_id, index) for index, m in enumerate(struct.members)),
        level,
    )


def _in_datasec(btf: Btf, rows: _Rows, section: DataSec) -> list[SpecialField]:
    spots = []
    for entry in section.variables:
        variable = btf[entry.type_id]
        if isinstance(variable, Var):
            spots.append(_Spot(variable.type_id, entry.offset * 8, entry.size, entry.type_id, -1))
    return _collect(btf, rows, iter(spots), 0)


def _collect(btf: Btf, rows: _Rows, spots: Iterator[_Spot], level: int) -> list[SpecialField]:
    """The fields of all members or variables of one level."""
    found: list[SpecialField] = []
    seen: set[FieldKind] = set()
    for spot in spots:
        if spot.bit_offset % 8:
            raise _GivenUp
        fields = _at(btf, rows, spot, level)
        if len(found) + len(fields) > MAX_FIELDS:
            raise _GivenUp
        if fields and _element(btf, spot.type_id)[1].name in rows:
            kind = fields[0].kind
            if kind in _ROOTS:
                content = _content(btf, spot, _NODE_OF[kind])
                fields = [replace(field, content=content) for field in fields]
            if kind not in _REPEATING and kind in seen:
                raise _GivenUp
            seen.add(kind)
        found += fields
    return found


def _content(btf: Btf, spot: _Spot, node: FieldKind) -> tuple[int, int]:
    """What the one ``contains:struct:member`` tag names: a struct of this table, and where its member of the fitting type is.

    Raises:
        _GivenUp: there is no such tag, or what it names does not fit.
    """
    tags = [tag.name for tag in btf.decl_tags(spot.owner) if tag.component == spot.component]
    contains = [tag.split(":", 2)[1:] for tag in tags if tag.startswith("contains:") and tag.count(":") > 1]
    if len(contains) != 1:
        raise _GivenUp
    struct, name = contains[0]
    value_id = btf.find(struct, Kind.STRUCT)
    record = btf[value_id] if value_id is not None else None
    if value_id is None or not isinstance(record, Composite):
        raise _GivenUp
    links = [member for member in record.members if member.name == name]
    if len(links) != 1 or btf[links[0].type_id].name != node.value or links[0].bit_offset % (8 * _NODE_ALIGN):
        raise _GivenUp
    return value_id, links[0].bit_offset // 8


def _at(btf: Btf, rows: _Rows, spot: _Spot, level: int) -> list[SpecialField]:
    """The fields of one member or variable, arrays spread out."""
    count, record, type_id = _element(btf, spot.type_id)
    if count == 0:
        return []
    is_struct = isinstance(record, Composite) and record.kind is Kind.STRUCT
    row = rows.get(record.name) if is_struct else None
    if isinstance(record, Composite) and is_struct and row is None:
        fields, size, align = _in_struct(btf, rows, type_id, record, level + 1), record.size, 1
    elif isinstance(record, Composite) and row is not None:
        fits = record.size == row.size
        fields = [SpecialField(row.kind, 0, row.size, record.name, type_id)] if fits else []
        size, align = row.size, row.align
    else:
        pointer = _pointer(btf, type_id)
        fields, size, align = ([pointer] if pointer else []), POINTER_SIZE, POINTER_SIZE
    offset = spot.bit_offset // 8
    if not fields or offset % align or (spot.size is not None and spot.size != size * count):
        return []
    if count > 1 and any(field.kind not in _REPEATING for field in fields):
        raise _GivenUp
    if len(fields) * count > MAX_FIELDS:
        raise _GivenUp
    return [replace(field, offset=field.offset + offset + i * size) for i in range(count) for field in fields]


def _element(btf: Btf, type_id: int) -> tuple[int, Type, int]:
    """How many of what: an array's elements in all dimensions and their type, or 1 and the type itself."""
    count = 1
    record = btf[type_id]
    for _ in range(MAX_DEPTH):
        if not isinstance(record, Array):
            break
        count *= record.count
        type_id, record = record.element, btf[record.element]
    return count, record, type_id


def _pointer(btf: Btf, type_id: int) -> SpecialField | None:
    """The kptr that a pointer type is.

    Raises:
        _GivenUp: it is tagged, and not in a way that the kernel takes.
    """
    pointer = btf[type_id]
    if isinstance(pointer, Ref) and pointer.kind is Kind.VOLATILE:
        pointer = btf[pointer.type_id]
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
    return SpecialField(kind, 0, POINTER_SIZE, target.name, target_id)
