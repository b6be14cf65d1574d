"""Writes BTF: the reverse of the reader, type by type.

Ids are given in the order of adding, so a type may refer to one that is added later, or be put in place by ``replace`` when a
circle has been closed. Nothing is merged or checked: a writer can also write tables that no reader takes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpfcrypto.btf.compat import kind_of
from bpfcrypto.btf.reader import HEADER, MAGIC
from bpfcrypto.btf.types import (
    Array,
    Composite,
    DataSec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ref,
    Type,
    Var,
)

_INT_SIGNED, _INT_CHAR, _INT_BOOL = 1, 2, 4


class BtfWriter:
    """A table of types in the making."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._strings = bytearray(b"\0")
        self._offsets = {"": 0}

    def __len__(self) -> int:
        """Number of types, void included: the id that the next one gets."""
        return len(self._records) + 1

    def string(self, text: str) -> int:
        """The offset of a string, added where it is new."""
        known = self._offsets.get(text)
        if known is None:
            known = self._offsets[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return known

    def add(self, record: Type) -> int:
        """Append a type.

        Returns:
            Its id.
        """
        self._records.append(self._record(record))
        return len(self._records)

    def replace(self, type_id: int, record: Type) -> None:
        """Put another type in the place of one that was added: for references in a circle."""
        self._records[type_id - 1] = self._record(record)

    def to_bytes(self) -> bytes:
        """The table's bytes, header included."""
        types = b"".join(self._records)
        return (
            HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(types), len(types), len(self._strings)) + types + self._strings
        )

    def _record(self, record: Type) -> bytes:
        kind = kind_of(record)
        match record:
            case Int():
                encoding = record.signed * _INT_SIGNED | record.is_char * _INT_CHAR | record.is_bool * _INT_BOOL
                return self._pack(
                    kind, record.name, record.size, parts=[encoding << 24 | record.offset << 16 | record.bits]
                )
            case Float():
                return self._pack(kind, record.name, record.size)
            case Ref():
                return self._pack(kind, record.name, record.type_id)
            case Array():
                return self._pack(kind, record.name, 0, parts=[record.element, record.index, record.count])
            case Composite():
                return self._composite(record)
            case Enum():
                return self._enum(record)
            case Fwd():
                return self._pack(kind, record.name, 0, flag=record.is_union)
            case FuncProto():
                parts = [word for param in record.params for word in (self.string(param.name), param.type_id)]
                return self._pack(kind, record.name, record.returns, len(record.params), parts=parts)
            case Func():
                return self._pack(kind, record.name, record.type_id, record.linkage)
            case Var():
                return self._pack(kind, record.name, record.type_id, parts=[record.linkage])
            case DataSec():
                parts = [word for row in record.variables for word in (row.type_id, row.offset, row.size)]
                return self._pack(kind, record.name, record.size, len(record.variables), parts=parts)
            case DeclTag():
                return self._pack(kind, record.name, record.type_id, parts=[record.component & 0xFFFFFFFF])
            case _:
                return self._pack(Kind.VOID, "", 0)

    def _composite(self, record: Composite) -> bytes:
        """Bit sizes share a word with the offset, so a struct with a bit field says so in a flag."""
        flag = any(member.bit_size for member in record.members)
        parts = []
        for member in record.members:
            offset = member.bit_size << 24 | member.bit_offset if flag else member.bit_offset
            parts += [self.string(member.name), member.type_id, offset]
        return self._pack(record.kind, record.name, record.size, len(record.members), flag=flag, parts=parts)

    def _enum(self, record: Enum) -> bytes:
        parts = []
        for entry in record.values:
            words = [entry.value & 0xFFFFFFFF, entry.value >> 32 & 0xFFFFFFFF]
            parts += [self.string(entry.name), *words[: 1 if record.kind is Kind.ENUM else 2]]
        return self._pack(record.kind, record.name, record.size, len(record.values), flag=record.signed, parts=parts)

    def _pack(
        self, kind: Kind, name: str, extra: int, count: int = 0, *, flag: bool = False, parts: Sequence[int] = ()
    ) -> bytes:
        info = flag << 31 | kind << 24 | count
        return struct.pack(f"<III{len(parts)}I", self.string(name), info, extra, *parts)
