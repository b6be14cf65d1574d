"""The initial contents of maps that hold objects: what an object's ``.maps`` section names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapType
from bpfcrypto.errors import ObjectError

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine_program import EmbeddedProgram
    from bpfcrypto.embedded.map_base import EmbeddedMap


def fill_with_maps(maps: Mapping[str, EmbeddedMap], inner_maps: Mapping[str, EmbeddedMap]) -> None:
    """Put inner maps into the slots that name them.

    Args:
        maps: the maps to fill.
        inner_maps: what the slots name.

    Raises:
        ObjectError: there is no map of that name.
        MapError: the map of maps does not take it.
    """
    for name, outer in maps.items():
        if outer.spec.type is MapType.PROG_ARRAY:
            continue
        for index, inner in outer.spec.slots.items():
            if inner not in inner_maps:
                raise ObjectError(f"map '{name}': slot {index} is to hold map '{inner}', which does not exist")
            outer.update(_key(index), inner_maps[inner])


def fill_with_programs(maps: Mapping[str, EmbeddedMap], programs: Mapping[str, EmbeddedProgram]) -> None:
    """Put programs into the slots that name them; those that were not loaded leave theirs empty.

    Raises:
        MapError: the program array does not take it.
    """
    for each in maps.values():
        if each.spec.type is MapType.PROG_ARRAY:
            for index, name in each.spec.slots.items():
                if name in programs:
                    each.update(_key(index), programs[name])


def _key(index: int) -> bytes:
    return index.to_bytes(4, "little")
