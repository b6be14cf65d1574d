"""Makes maps: one row per type, and the rules of BPF_MAP_CREATE before any of them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import KPTR_REFUSED, NOT_EMBEDDED, RINGS, RULES, UNTYPED, MapType
from bpfcrypto.abi.ringbuf import ring_size
from bpfcrypto.btf.record import SpecialField, special_fields
from bpfcrypto.embedded.map_array import ArrayMap
from bpfcrypto.embedded.map_base import EmbeddedMap, Surroundings
from bpfcrypto.embedded.map_hash import HashMap
from bpfcrypto.embedded.map_keyless import BloomFilter, QueueStackMap
from bpfcrypto.embedded.map_lru import LruHashMap
from bpfcrypto.embedded.map_of_maps import ArrayOfMaps, HashOfMaps
from bpfcrypto.embedded.map_perf import PerfEventArrayMap
from bpfcrypto.embedded.map_progs import ProgArrayMap
from bpfcrypto.embedded.map_ringbuf import PAGE, RingBufMap
from bpfcrypto.embedded.map_rules import Refusal, refusal
from bpfcrypto.embedded.map_targets import CpuMap, DevHashMap, DevMap, XskMap
from bpfcrypto.embedded.map_trie import TrieMap
from bpfcrypto.embedded.map_user_ringbuf import UserRingBufMap
from bpfcrypto.embedded.objects import Objects, kernel_targets
from bpfcrypto.errors import NotSupportedError, SyscallError

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.embedded.contexts import CryptoContexts
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.spec import MapSpec

TYPES: Mapping[MapType, type[EmbeddedMap]] = {
    MapType.ARRAY: ArrayMap,
    MapType.PERCPU_ARRAY: ArrayMap,
    MapType.HASH: HashMap,
    MapType.PERCPU_HASH: HashMap,
    MapType.LRU_HASH: LruHashMap,
    MapType.LRU_PERCPU_HASH: LruHashMap,
    MapType.LPM_TRIE: TrieMap,
    MapType.QUEUE: QueueStackMap,
    MapType.STACK: QueueStackMap,
    MapType.BLOOM_FILTER: BloomFilter,
    MapType.RINGBUF: RingBufMap,
    MapType.USER_RINGBUF: UserRingBufMap,
    MapType.ARRAY_OF_MAPS: ArrayOfMaps,
    MapType.HASH_OF_MAPS: HashOfMaps,
    MapType.PROG_ARRAY: ProgArrayMap,
    MapType.PERF_EVENT_ARRAY: PerfEventArrayMap,
    MapType.DEVMAP: DevMap,
    MapType.DEVMAP_HASH: DevHashMap,
    MapType.CPUMAP: CpuMap,
    MapType.XSKMAP: XskMap,
}

_LOOPBACK = frozenset({1})


def create_map(
    spec: MapSpec,
    btf: Btf | None,
    memory: Memory,
    *,
    contexts: CryptoContexts,
    objects: Objects | None = None,
    cpus: int = 1,
    interfaces: Container[int] = _LOOPBACK,
    home: object = None,
) -> EmbeddedMap:
    """Create a map, and store the initial bytes of a data section.

    A section that is to be frozen is not frozen yet: its variables can be set until the programs are loaded; then call ``freeze``.

    Args:
        spec: the map.
        btf: the types that ``spec.key_type`` and ``spec.value_type`` refer to.
        memory: the address space that its handle and values appear in.
        contexts: the crypto contexts that its kptrs can hold.
        objects: the objects that its kptrs, lists and trees can hold; by default there are none but contexts.
        cpus: number of possible CPUs.
        interfaces: indices of the network interfaces that exist.
        home: what only the maps and programs of one collection have in common.

    Raises:
        SyscallError: BPF_MAP_CREATE, with the errno that the kernel answers with.
        NotSupportedError: a type that the embedded engine does not have.
    """
    if spec.type is MapType.PERF_EVENT_ARRAY and not spec.max_entries:
        spec = replace(spec, max_entries=cpus)  # as libbpf does
    fields = special_fields(btf, spec.value_type) if btf is not None and spec.value_type else ()
    if spec.type in TYPES and spec.type in UNTYPED:
        fields = ()  # created without types, its values are plain bytes
    found = refusal(_as_asked(spec), btf, fields) if spec.type in RULES else _kptr_refusal(spec, fields)
    if found is not None:
        raise _refused(spec, found)
    if spec.type not in TYPES:
        raise NotSupportedError(
            f"map '{spec.name}' of type {spec.type.name}",
            requires=f"the kernel engine; of the embedded one: {NOT_EMBEDDED.get(spec.type, 'it has no such type')}",
            hint=f"types of the embedded engine: {', '.join(kind.name for kind in TYPES)}",
        )
    objects = objects or Objects(memory, contexts.rcu, targets=kernel_targets(contexts))
    around = Surroundings(
        memory,
        btf,
        cpus,
        fields,
        destructors=objects.destructors(fields),
        check_pointer=objects.checks(fields),
        rcu=contexts.rcu,
        interfaces=interfaces,
        home=home,
        create=lambda inner: create_map(
            inner, btf, memory, contexts=contexts, objects=objects, cpus=cpus, interfaces=interfaces, home=home
        ),
    )
    try:
        created = TYPES[spec.type](spec, around)
    except MemoryError:
        size = spec.value_size * spec.max_entries
        raise _refused(spec, Refusal(ENOMEM, f"no memory for {size} bytes of values", "lower max_entries")) from None
    if spec.data:
        created.values.write_part(0, 0, spec.data)
    return created


def _as_asked(spec: MapSpec) -> MapSpec:
    """What BPF_MAP_CREATE is asked for: the size of a ring is rounded up, as libbpf does."""
    return replace(spec, max_entries=ring_size(spec.max_entries, PAGE)) if spec.type in RINGS else spec


def _kptr_refusal(spec: MapSpec, fields: tuple[SpecialField, ...]) -> Refusal | None:
    """Why a type that is not implemented here cannot hold kptrs: better said than that it is missing."""
    kptr = next((field for field in fields if field.is_kptr), None)
    errno = KPTR_REFUSED.get(spec.type, EINVAL) if kptr is not None else 0
    if kptr is None or not errno:
        return None
    return Refusal(
        errno,
        f"{spec.type.name} cannot hold '{kptr.kind.value}', at offset {kptr.offset} of the value",
        "keep contexts in an array or hash map",
    )


def _refused(spec: MapSpec, found: Refusal) -> SyscallError:
    return SyscallError("BPF_MAP_CREATE", found.errno, detail=f"map '{spec.name}': {found.reason}", hint=found.hint)
