"""loader.maps: BTF-defined maps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.btf.types import Enum, Enumerator, FuncProto, Kind, Linkage
from bpfcrypto.errors import BtfError, ObjectError, RelocationError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import MapSpec
from support.elfwriter import (
    ALLOC,
    OBJECT,
    R_ABS64,
    WRITE,
    ElfWriter,
    TypeBuilder,
    place_map,
    program,
    with_map,
)


def load_map(elf: ElfWriter) -> MapSpec:
    return load_spec(elf.to_bytes(), "x.o").maps["m"]


def test_numbers() -> None:
    """Each ``__uint`` member sets its field."""
    elf, _ = with_map(type=1, max_entries=9, map_flags=1 | 4, numa_node=2, pinning=1, map_extra=5)

    assert load_map(elf) == MapSpec(
        "m",
        MapType.HASH,
        4,
        8,
        9,
        MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE,
        map_extra=5,
        numa_node=2,
        pinning=Pinning.BY_NAME,
    )


def test_unknown_flags_are_kept() -> None:
    """Flags of newer kernels pass through; the kernel decides."""
    elf, _ = with_map(map_flags=1 << 20)

    assert load_map(elf).flags == 1 << 20


def test_types_give_sizes() -> None:
    """``__type`` gives the size and the type id."""
    types = TypeBuilder()
    value = types.struct("value", ("n", types.u64, 0), ("m", types.u32, 8), size=16)
    definition = types.definition(
        type=types.number(2),
        max_entries=types.number(1),
        key=types.pointer(types.u32),
        value=types.pointer(value),
        value_size=types.number(16),
    )
    elf = program()
    place_map(elf, types, definition)

    found = load_map(elf)

    assert (found.key_size, found.key_type, found.value_size, found.value_type) == (4, types.u32, 16, value)


def test_wide_numbers() -> None:
    """``__ulong`` carries 64 bits in an enumerator."""
    types = TypeBuilder()
    wide = types.add(Enum(Kind.ENUM64, "", 8, False, (Enumerator("x", 0xFFEEDDCC00112233),)))
    definition = types.definition(
        type=types.number(30), max_entries=types.number(1), value_size=types.number(4), map_extra=wide
    )
    elf = program()
    place_map(elf, types, definition)

    assert load_map(elf).map_extra == 0xFFEEDDCC00112233


def changed(**members: int | None) -> Callable[[], ElfWriter]:
    return lambda: with_map(**members)[0]


def defined(**members: Callable[[TypeBuilder], int]) -> Callable[[], ElfWriter]:
    def make() -> ElfWriter:
        types = TypeBuilder()
        rows: dict[str, Callable[[TypeBuilder], int]] = {"type": lambda t: t.number(2), **members}
        definition = types.definition(**{name: make(types) for name, make in rows.items()})
        elf = program()
        place_map(elf, types, definition)
        return elf

    return make


def untyped() -> ElfWriter:
    elf = program()
    elf.section(".maps", bytes(8))
    return elf


def unlisted() -> ElfWriter:
    elf, types = program(), TypeBuilder()
    elf.section(".maps", bytes(8))
    elf.section(".BTF", types.to_bytes(), flags=0)
    return elf


def no_struct() -> ElfWriter:
    elf, types = program(), TypeBuilder()
    place_map(elf, types, types.u32, size=4)
    return elf


DEFECTS = {
    "no type": (changed(type=None), "'m': it has no type"),
    "type 0": (changed(type=0), "'m': it has no type"),
    "type 99": (changed(type=99), "'m': map type 99 is not known"),
    "unknown member": (changed(max_entrys=1), "'m': unknown member 'max_entrys'"),
    "pinning 7": (changed(pinning=7), "'m': pinning is 7, which is not known"),
    "no inner map": (changed(type=12), "needs the type of its inner maps"),
    "not a pointer": (defined(max_entries=lambda t: t.u32), "'max_entries' is not a pointer"),
    "not a number": (defined(max_entries=lambda t: t.pointer(t.u32)), "'max_entries' is not a number"),
    "values not an array": (defined(values=lambda t: t.pointer(t.u32)), "'values' is not an array"),
    "values not pointers": (defined(values=lambda t: t.array(t.u32, 0)), "'values' is not an array of pointers"),
    "values no struct": (defined(values=lambda t: t.array(t.pointer(t.u32), 0)), "its type is not a struct"),
    "inner map of an array": (
        defined(values=lambda t: t.array(t.pointer(t.definition(type=t.number(2))), 0)),
        "type ARRAY has no inner maps",
    ),
    "key without size": (defined(key=lambda t: t.pointer(0)), "has no size"),
    "sizes disagree": (
        defined(key_size=lambda t: t.number(8), key=lambda t: t.pointer(t.u32)),
        "'m': key_size is given as 8 and as 4",
    ),
    "two values": (
        defined(map_extra=lambda t: t.add(Enum(Kind.ENUM, "", 4, False, (Enumerator("a", 1), Enumerator("b", 2))))),
        "'map_extra' has 2 values",
    ),
    "wide number": (
        defined(max_entries=lambda t: t.add(Enum(Kind.ENUM64, "", 8, False, (Enumerator("a", 1 << 40),)))),
        "more than 32 bits",
    ),
    "no BTF": (untyped, "map definitions need type information"),
    "not listed": (unlisted, "the section has no type information"),
    "not a struct": (no_struct, "its type is not a struct"),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_defects(case: str) -> None:
    """Each defect names the map and what is wrong with it."""
    make, words = DEFECTS[case]

    with pytest.raises(ObjectError, match=words) as caught:
        load_spec(make().to_bytes(), "x.o")

    assert isinstance(caught.value, BtfError)
    assert caught.value.source == "x.o"


def outer(kind: int = 12, *, slots: int = 3) -> tuple[ElfWriter, int, int]:
    """A map-in-map ``outer`` with ``slots`` initial places at offset 32, and an inner map ``inside`` at offset 0."""
    elf, types = program(), TypeBuilder()
    inner = types.definition(type=types.number(2), max_entries=types.number(1))
    target = inner if kind == 12 else types.add(FuncProto(types.int, ()))
    whole = types.definition(
        type=types.number(kind), max_entries=types.number(4), values=types.array(types.pointer(target), 0)
    )
    size = 32 + 24 + 8 * slots
    maps = elf.section(".maps", bytes(size), flags=ALLOC | WRITE)
    inside = elf.symbol("inside", maps, size=32, kind=OBJECT)
    elf.symbol("outer", maps, value=32, size=size - 32, kind=OBJECT)
    rows = ((types.variable("inside", inner), 0, 16), (types.variable("outer", whole), 0, size - 32))
    types.section(".maps", *rows)
    elf.section(".BTF", types.to_bytes(), flags=0)
    return elf, maps, inside


def test_slots() -> None:
    """Initial values of a map-in-map, by slot."""
    elf, maps, inside = outer()
    elf.reloc(maps, 32 + 16 + 16, inside, R_ABS64)
    elf.reloc(maps, 32 + 16, inside, R_ABS64)
    found = load_spec(elf.to_bytes()).maps["outer"]

    assert dict(found.slots) == {0: "inside", 2: "inside"}
    assert list(found.slots) == [0, 2]
    assert (found.key_size, found.value_size) == (4, 4)
    assert found.inner is not None
    assert found.inner.name == "outer.inner"


def test_program_arrays() -> None:
    """Initial values of a program array are names of programs."""
    elf, maps, _ = outer(3)
    elf.reloc(maps, 32 + 16 + 8, 1, R_ABS64)

    assert load_spec(elf.to_bytes()).maps["outer"].slots == {1: "main"}


@pytest.mark.parametrize(
    ("kind", "offset", "target", "words"),
    [
        (12, 48, "main", "'outer': slot is initialised with 'main', which is not a map"),
        (3, 48, "inside", "'outer': slot is initialised with 'inside', which is not a program"),
        (12, 52, "inside", "'outer': an address that is not in a slot"),
        (12, 40, "inside", "'outer': an address that is not in a slot"),
        (12, 8, "inside", "an address in a definition without slots"),
    ],
)
def test_wrong_slots(kind: int, offset: int, target: str, words: str) -> None:
    """A slot takes what its map holds, and nothing else in a definition takes an address."""
    elf, maps, inside = outer(kind)
    elf.reloc(maps, offset, inside if target == "inside" else 1, R_ABS64)

    with pytest.raises(RelocationError, match=words) as caught:
        load_spec(elf.to_bytes(), "x.o")
    assert (caught.value.section, caught.value.offset) == (".maps", offset)


def test_maps_within_maps_within_maps() -> None:
    """Two levels are all there are."""
    types = TypeBuilder()
    middle = types.definition(type=types.number(12), values=types.array(types.pointer(types.definition()), 0))
    whole = types.definition(type=types.number(12), values=types.array(types.pointer(middle), 0))
    elf = program()
    place_map(elf, types, whole)

    with pytest.raises(BtfError, match="more than two deep"):
        load_map(elf)


def test_a_map_and_a_section_of_one_name() -> None:
    """Names are the keys of a collection."""
    types = TypeBuilder()
    elf = program()
    place_map(elf, types, types.definition(type=types.number(2)), name=".data")
    elf.section(".data", bytes(4))

    with pytest.raises(ObjectError, match=r"two maps are called '\.data'"):
        load_spec(elf.to_bytes())


def test_static_maps() -> None:
    """A static map is a map like any other."""
    elf, types = program(), TypeBuilder()
    index = elf.section(".maps", bytes(8), flags=ALLOC | WRITE)
    elf.symbol("m", index, size=8, kind=OBJECT, bind=0)
    definition = types.definition(type=types.number(2))
    types.section(".maps", (types.variable("m", definition, Linkage.STATIC), 0, 8))
    elf.section(".BTF", types.to_bytes(), flags=0)

    assert load_map(elf).type is MapType.ARRAY
