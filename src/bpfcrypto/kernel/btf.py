"""The running kernel's types: kfunc ids and what CO-RE asks for, without reading the whole table.

A kernel has more than a hundred thousand types. Ids are not stored, a record's id is its position, so even finding all records takes
longer than loading a program. This reader therefore works from the bytes outwards: a name is searched in the strings, then records
with that name offset among the types, both at memory speed. Only to turn a place into an id, or an id into a place, records are
counted, from the start and no further than needed. The count is noted at every 1024th record, so no stretch is walked twice but the
one around a place.

The table comes from the running kernel and is trusted to be well-formed; names are stored whole and once, as pahole writes them.
"""

from __future__ import annotations

import functools
import mmap
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import repeat

from bpfcrypto.btf.records import RECORDS, Record
from bpfcrypto.btf.types import Btf, DeclTag, Kind, Linkage, Type, Void
from bpfcrypto.btf.walk import resolve, size_of
from bpfcrypto.errors import BtfError, NotSupportedError

PATH = "/sys/kernel/btf/vmlinux"
HEADER = struct.Struct("<HBBIIIII")
MAGIC = 0xEB9F
_STEP = 1024
_HEAD_WORDS = 3


class _Lengths(dict[int, int]):
    """Words of a record by its info word; there are only some hundred different ones."""

    def __missing__(self, info: int) -> int:
        kind = info >> 24 & 0x1F
        if kind not in RECORDS:
            raise BtfError(f"a type of unknown kind {kind}", source=PATH)
        layout = RECORDS[Kind(kind)]
        length = self[info] = _HEAD_WORDS + layout.fixed + (info & 0xFFFF) * layout.each
        return length


class KernelBtf:
    """The types of a kernel.

    Args:
        data: the contents of ``/sys/kernel/btf/vmlinux``.
        source: its name, for messages.
    """

    def __init__(self, data: bytes | mmap.mmap, source: str = PATH) -> None:
        if len(data) < HEADER.size or data[:2] != MAGIC.to_bytes(2, "little"):
            raise BtfError("not little-endian BTF", source=source)
        _, _, _, header, type_at, type_size, string_at, string_size = HEADER.unpack(data[: HEADER.size])
        self._data = data
        self.source = source
        self._types_at = header + type_at
        self._types_end = self._types_at + type_size
        self._strings_at = header + string_at
        self._strings_end = self._strings_at + string_size
        self._words = memoryview(data)[self._types_at : self._types_end].cast("I")
        self._lengths = _Lengths()
        self._steps = [0]  # where record 1 + _STEP * index starts, in words
        self._blocks: dict[int, list[int]] = {}
        self._types: dict[int, Type] = {0: Void()}
        self._func_ids: dict[str, int | None] = {}
        self._flavours: dict[str, tuple[int, ...]] = {}
        self._near_string, self._near_record = self._strings_at, self._types_at

    @cached_property
    def raw(self) -> bytes:
        """The bytes of the table."""
        return bytes(self._data)

    def func_id(self, name: str) -> int | None:
        """The id of the function of that name, or None.

        Functions stand in the order of their names, so lookups in that order find the next one near the last.
        """
        if name not in self._func_ids:
            self._func_ids[name] = self._find_func(name)
        return self._func_ids[name]

    def _find_func(self, name: str) -> int | None:
        needle = b"\0" + name.encode() + b"\0"
        at = self._search(needle, self._near_string, self._strings_at, self._strings_end)
        if at < 0:
            return None
        self._near_string = at
        for linkage in (Linkage.STATIC, Linkage.GLOBAL):
            record = struct.pack("<II", at + 1 - self._strings_at, Kind.FUNC << 24 | linkage)
            place = self._search(record, self._near_record, self._types_at, self._types_end)
            if place >= 0 and (found := self._id_at(place)) is not None:
                self._near_record = place
                return found
        return self.find(name, Kind.FUNC)

    def _search(self, needle: bytes, near: int, start: int, end: int) -> int:
        at = self._data.find(needle, near, end)
        return at if at >= 0 or near == start else self._data.find(needle, start, min(near + len(needle), end))

    def find_all(self, name: str, kind: Kind | None = None) -> tuple[int, ...]:
        """Every id of that name (and kind), lowest first."""
        at = self._data.find(b"\0" + name.encode() + b"\0", self._strings_at, self._strings_end) if name else -1
        return tuple(self._named(at + 1 - self._strings_at, kind)) if at >= 0 else ()

    def find(self, name: str, kind: Kind | None = None) -> int | None:
        """The lowest id of that name (and kind), or None."""
        return next(iter(self.find_all(name, kind)), None)

    def flavours(self, name: str) -> tuple[int, ...]:
        """Every id whose name is ``name`` or ``name___`` followed by anything."""
        if name not in self._flavours:
            self._flavours[name] = self._find_flavours(name)
        return self._flavours[name]

    def _find_flavours(self, name: str) -> tuple[int, ...]:
        names = {name}
        prefix = b"\0" + name.encode() + b"___"
        at = self._data.find(prefix, self._strings_at, self._strings_end)
        while at >= 0:
            names.add(self.string_at(at + 1 - self._strings_at))
            at = self._data.find(prefix, at + 1, self._strings_end)
        return tuple(sorted(found for each in names for found in self.find_all(each)))

    def _named(self, offset: int, kind: Kind | None) -> Iterator[int]:
        """Ids of the records whose name is the string at ``offset``.

        The offset's four bytes also occur in members, parameters and elsewhere. What follows them there is a type id or a small
        number, whose upper byte is no kind; what is left is checked by counting.
        """
        needle = offset.to_bytes(4, "little")
        place = self._data.find(needle, self._types_at, self._types_end)
        while place >= 0:
            word, rest = divmod(place - self._types_at, 4)
            if not rest and word + 1 < len(self._words):
                found = self._words[word + 1] >> 24 & 0x1F
                right = found == kind if kind is not None else found in RECORDS
                if right and (type_id := self._id_at(place)) is not None:
                    yield type_id
            place = self._data.find(needle, place + 1, self._types_end)

    def string_at(self, offset: int) -> str:
        """The string at an offset of the string table; BtfError where there is none."""
        start = self._strings_at + offset
        if not self._strings_at <= start < self._strings_end:
            raise BtfError(f"string offset {offset:#x} is outside the table", source=self.source)
        return self._data[start : self._data.find(b"\0", start, self._strings_end)].decode()

    # -- places and ids -------------------------------------------------------------------------------------------------------

    def _id_at(self, place: int) -> int | None:
        """The id of the record that starts at an offset of the file; None where none starts there."""
        word, rest = divmod(place - self._types_at, 4)
        while self._steps[-1] <= word and self._step():
            continue
        block = bisect_right(self._steps, word) - 1
        starts = self._block(block)
        index = bisect_right(starts, word) - 1
        return 1 + block * _STEP + index if not rest and starts[index] == word else None

    def _step(self) -> bool:
        """Count one block of records further; False at the end of the table."""
        words, lengths, position = self._words, self._lengths, self._steps[-1]
        try:
            for _ in repeat(None, _STEP):
                position += lengths[words[position + 1]]
        except IndexError:
            return False
        self._steps.append(position)
        return True

    def _block(self, block: int) -> list[int]:
        """Where the records of a block start."""
        if block not in self._blocks:
            words, lengths, position = self._words, self._lengths, self._steps[block]
            starts: list[int] = []
            while len(starts) < _STEP and position < len(words):
                starts.append(position)
                position += lengths[words[position + 1]]
            self._blocks[block] = starts
        return self._blocks[block]

    @cached_property
    def _count(self) -> int:
        while self._step():
            continue
        last = len(self._steps) - 1
        return 1 + last * _STEP + len(self._block(last))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, type_id: int) -> Type:
        known = self._types.get(type_id)
        if known is None:
            known = self._types[type_id] = self._decode(type_id)
        return known

    def _decode(self, type_id: int) -> Type:
        block, index = divmod(type_id - 1, _STEP)
        while block >= 0 and len(self._steps) <= block and self._step():
            continue
        if block < 0 or block >= len(self._steps) or index >= len(self._block(block)):
            raise IndexError(f"the kernel has no type {type_id}")
        start = self._block(block)[index]
        name, info, extra = self._words[start : start + _HEAD_WORDS]
        end = start + self._lengths[info]
        kind = Kind(info >> 24 & 0x1F)
        record = Record(kind, name, info, extra, array("I", self._words[start + _HEAD_WORDS : end]))
        return RECORDS[kind].decode(record, self.string_at)[0]

    # -- the rest of what a table of types offers -----------------------------------------------------------------------------

    def resolve(self, type_id: int) -> int:
        """The id behind typedefs, qualifiers and type tags."""
        return resolve(self, type_id)

    def size_of(self, type_id: int) -> int:
        """Size in bytes; BtfError for types that have none."""
        return size_of(self, type_id)

    def decl_tags(self, type_id: int) -> tuple[DeclTag, ...]:
        """Tags on that type; this one reads the whole table."""
        return self._whole.decl_tags(type_id)

    @cached_property
    def _whole(self) -> Btf:
        from bpfcrypto.btf.reader import read_btf

        return read_btf(self.raw, source=self.source)


@functools.cache
def kernel_btf() -> KernelBtf:
    """The running kernel's types, opened once per process.

    Raises:
        NotSupportedError: the kernel publishes none.
    """
    try:
        with open(PATH, "rb") as file:
            try:
                return KernelBtf(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ))
            except (OSError, ValueError):  # before Linux 6.16 the file can only be read
                return KernelBtf(file.read())
    except OSError as error:
        raise NotSupportedError(
            "calling kfuncs and CO-RE",
            requires=f"kernel type information in {PATH} ({error.strerror})",
            hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs",
        ) from error
