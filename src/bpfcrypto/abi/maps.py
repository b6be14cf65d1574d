"""Map types and flags (include/uapi/linux/bpf.h), and what the kernel allows for each type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Flag, IntEnum, IntFlag
from errno import EACCES, EINVAL, EOPNOTSUPP

from bpfcrypto.abi.errno import ENOTSUPP


class MapType(IntEnum):
    """enum bpf_map_type."""

    UNSPEC = 0
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33


class MapFlag(IntFlag):
    """map_flags of BPF_MAP_CREATE."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    STACK_BUILD_ID = 1 << 5
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    CLONE = 1 << 9
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12


class UpdateFlag(IntFlag):
    """flags of BPF_MAP_UPDATE_ELEM and bpf_map_update_elem."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2
    LOCK = 4


class BatchCommand(Flag):
    """The commands on many elements at once: BPF_MAP_LOOKUP_BATCH and its kin."""

    NONE = 0
    LOOKUP = 1
    LOOKUP_AND_DELETE = 2
    UPDATE = 4
    DELETE = 8


class RedirectFlag(IntFlag):
    """flags of the redirect helpers; the two lowest bits of bpf_redirect_map's are the action where the map has no such element."""

    INGRESS = 1
    BROADCAST = 8
    EXCLUDE_INGRESS = 16


class Pinning(IntEnum):
    """The ``pinning`` attribute of a BTF-defined map."""

    NONE = 0
    BY_NAME = 1


ACCESS_FLAGS = MapFlag.RDONLY | MapFlag.WRONLY | MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG

MAX_PERCPU_VALUE = 1 << 15  # PCPU_MIN_UNIT_SIZE, after rounding up to 8
MAX_ARRAY_VALUE = (1 << 31) - 1
MAX_HASH_ELEMENT = (1 << 22) - 49  # key and value: KMALLOC_MAX_SIZE less struct htab_elem, and one
MAX_HASH_ENTRIES = 1 << 27  # the number of buckets, a power of two, has to fit 32 bits in bytes
MAX_KEYLESS_VALUE = 1 << 22  # KMALLOC_MAX_SIZE
MAX_TRIE_VALUE = (1 << 22) - 256 - 24  # less the longest prefix and struct lpm_trie_node
MAX_CPUS = 256  # NR_CPUS, which the kernel's configuration decides
_U32_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class MapRules:
    """What BPF_MAP_CREATE and the commands on elements allow for a type, beyond what holds for all.

    Attributes:
        flags: creation flags that are not refused out of hand.
        refused_flags: flags that a later check refuses, with its errno, in order.
        required_flags: creation flags without which there is EINVAL.
        key_sizes, value_sizes: least and most bytes; EINVAL beyond.
        value_step: values have a multiple of so many bytes.
        extra: bits of map_extra that may be set.
        ring: max_entries is the size of a ring buffer in bytes: whole pages, and a power of two.
        untyped_key: value types are taken, key types are not.
        batches: commands on many elements that exist; ENOTSUPP for the others.
        indexed: keys are indices below max_entries and every element exists: no deletion (EINVAL), no lookup_and_delete.
        percpu: one copy of each value per possible CPU.
        lru: a full map evicts an element instead of refusing one.
        max_value_size: bytes.
        max_element_size: bytes of key and value together; None where only the value counts.
        max_entries: most elements.
    """

    flags: MapFlag
    refused_flags: tuple[tuple[MapFlag, int], ...] = ()
    required_flags: MapFlag = MapFlag(0)
    key_sizes: tuple[int, int] = (1, _U32_MAX)
    value_sizes: tuple[int, int] = (1, _U32_MAX)
    value_step: int = 1
    extra: int = 0
    ring: bool = False
    untyped_key: bool = False
    batches: BatchCommand = BatchCommand.NONE
    indexed: bool = False
    percpu: bool = False
    lru: bool = False
    max_value_size: int = MAX_ARRAY_VALUE
    max_element_size: int | None = None
    max_entries: int = _U32_MAX


_ARRAY = MapRules(
    ACCESS_FLAGS | MapFlag.NUMA_NODE | MapFlag.PRESERVE_ELEMS | MapFlag.MMAPABLE | MapFlag.INNER_MAP,
    refused_flags=((MapFlag.PRESERVE_ELEMS, EINVAL),),
    batches=BatchCommand.LOOKUP | BatchCommand.UPDATE,
    indexed=True,
)
_HASH = MapRules(
    ACCESS_FLAGS | MapFlag.NUMA_NODE | MapFlag.NO_PREALLOC | MapFlag.NO_COMMON_LRU | MapFlag.ZERO_SEED,
    refused_flags=((MapFlag.NO_COMMON_LRU, EINVAL),),
    batches=BatchCommand.LOOKUP | BatchCommand.LOOKUP_AND_DELETE | BatchCommand.UPDATE | BatchCommand.DELETE,
    max_element_size=MAX_HASH_ELEMENT,
    max_entries=MAX_HASH_ENTRIES,
)
_LRU = replace(_HASH, refused_flags=((MapFlag.NO_PREALLOC, ENOTSUPP),), lru=True)
_TRIE = MapRules(
    ACCESS_FLAGS | MapFlag.NUMA_NODE | MapFlag.NO_PREALLOC,
    required_flags=MapFlag.NO_PREALLOC,
    key_sizes=(4 + 1, 4 + 256),  # the prefix's length, and its bytes
    value_sizes=(1, MAX_TRIE_VALUE),
    batches=BatchCommand.LOOKUP | BatchCommand.UPDATE | BatchCommand.DELETE,
)
_QUEUE = MapRules(ACCESS_FLAGS | MapFlag.NUMA_NODE, key_sizes=(0, 0), max_value_size=MAX_KEYLESS_VALUE)
_BLOOM = replace(_QUEUE, flags=_QUEUE.flags | MapFlag.ZERO_SEED, extra=0xF, untyped_key=True)
_RING = MapRules(MapFlag.NUMA_NODE, key_sizes=(0, 0), value_sizes=(0, 0), ring=True)
_SLOTS = MapRules(MapFlag.RDONLY | MapFlag.WRONLY | MapFlag.NUMA_NODE, key_sizes=(4, 4), value_sizes=(4, 4))
_TARGETS = replace(_SLOTS, value_sizes=(4, 8), value_step=4)


def _percpu(rules: MapRules, refused: MapFlag = MapFlag.NUMA_NODE) -> MapRules:
    flags = (*rules.refused_flags, (refused, EINVAL))
    return replace(rules, refused_flags=flags, percpu=True, max_value_size=MAX_PERCPU_VALUE)


# Types whose rules are known (their map_alloc_check and map_alloc functions), probed on Linux 6.18.
RULES: Mapping[MapType, MapRules] = {
    MapType.ARRAY: _ARRAY,
    MapType.PERCPU_ARRAY: _percpu(_ARRAY, MapFlag.NUMA_NODE | MapFlag.MMAPABLE | MapFlag.INNER_MAP),
    MapType.HASH: _HASH,
    MapType.PERCPU_HASH: _percpu(_HASH),
    MapType.LRU_HASH: _LRU,
    MapType.LRU_PERCPU_HASH: _percpu(_LRU),
    MapType.LPM_TRIE: _TRIE,
    MapType.QUEUE: _QUEUE,
    MapType.STACK: _QUEUE,
    MapType.BLOOM_FILTER: _BLOOM,
    MapType.RINGBUF: _RING,
    MapType.USER_RINGBUF: _RING,
    MapType.PROG_ARRAY: _SLOTS,
    MapType.PERF_EVENT_ARRAY: replace(_SLOTS, flags=_SLOTS.flags | MapFlag.PRESERVE_ELEMS),
    MapType.ARRAY_OF_MAPS: replace(_SLOTS, batches=_ARRAY.batches),
    MapType.HASH_OF_MAPS: replace(_HASH, value_sizes=(4, 4)),
    MapType.DEVMAP: _TARGETS,
    MapType.DEVMAP_HASH: _TARGETS,
    MapType.CPUMAP: replace(_TARGETS, flags=MapFlag.NUMA_NODE, max_entries=MAX_CPUS),
    MapType.XSKMAP: _SLOTS,
}

MAPS_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
RINGS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF})

# Types that take no BTF ids for keys and values (their map_check_btf refuses them); the object's ids stay useful to views.
UNTYPED = frozenset(
    {
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.STACK_TRACE,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.QUEUE,
        MapType.STACK,
        MapType.RINGBUF,
        MapType.USER_RINGBUF,
        MapType.ARENA,
    }
)

_KEYED = frozenset({MapType.ARRAY, MapType.HASH})
_STORAGES = frozenset({MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE})
_KPTRS = _KEYED | _STORAGES | {MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH}
_LOCKS = _KEYED | _STORAGES | {MapType.CGROUP_STORAGE}
_TIMERS = _KEYED | {MapType.LRU_HASH}

# Which map types may have which special field in their values (map_check_btf), by the field's struct or tag.
FIELD_TYPES: Mapping[str, frozenset[MapType]] = {
    "bpf_spin_lock": _LOCKS,
    "bpf_res_spin_lock": _LOCKS,
    "bpf_timer": _TIMERS,
    "bpf_wq": _TIMERS,
    "bpf_task_work": _TIMERS,
    "bpf_list_head": _TIMERS,
    "bpf_rb_root": _TIMERS,
    "bpf_refcount": _KPTRS,
    "kptr": _KPTRS,
    "kptr_untrusted": _KPTRS,
    "percpu_kptr": _KPTRS,
    "uptr": frozenset({MapType.TASK_STORAGE}),
}

# errno of creating a map of a type with a kptr in its value; types that are not listed take no value BTF at all (EINVAL).
KPTR_REFUSED: Mapping[MapType, int] = {
    **dict.fromkeys(_KPTRS, 0),
    **dict.fromkeys(
        (
            MapType.LPM_TRIE,
            MapType.CGROUP_STORAGE,
            MapType.PERCPU_CGROUP_STORAGE,
            MapType.REUSEPORT_SOCKARRAY,
            MapType.BLOOM_FILTER,
            MapType.STACK_TRACE,
            MapType.SOCKMAP,
            MapType.SOCKHASH,
            MapType.CPUMAP,
        ),
        EOPNOTSUPP,
    ),
    MapType.DEVMAP: EACCES,
    MapType.DEVMAP_HASH: EACCES,
}

_SOCKETS, _CGROUPS, _TASKS = "it has no sockets", "it has no control groups", "it has no tasks"

# Why the embedded engine refuses a type.
NOT_EMBEDDED: Mapping[MapType, str] = {
    MapType.STACK_TRACE: "it has no stacks but those of its programs",
    MapType.CGROUP_ARRAY: _CGROUPS,
    MapType.SOCKMAP: _SOCKETS,
    MapType.SOCKHASH: _SOCKETS,
    MapType.CGROUP_STORAGE: _CGROUPS,
    MapType.REUSEPORT_SOCKARRAY: _SOCKETS,
    MapType.PERCPU_CGROUP_STORAGE: _CGROUPS,
    MapType.SK_STORAGE: _SOCKETS,
    MapType.STRUCT_OPS: "it has no parts of a kernel that programs could stand for",
    MapType.INODE_STORAGE: "it has no files",
    MapType.TASK_STORAGE: _TASKS,
    MapType.CGRP_STORAGE: _CGROUPS,
    MapType.ARENA: "it has no memory that programs share with user space page by page",
}

STRUCTS: Mapping[MapType, str] = {
    **dict.fromkeys(
        (
            MapType.ARRAY,
            MapType.PERCPU_ARRAY,
            MapType.PROG_ARRAY,
            MapType.PERF_EVENT_ARRAY,
            MapType.CGROUP_ARRAY,
            MapType.ARRAY_OF_MAPS,
        ),
        "bpf_array",
    ),
    **dict.fromkeys(
        (
            MapType.HASH,
            MapType.PERCPU_HASH,
            MapType.LRU_HASH,
            MapType.LRU_PERCPU_HASH,
            MapType.HASH_OF_MAPS,
        ),
        "bpf_htab",
    ),
    **dict.fromkeys(
        (MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE),
        "bpf_local_storage_map",
    ),
    **dict.fromkeys((MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE), "bpf_cgroup_storage_map"),
    **dict.fromkeys((MapType.DEVMAP, MapType.DEVMAP_HASH), "bpf_dtab"),
    **dict.fromkeys((MapType.QUEUE, MapType.STACK), "bpf_queue_stack"),
    **dict.fromkeys((MapType.RINGBUF, MapType.USER_RINGBUF), "bpf_ringbuf_map"),
    MapType.STACK_TRACE: "bpf_stack_map",
    MapType.LPM_TRIE: "lpm_trie",
    MapType.SOCKMAP: "bpf_stab",
    MapType.SOCKHASH: "bpf_shtab",
    MapType.CPUMAP: "bpf_cpu_map",
    MapType.XSKMAP: "xsk_map",
    MapType.REUSEPORT_SOCKARRAY: "reuseport_array",
    MapType.BLOOM_FILTER: "bpf_bloom_filter",
    MapType.ARENA: "bpf_arena",
}
"""The kernel struct that a map of each type is; struct bpf_map is its first member."""
