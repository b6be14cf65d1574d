"""btf.compat: when a local type stands for a target's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.btf.compat import essential_name, fields_compatible, same_kind, types_compatible, types_match
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import (
    Composite,
    Enum,
    Enumerator,
    Float,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Param,
    Ref,
)
from bpfcrypto.errors import BtfError
from support.elfwriter import TypeBuilder

Make = Callable[[TypeBuilder], int]


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("a___", "a___"),
        ("___a", "___a"),
        ("a__b", "a__b"),
        ("", ""),
    ],
)
def test_essential_name(name: str, essential: str) -> None:
    """A flavour starts at the last separator of exactly three underscores inside the name."""
    assert essential_name(name) == essential


def enum(name: str, *values: str, kind: Kind = Kind.ENUM, size: int = 4) -> Make:
    rows = tuple(Enumerator(value, index) for index, value in enumerate(values))
    return lambda t: t.add(Enum(kind, name, size, False, rows))


def struct(name: str, *members: tuple[str, Make], kind: Kind = Kind.STRUCT) -> Make:
    def make(types: TypeBuilder) -> int:
        rows = tuple(Member(label, of(types), 0) for label, of in members)
        return types.add(Composite(kind, name, 8, rows))

    return make


def integer(name: str = "int", size: int = 4, *, signed: bool = True, offset: int = 0) -> Make:
    return lambda t: t.add(Int(name, size, 8 * size - offset, signed=signed, offset=offset))


def pointer(to: Make) -> Make:
    return lambda t: t.pointer(to(t))


def array(of: Make, count: int) -> Make:
    return lambda t: t.array(of(t), count)


def alias(name: str, of: Make) -> Make:
    return lambda t: t.add(Ref(Kind.TYPEDEF, of(t), name))


def function(*params: Make, returns: Make = lambda _: 0) -> Make:
    return lambda t: t.add(FuncProto(returns(t), tuple(Param("", param(t)) for param in params)))


def forward(name: str, *, union: bool = False) -> Make:
    return lambda t: t.add(Fwd(name, union))


def double(types: TypeBuilder) -> int:
    return types.add(Float("double", 8))


S, U = struct("s"), struct("s", kind=Kind.UNION)

# local, target, compatible as fields, compatible as types, matching
CASES: dict[str, tuple[Make, Make, bool, bool, bool]] = {
    "same struct": (S, S, True, True, True),
    "other struct": (S, struct("t"), True, True, False),
    "flavoured struct": (struct("s___old"), S, True, True, True),
    "struct and union": (S, U, True, False, False),
    "struct and int": (S, integer(), False, False, False),
    "int and unsigned": (integer(), integer(signed=False), True, True, False),
    "int and long": (integer(), integer("int", 8), True, True, False),
    "int and other name": (integer(), integer("s32"), True, True, False),
    "int at a bit": (integer(offset=3), integer(), False, False, True),
    "typedef of int": (alias("a", integer()), alias("b", integer()), True, True, True),
    "float": (double, double, True, False, False),
    "enum": (enum("e", "A"), enum("e", "A", "B"), True, True, True),
    "enum of another name": (enum("e", "A"), enum("f", "A"), False, True, False),
    "anonymous enum": (enum("", "A"), enum("f", "A"), True, True, False),
    "enum and enum64": (enum("e", "A"), enum("e", "A", kind=Kind.ENUM64), True, True, True),
    "enum of another size": (enum("e", "A"), enum("e", "A", size=8, kind=Kind.ENUM64), True, True, False),
    "enumerator missing": (enum("e", "A", "B"), enum("e", "A", "C"), True, True, False),
    "flavoured enumerator": (enum("e", "A___x"), enum("e", "A"), True, True, True),
    "pointer to another": (pointer(S), pointer(integer()), True, False, False),
    "pointer to the same": (pointer(S), pointer(S), True, True, True),
    "pointer to a declaration": (pointer(S), pointer(forward("s")), True, False, True),
    "declaration for a struct": (pointer(forward("s")), pointer(S), True, False, True),
    "declaration of a union": (pointer(S), pointer(forward("s", union=True)), True, False, False),
    "two declarations": (forward("s"), forward("s"), True, True, True),
    "array": (array(integer(), 3), array(integer(), 4), True, True, False),
    "array of others": (array(integer(), 3), array(S, 3), False, False, False),
    "same array": (array(integer(), 3), array(integer(), 3), True, True, True),
    "function": (function(integer()), function(integer()), False, True, True),
    "function with more": (function(integer()), function(integer(), integer()), False, False, False),
    "function of others": (function(pointer(S)), function(pointer(integer())), False, False, False),
    "function returning": (function(returns=integer()), function(returns=S), False, False, False),
    "member missing": (struct("s", ("a", integer())), S, True, True, False),
    "member of another type": (struct("s", ("a", integer())), struct("s", ("a", S)), True, True, False),
    "member moved": (
        struct("s", ("a", integer())),
        struct("s", ("b", S), ("a", integer())),
        True,
        True,
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_relations(case: str) -> None:
    """Each pair of types, under each of the three relations."""
    first, second, as_fields, as_types, as_match = CASES[case]
    local, target = TypeBuilder(), TypeBuilder()
    mine, theirs = first(local), second(target)
    left, right = read_btf(local.to_bytes()), read_btf(target.to_bytes())

    assert fields_compatible(left, mine, right, theirs) is as_fields
    assert types_compatible(left, mine, right, theirs) is as_types
    assert types_match(left, mine, right, theirs) is as_match


def test_roots_are_compared_by_their_own_kind() -> None:
    """A typedef of a struct is not a struct at the root."""
    types = TypeBuilder()
    plain, named = S(types), alias("s", S)(types)
    btf = read_btf(types.to_bytes())

    assert not types_compatible(btf, plain, btf, named)
    assert not same_kind(btf[plain], btf[named])


def test_endless_structs() -> None:
    """Structs that contain themselves end the comparison with an error, at once."""
    types = TypeBuilder()
    loop = types.add(Fwd("loop"))
    types.replace(loop, Composite(Kind.STRUCT, "loop", 8, tuple(Member("same", loop, 0) for _ in range(9))))
    btf = read_btf(types.to_bytes())

    with pytest.raises(BtfError, match="nested"):
        types_match(btf, loop, btf, loop)


def test_endless_pointers() -> None:
    """A pointer to itself is compatible with nothing, and the comparison ends."""
    types = TypeBuilder()
    loop = types.add(Fwd("loop"))
    types.replace(loop, Ref(Kind.PTR, loop))
    btf = read_btf(types.to_bytes())

    assert not types_compatible(btf, loop, btf, loop)
    assert not types_match(btf, loop, btf, loop)
