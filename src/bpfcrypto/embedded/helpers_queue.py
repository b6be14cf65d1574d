"""Helpers on maps without keys: bpf_map_push_elem, _pop_elem, _peek_elem (kernel/bpf/helpers.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.helpers_map import map_of
from bpfcrypto.embedded.map_keyless import BloomFilter, PushMap, QueueStackMap
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState


def map_push_elem(run: RunState, handle: int, value: int, flags: int, *_: int) -> int:
    """Add a value."""
    target = map_of(run, handle, PushMap)
    return error(target.push_from_program(run.memory.span(value, target.spec.value_size), flags))


def _give(run: RunState, value: int, size: int, found: bytes | int) -> int:
    """Store what was found; zeros where nothing was."""
    data = bytes(size) if isinstance(found, int) else found
    run.memory.span(value, size, write=True)[:] = data
    return error(found) if isinstance(found, int) else 0


def map_pop_elem(run: RunState, handle: int, value: int, *_: int) -> int:
    """Take a value out."""
    target = map_of(run, handle, QueueStackMap)
    return _give(run, value, target.spec.value_size, target.pop_from_program())


def map_peek_elem(run: RunState, handle: int, value: int, *_: int) -> int:
    """Look at the next value; of a Bloom filter, ask for the value."""
    target = map_of(run, handle, PushMap)
    if isinstance(target, BloomFilter):
        return error(target.peek_from_program(run.memory.span(value, target.spec.value_size)))
    assert isinstance(target, QueueStackMap)
    return _give(run, value, target.spec.value_size, target.peek_from_program())


NATIVES: Mapping[str, Native] = {
    "bpf_map_push_elem": map_push_elem,
    "bpf_map_pop_elem": map_pop_elem,
    "bpf_map_peek_elem": map_peek_elem,
}
