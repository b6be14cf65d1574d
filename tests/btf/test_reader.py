"""btf.reader: tables from bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.btf.reader import HEADER, read_btf
from bpfcrypto.btf.types import Composite, DeclTag, Func, FuncProto, Kind, Linkage, Ref, Void
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.errors import BtfError
from support.elfwriter import TypeBuilder

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def sample() -> BtfWriter:
    types = TypeBuilder()
    pair = types.struct("pair", ("first", types.u32, 0), ("second", types.u64, 8), size=16)
    types.struct("pair___old", ("first", types.u32, 0), size=4)
    types.struct("pairs", ("all", types.array(pair, 3), 0), size=48)
    alias = types.add(Ref(Kind.TYPEDEF, types.add(Ref(Kind.CONST, pair)), "pair"))
    types.add(DeclTag("first tag", alias))
    types.add(DeclTag("second tag", alias))
    types.add(DeclTag("of a member", pair, 1))
    return types


def test_ids_run_from_void() -> None:
    """Id 0 is void, ids end at len, and iteration visits them in order."""
    btf = read_btf(sample().to_bytes())

    assert btf[0] == Void()
    assert [btf[i] for i in range(len(btf))] == list(btf)  # type: ignore[call-overload]
    for beyond in (-1, len(btf), 1 << 40):
        with pytest.raises(IndexError):
            btf[beyond]


def test_find_by_name_and_kind() -> None:
    """A name is found exactly, lowest id first, and a kind narrows the search."""
    btf = read_btf(sample().to_bytes())
    struct_id, alias = btf.find("pair"), btf.find("pair", Kind.TYPEDEF)

    assert struct_id is not None
    assert alias is not None
    assert isinstance(btf[struct_id], Composite)
    assert btf.find_all("pair") == (struct_id, alias)
    assert btf.find("air") is None
    assert btf.find("pai") is None
    assert btf.find("") is None
    assert btf.find("pair", Kind.UNION) is None


def test_find_by_the_tail_of_another_name() -> None:
    """A writer may share strings: a name that is the end of a longer one is found too."""
    raw = bytearray(sample().to_bytes())
    btf = read_btf(bytes(raw))
    long, short = btf.find("pairs"), btf.find("pair___old")
    assert long is not None
    assert short is not None
    place = struct.pack("<I", next(i for i in range(1, 200) if btf.string_at(i) == "old"))
    at = HEADER.size + 12 * 0  # the first record: int
    raw[at : at + 4] = place

    assert read_btf(bytes(raw)).find("old") == 1


def test_flavours_are_names_with_three_underscores() -> None:
    """``flavours`` gives a type and its flavours, and no other name that only starts alike."""
    btf = read_btf(sample().to_bytes())

    assert {btf[i].name for i in btf.flavours("pair")} == {"pair", "pair___old"}
    assert btf.flavours("pa") == ()


def test_resolve_and_size() -> None:
    """Typedefs and qualifiers are looked through; arrays multiply."""
    btf = read_btf(sample().to_bytes())
    alias, pairs = btf.find("pair", Kind.TYPEDEF), btf.find("pairs")
    assert alias is not None
    assert pairs is not None

    assert btf.resolve(alias) == btf.find("pair", Kind.STRUCT)
    assert btf.size_of(alias) == 16
    assert btf.size_of(pairs) == 48


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.CONST, Kind.TYPE_TAG])
def test_a_circle_of_names_is_an_error(kind: Kind) -> None:
    """A typedef of itself ends in an error, not in a loop."""
    types = BtfWriter()
    types.add(Ref(kind, 1, "circle"))
    btf = read_btf(types.to_bytes())

    with pytest.raises(BtfError, match="more than 32"):
        btf.resolve(1)
    with pytest.raises(BtfError, match="more than 32"):
        btf.size_of(1)


def test_types_without_size() -> None:
    """Void, functions and prototypes have no size, and the message says which type it was."""
    types = BtfWriter()
    prototype = types.add(FuncProto(0, ()))
    types.add(Func("action", prototype, Linkage.GLOBAL))
    btf = read_btf(types.to_bytes())

    for type_id in (0, 1, 2):
        with pytest.raises(BtfError, match=f"type {type_id}"):
            btf.size_of(type_id)


def test_decl_tags_keep_their_order() -> None:
    """Tags of a type come in id order; tags of members carry their component."""
    btf = read_btf(sample().to_bytes())
    alias, pair = btf.find("pair", Kind.TYPEDEF), btf.find("pair", Kind.STRUCT)
    assert alias is not None
    assert pair is not None

    assert [tag.name for tag in btf.decl_tags(alias)] == ["first tag", "second tag"]
    assert [(tag.name, tag.component) for tag in btf.decl_tags(pair)] == [("of a member", 1)]
    assert btf.decl_tags(1) == ()


def test_equality_is_of_bytes() -> None:
    """Two tables are equal when their bytes are, whatever file they came from."""
    raw = sample().to_bytes()

    assert read_btf(raw, source="a") == read_btf(raw, source="b")
    assert read_btf(raw) != read_btf(BtfWriter().to_bytes())
    assert len({read_btf(raw), read_btf(raw)}) == 1


def test_split_btf_continues_its_base() -> None:
    """Ids and strings of a split table go on where the base ends; names are found in both."""
    base = read_btf(sample().to_bytes())
    strings = b"extra\0"
    record = struct.pack("<III", base.strings_end, Kind.TYPEDEF << 24, base.find("pair") or 0)  # type: ignore[attr-defined]
    raw = HEADER.pack(0xEB9F, 1, 0, HEADER.size, 0, len(record), len(record), len(strings)) + record + strings

    btf = read_btf(raw, base=base)

    assert btf.find("extra") == len(base)
    assert btf[len(base)] == Ref(Kind.TYPEDEF, base.find("pair") or 0, "extra")
    assert btf.find("pairs") == base.find("pairs")
    assert btf.size_of(len(base)) == 16


HEADER_DEFECTS = {
    "empty": (b"", "header needs"),
    "big-endian": (b"\xeb\x9f" + bytes(30), "big-endian"),
    "magic": (bytes(32), "magic"),
    "version": (HEADER.pack(0xEB9F, 2, 0, 24, 0, 0, 0, 1) + b"\0", "version 2"),
    "flags": (HEADER.pack(0xEB9F, 1, 9, 24, 0, 0, 0, 1) + b"\0", "flags 0x9"),
    "header length": (HEADER.pack(0xEB9F, 1, 0, 8, 0, 0, 0, 1) + b"\0", "header length"),
    "types beyond": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 400, 0, 1) + b"\0", "do not fit"),
    "types odd": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 3, 3, 1) + b"\0\0\0\0", "words of 4"),
    "strings beyond": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 0, 0, 9) + b"\0", "do not fit"),
    "strings unended": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 0, 0, 2) + b"\0a", "string table"),
    "no empty string": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 0, 0, 2) + b"a\0", "string table"),
    "cut record": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 8, 8, 1) + bytes(9), "cut short"),
    "cut parts": (
        HEADER.pack(0xEB9F, 1, 0, 24, 0, 12, 12, 1) + struct.pack("<III", 0, 4 << 24 | 2, 8) + b"\0",
        "cut short",
    ),
    "kind": (
        HEADER.pack(0xEB9F, 1, 0, 24, 0, 12, 12, 1) + struct.pack("<III", 0, 27 << 24, 8) + b"\0",
        "unknown kind 27",
    ),
    "void record": (HEADER.pack(0xEB9F, 1, 0, 24, 0, 12, 12, 1) + bytes(13), "unknown kind 0"),
}


@pytest.mark.parametrize("case", HEADER_DEFECTS)
def test_header_defects(case: str) -> None:
    """Each defect of the container is refused when the table is opened, and the message names it."""
    data, words = HEADER_DEFECTS[case]

    with pytest.raises(BtfError, match=words) as caught:
        read_btf(data, source="x.o")

    assert str(caught.value).startswith("x.o: section '.BTF'")


RECORD_DEFECTS = {
    "name beyond the strings": (struct.pack("<III", 999, Kind.FWD << 24, 0), "string offset"),
    "reference beyond the types": (struct.pack("<III", 0, Kind.PTR << 24, 7), "refers to type 7"),
    "integer without bits": (struct.pack("<IIII", 0, Kind.INT << 24, 4, 0), "0 bits"),
    "integer of 3 bytes": (struct.pack("<IIII", 0, Kind.INT << 24, 3, 24), "integer of 3 bytes"),
    "float of 5 bytes": (struct.pack("<III", 0, Kind.FLOAT << 24, 5), "of 5 bytes"),
    "enumeration of 3 bytes": (struct.pack("<III", 0, Kind.ENUM << 24, 3), "of 3 bytes"),
    "linkage 9": (struct.pack("<IIII", 0, Kind.VAR << 24, 0, 9), "linkage 9"),
    "member beyond": (struct.pack("<IIIIII", 0, Kind.STRUCT << 24 | 1, 8, 0, 99, 0), "refers to type 99"),
}


@pytest.mark.parametrize("case", RECORD_DEFECTS)
def test_record_defects(case: str) -> None:
    """A defect inside a record shows when the record is asked for, and the message names type and kind."""
    record, words = RECORD_DEFECTS[case]
    btf = read_btf(HEADER.pack(0xEB9F, 1, 0, 24, 0, len(record), len(record), 1) + record + b"\0")

    with pytest.raises(BtfError, match=words):
        btf[1]


def test_names_must_be_text() -> None:
    """A name that is not UTF-8 is an error on access."""
    record = struct.pack("<III", 1, Kind.FWD << 24, 0)
    btf = read_btf(HEADER.pack(0xEB9F, 1, 0, 24, 0, 12, 12, 4) + record + b"\0\xff\xfe\0")

    with pytest.raises(BtfError, match="not text"):
        btf[1]


def touch(data: bytes) -> None:
    """Ask a table for everything; only BtfError may come of it."""
    with suppress(BtfError):
        btf = read_btf(data)
        for type_id in range(len(btf)):
            with suppress(BtfError):
                btf[type_id]
                btf.decl_tags(type_id)
                btf.size_of(type_id)
        btf.find("pair")
        btf.flavours("pair")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes: a table or a BtfError."""
    touch(data)
    touch(b"\x9f\xeb\x01\x00" + data)


@settings(max_examples=300)
@given(st.data())
def test_mutated_tables(data: st.DataObject) -> None:
    """A valid table with some words changed or its end cut off: a table or a BtfError."""
    raw = bytearray(sample().to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 4))
        raw[at : at + 4] = data.draw(
            st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff"]) | st.binary(min_size=4, max_size=4)
        )
    touch(bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw))


@pytest.mark.kernel
def test_a_kernel_opens_fast() -> None:
    """Opening a kernel's table decodes nothing and takes far less than the 100 ms that a user would notice."""
    import time

    raw = VMLINUX.read_bytes()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        btf = read_btf(raw)
        times.append(time.perf_counter() - start)

    assert len(btf) > 10_000
    assert min(times) < 0.1
