"""btf.writer: the reverse of the reader."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.btf.reader import read_btf
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
from bpfcrypto.btf.writer import BtfWriter

LAST = 8
names = st.from_regex(r"[a-z_]{0,12}", fullmatch=True)
ids = st.integers(0, LAST)
words = st.integers(0, 0xFFFFFFFF)


@st.composite
def enums(draw: st.DrawFn) -> Enum:
    kind = draw(st.sampled_from([Kind.ENUM, Kind.ENUM64]))
    signed = draw(st.booleans())
    bits = 32 if kind is Kind.ENUM else 64
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    values = draw(st.lists(st.builds(Enumerator, names, st.integers(low, high)), max_size=3))
    return Enum(kind, draw(names), bits // 8, signed, tuple(values))


@st.composite
def composites(draw: st.DrawFn) -> Composite:
    fields = draw(st.booleans())
    bits = st.integers(1, 63) if fields else st.just(0)
    members = st.builds(Member, names, ids, st.integers(0, 0xFFFFFF), bits)
    kind = draw(st.sampled_from([Kind.STRUCT, Kind.UNION]))
    return Composite(kind, draw(names), draw(words), tuple(draw(st.lists(members, max_size=3))))


plain = [Kind.PTR, Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG]
records: st.SearchStrategy[Type] = st.one_of(
    st.builds(Int, names, st.sampled_from([4, 8]), st.integers(1, 32), st.booleans(), st.booleans(), st.booleans()),
    st.builds(Ref, st.sampled_from(plain), ids, names),
    st.builds(Array, ids, ids, words),
    composites(),
    enums(),
    st.builds(Fwd, names, st.booleans()),
    st.builds(FuncProto, ids, st.lists(st.builds(Param, names, ids), max_size=3).map(tuple)),
    st.builds(Func, names, ids, st.sampled_from(Linkage)),
    st.builds(Var, names, ids, st.sampled_from(Linkage)),
    st.builds(DataSec, names, words, st.lists(st.builds(SecVar, ids, words, words), max_size=3).map(tuple)),
    st.builds(Float, names, st.sampled_from([4, 8])),
    st.builds(DeclTag, names, ids, st.integers(-1, 5)),
)


@settings(max_examples=200)
@given(st.lists(records, min_size=LAST, max_size=LAST))
def test_what_is_written_is_read(types: list[Type]) -> None:
    """Every kind of record, with any values, comes back equal."""
    writer = BtfWriter()
    given_ids = [writer.add(each) for each in types]
    btf = read_btf(writer.to_bytes())

    assert given_ids == list(range(1, LAST + 1))
    assert [btf[i] for i in given_ids] == types


def test_replace_closes_a_circle() -> None:
    """A type can be put in the place of one that was added earlier."""
    writer = BtfWriter()
    node = writer.add(Fwd("node"))
    link = writer.add(Ref(Kind.PTR, node))
    closed = Composite(Kind.STRUCT, "node", 8, (Member("next", link, 0),))
    writer.replace(node, closed)

    assert read_btf(writer.to_bytes())[node] == closed
