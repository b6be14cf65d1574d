"""bpf_for_each_map_elem (kernel/bpf/bpf_iter.c, arraymap.c, hashtab.c): a callback for every element of an array or hash.

The callback gets the map, the key (which it may only read), the value (of a per-CPU map, this CPU's copy) and the program's context. It
may delete the element that it was called for. Being visited is no use of an element of an LRU map.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.helpers_map import find_map
from bpfcrypto.embedded.map_array import ArrayMap
from bpfcrypto.embedded.map_hash import HashMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState


def for_each_map_elem(run: RunState, handle: int, callback: int, context: int, flags: int, *_: int) -> int:
    """Call ``callback(map, key, value, context)`` until it returns anything but 0; the number of calls made."""
    target = find_map(run, handle)
    if not isinstance(target, ArrayMap | HashMap):
        raise AccessFault(f"map '{target.name}' of type {target.spec.type.name} has no elements to go through")
    if flags:
        return error(EINVAL)
    key = run.memory.new(target.spec.key_size, f"key of map '{target.name}'", writable=False)
    view = run.memory.span(key.base, target.spec.key_size)
    calls = 0
    try:
        for bytes_, value in target.each(run.cpu):
            view[:] = bytes_
            calls += 1
            if run.call(callback, handle, key.base, value, context):
                break
    finally:
        run.memory.unmap(key)
    return calls


NATIVES: Mapping[str, Native] = {"bpf_for_each_map_elem": for_each_map_elem}
