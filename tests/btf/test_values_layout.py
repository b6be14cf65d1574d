"""btf.values against ctypes: random types are built as BTF and as ctypes, and both must find every member at the same bits."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Array, Composite, Enum, Enumerator, Float, Int, Kind, Member, Ref
from bpfcrypto.btf.values import decode, encode
from bpfcrypto.btf.writer import BtfWriter

SCALARS: dict[str, tuple[type[ctypes._SimpleCData[Any]], Int | Float]] = {
    "u8": (ctypes.c_uint8, Int("unsigned char", 1, 8)),
    "s8": (ctypes.c_int8, Int("signed char", 1, 8, signed=True)),
    "u16": (ctypes.c_uint16, Int("unsigned short", 2, 16)),
    "s16": (ctypes.c_int16, Int("short", 2, 16, signed=True)),
    "u32": (ctypes.c_uint32, Int("unsigned int", 4, 32)),
    "s32": (ctypes.c_int32, Int("int", 4, 32, signed=True)),
    "u64": (ctypes.c_uint64, Int("unsigned long long", 8, 64)),
    "s64": (ctypes.c_int64, Int("long long", 8, 64, signed=True)),
    "bool": (ctypes.c_bool, Int("_Bool", 1, 8, is_bool=True)),
    "double": (ctypes.c_double, Float("double", 8)),
}
INTEGERS = [name for name in SCALARS if name != "double"]
COLOURS = (Enumerator("RED", 0), Enumerator("GREEN", 5), Enumerator("BELOW", -3))


@dataclass(frozen=True)
class Built:
    """A type in both forms."""

    c: Any
    btf: int


class Pair:
    """Builds types in both forms, with one BTF table."""

    def __init__(self) -> None:
        self.types = BtfWriter()
        self.scalars = {name: Built(c, self.types.add(record)) for name, (c, record) in SCALARS.items()}
        self.index = self.scalars["u32"].btf
        enum = self.types.add(Enum(Kind.ENUM, "colour", 4, True, COLOURS))
        self.enum = Built(ctypes.c_int32, enum)
        self.pointer = Built(ctypes.c_uint64, self.types.add(Ref(Kind.PTR, 0)))
        self.count = 0

    def array(self, element: Built, count: int) -> Built:
        return Built(element.c * count, self.types.add(Array(element.btf, self.index, count)))

    def alias(self, target: Built) -> Built:
        const = self.types.add(Ref(Kind.CONST, target.btf))
        return Built(target.c, self.types.add(Ref(Kind.TYPEDEF, const, "alias")))

    def composite(self, members: list[tuple[Built, int, bool]], *, union: bool, packed: bool) -> Built:
        """A struct or union of (type, bits or 0, anonymous)."""
        fields, anonymous, hidden = [], [], set()
        for built, bits, nameless in members:
            self.count += 1
            name = f"m{self.count}"
            fields.append((name, built.c, bits) if bits else (name, built.c))
            if nameless:
                anonymous.append(name)
                hidden.add(name)
        body = {"_anonymous_": anonymous, "_fields_": fields} | ({"_pack_": 1} if packed else {})
        c: Any = type("C", (ctypes.Union if union else ctypes.Structure,), body)
        rows = []
        for (name, *_), (built, bits, _) in zip(fields, members, strict=True):
            place = getattr(c, name)
            inside = place.size & 0xFFFF if bits else 0
            rows.append(Member("" if name in hidden else name, built.btf, place.offset * 8 + inside, bits))
        kind = Kind.UNION if union else Kind.STRUCT
        return Built(c, self.types.add(Composite(kind, "", ctypes.sizeof(c), tuple(rows))))


def draw_type(draw: st.DrawFn, pair: Pair, depth: int) -> Built:
    """A random type."""
    kinds = ["scalar", "enum", "pointer"] + (["array", "alias", "struct", "struct", "union"] if depth else [])
    match draw(st.sampled_from(kinds)):
        case "scalar":
            return pair.scalars[draw(st.sampled_from(list(SCALARS)))]
        case "enum":
            return pair.enum
        case "pointer":
            return pair.pointer
        case "array":
            return pair.array(draw_type(draw, pair, depth - 1), draw(st.integers(1, 3)))
        case "alias":
            return pair.alias(draw_type(draw, pair, depth - 1))
        case kind:
            return draw_composite(draw, pair, depth, union=kind == "union")


def draw_composite(draw: st.DrawFn, pair: Pair, depth: int, *, union: bool) -> Built:
    """A random struct or union.

    Bit fields are of one type and not in unions: ctypes lays others out in ways of its own.
    """
    base = pair.scalars[draw(st.sampled_from([name for name in INTEGERS if name != "bool"]))]
    members: list[tuple[Built, int, bool]] = []
    for _ in range(draw(st.integers(1, 4))):
        if not union and draw(st.booleans()):
            members.append((base, draw(st.integers(1, 8 * ctypes.sizeof(base.c))), False))
            continue
        built = draw_type(draw, pair, depth - 1)
        composite = issubclass(built.c, ctypes.Structure | ctypes.Union)
        members.append((built, 0, composite and draw(st.booleans())))
    packed = not any(bits for _, bits, _ in members) and draw(st.booleans())
    return pair.composite(members, union=union, packed=packed and not union)


@st.composite
def types(draw: st.DrawFn) -> tuple[Pair, Built]:
    """A random struct or union."""
    pair = Pair()
    return pair, draw_composite(draw, pair, 3, union=draw(st.booleans()))


def seen_by_ctypes(value: Any) -> Any:
    """What ctypes finds in its own instance, in the words of btf.values."""
    if isinstance(value, ctypes.Array):
        if value._type_ is ctypes.c_uint8 or value._type_ is ctypes.c_int8:
            return bytes(value)
        return [seen_by_ctypes(each) for each in value]
    if isinstance(value, ctypes.Structure | ctypes.Union):
        found: dict[str, Any] = {}
        for name, *_ in value._fields_:
            inner = seen_by_ctypes(getattr(value, name))
            found |= inner if name in value._anonymous_ else {name: inner}
        return found
    return value


def plain(value: Any) -> Any:
    """Enumerators as numbers, and every NaN the same, so that values can be compared."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return next(each.value for each in COLOURS if each.name == value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=300, deadline=None)
@given(types(), st.randoms(use_true_random=False))
def test_every_member_is_where_ctypes_has_it(built: tuple[Pair, Built], random: Any) -> None:
    """Random bytes decode to what ctypes reads; encoded again, ctypes reads the same."""
    pair, made = built
    btf = read_btf(pair.types.to_bytes())
    data = random.randbytes(ctypes.sizeof(made.c))

    value = decode(btf, made.btf, data)

    expected = seen_by_ctypes(made.c.from_buffer_copy(data))
    assert plain(value) == plain(expected)
    again = made.c.from_buffer_copy(encode(btf, made.btf, value))
    assert plain(seen_by_ctypes(again)) == plain(expected)
