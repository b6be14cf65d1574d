"""btf.ext: which function, line and relocation belongs to which instruction."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.btf.ext import BtfExt, CoreRecord, FuncRecord, LineRecord, read_ext
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.errors import BtfError
from support.elfwriter import TypeBuilder


class Ext(TypeBuilder):
    """Three tables in the making: each is (record size, [(section, [record bytes])])."""

    def __init__(self) -> None:
        super().__init__()
        self.funcs = self.table(8, ("xdp", [struct.pack("<II", 0, 1), struct.pack("<II", 16, 2)]))
        line = struct.pack("<IIII", 8, self.string("a.c"), self.string("  return 1;"), 12 << 10 | 3)
        self.lines = self.table(16, ("xdp", [line]), (".text", [line]))
        self.core = self.table(16, ("xdp", [struct.pack("<IIII", 8, 3, self.string("0:1"), 2)]))

    def table(self, width: int, *sections: tuple[str, list[bytes]]) -> bytes:
        parts = [struct.pack("<I", width)]
        for name, rows in sections:
            parts += [struct.pack("<II", self.string(name), len(rows)), *rows]
        return b"".join(parts)

    def ext(self, *, core: bool = True, magic: int = 0xEB9F) -> bytes:
        tables = [self.funcs, self.lines, *([self.core] if core else [])]
        header, places, at = 8 + 8 * len(tables), [], 0
        for each in tables:
            places += [at, len(each)]
            at += len(each)
        return struct.pack(f"<HBBI{len(places)}I", magic, 1, 0, header, *places) + b"".join(tables)

    def read(self, data: bytes | None = None) -> BtfExt:
        return read_ext(self.ext() if data is None else data, read_btf(self.to_bytes()), source="x.o")


def test_three_tables() -> None:
    """Each table is read by section, with names and places resolved."""
    ext = Ext().read()
    line = LineRecord(8, "a.c", 12, 3, "  return 1;")

    assert ext.funcs == {"xdp": (FuncRecord(0, 1), FuncRecord(16, 2))}
    assert ext.lines == {"xdp": (line,), ".text": (line,)}
    assert ext.core == {"xdp": (CoreRecord(8, 3, "0:1", 2),)}


def test_without_core_relocations() -> None:
    """The shorter header of older compilers is read too."""
    types = Ext()

    assert types.read(types.ext(core=False)).core == {}


def test_longer_records() -> None:
    """What a newer compiler appends to a record is skipped."""
    types = Ext()
    types.funcs = types.table(12, ("xdp", [struct.pack("<III", 8, 1, 99), struct.pack("<III", 16, 2, 99)]))

    assert types.read().funcs == {"xdp": (FuncRecord(8, 1), FuncRecord(16, 2))}


DEFECTS = {
    "magic": (lambda t: t.ext(magic=0x1234), "magic 0x1234"),
    "short": (lambda t: t.ext()[:10], "header needs"),
    "cut": (lambda t: t.ext()[:-4], "does not fit"),
    "record size": (lambda t: setattr(t, "funcs", t.table(4)) or t.ext(), "records of 4 bytes"),
    "odd record size": (lambda t: setattr(t, "funcs", t.table(9)) or t.ext(), "records of 9 bytes"),
    "section cut": (lambda t: setattr(t, "funcs", t.funcs + b"\0\0\0\0") or t.ext(), "cut short"),
    "count": (
        lambda t: setattr(t, "funcs", struct.pack("<III", 8, 0, 1 << 30)) or t.ext(),
        "announces 1073741824 records",
    ),
    "type id": (
        lambda t: setattr(t, "funcs", t.table(8, ("xdp", [struct.pack("<II", 0, 999)]))) or t.ext(),
        "refers to type 999",
    ),
    "string": (
        lambda t: setattr(t, "core", t.table(16, ("xdp", [struct.pack("<IIII", 0, 1, 9999, 0)]))) or t.ext(),
        "string offset 0x270f",
    ),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_defects(case: str) -> None:
    """Each defect is named."""
    make, words = DEFECTS[case]
    types = Ext()

    with pytest.raises(BtfError, match=words):
        types.read(make(types))


@settings(max_examples=200)
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    """A valid section with changed bytes or a cut end: tables or a BtfError."""
    types = Ext()
    raw = bytearray(types.ext())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BtfError):
        types.read(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
