"""Contents of maps after a run: keys and values by type, and what the fields that programs alone can read hold.

Data sections are left out, since their variables are shown, unless they hold such fields. Elements that are all zero and hold nothing are
counted only: every index of an array is an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bpfcrypto.cli.render import print_table
from bpfcrypto.cli.values import Told, to_json, to_text

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.engine import Collection, Map

_NUMBER = 8  # most bytes that are shown as a number where the object gives no type

HIDDEN = "kptr (not visible to user space)"


@dataclass(frozen=True, slots=True)
class Dump:
    """The contents of one map.

    Attributes:
        name, type: which map.
        elements: keys, each with its values: one, or one for each CPU.
        zero: how many elements were left out because they are all zero.
        why: why there are no elements to be seen, "" where there could be.
        percpu: whether values are per CPU.
    """

    name: str
    type: str
    elements: tuple[tuple[Any, tuple[Any, ...]], ...] = ()
    zero: int = 0
    why: str = ""
    percpu: bool = False


def dump(collection: Collection) -> tuple[Dump, ...]:
    """The contents of a collection's maps, in file order."""
    return tuple(_dump(collection, each) for each in collection.maps.values() if _is_shown(collection, each))


def print_dumps(dumps: Iterable[Dump], *, err: bool = False) -> None:
    """Print a table for each map.

    Args:
        dumps: the contents.
        err: whether they go to standard error.
    """
    for each in dumps:
        click.echo(f"\n{each.name}: {each.type}", err=err)
        if each.why:
            click.echo(f"  {each.why}", err=err)
        elif each.elements:
            columns = ("key", "cpu", "value") if each.percpu else ("key", "value")
            print_table(columns, _rows(each), err=err)
        if each.zero or not (each.why or each.elements):
            zero = f"{each.zero} element{' is' if each.zero == 1 else 's are'} zero"
            click.echo(f"  {zero}" if each.zero else "  no elements", err=err)


def _rows(shown: Dump) -> Iterator[tuple[object, ...]]:
    for key, values in shown.elements:
        for cpu, value in enumerate(values):
            text = to_text(value)
            yield (to_text(key), cpu, text) if shown.percpu else (to_text(key), text)


def to_dict(shown: Dump) -> dict[str, object]:
    """A dump as ``run --json`` prints it."""
    if shown.why:
        return {"type": shown.type, "why": shown.why}
    elements = [
        {"key": to_json(key)} | ({"values": to_json(values)} if shown.percpu else {"value": to_json(values[0])})
        for key, values in shown.elements
    ]
    return {"type": shown.type, "elements": elements, "zero": shown.zero}


def _fields(collection: Collection, each: Map) -> tuple[SpecialField, ...]:
    from bpfcrypto.btf.record import special_fields

    btf = collection.spec.btf
    return special_fields(btf, each.spec.value_type) if btf is not None and each.spec.value_type else ()


def _is_shown(collection: Collection, each: Map) -> bool:
    return each.spec.data is None or bool(_fields(collection, each))


def _dump(collection: Collection, each: Map) -> Dump:
    from bpfcrypto.engine import QueueMap, RingMap
    from bpfcrypto.errors import KeyNotFoundError, MapError
    from bpfcrypto.views import PERCPU

    name, kind = each.name, each.spec.type.name
    show = _Elements(collection, each)
    if isinstance(each, RingMap):
        return Dump(name, kind, tuple((index, (record,)) for index, record in enumerate(each.records())))
    if isinstance(each, QueueMap):
        try:
            return Dump(name, kind, ((Told("next"), show.values(b"", each.peek())),))
        except KeyNotFoundError:
            return Dump(name, kind)
    try:
        pairs = list(each.items())
    except MapError as error:
        return Dump(name, kind, why=f"its elements cannot be read: {error}")
    kept = [(show.key(key), show.values(key, value)) for key, value in pairs if not show.is_blank(key, value)]
    return Dump(name, kind, tuple(kept), len(pairs) - len(kept), percpu=each.spec.type in PERCPU)


class _Elements:
    """Keys and values of one map for people."""

    def __init__(self, collection: Collection, each: Map) -> None:
        from bpfcrypto.engine import Inspectable

        self._map = each
        self._btf = collection.spec.btf
        self._fields = {field.offset: field for field in _fields(collection, each)}
        self._kptrs = any(field.is_kptr for field in self._fields.values())
        self._inspect = each.kptrs if isinstance(each, Inspectable) else None
        self._objects = _names_by_id(collection, each)

    def is_blank(self, key: bytes, value: bytes) -> bool:
        """Whether there is nothing to show: zero bytes, and no kptr that holds or may hold something."""
        if any(value):
            return False
        return not self._kptrs or (self._inspect is not None and not self._inspect(key))

    def key(self, data: bytes) -> Any:
        """A key by its type."""
        from bpfcrypto.btf.values import decode

        type_id = self._map.spec.key_type
        if self._btf is not None and type_id:
            return decode(self._btf, type_id, data)
        return int.from_bytes(data, "little") if len(data) <= _NUMBER else data

    def values(self, key: bytes, data: bytes) -> tuple[Any, ...]:
        """The values of an element: one, or each CPU's."""
        from bpfcrypto.views import PERCPU

        spec = self._map.spec
        stride = (spec.value_size + 7) // 8 * 8 if spec.type in PERCPU else max(len(data), 1)
        held = {(each.cpu, each.offset): each for each in self._inspect(key)} if self._inspect and self._kptrs else {}

        def told(cpu: int) -> Callable[[int], str]:
            return lambda offset: self._told(offset, held.get((cpu, offset)))

        copies = range(0, len(data), stride)
        return tuple(self._value(data[at : at + spec.value_size], told(cpu)) for cpu, at in enumerate(copies))

    def _value(self, data: bytes, told: Callable[[int], str]) -> Any:
        from bpfcrypto.btf.values import decode

        type_id = self._map.spec.value_type
        if self._btf is not None and type_id and not self._objects:
            return annotate(self._btf, type_id, decode(self._btf, type_id, data), told)
        if len(data) > _NUMBER:
            return data
        number = int.from_bytes(data, "little")
        return self._objects.get(number, number)

    def _told(self, offset: int, held: Any) -> str:
        field = self._fields.get(offset)
        if field is None:
            return "plain bytes to the kernel"
        if not field.is_kptr:
            return field.kind.value
        if self._inspect is None:
            return HIDDEN
        if held is None:
            return "empty"
        if not held.cipher:
            return f"pointer to struct {held.type_name}"
        return f"context: {held.cipher}, {held.references} reference{'' if held.references == 1 else 's'}"


def _names_by_id(collection: Collection, each: Map) -> Mapping[int, Told]:
    """What the ids in a map of maps or program array stand for."""
    from bpfcrypto.abi.maps import MapType

    if each.spec.type is MapType.PROG_ARRAY:
        return {program.id: Told(f"program '{name}'") for name, program in collection.programs.items()}
    if each.spec.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
        return {inner.id: Told(f"map '{name}'") for name, inner in collection.maps.items()}
    return {}


def annotate(btf: Btf, type_id: int, value: Any, told: Callable[[int], str], at: int = 0) -> Any:
    """A value with words in the place of the fields that programs alone can read.

    Args:
        btf: the types.
        type_id: the value's type.
        value: as it was decoded, None in the place of such fields.
        told: gives the words for the field at an offset.
        at: where the value is within the element.
    """
    from bpfcrypto.btf.types import Array, Composite, DataSec, Var

    if value is None:
        return Told(told(at))
    match btf[btf.resolve(type_id)]:
        case Composite() as composite:
            found: dict[str, Any] = {}
            for member in composite.members:
                inside = value.get(member.name, value)
                if member.name or isinstance(btf[btf.resolve(member.type_id)], Composite):
                    shown = annotate(btf, member.type_id, inside, told, at + member.bit_offset // 8)
                    found |= {member.name: shown} if member.name else shown
            return found
        case Array() as array if isinstance(value, list):
            size = btf.size_of(array.element)
            return [annotate(btf, array.element, each, told, at + i * size) for i, each in enumerate(value)]
        case DataSec() as section:
            names = {row.offset: btf[row.type_id].name for row in section.variables}
            return {
                names[row.offset]: annotate(btf, row.type_id, value[names[row.offset]], told, at + row.offset)
                for row in section.variables
            }
        case Var() as variable:
            return annotate(btf, variable.type_id, value, told, at)
        case _:
            return value
