"""An object's type information in the form that a kernel accepts.

Two things in a compiler's table stop a kernel from taking it: declarations of what lives elsewhere (kfuncs in ``.ksyms``), and
kinds of records that are newer than the kernel, for one of which it refuses the whole table. Both are rewritten record by record,
and every record stays, because instructions, maps and other records refer to ids:

- an extern function or variable becomes a typedef of its type, the section that lists it an empty structure;
- a record of a kind that the kernel does not know becomes an older one of the same size.

Strings keep their offsets; new ones are appended.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from bpfcrypto.btf.records import RECORDS
from bpfcrypto.btf.types import Kind, Linkage
from bpfcrypto.kernel.btf import HEADER, MAGIC


class Feature(Enum):
    """What a kernel may not know yet, and since when it does."""

    DATASEC = "5.2"
    FUNC_LINKAGE = "5.6"
    FLOAT = "5.13"
    DECL_TAG = "5.16"
    TYPE_TAG = "5.17"
    ENUM64 = "6.0"
    TAG_ATTRIBUTES = "6.14"


@dataclass(frozen=True, slots=True)
class Record:
    """One type record, undecoded: what follows the head are ``rest`` words."""

    kind: Kind
    vlen: int = 0
    kflag: bool = False
    name: int = 0
    extra: int = 0  # size or type id
    rest: tuple[int, ...] = ()

    def words(self) -> Iterable[int]:
        return (self.name, self.kflag << 31 | self.kind << 24 | self.vlen, self.extra, *self.rest)


_CONST_VOID = Record(Kind.CONST)
_EMPTY = Record(Kind.STRUCT)
_WHOLE = (0xFFFFFFFF,)  # component index -1


def _opaque(record: Record) -> Record:
    return Record(Kind.STRUCT, name=record.name, extra=record.extra)


def _alias(record: Record) -> Record:
    return Record(Kind.TYPEDEF, name=record.name, extra=record.extra)


# How records of a kind are rewritten for a kernel without a feature.
REPLACEMENTS: Mapping[Feature, Mapping[Kind, Callable[[Record], Record]]] = {
    Feature.DATASEC: {Kind.DATASEC: lambda _: _EMPTY, Kind.VAR: _alias},
    Feature.FUNC_LINKAGE: {Kind.FUNC: lambda record: replace(record, vlen=Linkage.STATIC)},
    Feature.FLOAT: {Kind.FLOAT: _opaque},
    Feature.DECL_TAG: {Kind.DECL_TAG: lambda _: _CONST_VOID},
    Feature.TYPE_TAG: {Kind.TYPE_TAG: lambda record: Record(Kind.CONST, extra=record.extra)},
    Feature.ENUM64: {Kind.ENUM64: _opaque, Kind.ENUM: lambda record: replace(record, kflag=False)},
    Feature.TAG_ATTRIBUTES: {
        Kind.DECL_TAG: lambda record: _CONST_VOID if record.kflag else record,
        Kind.TYPE_TAG: lambda record: Record(Kind.CONST, extra=record.extra) if record.kflag else record,
    },
}


class ObjectBtf:
    """An object's types on their way into the kernel.

    Args:
        raw: the object's BTF bytes, header included, of a table that :func:`~bpfcrypto.btf.reader.read_btf` accepts.
    """

    def __init__(self, raw: bytes) -> None:
        _, _, _, header, type_at, type_size, string_at, string_size = HEADER.unpack_from(raw)
        self._strings = bytearray(raw[header + string_at : header + string_at + string_size])
        self._records = _split(raw[header + type_at : header + type_at + type_size])
        self._offsets: dict[bytes, int] = {}
        at = 0
        for text in bytes(self._strings).split(b"\0")[:-1]:
            self._offsets.setdefault(text, at)
            at += len(text) + 1

    def string(self, text: str) -> int:
        """The offset of a string, which is appended when the table does not have it."""
        encoded = text.encode()
        offset = self._offsets.get(encoded)
        if offset is None:
            offset = self._offsets[encoded] = len(self._strings)
            self._strings += encoded + b"\0"
        return offset

    def drop_externs(self) -> None:
        """Turn what the object only declares into typedefs and empty structures."""
        records = self._records
        extern = {index + 1 for index, record in enumerate(records) if _is_extern(record)}
        for index, record in enumerate(records):
            if index + 1 in extern:
                records[index] = _alias(record)
            elif record.kind is Kind.DECL_TAG and record.extra in extern:
                records[index] = replace(record, rest=_WHOLE)  # a typedef has no arguments to tag
            elif record.kind is Kind.DATASEC and (not record.extra or not extern.isdisjoint(record.rest[::3])):
                records[index] = _EMPTY

    def without(self, missing: Iterable[Feature]) -> ObjectBtf:
        """A copy for a kernel that lacks these features."""
        copy = ObjectBtf(self.to_bytes())
        for feature in missing:
            rewrite = REPLACEMENTS[feature]
            copy._records = [rewrite[r.kind](r) if r.kind in rewrite else r for r in copy._records]
        return copy

    def to_bytes(self) -> bytes:
        """The table's bytes."""
        words = array("I")
        for record in self._records:
            words.extend(record.words())
        types = words.tobytes()
        header = HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)


def _is_extern(record: Record) -> bool:
    linkage = {Kind.FUNC: record.vlen, Kind.VAR: record.rest[0] if record.rest else None}.get(record.kind)
    return linkage == Linkage.EXTERN


def _split(types: bytes) -> list[Record]:
    words = struct.unpack(f"<{len(types) // 4}I", types)
    records = []
    position = 0
    while position < len(words):
        name, info, extra = words[position : position + 3]
        kind, vlen = Kind(info >> 24 & 0x1F), info & 0xFFFF
        end = position + 3 + RECORDS[kind].fixed + vlen * RECORDS[kind].each
        records.append(Record(kind, vlen, bool(info >> 31), name, extra, words[position + 3 : end]))
        position = end
    return records
