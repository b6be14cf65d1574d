"""Helpers on maps: bpf_map_lookup_elem, _update_elem, _delete_elem, and bpf_kptr_xchg (kernel/bpf/helpers.c).

A map is the address of its handle. Keys and values are read from the program's memory; what they mean is the map's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.maps import find_map, kptr_exchange
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState


def map_lookup_elem(run: RunState, handle: int, key: int, *_: int) -> int:
    """The address of an element's value, or NULL."""
    target = find_map(run.memory, handle)
    return target.lookup_address(run.memory.span(key, target.spec.key_size), run.cpu)


def map_update_elem(run: RunState, handle: int, key: int, value: int, flags: int, *_: int) -> int:
    """Store an element."""
    target = find_map(run.memory, handle)
    memory = run.memory
    return error(
        target.update_from_program(
            memory.span(key, target.spec.key_size), memory.span(value, target.spec.value_size), flags, run.cpu
        )
    )


def map_delete_elem(run: RunState, handle: int, key: int, *_: int) -> int:
    """Take an element out."""
    target = find_map(run.memory, handle)
    return error(target.delete_from_program(run.memory.span(key, target.spec.key_size)))


def kptr_xchg(run: RunState, slot: int, new: int, *_: int) -> int:
    """Put a pointer into a kptr field and take the old one out, references included."""
    return kptr_exchange(run.memory, slot, new)


NATIVES: Mapping[str, Native] = {
    "bpf_map_lookup_elem": map_lookup_elem,
    "bpf_map_update_elem": map_update_elem,
    "bpf_map_delete_elem": map_delete_elem,
    "bpf_kptr_xchg": kptr_xchg,
}
