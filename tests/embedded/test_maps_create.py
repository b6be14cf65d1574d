"""BPF_MAP_CREATE: the same rows of sizes, flags and types on both engines."""

from __future__ import annotations

from dataclasses import replace
from errno import E2BIG, EACCES, EINVAL, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import KPTR_REFUSED, RULES, MapFlag, MapType
from bpfcrypto.embedded.maps import TYPES
from bpfcrypto.errors import NotSupportedError, SyscallError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, MapSpec

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine

KPTRS = load_spec((Path(__file__).parents[1] / "bpf" / "maps_kptr.bpf.o").read_bytes())

ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
HASHES = frozenset({MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
ALL = ARRAYS | HASHES
KINDS = sorted(ALL)
LRU = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
PERCPU = frozenset({MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH})


def refused(engine: Engine, spec: MapSpec, btf: object = None) -> int:
    """The errno of creating a map, 0 for success."""
    try:
        engine.load(CollectionSpec("test", maps={spec.name: spec}, btf=btf)).close()  # type: ignore[arg-type]
    except SyscallError as error:
        assert error.command == "BPF_MAP_CREATE"
        assert error.hint or engine.name == "kernel"
        return error.errno
    return 0


# what changes from a map with a key of 4 bytes, a value of 8 and 4 entries; the types that give an errno; all others succeed
ROWS: list[tuple[dict[str, int], dict[frozenset[MapType], int]]] = [
    ({}, {}),
    ({"key_size": 0}, {ALL: EINVAL}),
    ({"value_size": 0}, {ALL: EINVAL}),
    ({"max_entries": 0}, {ALL: EINVAL}),
    *(({"key_size": size}, {ARRAYS: EINVAL}) for size in (1, 3, 5, 8, 512, 4096)),
    ({"key_size": (1 << 22) - 49 - 8}, {ARRAYS: EINVAL}),
    ({"key_size": (1 << 22) - 48 - 8}, {ARRAYS: EINVAL, HASHES: E2BIG}),
    ({"key_size": (1 << 32) - 1}, {ARRAYS: EINVAL, HASHES: E2BIG}),
    *(({"value_size": size}, {}) for size in (1, 7, 32761, 32768)),
    ({"value_size": 32769}, {PERCPU: E2BIG}),
    ({"value_size": (1 << 22) - 49 - 4}, {PERCPU: E2BIG}),
    ({"value_size": (1 << 22) - 48 - 4}, {PERCPU: E2BIG, HASHES: E2BIG}),
    ({"value_size": 1 << 31}, {ALL: E2BIG}),
    ({"value_size": 1 << 31, "key_size": 5}, {ARRAYS: EINVAL, HASHES: E2BIG}),
    ({"max_entries": 1}, {}),
    (
        {"max_entries": (1 << 27) + 1, "flags": MapFlag.NO_PREALLOC},
        {ARRAYS: EINVAL, LRU: ENOTSUPP, HASHES - LRU: E2BIG},
    ),
    ({"flags": MapFlag.NO_PREALLOC}, {ARRAYS: EINVAL, LRU: ENOTSUPP}),
    ({"flags": MapFlag.NO_PREALLOC, "key_size": 0}, {ARRAYS: EINVAL, LRU: ENOTSUPP, HASHES - LRU: EINVAL}),
    ({"flags": MapFlag.NO_PREALLOC | MapFlag.STACK_BUILD_ID}, {ALL: EINVAL}),
    ({"flags": MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE}, {ARRAYS: EINVAL, LRU: ENOTSUPP, PERCPU: EINVAL}),
    ({"flags": MapFlag.NO_COMMON_LRU}, {ALL - LRU: EINVAL}),
    ({"flags": MapFlag.NO_COMMON_LRU, "max_entries": 1}, {ALL - LRU: EINVAL}),
    ({"flags": MapFlag.NUMA_NODE}, {PERCPU: EINVAL}),
    ({"flags": MapFlag.NUMA_NODE, "numa_node": 77}, {ALL: EINVAL}),
    ({"flags": MapFlag.NUMA_NODE, "numa_node": 0xFFFFFFFF}, {}),
    ({"numa_node": 77}, {}),
    ({"flags": MapFlag.RDONLY}, {}),
    ({"flags": MapFlag.WRONLY}, {}),
    ({"flags": MapFlag.RDONLY_PROG}, {}),
    ({"flags": MapFlag.WRONLY_PROG}, {}),
    ({"flags": MapFlag.RDONLY | MapFlag.RDONLY_PROG}, {}),
    ({"flags": MapFlag.RDONLY | MapFlag.WRONLY}, {ALL: EINVAL}),
    ({"flags": MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG}, {ALL: EINVAL}),
    ({"flags": MapFlag.STACK_BUILD_ID}, {ALL: EINVAL}),
    ({"flags": MapFlag.ZERO_SEED}, {ARRAYS: EINVAL}),
    ({"flags": MapFlag.CLONE}, {ALL: EINVAL}),
    ({"flags": MapFlag.MMAPABLE}, {ALL - {MapType.ARRAY}: EINVAL}),
    ({"flags": MapFlag.PRESERVE_ELEMS}, {ALL: EINVAL}),
    ({"flags": MapFlag.INNER_MAP}, {ALL - {MapType.ARRAY}: EINVAL}),
    ({"flags": 1 << 20}, {ALL: EINVAL}),
    ({"map_extra": 1}, {ALL: EINVAL}),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rules(engine: Engine, kind: MapType) -> None:
    """Sizes, flags, entries and NUMA nodes: each row gives its errno, or succeeds."""
    for changes, errnos in ROWS:
        expected = next((errno for kinds, errno in errnos.items() if kind in kinds), 0)
        plain = MapSpec("m", kind, 4, 8, 4)

        assert refused(engine, replace(plain, **changes)) == expected, changes  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kptr(engine: Engine, kind: MapType) -> None:
    """Each of these types takes a value with a kptr."""
    assert refused(engine, replace(KPTRS.maps["m_hash"], type=kind), KPTRS.btf) == 0


@pytest.mark.parametrize("kind", [kind for kind in MapType if kind not in TYPES], ids=lambda kind: kind.name)
def test_kptr_elsewhere(embedded_engine: Engine, kind: MapType) -> None:
    """A type that cannot hold a kptr says so with the kernel's errno; the local storages are merely missing."""
    spec = replace(KPTRS.maps["m_hash"], type=kind)
    errno = KPTR_REFUSED.get(kind, EINVAL)
    if errno:
        assert refused(embedded_engine, spec, KPTRS.btf) == errno
    else:
        with pytest.raises(NotSupportedError, match=kind.name):
            refused(embedded_engine, spec, KPTRS.btf)


FLAGS = {
    MapFlag.RDONLY_PROG: EACCES,
    MapFlag.WRONLY_PROG: EACCES,
    MapFlag.RDONLY: 0,
    MapFlag.WRONLY: 0,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kptr_flags(engine: Engine, kind: MapType) -> None:
    """Programs must have full access to a value with a kptr; user space need not."""
    for flag, errno in FLAGS.items():
        spec = replace(KPTRS.maps["m_hash"], type=kind, flags=flag)

        assert refused(engine, spec, KPTRS.btf) == errno, flag


LOCKED = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
char _license[] SEC("license") = "GPL";
struct value { u64 before; struct bpf_crypto_ctx __kptr *cctx; struct bpf_spin_lock lock; u32 after; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} m SEC(".maps");
SEC("tc") int unused(void *ctx) { return bpf_map_lookup_elem(&m, &(u32){0}) != 0; }
"""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_lock_types(engine: Engine, kind: MapType, compile_bpf: object) -> None:
    """A spin lock beside the kptr is for ARRAY and HASH only."""
    object_spec = load_spec(compile_bpf(LOCKED))  # type: ignore[operator]
    spec = replace(object_spec.maps["m"], type=kind)

    expected = 0 if kind in (MapType.ARRAY, MapType.HASH) else EOPNOTSUPP
    assert refused(engine, spec, object_spec.btf) == expected


BTF_ROWS: list[tuple[dict[str, object], dict[frozenset[MapType], int]]] = [
    ({"key_type": "value"}, {ALL: EINVAL}),  # a key type of another size
    ({"value_type": "key"}, {ALL: EINVAL}),
    ({"value_type": 0}, {ALL: EINVAL}),
    ({"key_type": 0}, {ALL: EINVAL}),
    ({"key_size": 8}, {ALL: EINVAL}),
    ({"value_size": 16}, {ALL: EINVAL}),
    ({"key_type": 0, "value_type": 0}, {}),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_value_types(engine: Engine, kind: MapType) -> None:
    """The sizes of key and value types have to be those of the map; no types at all is fine."""
    plain = replace(KPTRS.maps["m_hash"], type=kind)
    ids = {"key": plain.key_type, "value": plain.value_type}
    for changes, errnos in BTF_ROWS:
        resolved = {name: ids.get(value, value) for name, value in changes.items()}  # type: ignore[call-overload]
        expected = next((errno for kinds, errno in errnos.items() if kind in kinds), 0)

        assert refused(engine, replace(plain, **resolved), KPTRS.btf) == expected, changes


def test_rules_cover_types() -> None:
    """Every type that can be made has its rules."""
    assert set(TYPES) == set(RULES)


def test_other_types_by_name(embedded_engine: Engine) -> None:
    """A type that the embedded engine does not have is refused by its name."""
    with pytest.raises(NotSupportedError, match="SOCKHASH"):
        refused(embedded_engine, MapSpec("m", MapType.SOCKHASH, 4, 4, 4))


def test_no_memory(embedded_engine: Engine) -> None:
    """Values that no machine has room for are ENOMEM, not a crash."""
    assert refused(embedded_engine, MapSpec("m", MapType.ARRAY, 4, (1 << 31) - 8, (1 << 32) - 1)) == 12
