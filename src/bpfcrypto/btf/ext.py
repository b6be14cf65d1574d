"""Reads ``.BTF.ext``: which function, source line and CO-RE relocation belongs to which instruction of which section.

Three tables share one shape: the size of a record, then for each ELF section its name, a count and that many records. Records may
be longer than what is known here; the rest of each is skipped, as the kernel does.

Format: Documentation/bpf/btf.rst, ".BTF.ext section".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from bpfcrypto.btf.reader import MAGIC
from bpfcrypto.btf.types import Btf
from bpfcrypto.errors import BtfError

SECTION = ".BTF.ext"
_HEADER = struct.Struct("<HBBI4I")
_HEADER_WITH_CORE = struct.Struct("<HBBI6I")
_PAIR = struct.Struct("<II")
_QUAD = struct.Struct("<IIII")
_COLUMN_BITS = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FuncRecord:
    """A function starts at ``offset`` bytes into its section; ``type_id`` is its BTF_KIND_FUNC."""

    offset: int
    type_id: int


@dataclass(frozen=True, slots=True)
class LineRecord:
    """The code of a source line starts at ``offset`` bytes into its section."""

    offset: int
    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class CoreRecord:
    """The instruction at ``offset`` bytes into its section depends on the target's types (struct bpf_core_relo)."""

    offset: int
    type_id: int
    access: str
    kind: int


@dataclass(frozen=True, slots=True)
class BtfExt:
    """The three tables, each by section name, in file order."""

    funcs: Mapping[str, tuple[FuncRecord, ...]] = field(default_factory=dict)
    lines: Mapping[str, tuple[LineRecord, ...]] = field(default_factory=dict)
    core: Mapping[str, tuple[CoreRecord, ...]] = field(default_factory=dict)


def read_ext(data: bytes, btf: Btf, *, source: str = "<bytes>") -> BtfExt:
    """Read the tables of one object.

    Args:
        data: the contents of the ``.BTF.ext`` section.
        btf: the object's types, whose string table the records use.
        source: the file's name, for messages.

    Raises:
        BtfError: the section is damaged.
    """
    return _Reader(data, btf, source).read()


class _Reader:
    """One pass over the section; keeps what every step needs to word an error."""

    def __init__(self, data: bytes, btf: Btf, source: str) -> None:
        self.data = data
        self.source = source
        self.text = lru_cache(maxsize=None)(btf.string_at)
        self.types = len(btf)

    def fail(self, message: str, offset: int) -> BtfError:
        return BtfError(message, source=self.source, section=SECTION, offset=offset)

    def read(self) -> BtfExt:
        if len(self.data) < _HEADER.size:
            raise self.fail(f"header needs {_HEADER.size} bytes, there are {len(self.data)}", len(self.data))
        magic, version, flags, header, *tables = _HEADER.unpack_from(self.data)
        if magic != MAGIC or version != 1 or flags:
            raise self.fail(f"magic {magic:#06x}, version {version}, flags {flags:#x} are not known", 0)
        if header >= _HEADER_WITH_CORE.size and len(self.data) >= _HEADER_WITH_CORE.size:
            tables = list(_HEADER_WITH_CORE.unpack_from(self.data)[4:])
        else:
            tables += [0, 0]
        return BtfExt(
            self.table(header, tables[0], tables[1], "func_info", 8, self.func),
            self.table(header, tables[2], tables[3], "line_info", 16, self.line),
            self.table(header, tables[4], tables[5], "core_relo", 16, self.core),
        )

    def table(
        self, header: int, at: int, size: int, name: str, least: int, decode: Callable[[int], T]
    ) -> dict[str, tuple[T, ...]]:
        """One table: records of at least ``least`` bytes, by section."""
        found: dict[str, tuple[T, ...]] = {}
        position, end = header + at, header + at + size
        if size == 0:
            return found
        if size < 4 or end > len(self.data):
            raise self.fail(f"{name} at {position:#x}..{end:#x} does not fit {len(self.data)} bytes", position)
        width = int.from_bytes(self.data[position : position + 4], "little")
        if width < least or width % 4:
            raise self.fail(f"{name} records of {width} bytes, at least {least} are needed", position)
        position += 4
        while position < end:
            if end - position < _PAIR.size:
                raise self.fail(f"{name} is cut short", position)
            section, count = _PAIR.unpack_from(self.data, position)
            position += _PAIR.size
            if count * width > end - position:
                raise self.fail(f"{name} announces {count} records of {width} bytes in {end - position}", position)
            rows = tuple(decode(position + row * width) for row in range(count))
            key = self.text(section)
            found[key] = found.get(key, ()) + rows
            position += count * width
        return found

    def type_id(self, value: int, at: int) -> int:
        if value >= self.types:
            raise self.fail(f"refers to type {value}; ids end at {self.types - 1}", at)
        return value

    def func(self, at: int) -> FuncRecord:
        offset, type_id = _PAIR.unpack_from(self.data, at)
        return FuncRecord(offset, self.type_id(type_id, at))

    def line(self, at: int) -> LineRecord:
        offset, file, text, place = _QUAD.unpack_from(self.data, at)
        return LineRecord(
            offset, self.text(file), place >> _COLUMN_BITS, place & ((1 << _COLUMN_BITS) - 1), self.text(text)
        )

    def core(self, at: int) -> CoreRecord:
        offset, type_id, access, kind = _QUAD.unpack_from(self.data, at)
        return CoreRecord(offset, self.type_id(type_id, at), self.text(access), kind)
