"""Helpers on maps: bpf_map_lookup_elem, _update_elem, _delete_elem, and bpf_kptr_xchg (kernel/bpf/helpers.c).

A map is the address of its handle. Keys and values are read from the program's memory; what they mean is the map's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from bpfcrypto.abi.maps import RULES
from bpfcrypto.embedded.field_owner import field_owner
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_Kind = TypeVar("_Kind", bound=EmbeddedMap)


def find_map(run: RunState, handle: int) -> EmbeddedMap:
    """The map of a helper.

    Raises:
        AccessFault: no map, or the program holds a spin lock.
    """
    owner = run.memory.owner(handle)
    # the region of a map's values has the map as its owner too, so the address decides
    if not isinstance(owner, EmbeddedMap) or owner.address != handle:
        raise AccessFault(f"{handle:#x} is not a map")
    if run.lock is not None:
        raise AccessFault(f"a helper on map '{owner.name}', while the program holds a spin lock")
    return owner


def map_of(run: RunState, handle: int, kind: type[_Kind]) -> _Kind:
    """The map of a helper that works on some kinds only.

    Raises:
        AccessFault: no map, or another kind: the verifier lets no such call through.
    """
    target = find_map(run, handle)
    if not isinstance(target, kind):
        raise AccessFault(f"this helper does not work on map '{target.name}' of type {target.spec.type.name}")
    return target


def map_lookup_elem(run: RunState, handle: int, key: int, *_: int) -> int:
    """The address of an element's value, or NULL."""
    target = find_map(run, handle)
    return target.lookup_address(run.memory.span(key, target.spec.key_size), run.cpu)


def map_update_elem(run: RunState, handle: int, key: int, value: int, flags: int, *_: int) -> int:
    """Store an element."""
    target = find_map(run, handle)
    memory = run.memory
    return error(
        target.update_from_program(
            memory.span(key, target.spec.key_size), memory.span(value, target.spec.value_size), flags, run.cpu
        )
    )


def map_lookup_percpu_elem(run: RunState, handle: int, key: int, cpu: int, *_: int) -> int:
    """The address of a CPU's copy of an element's value, or NULL."""
    target = find_map(run, handle)
    cpu &= 0xFFFFFFFF
    if not RULES[target.spec.type].percpu:
        raise AccessFault(f"map '{target.name}' of type {target.spec.type.name} has no copies for each CPU")
    return target.lookup_address(run.memory.span(key, target.spec.key_size), cpu) if cpu < target.values.cpus else 0


def map_delete_elem(run: RunState, handle: int, key: int, *_: int) -> int:
    """Take an element out."""
    target = find_map(run, handle)
    return error(target.delete_from_program(run.memory.span(key, target.spec.key_size)))


def kptr_xchg(run: RunState, slot: int, new: int, *_: int) -> int:
    """Put a pointer into a kptr field and take the old one out, references included."""
    if run.lock is not None:
        raise AccessFault(f"bpf_kptr_xchg at {slot:#x}, while the program holds a spin lock")
    return field_owner(run.memory, slot).exchange(slot, new)


NATIVES: Mapping[str, Native] = {
    "bpf_map_lookup_elem": map_lookup_elem,
    "bpf_map_update_elem": map_update_elem,
    "bpf_map_delete_elem": map_delete_elem,
    "bpf_map_lookup_percpu_elem": map_lookup_percpu_elem,
    "bpf_kptr_xchg": kptr_xchg,
}
