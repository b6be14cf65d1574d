"""loader.core and loader.access: CO-RE relocations against hand-made targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Composite, Enum, Enumerator, Int, Kind, Member
from bpfcrypto.errors import RelocationError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.loader.core import POISON, apply_core
from bpfcrypto.spec import CoreKind, CoreReloc, ProgramSpec
from support.elfwriter import TypeBuilder

Make = Callable[[TypeBuilder], int]

MOV, ADD32, LDX4, LDX8, LDX1, STX4, ST4, LDXSX4, LDDW = 0xB7, 0x04, 0x61, 0x79, 0x71, 0x63, 0x62, 0x81, 0x18
OFFSET, SIZE, EXISTS = CoreKind.FIELD_BYTE_OFFSET, CoreKind.FIELD_BYTE_SIZE, CoreKind.FIELD_EXISTS


def fit(local: Make, target: Make | None, kind: CoreKind, access: str, *code: Insn) -> tuple[Insn, ...]:
    """Fit a program of one relocation to a target with one type."""
    mine, theirs = TypeBuilder(), TypeBuilder()
    root = local(mine)
    theirs.struct("unrelated", ("x", theirs.u32, 0), size=4)
    if target is not None:
        target(theirs)
    program = ProgramSpec("p", "tc", ProgType.SCHED_CLS, code, core=(CoreReloc(0, kind, root, access),))
    return apply_core(program, read_btf(mine.to_bytes()), read_btf(theirs.to_bytes()))


def answer(local: Make, target: Make | None, kind: CoreKind, access: str, before: int = 0) -> int | None:
    """The immediate that a move gets; None where the instruction is poisoned."""
    (insn,) = fit(local, target, kind, access, Insn(MOV, 1, imm=before))
    if insn == POISON:
        return None
    assert (insn.code, insn.dst) == (MOV, 1)
    return insn.imm


def struct(name: str, *members: Any, size: int = 64, kind: Kind = Kind.STRUCT) -> Make:
    """A struct of (name, maker or attribute name, bit offset[, bit size])."""

    def make(types: TypeBuilder) -> int:
        rows = []
        for label, of, *place in members:
            type_id = getattr(types, of) if isinstance(of, str) else of(types)
            rows.append(Member(label, type_id, *place))
        return types.add(Composite(kind, name, size, tuple(rows)))

    return make


def enum(name: str, kind: Kind = Kind.ENUM, **values: int) -> Make:
    rows = tuple(Enumerator(*row) for row in values.items())
    size = 4 if kind is Kind.ENUM else 8
    return lambda t: t.add(Enum(kind, name, size, any(v < 0 for v in values.values()), rows))


def array(of: str, count: int) -> Make:
    return lambda t: t.array(getattr(t, of), count)


def pointer(types: TypeBuilder) -> int:
    return types.pointer(types.int)


def signed64(types: TypeBuilder) -> int:
    return types.add(Int("long", 8, 64, signed=True))


PAIR = struct("pair", ("a", "u32", 0), ("b", "u32", 32))
MOVED = struct("pair", ("x", "u64", 0), ("b", "u32", 64), ("a", "u32", 96))
FLAVOUR = struct("pair___v2", ("a", "u32", 0), ("b", "u32", 32))
INSIDE = struct("pair", ("", struct("", ("q", "u64", 0), ("b", "u32", 64), kind=Kind.UNION), 128))
LIST = struct("pair", ("l", array("u32", 4), 0))
LONG_LIST = struct("pair", ("n", "u32", 0), ("l", array("u32", 9), 32))
OPEN_LIST = struct("pair", ("n", "u32", 0), ("l", array("u32", 0), 32))
BITS = struct("pair", ("low", "u32", 0, 3), ("mid", "u32", 3, 5), ("high", "int", 8, 20))
OTHER_BITS = struct("pair", ("z", "u64", 0), ("mid", "u8", 66, 6), ("high", "int", 84, 20))
STRADDLING = struct("pair", ("mid", "u8", 6, 5))
WIDE = struct("pair", ("mid", "u64", 60, 10))

FIELD_CASES: dict[str, tuple[Make, Make | None, CoreKind, str, int, int | None]] = {
    # local, target, kind, access, what the compiler wrote, what becomes of it
    "same": (PAIR, PAIR, OFFSET, "0:1", 4, 4),
    "moved": (PAIR, MOVED, OFFSET, "0:1", 4, 8),
    "local flavour": (FLAVOUR, MOVED, OFFSET, "0:1", 4, 8),
    "target flavour": (PAIR, FLAVOUR, OFFSET, "0:1", 4, 4),
    "inside an anonymous union": (PAIR, INSIDE, OFFSET, "0:1", 4, 24),
    "out of an anonymous union": (INSIDE, PAIR, OFFSET, "0:0:1", 24, 4),
    "second struct": (PAIR, MOVED, OFFSET, "2:1", 132, 136),
    "missing": (PAIR, struct("pair", ("a", "u32", 0)), OFFSET, "0:1", 4, None),
    "other kind": (PAIR, struct("pair", ("b", pointer, 0)), OFFSET, "0:1", 4, None),
    "no such type": (PAIR, None, OFFSET, "0:1", 4, None),
    "union of that name": (PAIR, struct("pair", ("b", "u32", 0), kind=Kind.UNION), OFFSET, "0:1", 4, None),
    "array": (LIST, LONG_LIST, OFFSET, "0:0", 0, 4),
    "element": (LIST, LONG_LIST, OFFSET, "0:0:3", 12, 16),
    "element beyond": (LONG_LIST, LIST, OFFSET, "0:1:7", 32, None),
    "element of an open array": (LIST, OPEN_LIST, OFFSET, "0:0:3", 12, 16),
    "out of an open array": (OPEN_LIST, LONG_LIST, OFFSET, "0:1:7", 32, 32),
    "element size": (LIST, struct("pair", ("l", array("u64", 4), 0)), SIZE, "0:0:1", 4, 8),
    "element, no array": (LIST, struct("pair", ("l", "u32", 0)), OFFSET, "0:0:1", 4, None),
    "size": (PAIR, struct("pair", ("b", "u64", 0)), SIZE, "0:1", 4, 8),
    "size of an array": (LIST, LONG_LIST, SIZE, "0:0", 16, 36),
    "exists": (PAIR, MOVED, EXISTS, "0:1", 1, 1),
    "does not exist": (PAIR, struct("pair", ("a", "u32", 0)), EXISTS, "0:1", 1, 0),
    "type does not exist": (PAIR, None, EXISTS, "0:1", 1, 0),
    "signed": (PAIR, struct("pair", ("b", "int", 0)), CoreKind.FIELD_SIGNED, "0:1", 0, 1),
    "unsigned": (struct("pair", ("b", "int", 0)), PAIR, CoreKind.FIELD_SIGNED, "0:0", 1, 0),
    "bit field offset": (BITS, OTHER_BITS, OFFSET, "0:1", 99, 8),
    "bit field size": (BITS, OTHER_BITS, SIZE, "0:1", 99, 1),
    "left shift": (BITS, BITS, CoreKind.FIELD_LSHIFT_U64, "0:1", 99, 64 - 8),
    "left shift elsewhere": (BITS, OTHER_BITS, CoreKind.FIELD_LSHIFT_U64, "0:1", 99, 64 - 8),
    "right shift": (BITS, OTHER_BITS, CoreKind.FIELD_RSHIFT_U64, "0:1", 59, 58),
    "signed bit field": (BITS, OTHER_BITS, CoreKind.FIELD_SIGNED, "0:2", 1, 1),
    "bit field over two bytes": (BITS, STRADDLING, SIZE, "0:1", 99, 2),
    "its shift": (BITS, STRADDLING, CoreKind.FIELD_LSHIFT_U64, "0:1", 99, 64 - 11),
    "plain field's shifts": (PAIR, BITS, CoreKind.FIELD_LSHIFT_U64, "0:1", 32, None),
    "plain shift": (PAIR, MOVED, CoreKind.FIELD_RSHIFT_U64, "0:1", 32, 32),
}


@pytest.mark.parametrize("case", FIELD_CASES)
def test_fields(case: str) -> None:
    """Offset, size, existence, signedness and shifts of a field that the target has elsewhere, otherwise, or not."""
    local, target, kind, access, before, after = FIELD_CASES[case]

    assert answer(local, target, kind, access, before) == after


STATE = enum("state", OFF=0, ON=1, LAST=2)
TYPE_CASES: dict[str, tuple[Make, Make | None, CoreKind, str, int, int | None]] = {
    "exists": (PAIR, MOVED, CoreKind.TYPE_EXISTS, "0", 1, 1),
    "does not exist": (PAIR, None, CoreKind.TYPE_EXISTS, "0", 1, 0),
    "is another kind": (PAIR, enum("pair"), CoreKind.TYPE_EXISTS, "0", 1, 0),
    "size": (PAIR, struct("pair", size=96), CoreKind.TYPE_SIZE, "0", 64, 96),
    "no size": (PAIR, None, CoreKind.TYPE_SIZE, "0", 64, 0),
    "matches": (PAIR, MOVED, CoreKind.TYPE_MATCHES, "0", 1, 1),
    "does not match": (MOVED, PAIR, CoreKind.TYPE_MATCHES, "0", 1, 0),
    "has no target id": (PAIR, None, CoreKind.TYPE_ID_TARGET, "0", 99, 0),
    "enumerator": (STATE, enum("state", ON=77), CoreKind.ENUMVAL_VALUE, "1", 1, 77),
    "enumerator of a flavour": (enum("state___x", ON___y=1), enum("state", ON=7), CoreKind.ENUMVAL_VALUE, "0", 1, 7),
    "no enumerator": (STATE, enum("state", OFF=0), CoreKind.ENUMVAL_VALUE, "1", 1, None),
    "enumerator exists": (STATE, enum("state", ON=5), CoreKind.ENUMVAL_EXISTS, "1", 1, 1),
    "enumerator does not exist": (STATE, enum("state", OFF=5), CoreKind.ENUMVAL_EXISTS, "1", 1, 0),
    "negative": (STATE, enum("state", ON=-5), CoreKind.ENUMVAL_VALUE, "1", 1, -5),
    "64-bit enumerator": (STATE, enum("state", Kind.ENUM64, ON=9), CoreKind.ENUMVAL_VALUE, "1", 1, 9),
}


@pytest.mark.parametrize("case", TYPE_CASES)
def test_types_and_enumerators(case: str) -> None:
    """Existence, size and match of types; existence and value of enumerators."""
    local, target, kind, access, before, after = TYPE_CASES[case]

    assert answer(local, target, kind, access, before) == after


def test_type_ids() -> None:
    """The local id is known at once; the target's is looked up."""
    assert answer(PAIR, None, CoreKind.TYPE_ID_LOCAL, "0", 99) == len(TypeBuilder())
    assert answer(PAIR, PAIR, CoreKind.TYPE_ID_TARGET, "0", 99) == len(TypeBuilder()) + 1


def test_wide_enumerators() -> None:
    """A 64-bit value fills both halves of an lddw."""
    wide = enum("state", Kind.ENUM64, ON=0x8000_0001_F000_0002)
    first, second = fit(STATE, wide, CoreKind.ENUMVAL_VALUE, "1", Insn(LDDW, 3, imm=1), Insn(0))

    assert first == Insn(LDDW, 3, imm=0xF0000002 - (1 << 32))
    assert second == Insn(0, imm=0x80000001 - (1 << 32))


def test_a_missing_enumerator_poisons_both_halves() -> None:
    """So that the verifier's message names the helper and not an unknown opcode."""
    code = fit(STATE, None, CoreKind.ENUMVAL_VALUE, "1", Insn(LDDW, 3, imm=1), Insn(0))

    assert code == (POISON, POISON)
    assert POISON.imm == 0xBAD2310


U64_AT_8 = struct("pair", ("x", "u64", 0), ("b", "u64", 64))
INSN_CASES: dict[str, tuple[Make, Make, Insn, Insn]] = {
    "load": (PAIR, MOVED, Insn(LDX4, 1, 2, 4), Insn(LDX4, 1, 2, 8)),
    "store": (PAIR, MOVED, Insn(STX4, 1, 2, 4), Insn(STX4, 1, 2, 8)),
    "store of a constant": (PAIR, MOVED, Insn(ST4, 1, 0, 4, 7), Insn(ST4, 1, 0, 8, 7)),
    "32-bit add": (PAIR, MOVED, Insn(ADD32, 1, imm=4), Insn(ADD32, 1, imm=8)),
    "wider field": (PAIR, U64_AT_8, Insn(LDX4, 1, 2, 4), Insn(LDX8, 1, 2, 8)),
    "narrower field": (U64_AT_8, PAIR, Insn(LDX8, 1, 2, 8), Insn(LDX4, 1, 2, 4)),
    "signed field widened": (
        struct("pair", ("z", "u32", 0), ("b", "int", 32)),
        struct("pair", ("b", signed64, 64)),
        Insn(LDX4, 1, 2, 4),
        POISON,
    ),
    "sign-extending load": (PAIR, MOVED, Insn(LDXSX4, 1, 2, 4), Insn(LDXSX4, 1, 2, 8)),
    "array of wider elements": (
        struct("pair", ("z", "u32", 0), ("b", array("u32", 2), 32)),
        struct("pair", ("b", array("u64", 9), 64)),
        Insn(LDX4, 1, 2, 4),
        Insn(LDX8, 1, 2, 8),
    ),
    "longer array of the same": (
        struct("pair", ("z", "u32", 0), ("b", array("u8", 2), 32)),
        struct("pair", ("b", array("u8", 9), 64)),
        Insn(LDX1, 1, 2, 4),
        Insn(LDX1, 1, 2, 8),
    ),
    "missing": (PAIR, struct("pair", ("a", "u32", 0)), Insn(LDX4, 1, 2, 4), POISON),
}


@pytest.mark.parametrize("case", INSN_CASES)
def test_instructions(case: str) -> None:
    """The offset goes where the instruction keeps it, and the width follows the field where that is safe."""
    local, target, before, after = INSN_CASES[case]

    assert fit(local, target, OFFSET, "0:1", before) == (after,)


def test_pointers_may_change_their_width() -> None:
    """Only the instruction's own width matters between two pointers, which are 8 bytes here."""
    local = struct("pair", ("p", pointer, 0))
    target = struct("pair", ("n", "u64", 0), ("p", pointer, 64))

    assert fit(local, target, OFFSET, "0:0", Insn(LDX8, 1, 2, 0)) == (Insn(LDX8, 1, 2, 8),)


ERRORS: dict[str, tuple[Make, Make, CoreKind, str, list[Insn], str]] = {
    "access": (PAIR, PAIR, OFFSET, "0:x", [Insn(MOV)], "access '0:x' is no list of numbers"),
    "empty access": (PAIR, PAIR, OFFSET, "", [Insn(MOV)], "no list of numbers"),
    "member beyond": (PAIR, PAIR, OFFSET, "0:7", [Insn(MOV)], "member 7 of 'pair', which has 2"),
    "element beyond": (LIST, LIST, OFFSET, "0:0:4", [Insn(MOV)], "element 4 of an array of 4"),
    "member of an int": (PAIR, PAIR, OFFSET, "0:1:0", [Insn(MOV)], "which has none"),
    "enumerator beyond": (STATE, STATE, CoreKind.ENUMVAL_VALUE, "9", [Insn(MOV)], "no enumerator"),
    "enumerator of a struct": (PAIR, PAIR, CoreKind.ENUMVAL_VALUE, "0", [Insn(MOV)], "no enumerator"),
    "type with access": (PAIR, PAIR, CoreKind.TYPE_SIZE, "0:1", [Insn(MOV)], "to a whole type"),
    "without name": (struct("", ("a", "u32", 0)), PAIR, OFFSET, "0:0", [Insn(MOV)], "without a name"),
    "shift of an element": (LIST, LIST, CoreKind.FIELD_LSHIFT_U64, "0:0:1", [Insn(MOV)], "only offset and size"),
    "wide bit field": (WIDE, WIDE, OFFSET, "0:0", [Insn(MOV)], "no 64-bit load covers"),
    "other immediate": (PAIR, MOVED, OFFSET, "0:1", [Insn(MOV, imm=5)], "holds 5, the object's types say 4"),
    "other offset": (PAIR, MOVED, OFFSET, "0:1", [Insn(LDX4, off=5)], "holds 5, the object's types say 4"),
    "other lddw": (STATE, STATE, CoreKind.ENUMVAL_VALUE, "1", [Insn(LDDW, imm=2), Insn(0)], "holds 2"),
    "address": (STATE, STATE, CoreKind.ENUMVAL_VALUE, "1", [Insn(LDDW, src=1), Insn(0)], "loads an address"),
    "call": (PAIR, MOVED, OFFSET, "0:1", [Insn(0x85)], "opcode 0x85 holds no such value"),
    "register": (PAIR, MOVED, OFFSET, "0:1", [Insn(0xBF)], "opcode 0xbf holds no such value"),
    "far": (
        PAIR,
        struct("pair", ("b", "u32", 8 * 40000), size=50000),
        OFFSET,
        "0:1",
        [Insn(LDX4, off=4)],
        "offset 40000 does not fit",
    ),
    "other width": (PAIR, U64_AT_8, OFFSET, "0:1", [Insn(LDX1, off=4)], "an access of 1 bytes to a field of 4"),
    "no instruction": (PAIR, PAIR, OFFSET, "0:1", [], "no such instruction"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    """A relocation that contradicts the object is refused with program, type and access."""
    local, target, kind, access, code, words = ERRORS[case]

    with pytest.raises(RelocationError, match=words) as caught:
        fit(local, target, kind, access, *code)

    assert "program 'p'" in str(caught.value)
    assert (caught.value.section, caught.value.offset) == ("tc", 0)


def test_candidates_must_agree() -> None:
    """Two types of one name are fine while they give one answer."""

    def both(first: Make, second: Make) -> Make:
        def make(types: TypeBuilder) -> int:
            first(types)
            return second(types)

        return make

    assert answer(PAIR, both(MOVED, MOVED), OFFSET, "0:1", 4) == 8
    assert answer(PAIR, both(FLAVOUR, struct("pair", ("a", "u32", 0))), OFFSET, "0:1", 4) == 4
    with pytest.raises(RelocationError, match="give different answers"):
        answer(PAIR, both(MOVED, PAIR), OFFSET, "0:1", 4)


def test_endless_structs() -> None:
    """A target whose anonymous members contain each other is an error, at once."""

    def loop(types: TypeBuilder) -> int:
        inner = types.add(Composite(Kind.STRUCT, "", 64, ()))
        types.replace(inner, Composite(Kind.STRUCT, "", 64, (Member("", inner, 0), Member("", inner, 0))))
        return types.add(Composite(Kind.STRUCT, "pair", 64, (Member("", inner, 0),)))

    with pytest.raises(RelocationError, match="nested more than 64 deep"):
        answer(PAIR, loop, OFFSET, "0:1", 4)


def test_nothing_to_do() -> None:
    """A program without relocations comes back as it is."""
    btf = read_btf(TypeBuilder().to_bytes())
    program = ProgramSpec("p", "tc", ProgType.SCHED_CLS, (Insn(MOV), Insn(0x95)))

    assert apply_core(program, btf, btf) == program.insns


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), st.permutations("abcdefgh"))
def test_any_order_of_members(wanted: list[str], order: list[str]) -> None:
    """Each member is found wherever the target has it."""
    local = struct("s", *((name, "u32", 32 * i) for i, name in enumerate(wanted)))
    target = struct("s", *((name, "u32", 32 * i) for i, name in enumerate(order)))

    for index, name in enumerate(wanted):
        assert answer(local, target, OFFSET, f"0:{index}", 4 * index) == 4 * order.index(name)
