"""From what a user names to blueprints: an object's file or bytes, and the choice of its programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import RINGS, MapType
from bpfcrypto.errors import MapTypeError, ObjectError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, ProgramSpec

if TYPE_CHECKING:
    from bpfcrypto.engine import Map, Source


def read_source(source: Source | CollectionSpec) -> CollectionSpec:
    """The blueprint of an object given as a path, as bytes, or as a blueprint.

    Raises:
        ObjectError: the file cannot be read, or is not an object that can be used.
    """
    if isinstance(source, CollectionSpec):
        return source
    if isinstance(source, bytes):
        return load_spec(source)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise ObjectError(f"cannot be read: {error.strerror}", source=os.fspath(source)) from error
    return load_spec(data, os.fspath(source))


_WITHOUT_ELEMENTS = frozenset(
    {
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_STORAGE,
        MapType.PERCPU_CGROUP_STORAGE,
        MapType.SK_STORAGE,
        MapType.INODE_STORAGE,
        MapType.TASK_STORAGE,
        MapType.CGRP_STORAGE,
    }
)
"""Types of maps whose number of elements is 0, or that have as many as there are CPUs then."""

_ONE_PAGE = 4096


def as_judged(spec: CollectionSpec) -> CollectionSpec:
    """The object as its programs are judged: a map that gets its number of elements from user space, before loading, has one."""
    missing = {
        name: replace(each, max_entries=_ONE_PAGE if each.type in RINGS else 1)
        for name, each in spec.maps.items()
        if not each.max_entries and each.type not in _WITHOUT_ELEMENTS
    }
    return replace(spec, maps={**spec.maps, **missing}) if missing else spec


_SHAPE = ("type", "key_size", "value_size", "max_entries")


def check_given(spec: CollectionSpec, maps: Mapping[str, Map]) -> None:
    """Whether live maps can stand in for maps of an object.

    Raises:
        ObjectError: the object has no map of that name.
        MapTypeError: one is of another shape.
    """
    for name, given in maps.items():
        wanted = spec.maps.get(name)
        if wanted is None:
            listing = ", ".join(spec.maps) or "none"
            raise ObjectError(f"there is no map '{name}'", source=spec.source, hint=f"its maps: {listing}")
        pairs = ((each, getattr(given.spec, each), getattr(wanted, each)) for each in _SHAPE)
        different = [f"{each} {found} is not {asked}" for each, found, asked in pairs if found != asked]
        if different:
            raise MapTypeError(f"map '{given.name}' cannot stand in for map '{name}': {', '.join(different)}")


def choose_programs(spec: CollectionSpec, names: Iterable[str] | None) -> tuple[ProgramSpec, ...]:
    """The programs of those names in file order; for None, those that are marked for loading.

    Raises:
        ObjectError: a name that the object does not have.
    """
    if names is None:
        return tuple(program for program in spec.programs.values() if program.autoload)
    wanted = set(names)
    unknown = sorted(wanted - set(spec.programs))
    if unknown:
        listing = ", ".join(spec.programs) or "none"
        raise ObjectError(f"there is no program '{unknown[0]}'", source=spec.source, hint=f"its programs: {listing}")
    return tuple(program for name, program in spec.programs.items() if name in wanted)
