"""What BPF_MAP_CREATE checks, in the kernel's order, and the errno of the first check that fails.

The allocator of the type looks at flags and sizes, then the generic code at the types of key and value, then at the special fields in
the value (map_create, array_map_alloc_check, htab_map_alloc_check, map_check_btf and array_map_check_btf).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from errno import E2BIG, EACCES, EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING, NamedTuple

from bpfcrypto.abi.maps import FIELD_TYPES, RULES, UNTYPED, MapFlag, MapRules, MapType
from bpfcrypto.btf.types import Composite, DataSec, Int, Kind
from bpfcrypto.errors import BtfError

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import MapSpec

_ANY_NUMA_NODE = 0xFFFFFFFF


class Refusal(NamedTuple):
    """Why a map cannot be created: positive errno, the reason with values, and what to do."""

    errno: int
    reason: str
    hint: str


def refusal(spec: MapSpec, btf: Btf | None, fields: Sequence[SpecialField]) -> Refusal | None:
    """The first thing that is wrong with a map, or None.

    Args:
        spec: the map; of a type in :data:`~bpfcrypto.abi.maps.RULES`.
        btf: the types that it refers to.
        fields: special fields of its value.
    """
    rules = RULES[spec.type]
    for check in (_flags(spec, rules), _sizes(spec, rules), _types(spec, btf, rules), _fields(spec, fields)):
        for found in check:
            return found
    return None


def _flags(spec: MapSpec, rules: MapRules) -> Iterator[Refusal]:
    kind = spec.type.name
    both_user = MapFlag.RDONLY | MapFlag.WRONLY
    both_prog = MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG
    if spec.map_extra & ~rules.extra:
        takes = f"takes bits {rules.extra:#x} of it" if rules.extra else "has no map_extra"
        yield Refusal(EINVAL, f"map_extra is {spec.map_extra:#x}", f"{kind} {takes}")
    if spec.flags & MapFlag.NUMA_NODE and spec.numa_node not in (0, _ANY_NUMA_NODE):
        yield Refusal(EINVAL, f"NUMA node {spec.numa_node} does not exist", "the embedded engine has node 0 alone")
    unknown = spec.flags & ~int(rules.flags)
    if unknown:
        yield Refusal(EINVAL, f"flags {_names(unknown)} do not fit {kind}", "remove them from map_flags")
    missing = rules.required_flags & ~spec.flags
    if missing:
        yield Refusal(EINVAL, f"flags lack {_names(missing)}", f"{kind} needs them in map_flags")
    for pair in (both_user, both_prog):
        if spec.flags & pair == pair:
            yield Refusal(EINVAL, f"flags {_names(pair)} exclude each other", "keep one of them")
    for flag, errno in rules.refused_flags:
        # a per-CPU map on any node is on no node of its own
        if spec.flags & flag and not (spec.flags & flag == MapFlag.NUMA_NODE and spec.numa_node == _ANY_NUMA_NODE):
            yield Refusal(errno, f"flags {_names(spec.flags & flag)} do not fit {kind}", "remove them from map_flags")


def _sizes(spec: MapSpec, rules: MapRules) -> Iterator[Refusal]:
    kind = spec.type.name
    for what, size, (least, most), step in (
        ("key", spec.key_size, rules.key_sizes, 1),
        ("value", spec.value_size, rules.value_sizes, rules.value_step),
    ):
        if not least <= size <= most or size % step:
            takes = f"of {least} to {most} bytes" if most else "of 0 bytes: it has none"
            yield Refusal(EINVAL, f"{what} of {size} bytes", f"{kind} takes a {what} {takes}")
    if not spec.max_entries or (rules.ring and spec.max_entries & (spec.max_entries - 1)):
        takes = "a size that is a power of two, and whole pages" if rules.ring else "at least 1"
        yield Refusal(EINVAL, f"{spec.max_entries} entries", f"{kind} takes {takes}")
    if rules.indexed and spec.key_size != 4:
        yield Refusal(EINVAL, f"key of {spec.key_size} bytes", f"the key of {kind} is an index of 4 bytes")
    element = spec.key_size + spec.value_size
    if rules.max_element_size is not None and element > rules.max_element_size:
        yield Refusal(E2BIG, f"key and value of {element} bytes", f"at most {rules.max_element_size} fit an element")
    if spec.value_size > rules.max_value_size:
        yield Refusal(E2BIG, f"value of {spec.value_size} bytes", f"at most {rules.max_value_size} fit {kind}")
    if spec.max_entries > rules.max_entries:
        yield Refusal(E2BIG, f"{spec.max_entries} entries", f"{kind} takes at most {rules.max_entries}")


def _types(spec: MapSpec, btf: Btf | None, rules: MapRules) -> Iterator[Refusal]:
    if btf is None or spec.type in UNTYPED or not (spec.key_type or spec.value_type):
        return
    hint = "the key and value types of the map's definition have to match its sizes"
    value = _size(btf, spec.value_type)
    if spec.key_type:
        size = _size(btf, spec.key_type)
        if size != spec.key_size:
            yield Refusal(EINVAL, f"the key's type has {size} bytes, the key {spec.key_size}", hint)
    if value != spec.value_size:
        yield Refusal(EINVAL, f"the value's type has {value} bytes, the value {spec.value_size}", hint)
    if rules.untyped_key:
        if spec.key_type:
            yield Refusal(EINVAL, "the key has a type", f"{spec.type.name} has no keys")
    elif not spec.key_type:
        section = isinstance(btf[spec.value_type], DataSec)
        if not rules.indexed or not section or spec.max_entries != 1:
            yield Refusal(EINVAL, "the key has no type", "only the map of a data section may leave it out")
    elif rules.indexed:
        key = btf[btf.resolve(spec.key_type)]
        if not isinstance(key, Int) or key.bits != 32 or key.offset:
            yield Refusal(EINVAL, "the key's type is not a 32-bit integer", "declare the key as __u32")
    elif spec.type is MapType.LPM_TRIE:
        record = btf[btf.resolve(spec.key_type)]
        if not isinstance(record, Composite) or record.kind is not Kind.STRUCT:
            yield Refusal(EINVAL, "the key's type is not a struct", "its first member is the prefix's length, __u32")


def _fields(spec: MapSpec, fields: Sequence[SpecialField]) -> Iterator[Refusal]:
    access = spec.flags & (MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG)
    for field in fields:
        if access:
            yield Refusal(
                EACCES,
                f"flags {_names(access)} with '{field.kind.value}' at offset {field.offset} of the value",
                "programs have to be able to read and write special fields",
            )
        if spec.type not in FIELD_TYPES[field.kind.value]:
            yield Refusal(
                EOPNOTSUPP,
                f"{spec.type.name} cannot hold '{field.kind.value}', at offset {field.offset} of the value",
                f"types that can: {', '.join(kind.name for kind in MapType if kind in FIELD_TYPES[field.kind.value])}",
            )


def _size(btf: Btf, type_id: int) -> int:
    """Size of a type; 0 for one that has none or does not exist."""
    try:
        return btf.size_of(type_id)
    except (BtfError, IndexError):
        return 0


def _names(flags: int) -> str:
    named = [flag.name or hex(flag) for flag in MapFlag if flags & flag]
    rest = flags & ~int(sum(MapFlag))
    return " | ".join([*named, *([hex(rest)] if rest else [])])
