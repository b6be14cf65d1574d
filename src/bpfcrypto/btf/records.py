"""How each kind of BTF record is laid out, as one table.

A record is three words (name, info, size or type) and then parts: a fixed number of words, and a number of words for each of its
members, parameters, values or variables. A row of ``RECORDS`` gives both numbers and the function that turns the words into a
value; the reader needs nothing else to know about kinds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfcrypto.btf.types import (
    Array,
    Composite,
    DataSec,
    DeclTag,
    Enum,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Linkage,
    Member,
    Param,
    Ref,
    SecVar,
    Type,
    Var,
)

Names = Callable[[int], str]
Decoded = tuple[Type, tuple[int, ...]]
"""A type, and the ids that it refers to."""

_INT_SIGNED, _INT_CHAR, _INT_BOOL = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Record:
    """The words of one record: ``name``, ``info``, ``extra`` (size or type id), and the rest in ``parts``."""

    kind: Kind
    name: int
    info: int
    extra: int
    parts: array[int]

    @property
    def flag(self) -> bool:
        """The kind_flag bit of info."""
        return bool(self.info >> 31)

    @property
    def count(self) -> int:
        """vlen: how many parts, or the linkage of a function."""
        return self.info & 0xFFFF

    def rows(self, width: int) -> Iterator[array[int]]:
        return (self.parts[at : at + width] for at in range(0, len(self.parts), width))


@dataclass(frozen=True, slots=True)
class Layout:
    """Words after the header: ``fixed`` once and ``each`` for every part; ``decode`` raises ValueError on nonsense."""

    fixed: int
    each: int
    decode: Callable[[Record, Names], Decoded]


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _int(record: Record, names: Names) -> Decoded:
    word = record.parts[0]
    encoding, offset, bits = word >> 24 & 0xF, word >> 16 & 0xFF, word & 0xFF
    if record.extra not in (1, 2, 4, 8, 16) or bits == 0 or bits + offset > 8 * record.extra:
        raise ValueError(f"integer of {record.extra} bytes with {bits} bits at bit {offset}")
    value = Int(
        names(record.name),
        record.extra,
        bits,
        bool(encoding & _INT_SIGNED),
        bool(encoding & _INT_CHAR),
        bool(encoding & _INT_BOOL),
        offset,
    )
    return value, ()


def _ref(record: Record, names: Names) -> Decoded:
    return Ref(record.kind, record.extra, names(record.name)), (record.extra,)


def _array(record: Record, names: Names) -> Decoded:
    element, index, count = record.parts
    return Array(element, index, count, names(record.name)), (element, index)


def _composite(record: Record, names: Names) -> Decoded:
    members = []
    for name, type_id, offset in record.rows(3):
        if record.flag:
            members.append(Member(names(name), type_id, offset & 0xFFFFFF, offset >> 24))
        else:
            members.append(Member(names(name), type_id, offset))
    value = Composite(record.kind, names(record.name), record.extra, tuple(members))
    return value, tuple(member.type_id for member in members)


def _enum(record: Record, names: Names) -> Decoded:
    values = tuple(Enumerator(names(name), _signed(word) if record.flag else word) for name, word in record.rows(2))
    return _sized_enum(record, names, values), ()


def _enum64(record: Record, names: Names) -> Decoded:
    values = tuple(
        Enumerator(names(name), (_signed(high) if record.flag else high) << 32 | low)
        for name, low, high in record.rows(3)
    )
    return _sized_enum(record, names, values), ()


def _sized_enum(record: Record, names: Names, values: tuple[Enumerator, ...]) -> Enum:
    if record.extra not in (1, 2, 4, 8):
        raise ValueError(f"enumeration of {record.extra} bytes")
    return Enum(record.kind, names(record.name), record.extra, record.flag, values)


def _fwd(record: Record, names: Names) -> Decoded:
    return Fwd(names(record.name), record.flag), ()


def _linkage(value: int) -> Linkage:
    if value > Linkage.EXTERN:
        raise ValueError(f"linkage {value}")
    return Linkage(value)


def _func(record: Record, names: Names) -> Decoded:
    return Func(names(record.name), record.extra, _linkage(record.count)), (record.extra,)


def _func_proto(record: Record, names: Names) -> Decoded:
    params = tuple(Param(names(name), type_id) for name, type_id in record.rows(2))
    return FuncProto(record.extra, params, names(record.name)), (record.extra, *(p.type_id for p in params))


def _var(record: Record, names: Names) -> Decoded:
    return Var(names(record.name), record.extra, _linkage(record.parts[0])), (record.extra,)


def _datasec(record: Record, names: Names) -> Decoded:
    variables = tuple(SecVar(type_id, offset, size) for type_id, offset, size in record.rows(3))
    return DataSec(names(record.name), record.extra, variables), tuple(v.type_id for v in variables)


def _float(record: Record, names: Names) -> Decoded:
    if record.extra not in (2, 4, 8, 12, 16):
        raise ValueError(f"floating-point number of {record.extra} bytes")
    return Float(names(record.name), record.extra), ()


def _decl_tag(record: Record, names: Names) -> Decoded:
    return DeclTag(names(record.name), record.extra, _signed(record.parts[0])), (record.extra,)


_REF = Layout(0, 0, _ref)

RECORDS: dict[Kind, Layout] = {
    Kind.INT: Layout(1, 0, _int),
    Kind.PTR: _REF,
    Kind.ARRAY: Layout(3, 0, _array),
    Kind.STRUCT: Layout(0, 3, _composite),
    Kind.UNION: Layout(0, 3, _composite),
    Kind.ENUM: Layout(0, 2, _enum),
    Kind.FWD: Layout(0, 0, _fwd),
    Kind.TYPEDEF: _REF,
    Kind.VOLATILE: _REF,
    Kind.CONST: _REF,
    Kind.RESTRICT: _REF,
    Kind.FUNC: Layout(0, 0, _func),
    Kind.FUNC_PROTO: Layout(0, 2, _func_proto),
    Kind.VAR: Layout(1, 0, _var),
    Kind.DATASEC: Layout(0, 3, _datasec),
    Kind.FLOAT: Layout(0, 0, _float),
    Kind.DECL_TAG: Layout(1, 0, _decl_tag),
    Kind.TYPE_TAG: _REF,
    Kind.ENUM64: Layout(0, 3, _enum64),
}
