"""btf.values: bytes to Python and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import (
    Composite,
    Enum,
    Enumerator,
    Float,
    FuncProto,
    Int,
    Kind,
    Member,
    Ref,
)
from bpfcrypto.btf.values import decode, encode
from bpfcrypto.errors import BtfError, MapTypeError
from support.elfwriter import TypeBuilder


class Types(TypeBuilder):
    """The types that these tests speak of, by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.bool = self.add(Int("_Bool", 1, 8, is_bool=True))
        self.s64 = self.add(Int("long long", 8, 64, signed=True))
        self.double = self.add(Float("double", 8))
        self.long_double = self.add(Float("long double", 16))
        values = (Enumerator("OFF", 0), Enumerator("ON", 1), Enumerator("ODD", -5))
        self.state = self.add(Enum(Kind.ENUM, "state", 4, True, values))
        self.name = self.array(self.char, 8)
        self.raw = self.array(self.u8, 4)
        self.numbers = self.array(self.u32, 3)
        self.grid = self.array(self.array(self.u32, 2), 2)
        self.pair = self.struct("pair", ("a", self.u32, 0), ("b", self.u64, 8), size=16)
        self.pairs = self.array(self.pair, 2)
        self.alias = self.add(Ref(Kind.TYPEDEF, self.add(Ref(Kind.VOLATILE, self.u32)), "u32_t"))
        self.void_pointer = self.pointer(0)
        self.prototype = self.add(FuncProto(0, ()))
        bits = (Member("low", self.u32, 0, 3), Member("", self.u32, 3, 5), Member("state", self.state, 8, 4))
        self.bits = self.add(Composite(Kind.STRUCT, "bits", 4, (*bits, Member("wide", self.u32, 12, 20))))
        self.either = self.add(
            Composite(
                Kind.UNION, "either", 8, (Member("number", self.u64, 0), Member("bytes", self.array(self.u8, 8), 0))
            )
        )
        inside = self.add(Composite(Kind.UNION, "", 8, (Member("x", self.u64, 0), Member("y", self.u32, 0))))
        self.outer = self.struct("outer", ("head", self.u32, 0), ("", inside, 8), ("tail", self.pair, 16), size=32)
        target = self.struct("bpf_crypto_ctx", ("u", self.u32, 0), size=4)
        self.kptr = self.pointer(self.add(Ref(Kind.TYPE_TAG, target, "kptr")))
        self.lock = self.struct("bpf_spin_lock", ("val", self.u32, 0), size=4)
        self.slot = self.struct("slot", ("ctx", self.kptr, 0), ("lock", self.lock, 8), ("uses", self.u32, 12), size=16)
        self.counter = self.variable("counter", self.u64)
        self.data = self.section(".bss", (self.counter, 0, 8), (self.variable("label", self.name), 8, 8), size=16)


T = Types()
BTF = read_btf(T.to_bytes())

PAIRS: list[tuple[int, Any, bytes]] = [
    (T.u32, 0xDEADBEEF, bytes.fromhex("efbeadde")),
    (T.int, -2, bytes.fromhex("feffffff")),
    (T.s64, -(1 << 63), bytes(7) + b"\x80"),
    (T.bool, True, b"\1"),
    (T.alias, 7, b"\7\0\0\0"),
    (T.double, 1.5, bytes.fromhex("000000000000f83f")),
    (T.state, "ON", b"\1\0\0\0"),
    (T.state, "ODD", b"\xfb\xff\xff\xff"),
    (T.state, 77, b"M\0\0\0"),
    (T.name, "cbc", b"cbc" + bytes(5)),
    (T.name, "", bytes(8)),
    (T.name, "12345678", b"12345678"),
    (T.name, "\u00e9", b"\xc3\xa9" + bytes(6)),
    (T.name, b"\xff\0AAAAAA", b"\xff\0AAAAAA"),
    (T.raw, b"\0\1\2\3", b"\0\1\2\3"),
    (T.numbers, [1, 2, 3], b"\1\0\0\0\2\0\0\0\3\0\0\0"),
    (T.grid, [[1, 2], [3, 4]], b"\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0"),
    (T.pair, {"a": 1, "b": 2}, b"\1" + bytes(7) + b"\2" + bytes(7)),
    (T.void_pointer, 0xFFFF888000000000, bytes.fromhex("000000008088ffff")),
    (T.bits, {"low": 5, "state": "ON", "wide": 0xABCDE}, (5 | 1 << 8 | 0xABCDE << 12).to_bytes(4, "little")),
    (T.counter, 9, b"\x09" + bytes(7)),
    (T.data, {"counter": 1, "label": "x"}, b"\1" + bytes(7) + b"x" + bytes(7)),
]


@pytest.mark.parametrize(("type_id", "value", "data"), PAIRS)
def test_both_ways(type_id: int, value: Any, data: bytes) -> None:
    """A value and its bytes stand for each other."""
    assert decode(BTF, type_id, data) == value
    assert encode(BTF, type_id, value) == data


def test_a_bool_is_a_bool() -> None:
    """_Bool decodes to True and False, not to 1 and 0."""
    assert decode(BTF, T.bool, b"\1") is True


ONE_WAY: list[tuple[int, Any, bytes]] = [
    (T.name, b"ab", b"ab" + bytes(6)),
    (T.name, [97, 98], b"ab" + bytes(6)),
    (T.raw, "k", b"k\0\0\0"),
    (T.raw, bytearray(b"ab"), b"ab\0\0"),
    (T.raw, [1, 255], b"\1\xff\0\0"),
    (T.numbers, (5,), b"\5" + bytes(11)),
    (T.pair, {}, bytes(16)),
    (T.pair, {"b": 1}, bytes(8) + b"\1" + bytes(7)),
    (T.pairs, [{"a": 1}], b"\1" + bytes(31)),
    (T.either, {"bytes": b"\1\2"}, b"\1\2" + bytes(6)),
    (T.outer, {"y": 3, "tail": {"a": 4}}, bytes(8) + b"\3" + bytes(7) + b"\4" + bytes(15)),
    (T.slot, {"ctx": None, "uses": 2}, bytes(12) + b"\2\0\0\0"),
    (T.data, {"label": "z"}, bytes(8) + b"z" + bytes(7)),
    (T.state, True, b"\1\0\0\0"),
]


@pytest.mark.parametrize(("type_id", "value", "data"), ONE_WAY)
def test_other_forms_are_taken(type_id: int, value: Any, data: bytes) -> None:
    """What is left out stays zero, and text, bytes and lists are taken where they make sense."""
    assert encode(BTF, type_id, value) == data


def test_text_ends_at_the_first_nul() -> None:
    """What stands behind the NUL is not part of the text."""
    assert decode(BTF, T.name, b"ab\0junk!") == "ab"


def test_anonymous_members_belong_to_their_parent() -> None:
    """Members of an anonymous union appear beside the others."""
    data = bytes(8) + b"\3" + bytes(23)

    assert decode(BTF, T.outer, data) == {"head": 0, "x": 3, "y": 3, "tail": {"a": 0, "b": 0}}


def test_a_union_shows_all_of_its_members() -> None:
    """Which member counts is not recorded, so all are given."""
    assert decode(BTF, T.either, b"\1" + bytes(7)) == {"number": 1, "bytes": b"\1" + bytes(7)}


def test_members_of_a_union_that_agree_are_all_kept() -> None:
    """What a union decodes to encodes to the same bytes, though a truth value alone would be stored as 1."""
    types = Types()
    flag = types.add(Composite(Kind.UNION, "flag", 1, (Member("raw", types.u8, 0), Member("set", types.bool, 0))))
    btf = read_btf(types.to_bytes())

    assert decode(btf, flag, b"\2") == {"raw": 2, "set": True}
    assert encode(btf, flag, {"raw": 2, "set": True}) == b"\2"
    assert encode(btf, flag, {"raw": 2, "set": False}) == b"\0"


def test_bit_fields_of_old_compilers() -> None:
    """An integer type of few bits, at an offset that is no whole byte, is a bit field too."""
    types = Types()
    three = types.add(Int("unsigned int", 4, 3))
    old = types.add(Composite(Kind.STRUCT, "old", 4, (Member("a", three, 0), Member("b", three, 3))))
    btf = read_btf(types.to_bytes())

    assert decode(btf, old, bytes([5 | 6 << 3, 0, 0, 0])) == {"a": 5, "b": 6}
    assert encode(btf, old, {"a": 5, "b": 6}) == bytes([5 | 6 << 3, 0, 0, 0])


def test_special_fields_read_as_none() -> None:
    """A kptr and a lock are the kernel's: None, whatever the bytes."""
    assert decode(BTF, T.slot, b"\xff" * 12 + b"\2\0\0\0") == {"ctx": None, "lock": None, "uses": 2}


ERRORS: list[tuple[int, Any, str]] = [
    (T.u32, -1, "'v' takes 'unsigned int' from 0 to 4294967295, not -1"),
    (T.u32, 1 << 32, "from 0 to 4294967295, not 4294967296"),
    (T.int, 1 << 31, "from -2147483648 to 2147483647"),
    (T.u32, "5", "not a value of type str"),
    (T.u32, 1.0, "not 1.0"),
    (T.bool, 2, "from 0 to 1"),
    (T.double, "x", "floating-point number of 8 bytes"),
    (T.state, "UNKNOWN", "'v' has no enumerator 'UNKNOWN'"),
    (T.state, 1 << 40, "'enum state' from -2147483648"),
    (T.name, "123456789", "'v' has room for 8 bytes, not for 9"),
    (T.raw, b"12345", "'v' has room for 4 bytes, not for 5"),
    (T.raw, [256], r"'v\[0\]' takes 'unsigned char' from 0 to 255, not 256"),
    (T.numbers, [1, 2, 3, 4], "'v' has room for 3 elements, not for 4"),
    (T.numbers, b"abc", "takes a list of up to 3, not a value of type bytes"),
    (T.numbers, 5, "takes a list of up to 3, not 5"),
    (T.pair, {"c": 1}, "'v' has no member 'c'"),
    (T.pair, [1, 2], "dict of the members of 'struct pair'"),
    (T.pair, {"b": -1}, "'v.b' takes"),
    (T.pairs, [{}, {"a": "x"}], r"'v\[1\].a' takes"),
    (T.bits, {"low": 8}, "'v.low' takes a bit field of 3 bits from 0 to 7, not 8"),
    (T.outer, {"z": 1}, "'v' has no member 'z'"),
    (T.slot, {"ctx": 1}, "'v.ctx' is a kernel pointer: only programs can set it"),
    (T.slot, {"lock": {"val": 1}}, "'v.lock' is a struct bpf_spin_lock"),
    (T.void_pointer, -1, "a pointer from 0"),
    (T.data, {"nothing": 1}, "'.bss' has no member 'nothing'"),
    (T.data, {"label": 5}, "'label' takes a list"),
]


@pytest.mark.parametrize(("type_id", "value", "words"), ERRORS)
def test_errors_name_the_member_and_its_range(type_id: int, value: Any, words: str) -> None:
    """A value that does not fit is refused with the place and what fits there."""
    with pytest.raises(MapTypeError, match=words):
        encode(BTF, type_id, value, name="v")


def test_texts_do_not_appear_in_errors() -> None:
    """A value in the wrong place may be a key: messages show its type, not its content."""
    for type_id, value in ((T.u32, "secret"), (T.numbers, b"secret"), (T.raw, b"secret"), (T.pair, "secret")):
        with pytest.raises(MapTypeError) as caught:
            encode(BTF, type_id, value)

        assert "secret" not in str(caught.value)


def test_too_few_bytes() -> None:
    """Bytes that do not fill the type are refused; more than enough are cut."""
    with pytest.raises(MapTypeError, match="'struct pair' has 16 bytes, here are 15"):
        decode(BTF, T.pair, bytes(15))

    assert decode(BTF, T.u32, b"\1\0\0\0\xff") == 1


@pytest.mark.parametrize("type_id", [0, T.prototype])
def test_types_without_values(type_id: int) -> None:
    """Void and functions have no size, hence no values."""
    with pytest.raises(BtfError, match="has no size"):
        decode(BTF, type_id, bytes(8))


def test_long_double() -> None:
    """A 16-byte floating-point number has no Python value."""
    with pytest.raises(MapTypeError, match="16 bytes"):
        decode(BTF, T.long_double, bytes(16))


def test_members_beyond_the_end() -> None:
    """A damaged table that puts a member outside its struct gives an error, not bytes of the neighbour."""
    types = TypeBuilder()
    for member in (types.u32, types.array(types.u8, 4), types.add(Float("float", 4)), types.array(types.char, 4)):
        types.struct("bad", ("m", member, 8), size=8)
    btf = read_btf(types.to_bytes())

    for type_id in btf.find_all("bad"):
        with pytest.raises(BtfError, match=r"a member at bytes 8\.\.12"):
            decode(btf, type_id, bytes(64))
    for value in ({"m": 1}, {"m": b"ab"}, {"m": 1.0}):
        with pytest.raises((BtfError, MapTypeError)):
            encode(btf, btf.find_all("bad")[0], value)


@given(st.binary(min_size=48, max_size=48))
def test_what_is_decoded_encodes_back(data: bytes) -> None:
    """Decoding, encoding and decoding again gives the same value, for every type."""
    for type_id in (T.u32, T.s64, T.state, T.name, T.raw, T.grid, T.pairs, T.bits, T.either, T.outer, T.slot, T.data):
        value = decode(BTF, type_id, data)
        again = decode(BTF, type_id, encode(BTF, type_id, value))

        assert again == value
