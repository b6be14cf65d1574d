"""``bpfcrypto maps``: the maps and variables of an object, with the layout of keys and values."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.objects import FILE, read_spec
from bpfcrypto.cli.render import note, print_json, print_table

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import CollectionSpec, MapSpec, VariableSpec


@click.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def maps(file: Path, as_json: bool) -> None:
    """Show an object's maps and variables with the layouts of their types.

    FILE is an object or a .bpf.c file. Comments behind members are offset and size in bytes; of bit fields, byte and bit where they
    start and their bits. Nothing is loaded.
    """
    from bpfcrypto.loader.doubts import doubts

    spec = read_spec(file)
    warnings = doubts(spec)
    if as_json:
        print_json(
            {
                "maps": [map_dict(spec, each) for each in spec.maps.values()],
                "variables": [variable_dict(spec, each) for each in spec.variables.values()],
                "warnings": list(warnings),
            }
        )
        return
    show(spec)
    for warning in warnings:
        note(f"warning: {warning}")


def map_dict(spec: CollectionSpec, each: MapSpec) -> dict[str, object]:
    """A map as ``maps --json`` prints it."""
    return {
        "name": each.name,
        "type": each.type.name,
        "key_size": each.key_size,
        "value_size": each.value_size,
        "max_entries": each.max_entries,
        "flags": flag_names(each.flags),
        "map_extra": each.map_extra,
        "pinning": each.pinning.name,
        "data_section": each.data is not None,
        "frozen": each.frozen,
        "key": type_dict(spec.btf, each.key_type),
        "value": type_dict(spec.btf, each.value_type),
        "special_fields": [
            {"kind": field.kind.value, "offset": field.offset, "size": field.size, "type": field.type_name}
            for field in fields_of(spec.btf, each)
        ],
        "slots": {str(index): name for index, name in each.slots.items()},
        "inner": None if each.inner is None else map_dict(spec, each.inner),
    }


def variable_dict(spec: CollectionSpec, each: VariableSpec) -> dict[str, object]:
    """A variable as ``maps --json`` prints it."""
    return {
        "name": each.name,
        "section": each.map,
        "offset": each.offset,
        "size": each.size,
        "type": type_dict(spec.btf, each.type_id),
    }


def type_dict(btf: Btf | None, type_id: int) -> dict[str, object] | None:
    """A type with its layout as JSON has it; null where the object does not say."""
    from bpfcrypto.btf.format import format_layout, type_name

    if btf is None or not type_id:
        return None
    inside = {type_name(btf, each): format_layout(btf, each).splitlines() for each in _structs_in(btf, type_id)}
    return {"name": type_name(btf, type_id), "layout": format_layout(btf, type_id).splitlines(), "inside": inside}


def _structs_in(btf: Btf, type_id: int) -> Iterator[int]:
    """Named structs and unions that are part of a type, whose members its layout does not show; each once."""
    from bpfcrypto.btf.types import Array, Composite

    seen = {btf.resolve(type_id)}
    waiting = list(seen)
    while waiting:
        record = btf[waiting.pop(0)]
        if isinstance(record, Array):
            parts = [record.element]
        elif isinstance(record, Composite):
            parts = [member.type_id for member in record.members]
        else:
            continue
        for part in map(btf.resolve, parts):
            if part not in seen:
                seen.add(part)
                waiting.append(part)
                found = btf[part]
                if isinstance(found, Composite) and found.name:
                    yield part


def flag_names(flags: IntFlag) -> list[str]:
    """The kernel's names of map flags, lowest bit first."""
    return [flag.name or str(flag.value) for flag in flags]


def fields_of(btf: Btf | None, each: MapSpec) -> tuple[SpecialField, ...]:
    """The special fields of a map's value."""
    from bpfcrypto.btf.record import special_fields

    return special_fields(btf, each.value_type) if btf is not None and each.value_type else ()


def show(spec: CollectionSpec) -> None:
    """Print the maps and variables of an object for people."""
    from bpfcrypto.btf.format import type_name

    if not spec.maps:
        click.echo("no maps")
        return
    print_table(
        ("map", "type", "key", "value", "entries", "flags", "pinning"),
        [
            (
                each.name,
                each.type.name,
                each.key_size,
                each.value_size,
                each.max_entries,
                " ".join(flag_names(each.flags)) or "-",
                each.pinning.name.lower().replace("_", " "),
            )
            for each in spec.maps.values()
        ],
        right=("key", "value", "entries"),
    )
    for each in spec.maps.values():
        if each.data is None:
            for line in _details(spec, each):
                click.echo(line)
        elif fields_of(spec.btf, each):
            click.echo(f"\n{each.name}")
            for line in _special(spec.btf, each):
                click.echo(line)
    if spec.variables:
        click.echo()
        rows = [
            (each.name, each.map, each.offset, each.size, type_name(spec.btf, each.type_id) if spec.btf else "-")
            for each in spec.variables.values()
        ]
        print_table(("variable", "section", "offset", "size", "type"), rows, right=("offset", "size"))


def _details(spec: CollectionSpec, each: MapSpec, indent: str = "") -> Iterator[str]:
    """What the table has no room for: layouts, special fields, initial contents, and the same of inner maps."""
    inner = "inner map, " if indent else ""
    yield ""
    yield f"{indent}{each.name}: {inner}{each.type.name}"
    for what, size, type_id in (("key", each.key_size, each.key_type), ("value", each.value_size, each.value_type)):
        for line in _layout(spec.btf, what, size, type_id):
            yield f"{indent}  {line}"
    for line in _special(spec.btf, each):
        yield indent + line
    if each.map_extra:
        yield f"{indent}  map_extra: {each.map_extra:#x}"
    for index, name in each.slots.items():
        yield f"{indent}  slot {index}: {name}"
    if each.inner is not None:
        yield from _details(spec, each.inner, indent + "  ")


def _layout(btf: Btf | None, what: str, size: int, type_id: int) -> Iterator[str]:
    from bpfcrypto.btf.format import format_layout, type_name

    if btf is None or not type_id:
        if size:
            yield f"{what}: {size} bytes, of no type"
        return
    yield f"{what}: {type_name(btf, type_id)}"
    for each in (btf.resolve(type_id), *_structs_in(btf, type_id)):
        lines = format_layout(btf, each).splitlines()
        if len(lines) > 1:
            yield from (f"  {line}" for line in lines)


def _special(btf: Btf | None, each: MapSpec) -> Iterator[str]:
    for field in fields_of(btf, each):
        target = f" to struct {field.type_name}" if field.is_kptr else ""
        yield f"  special: {field.kind.value}{target} at offset {field.offset}"
