"""The running kernel's types: kfunc ids, found fast, and the whole table for CO-RE, read when first needed.

A kfunc is called by the id of its FUNC record, and ids are not stored: a record's id is its position. Reading the whole table to
learn it would cost more than loading a program, so the lookup goes the other way round. The name is searched in the string table
and the FUNC record (name offset, kind) among the types, both at memory speed; then records are counted up to that place. The count
is kept at every 4096th record, so that each part of the table is walked at most once.
"""

from __future__ import annotations

import functools
import struct
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from bpfcrypto.btf.records import RECORDS
from bpfcrypto.btf.types import Kind, Linkage
from bpfcrypto.errors import BtfError, NotSupportedError

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf

PATH = "/sys/kernel/btf/vmlinux"
HEADER = struct.Struct("<HBBIIIII")
MAGIC = 0xEB9F
_STEP = 4096

# Words of each kind of record: the three of the head with a fixed number more, and a number per part (vlen).
LENGTHS = [3] * 32
PARTS = [0] * 32
for _kind, _layout in RECORDS.items():
    LENGTHS[_kind] += _layout.fixed
    PARTS[_kind] = _layout.each


class KernelBtf:
    """The types of a kernel.

    Args:
        data: the contents of ``/sys/kernel/btf/vmlinux``.
        source: its name, for messages.
    """

    def __init__(self, data: bytes, source: str = PATH) -> None:
        self.raw = data
        self.source = source
        if len(data) < HEADER.size or data[:2] != MAGIC.to_bytes(2, "little"):
            raise BtfError("not little-endian BTF", source=source)
        _, _, _, header, type_at, type_size, string_at, string_size = HEADER.unpack_from(data)
        self._types_at = header + type_at
        self._types_end = self._types_at + type_size
        self._strings_at = header + string_at
        self._strings_end = self._strings_at + string_size
        self._steps = [0]  # word position of record 1 + _STEP * index

    @cached_property
    def types(self) -> Btf:
        """The whole table."""
        from bpfcrypto.btf.reader import read_btf

        return read_btf(self.raw, source=self.source)

    @cached_property
    def _words(self) -> memoryview:
        return memoryview(self.raw)[self._types_at : self._types_end].cast("I")

    def func_id(self, name: str) -> int | None:
        """The id of the function of that name, or None.

        Args:
            name: a kfunc's name.

        Raises:
            BtfError: the table is damaged.
        """
        at = self.raw.find(b"\0" + name.encode() + b"\0", self._strings_at, self._strings_end)
        if at < 0:
            return None
        for linkage in (Linkage.STATIC, Linkage.GLOBAL, Linkage.EXTERN):
            record = struct.pack("<II", at + 1 - self._strings_at, Kind.FUNC << 24 | linkage)
            position = self.raw.find(record, self._types_at, self._types_end)
            while position >= 0:
                offset = position - self._types_at
                if offset % 4 == 0 and (found := self._id_at(offset // 4)) is not None:
                    return found
                position = self.raw.find(record, position + 1, self._types_end)
        return None

    def _id_at(self, word: int) -> int | None:
        """The id of the record that starts at a word; None where none starts there."""
        while self._steps[-1] <= word:
            position, count = self._walk(self._steps[-1], len(self._words), _STEP)
            if count < _STEP:
                break
            self._steps.append(position)
        step = bisect_right(self._steps, word) - 1
        position, count = self._walk(self._steps[step], word, _STEP)
        return 1 + step * _STEP + count if position == word else None

    def _walk(self, position: int, end: int, limit: int) -> tuple[int, int]:
        """Pass over records from ``position`` until ``end`` or ``limit`` of them: where that ends, and how many."""
        words, lengths, parts = self._words, LENGTHS, PARTS
        count = 0
        while position < end and count < limit:
            info = words[position + 1]
            kind = info >> 24 & 0x1F
            position += lengths[kind] + (info & 0xFFFF) * parts[kind]
            count += 1
        return position, count


@functools.cache
def kernel_btf() -> KernelBtf:
    """The running kernel's types, read once per process.

    Raises:
        NotSupportedError: the kernel publishes none.
    """
    try:
        with open(PATH, "rb") as file:
            return KernelBtf(file.read())
    except OSError as error:
        raise NotSupportedError(
            "calling kfuncs and CO-RE",
            requires=f"kernel type information in {PATH} ({error.strerror})",
            hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs",
        ) from error
