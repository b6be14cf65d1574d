"""Which helpers take maps of which types.

Some map types are for a few helpers only, and some helpers for a few map types only. Mirrors check_map_func_compatibility and
record_func_map of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.verifier.state import Rejected

if TYPE_CHECKING:
    from bpfcrypto.abi.helpers import Helper
    from bpfcrypto.spec import MapSpec


def _ids(*names: str) -> frozenset[int]:
    return frozenset(BY_NAME[f"bpf_{name}"].id for name in names)


_RING = _ids(
    "ringbuf_output",
    "ringbuf_reserve",
    "ringbuf_query",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
)
_PERF = _ids("perf_event_read", "perf_event_output", "skb_output", "perf_event_read_value", "xdp_output")
_LOOKUP = _ids("map_lookup_elem")
_REDIRECT = _ids("redirect_map")
_SOCKS = _LOOKUP | _ids("map_update_elem", "map_delete_elem", "sk_select_reuseport")
_QUEUE = _ids("map_peek_elem", "map_pop_elem", "map_push_elem")
_STORAGE = {
    MapType.SK_STORAGE: "sk_storage",
    MapType.INODE_STORAGE: "inode_storage",
    MapType.TASK_STORAGE: "task_storage",
    MapType.CGRP_STORAGE: "cgrp_storage",
}

_HELPERS_OF: Final[Mapping[MapType, frozenset[int]]] = {
    MapType.PROG_ARRAY: _ids("tail_call"),
    MapType.PERF_EVENT_ARRAY: _PERF,
    MapType.RINGBUF: _RING,
    MapType.USER_RINGBUF: _ids("user_ringbuf_drain"),
    MapType.STACK_TRACE: _ids("get_stackid"),
    MapType.CGROUP_ARRAY: _ids("skb_under_cgroup", "current_task_under_cgroup"),
    MapType.CGROUP_STORAGE: _ids("get_local_storage"),
    MapType.PERCPU_CGROUP_STORAGE: _ids("get_local_storage"),
    MapType.DEVMAP: _REDIRECT | _LOOKUP,
    MapType.DEVMAP_HASH: _REDIRECT | _LOOKUP,
    MapType.CPUMAP: _REDIRECT,
    MapType.XSKMAP: _REDIRECT | _LOOKUP,
    MapType.ARRAY_OF_MAPS: _LOOKUP,
    MapType.HASH_OF_MAPS: _LOOKUP,
    MapType.SOCKMAP: _SOCKS | _ids("sk_redirect_map", "sock_map_update", "msg_redirect_map"),
    MapType.SOCKHASH: _SOCKS | _ids("sk_redirect_hash", "sock_hash_update", "msg_redirect_hash"),
    MapType.REUSEPORT_SOCKARRAY: _ids("sk_select_reuseport"),
    MapType.QUEUE: _QUEUE,
    MapType.STACK: _QUEUE,
    MapType.BLOOM_FILTER: _ids("map_peek_elem", "map_push_elem"),
    **{kind: _ids(f"{name}_get", f"{name}_delete", "kptr_xchg") for kind, name in _STORAGE.items()},
}
"""Map types that only some helpers take."""

_T = MapType
_TYPES_OF: Final[Mapping[int, frozenset[MapType]]] = {
    helper: frozenset(types)
    for helpers, types in (
        (_ids("tail_call"), {_T.PROG_ARRAY}),
        (_PERF, {_T.PERF_EVENT_ARRAY}),
        (_RING, {_T.RINGBUF}),
        (_ids("user_ringbuf_drain"), {_T.USER_RINGBUF}),
        (_ids("get_stackid"), {_T.STACK_TRACE}),
        (_ids("current_task_under_cgroup", "skb_under_cgroup"), {_T.CGROUP_ARRAY}),
        (_REDIRECT, {_T.DEVMAP, _T.DEVMAP_HASH, _T.CPUMAP, _T.XSKMAP}),
        (_ids("map_pop_elem"), {_T.QUEUE, _T.STACK}),
        (_ids("map_peek_elem", "map_push_elem"), {_T.QUEUE, _T.STACK, _T.BLOOM_FILTER}),
        (_ids("map_lookup_percpu_elem"), {_T.PERCPU_ARRAY, _T.PERCPU_HASH, _T.LRU_PERCPU_HASH}),
        *((_ids(f"{name}_get", f"{name}_delete"), {kind}) for kind, name in _STORAGE.items()),
    )
    for helper in helpers
}
"""Helpers that only take some map types."""

_RDONLY_PROG: Final = int(MapFlag.RDONLY_PROG)
_WRITERS: Final = _ids("map_delete_elem", "map_update_elem", "map_push_elem", "map_pop_elem")


def read_only(spec: MapSpec) -> bool:
    """Whether programs may only read the values: the kernel makes every device map so."""
    return bool(int(spec.flags) & _RDONLY_PROG) or spec.type in (MapType.DEVMAP, MapType.DEVMAP_HASH)


def check_writable(helper: Helper, spec: MapSpec | None) -> None:
    """That a helper does not change a map that programs may only read."""
    if spec is not None and helper.id in _WRITERS and read_only(spec):
        raise Rejected(EACCES, "write into map forbidden", id="map-access")


def check_type(helper: Helper, spec: MapSpec | None) -> None:
    """That a helper takes maps of this type, and the map is for this helper."""
    if spec is None:
        return
    helpers, types = _HELPERS_OF.get(spec.type), _TYPES_OF.get(helper.id)
    if (helpers is not None and helper.id not in helpers) or (types is not None and spec.type not in types):
        text = f"cannot pass map_type {spec.type.value} into func {helper.name}#{helper.id}"
        raise Rejected(EINVAL, text, id="map-type")
