"""Reads BTF bytes: which types there are, and what each one says.

A kernel has more than a hundred thousand types and a program asks for a few dozen, so reading is lazy. Opening walks the type
headers once, to learn where each record starts; a record is decoded when somebody asks for it, and kept. A name is found by
searching the string table for its bytes and then the headers for its offset, both at memory speed.

The input is untrusted: whatever the bytes, the outcome is a :class:`~bpfcrypto.btf.types.Btf` or a
:class:`~bpfcrypto.errors.BtfError`, here or when a record is asked for. A decoded record refers only to ids that exist.

Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from bpfcrypto.btf.records import RECORDS, Names, Record
from bpfcrypto.btf.types import Btf, DeclTag, Kind, Type, Void
from bpfcrypto.btf.walk import resolve, size_of
from bpfcrypto.errors import BtfError

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
SECTION = ".BTF"

_BEYOND = 1 << 40  # a record length that no type section has: how an unknown kind ends the walk
_HEAD_WORDS = 3
_FIXED = [_BEYOND] * 32
_EACH = [0] * 32
for _kind, _layout in RECORDS.items():
    _FIXED[_kind] = _HEAD_WORDS + _layout.fixed
    _EACH[_kind] = _layout.each


def read_btf(data: bytes, *, source: str = "<bytes>", base: Btf | None = None) -> Btf:
    """Read a table of types.

    Args:
        data: the contents of a ``.BTF`` section, or of a file under /sys/kernel/btf.
        source: the file's name, for messages.
        base: the table that a split BTF (a module's) continues; it must come from this function.

    Raises:
        BtfError: the bytes are not little-endian BTF, or the table is damaged.
    """
    if base is not None and not isinstance(base, LazyBtf):
        raise BtfError("the base of a split BTF must be one that was read from bytes", source=source)
    return LazyBtf(data, source=source, base=base)


class LazyBtf:
    """A table of types over the bytes it was read from. Two are equal when their bytes (and bases) are.

    Attributes:
        raw: the bytes, header included.
        source: the file's name.
    """

    def __init__(self, data: bytes, *, source: str, base: LazyBtf | None) -> None:
        self.raw = bytes(data)
        self.source = source
        self._base = base
        self._first_id = len(base) if base else 1
        self._first_string = base.strings_end if base else 0
        self._types_at, words, self._strings = self._split()
        self._words = words
        self._starts, self._kinds = self._walk(words)
        self._cache: dict[int, Type] = {}

    @property
    def strings_end(self) -> int:
        """Length of the string tables, base included: where a split BTF's string offsets begin."""
        return self._first_string + len(self._strings)

    def _fail(self, message: str, offset: int | None = None, hint: str | None = None) -> BtfError:
        return BtfError(message, source=self.source, section=SECTION, offset=offset, hint=hint)

    def _split(self) -> tuple[int, array[int], bytes]:
        """The offset of the types, their 32-bit words, and the strings."""
        raw = self.raw
        if len(raw) < HEADER.size:
            raise self._fail(f"BTF header needs {HEADER.size} bytes, there are {len(raw)}", len(raw))
        magic, version, flags, header, type_at, type_size, string_at, string_size = HEADER.unpack_from(raw)
        if magic == 0x9FEB:
            raise self._fail("big-endian BTF", 0, "compile for little-endian BPF (-target bpfel)")
        if magic != MAGIC:
            raise self._fail(f"BTF magic is {magic:#06x}, not {MAGIC:#06x}", 0)
        if version != 1 or flags:
            raise self._fail(f"BTF version {version} with flags {flags:#x}; only version 1 without flags is known", 2)
        if header < HEADER.size or header > len(raw):
            raise self._fail(f"BTF header length is {header}, of {len(raw)} bytes", 4)
        start, end = header + type_at, header + type_at + type_size
        if type_size % 4 or end > len(raw):
            raise self._fail(f"types at {start:#x}..{end:#x} do not fit {len(raw)} bytes in words of 4", 8)
        string_start, string_end = header + string_at, header + string_at + string_size
        if string_end > len(raw):
            raise self._fail(f"strings at {string_start:#x}..{string_end:#x} do not fit {len(raw)} bytes", 16)
        strings = raw[string_start:string_end]
        if (strings and strings[-1]) or (self._base is None and strings[:1] != b"\0"):
            raise self._fail("the string table does not start with an empty string or does not end", string_start)
        words = array("I")
        words.frombytes(raw[start:end])
        if sys.byteorder == "big":
            words.byteswap()
        return start, words, strings

    def _walk(self, words: array[int]) -> tuple[list[int], bytearray]:
        """Where each record starts, in words, and its kind."""
        starts: list[int] = []
        kinds = bytearray()
        fixed, each = _FIXED, _EACH
        position, end = 0, len(words)
        while position < end - 2:
            info = words[position + 1]
            kind = info >> 24 & 0x1F
            starts.append(position)
            kinds.append(kind)
            # The low half of info counts the parts of a record, except in FUNC, whose row says that it has none.
            position += fixed[kind] + (info & 0xFFFF) * each[kind]
        if position != end:
            last = starts[-1] if starts else 0
            offset = self._types_at + 4 * last
            if starts and fixed[kinds[-1]] == _BEYOND:
                raise self._fail(f"type {self._first_id + len(starts) - 1} is of unknown kind {kinds[-1]}", offset)
            raise self._fail("the last type is cut short", offset)
        return starts, kinds

    def __len__(self) -> int:
        return self._first_id + len(self._starts)

    def __iter__(self) -> Iterator[Type]:
        return (self[type_id] for type_id in range(len(self)))

    def __getitem__(self, type_id: int) -> Type:
        known = self._cache.get(type_id)
        if known is not None:
            return known
        if type_id < self._first_id:
            if self._base:
                return self._base[type_id]
            if type_id == 0:
                return _VOID
        index = type_id - self._first_id
        if not 0 <= index < len(self._starts):
            raise IndexError(f"no type {type_id}: ids run from 0 to {len(self) - 1}")
        found = self._cache[type_id] = self._decode(index)
        return found

    def _decode(self, index: int) -> Type:
        start = self._starts[index]
        kind = self._kinds[index]
        words = self._words
        name, info, extra = words[start : start + _HEAD_WORDS]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(words)
        record = Record(Kind(kind), name, info, extra, words[start + _HEAD_WORDS : end])
        names: Names = self.string_at
        try:
            found, refers = RECORDS[Kind(kind)].decode(record, names)
        except ValueError as error:
            raise self._fail(
                f"type {self._first_id + index} ({Kind(kind).name}): {error}", self._types_at + 4 * start
            ) from error
        for other in refers:
            if other >= len(self):
                raise self._fail(
                    f"type {self._first_id + index} ({Kind(kind).name}) refers to type {other}; ids end at {len(self) - 1}",
                    self._types_at + 4 * start,
                )
        return found

    def string_at(self, offset: int) -> str:
        """The string at an offset of the string table; BtfError where there is none."""
        if offset < self._first_string and self._base:
            return self._base.string_at(offset)
        start = offset - self._first_string
        end = self._strings.find(b"\0", start) if 0 <= start < len(self._strings) else -1
        if end < 0:
            raise self._fail(f"string offset {offset:#x} is outside the table of {self.strings_end:#x} bytes")
        try:
            return self._strings[start:end].decode()
        except UnicodeDecodeError as error:
            raise self._fail(f"string at {offset:#x} is not text") from error

    @cached_property
    def _name_offsets(self) -> bytes:
        """The name offset of every record, as native 32-bit words: the haystack of :meth:`find`."""
        return array("I", map(self._words.__getitem__, self._starts)).tobytes()

    def _ids_named(self, offset: int) -> Iterator[int]:
        """Ids whose name is the string at that offset of the whole table, lowest first."""
        needle = offset.to_bytes(4, sys.byteorder)
        haystack = self._name_offsets
        at = haystack.find(needle)
        while at >= 0:
            if at % 4 == 0:
                yield self._first_id + at // 4
            at = haystack.find(needle, at + 1)

    def _offsets_of(self, name: bytes) -> Iterator[int]:
        """Offsets of every place in this table's strings where ``name`` stands, up to its NUL.

        A name may also be the tail of a longer string: writers are free to share them.
        """
        needle = name + b"\0"
        at = self._strings.find(needle)
        while at >= 0:
            yield self._first_string + at
            at = self._strings.find(needle, at + 1)

    def find_all(self, name: str, kind: Kind | None = None) -> tuple[int, ...]:
        """Every id of that name (and kind), lowest first."""
        if not name or "\0" in name:
            return ()
        offsets = list(self._offsets_of(name.encode()))
        found = [i for at in offsets for i in self._ids_named(at) if kind in (None, self._kinds[i - self._first_id])]
        if self._base is None:
            return tuple(sorted(found))
        outer = self._base.find_all(name, kind)
        inherited = list(self._base._offsets_of(name.encode()))
        found += [i for at in inherited for i in self._ids_named(at) if kind in (None, self._kinds[i - self._first_id])]
        return outer + tuple(sorted(found))

    def find(self, name: str, kind: Kind | None = None) -> int | None:
        """The lowest id of that name (and kind), or None."""
        return next(iter(self.find_all(name, kind)), None)

    def flavours(self, name: str) -> tuple[int, ...]:
        """Every id whose name is ``name`` or ``name___`` followed by anything: the candidates of a CO-RE relocation."""
        encoded = name.encode() + b"___"
        names = {name}
        table: LazyBtf | None = self
        while table is not None:
            strings = table._strings
            at = strings.find(encoded)
            while at >= 0:
                if at == 0 or strings[at - 1] == 0:
                    names.add(table.string_at(table._first_string + at))
                at = strings.find(encoded, at + 1)
            table = table._base
        return tuple(sorted(i for each in names for i in self.find_all(each)))

    def ids_of(self, kind: Kind) -> Iterator[int]:
        """Ids of every type of one kind, lowest first, without decoding them."""
        if self._base:
            yield from self._base.ids_of(kind)
        at = self._kinds.find(kind)
        while at >= 0:
            yield self._first_id + at
            at = self._kinds.find(kind, at + 1)

    def offset_of(self, type_id: int) -> int:
        """Where the record of that id starts in ``raw``; ids of the base have no place here (IndexError)."""
        index = type_id - self._first_id
        if not 0 <= index < len(self._starts):
            raise IndexError(f"no record of type {type_id} in these bytes")
        return self._types_at + 4 * self._starts[index]

    def id_at(self, offset: int) -> int:
        """The id of the record that covers an offset of ``raw``; IndexError outside the types."""
        index = bisect_right(self._starts, (offset - self._types_at) // 4) - 1
        if index < 0 or offset >= self._types_at + 4 * len(self._words):
            raise IndexError(f"no type at offset {offset:#x}")
        return self._first_id + index

    def resolve(self, type_id: int) -> int:
        """The id behind typedefs, qualifiers and type tags."""
        return resolve(self, type_id)

    def size_of(self, type_id: int) -> int:
        """Size in bytes; BtfError for types that have none."""
        return size_of(self, type_id)

    @cached_property
    def _tags(self) -> dict[int, list[DeclTag]]:
        tags: dict[int, list[DeclTag]] = {}
        for type_id in self.ids_of(Kind.DECL_TAG):
            tag = self[type_id]
            if isinstance(tag, DeclTag):
                tags.setdefault(tag.type_id, []).append(tag)
        return tags

    def decl_tags(self, type_id: int) -> tuple[DeclTag, ...]:
        """Tags on that type, in the order of the source, which is the order of their ids."""
        return tuple(self._tags.get(type_id, ()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazyBtf):
            return NotImplemented
        return self.raw == other.raw and self._base == other._base

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"<Btf of {self.source}: {len(self)} types>"


_VOID = Void()
