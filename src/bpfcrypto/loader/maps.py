"""Reads BTF-defined maps: variables in ``.maps`` whose types spell out the map.

A definition is a struct in which the *types* of the members carry the values, because types survive into BTF and no bytes have to
be read: ``__uint(name, 5)`` is a pointer to an array of 5 ints, ``__ulong`` an enumeration with one value, ``__type(name, T)`` a
pointer to T, ``__array(values, T)`` an array of pointers to T. Each known member has one row in a table below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Enum, FuncProto, Kind, Member, Ref, Var
from bpfcrypto.errors import BtfError, RelocationError
from bpfcrypto.loader.elf import ElfObject, Reloc, RelocType, SymbolType
from bpfcrypto.spec import MapSpec

SECTION = ".maps"
_SLOT_SIZE = 8
_MAP_IN_MAP = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_U32_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map and the offset of its definition in ``.maps``: relocations name it by that."""

    offset: int
    spec: MapSpec


@dataclass(slots=True)
class _Definition:
    """The members of one definition, as far as read."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    slots_at: int = 0

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
        found = [_read_map(btf, variable.type_id, variable.offset) for variable in record.variables]
        return _with_slots(elf, found, elf.relocs.get(section.index, ()))
    except (BtfError, RelocationError) as error:
        error.source = elf.source
        raise


def _read_map(btf: Btf, variable: int, offset: int) -> tuple[int, _Definition, MapSpec]:
    record = btf[variable]
    if not isinstance(record, Var):
        raise BtfError(f"type {variable} is not a variable", section=SECTION, offset=offset)
    definition = _Definition(record.name)
    spec = _read_definition(btf, record.type_id, definition)
    return offset, definition, spec


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
        if values.get("inner") is None:
            raise definition.fail(
                f"a map of type {kind.name} needs the type of its inner maps", "add __array(values, ...)"
            )
        definition.set("key_size", values.get("key_size", 4))
        definition.set("value_size", values.get("value_size", 4))
    elif values.get("inner") is not None:
        raise definition.fail(f"a map of type {kind.name} has no inner maps")
    elif definition.slots_at and kind is MapType.PROG_ARRAY:
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
    inner = _Definition(f"{definition.name}.inner")
    if definition.name.endswith(".inner"):
        raise definition.fail("maps are nested more than two deep")
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


def _with_slots(
    elf: ElfObject, found: list[tuple[int, _Definition, MapSpec]], relocs: tuple[Reloc, ...]
) -> tuple[PlacedMap, ...]:
    """Fill in the initial values of maps-in-maps and program arrays: each is a relocation inside the definition."""
    slots: dict[int, dict[int, str]] = {}
    places = sorted(offset for offset, _, _ in found)
    definitions = {offset: definition for offset, definition, _ in found}
    starts = {offset: spec.name for offset, _, spec in found}
    for reloc in relocs:
        if reloc.type == RelocType.R_BPF_NONE:
            continue
        owner = max((place for place in places if place <= reloc.offset), default=None)
        definition = definitions[owner] if owner is not None else None
        if owner is None or definition is None or not definition.slots_at:
            raise RelocationError("an address in a definition without slots", section=SECTION, offset=reloc.offset)
        slot, rest = divmod(reloc.offset - owner - definition.slots_at, _SLOT_SIZE)
        if rest or slot < 0:
            raise RelocationError(
                f"map '{definition.name}': an address that is not in a slot", section=SECTION, offset=reloc.offset
            )
        slots.setdefault(owner, {})[slot] = _slot_target(elf, reloc, definition, starts)
    return tuple(
        PlacedMap(offset, _replace_slots(spec, slots[offset]) if offset in slots else spec) for offset, _, spec in found
    )


def _slot_target(elf: ElfObject, reloc: Reloc, definition: _Definition, starts: Mapping[int, str]) -> str:
    symbol = reloc.symbol
    if symbol.section < len(elf.sections):
        section = elf.sections[symbol.section]
        if section.name == SECTION:
            addend = section.data[reloc.offset : reloc.offset + _SLOT_SIZE]
            target = starts.get(symbol.value + int.from_bytes(addend, "little"))
            if target and definition.values.get("inner") is not None:
                return target
        elif section.executable and symbol.type == SymbolType.FUNC and definition.values.get("inner") is None:
            return symbol.name
    expected = "a program" if definition.values.get("inner") is None else "a map"
    raise RelocationError(
        f"map '{definition.name}': slot is initialised with '{symbol.name}', which is not {expected}",
        section=SECTION,
        offset=reloc.offset,
    )


def _replace_slots(spec: MapSpec, slots: dict[int, str]) -> MapSpec:
    from dataclasses import replace

    return replace(spec, slots=dict(sorted(slots.items())))
