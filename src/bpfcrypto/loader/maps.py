"""Reads BTF-defined maps: variables in ``.maps`` whose types spell out the map.

A definition is a struct in which the *types* of the members carry the values, because types survive into BTF and no bytes have to
be read: ``__uint(name, 5)`` is a pointer to an array of 5 ints, ``__ulong`` an enumeration with one value, ``__type(name, T)`` a
pointer to T, ``__array(values, T)`` an array of pointers to T. Each known member has one row in a table below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Enum, FuncProto, Kind, Member, Ref, SecVar, Var
from bpfcrypto.errors import BtfError, RelocationError
from bpfcrypto.loader.elf import ElfObject, Reloc, RelocType, Section, SymbolType
from bpfcrypto.spec import MapSpec

SECTION = ".maps"
_SLOT_SIZE = 8
_MAP_IN_MAP = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_U32_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map and where its definition is, by the section's index and an offset: relocations name it by that."""

    section: int
    offset: int
    spec: MapSpec


@dataclass(slots=True)
class _Definition:
    """The members of one definition, as far as read.

    Attributes:
        name: the map's name, or that of its outer map with ``.inner`` behind.
        offset: where it starts in ``.maps``; inner definitions stand nowhere.
        is_inner: whether it describes the inner maps of another.
        values: fields of the MapSpec.
        slots_at: where its initial values start, counted from ``offset``; None where it has none.
    """

    name: str
    offset: int = 0
    is_inner: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    slots_at: int | None = None

    @property
    def holds_maps(self) -> bool:
        return self.values.get("inner") is not None

    def fail(self, message: str, hint: str | None = None) -> BtfError:
        return BtfError(f"map '{self.name}': {message}", section=SECTION, hint=hint)

    def set(self, key: str, value: Any) -> None:
        """Store a value; a size may be given twice (by number and by type) if both agree."""
        if self.values.setdefault(key, value) != value:
            raise self.fail(f"{key} is given as {self.values[key]} and as {value}")


def read_maps(elf: ElfObject, btf: Btf | None) -> tuple[PlacedMap, ...]:
    """All maps, in the order of their definitions.

    Raises:
        BtfError: a definition that does not say what a map needs.
        RelocationError: a slot's initial value that is neither a map nor a program.
    """
    section = elf.by_name.get(SECTION)
    if section is None or not section.size:
        return ()
    hint = "compile with -g, so that the object carries BTF"
    if btf is None:
        raise BtfError("map definitions need type information", source=elf.source, section=SECTION, hint=hint)
    datasec = btf.find(SECTION, Kind.DATASEC)
    record = btf[datasec] if datasec is not None else None
    if not isinstance(record, DataSec):
        raise BtfError("the section has no type information", source=elf.source, section=SECTION, hint=hint)
    try:
        found = [_read_map(btf, variable) for variable in record.variables]
        return _with_slots(elf, section, found)
    except (BtfError, RelocationError) as error:
        error.source = elf.source
        raise


def _read_map(btf: Btf, place: SecVar) -> tuple[_Definition, MapSpec]:
    record = btf[place.type_id]
    if not isinstance(record, Var):
        raise BtfError(f"type {place.type_id} is not a variable", section=SECTION, offset=place.offset)
    definition = _Definition(record.name, place.offset)
    return definition, _read_definition(btf, record.type_id, definition)


def _read_definition(btf: Btf, type_id: int, definition: _Definition) -> MapSpec:
    struct = btf[btf.resolve(type_id)]
    if not isinstance(struct, Composite) or struct.kind is not Kind.STRUCT:
        raise definition.fail("its type is not a struct", "define it with __uint() and __type()")
    for member in struct.members:
        read = _MEMBERS.get(member.name)
        if read is None:
            raise definition.fail(f"unknown member '{member.name}'", "known are " + ", ".join(_MEMBERS))
        read(btf, member, definition)
    return _build(definition)


def _build(definition: _Definition) -> MapSpec:
    values = definition.values
    number = values.pop("type", MapType.UNSPEC)
    try:
        kind = MapType(number)
    except ValueError:
        raise definition.fail(f"map type {number} is not known") from None
    if kind is MapType.UNSPEC:
        raise definition.fail("it has no type", "add __uint(type, BPF_MAP_TYPE_...)")
    if kind in _MAP_IN_MAP:
        if not definition.holds_maps:
            raise definition.fail(
                f"a map of type {kind.name} needs the type of its inner maps", "add __array(values, ...)"
            )
        definition.set("key_size", values.get("key_size", 4))
        definition.set("value_size", values.get("value_size", 4))
    elif definition.holds_maps:
        raise definition.fail(f"a map of type {kind.name} has no inner maps")
    elif definition.slots_at is not None and kind is MapType.PROG_ARRAY:
        definition.set("key_size", values.get("key_size", 4))
        definition.set("value_size", values.get("value_size", 4))
    for key in ("key_size", "value_size", "max_entries"):
        values.setdefault(key, 0)
    return MapSpec(name=definition.name, type=kind, **values)


def _pointee(btf: Btf, member: Member, definition: _Definition) -> int:
    record = btf[btf.resolve(member.type_id)]
    if not isinstance(record, Ref) or record.kind is not Kind.PTR:
        raise definition.fail(f"member '{member.name}' is not a pointer", "give it by __uint() or __type()")
    return record.type_id


def _number(btf: Btf, member: Member, definition: _Definition) -> int:
    """The value of a ``__uint`` or ``__ulong`` member."""
    record = btf[btf.resolve(member.type_id)]
    if isinstance(record, Enum):
        if len(record.values) != 1:
            raise definition.fail(f"member '{member.name}' has {len(record.values)} values, not one")
        return record.values[0].value & 0xFFFFFFFFFFFFFFFF
    array = btf[btf.resolve(_pointee(btf, member, definition))]
    if not isinstance(array, Array):
        raise definition.fail(f"member '{member.name}' is not a number", f"write __uint({member.name}, number)")
    return array.count


def _plain(key: str, wrap: Callable[[int], Any] = int) -> Callable[[Btf, Member, _Definition], None]:
    def read(btf: Btf, member: Member, definition: _Definition) -> None:
        number = _number(btf, member, definition)
        if number > _U32_MAX and key != "map_extra":
            raise definition.fail(f"{member.name} is {number}, which is more than 32 bits")
        try:
            definition.set(key, wrap(number))
        except ValueError:
            raise definition.fail(f"{member.name} is {number}, which is not known") from None

    return read


def _typed(size: str, type_id: str) -> Callable[[Btf, Member, _Definition], None]:
    def read(btf: Btf, member: Member, definition: _Definition) -> None:
        pointee = _pointee(btf, member, definition)
        definition.set(size, btf.size_of(pointee))
        definition.set(type_id, pointee)

    return read


def _values(btf: Btf, member: Member, definition: _Definition) -> None:
    """``__array(values, T)``: T is the struct of an inner map, or a function for a program array."""
    array = btf[btf.resolve(member.type_id)]
    if not isinstance(array, Array):
        raise definition.fail("member 'values' is not an array", "write __array(values, ...)")
    pointer = btf[btf.resolve(array.element)]
    if not isinstance(pointer, Ref) or pointer.kind is not Kind.PTR:
        raise definition.fail("member 'values' is not an array of pointers", "write __array(values, ...)")
    definition.slots_at = member.bit_offset // 8
    target = btf[btf.resolve(pointer.type_id)]
    if isinstance(target, FuncProto):
        return
    if definition.is_inner:
        raise definition.fail("maps are nested more than two deep")
    inner = _Definition(f"{definition.name}.inner", is_inner=True)
    definition.set("inner", _read_definition(btf, pointer.type_id, inner))


_MEMBERS: Mapping[str, Callable[[Btf, Member, _Definition], None]] = {
    "type": _plain("type"),
    "max_entries": _plain("max_entries"),
    "map_flags": _plain("flags", MapFlag),
    "numa_node": _plain("numa_node"),
    "key_size": _plain("key_size"),
    "key": _typed("key_size", "key_type"),
    "value_size": _plain("value_size"),
    "value": _typed("value_size", "value_type"),
    "values": _values,
    "pinning": _plain("pinning", Pinning),
    "map_extra": _plain("map_extra"),
}


def _with_slots(elf: ElfObject, section: Section, found: list[tuple[_Definition, MapSpec]]) -> tuple[PlacedMap, ...]:
    """Fill in the initial values of maps-in-maps and program arrays: each is a relocation inside the definition."""
    slots: dict[int, dict[int, str]] = {}
    definitions = {definition.offset: definition for definition, _ in found}
    for reloc in elf.relocs.get(section.index, ()):
        if reloc.type == RelocType.R_BPF_NONE:
            continue
        start = max((offset for offset in definitions if offset <= reloc.offset), default=None)
        owner = definitions[start] if start is not None else None
        if owner is None or owner.slots_at is None:
            raise RelocationError("an address in a definition without slots", section=SECTION, offset=reloc.offset)
        slot, rest = divmod(reloc.offset - owner.offset - owner.slots_at, _SLOT_SIZE)
        if rest or slot < 0:
            raise RelocationError(
                f"map '{owner.name}': an address that is not in a slot", section=SECTION, offset=reloc.offset
            )
        slots.setdefault(owner.offset, {})[slot] = _slot_target(elf, section, reloc, owner, definitions)
    return tuple(
        PlacedMap(
            section.index,
            definition.offset,
            replace(spec, slots=dict(sorted(slots.get(definition.offset, {}).items()))),
        )
        for definition, spec in found
    )


def _slot_target(
    elf: ElfObject, section: Section, reloc: Reloc, owner: _Definition, definitions: Mapping[int, _Definition]
) -> str:
    """The name of the map or program that a slot starts with."""
    symbol = reloc.symbol
    if owner.holds_maps and symbol.section == section.index:
        addend = int.from_bytes(section.data[reloc.offset : reloc.offset + _SLOT_SIZE], "little")
        target = definitions.get(symbol.value + addend)
        if target is not None:
            return target.name
    elif not owner.holds_maps and symbol.type == SymbolType.FUNC and symbol.section < len(elf.sections):
        return symbol.name
    raise RelocationError(
        f"map '{owner.name}': slot is initialised with '{symbol.name}', "
        f"which is not {'a map' if owner.holds_maps else 'a program'}",
        section=SECTION,
        offset=reloc.offset,
    )
