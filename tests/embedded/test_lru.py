"""Eviction from LRU maps: the kernel's own choice, step by step, and what the lists must keep to."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.lru import CommonLru, PercpuLru
from bpfcrypto.errors import MapError
from bpfcrypto.kernel.maps import possible_cpus

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection, Map
    from bpfcrypto.kernel.engine import KernelEngine

pytestmark = pytest.mark.usefixtures("one_cpu")

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct {
	__uint(type, %s);
	__uint(max_entries, %d);
	__uint(map_flags, %d);
	__type(key, u32);
	__type(value, u64);
} m SEC(".maps");
u32 key;
SEC("tc") int find(void *ctx)
{
	u32 index = key;
	return bpf_map_lookup_elem(&m, &index) != NULL;
}
"""
FRAME = bytes(64)


def step(collection: Collection, action: str, key: int) -> int:
    """One operation: what it answers."""
    m: Map = collection.maps["m"]
    data = key.to_bytes(4, "little")
    if action == "find":
        collection.variables["key"].value = key
        return collection.programs["find"].run(FRAME).retval
    try:
        if action == "delete":
            m.delete(data)
        else:
            m.update(data, bytes(m.value_bytes), {"any": 0, "noexist": 1, "exist": 2}[action])  # type: ignore[arg-type]
    except MapError as error:
        return error.errno
    return 0


ACTIONS = ("any",) * 6 + ("noexist", "exist", "delete") + ("find",) * 3


@pytest.mark.kernel
@pytest.mark.parametrize("flags", [MapFlag(0), MapFlag.NO_COMMON_LRU], ids=["common", "per CPU"])
@pytest.mark.parametrize("kind", [MapType.LRU_HASH, MapType.LRU_PERCPU_HASH], ids=lambda kind: kind.name)
@pytest.mark.parametrize("entries", [1, 2, 5, 33, 600])
def test_same_as_kernel(
    kernel_engine: KernelEngine,
    compile_bpf: Callable[..., bytes],
    entries: int,
    kind: MapType,
    flags: MapFlag,
) -> None:
    """Random updates, deletions and lookups leave the same keys in both engines after every few steps."""
    rng = random.Random(f"{kind} {flags} {entries}")
    source = compile_bpf(SOURCE % (f"BPF_MAP_TYPE_{kind.name}", entries, flags))
    with EmbeddedEngine(cpus=possible_cpus()).load(source) as ours, kernel_engine.load(source) as theirs:
        for count in range(3 * entries + 60):
            action, key = rng.choice(ACTIONS), rng.randrange(2 * entries + 2)

            assert step(ours, action, key) == step(theirs, action, key), (count, action, key)
            if count % 20 == 0:
                assert sorted(ours.maps["m"].keys()) == sorted(theirs.maps["m"].keys()), count


class Table:
    """What a map does with the lists: slots that are in use."""

    def __init__(self) -> None:
        self.used: set[int] = set()

    def evict(self, slot: int) -> bool:
        if slot not in self.used:
            return False
        self.used.remove(slot)
        return True


@pytest.mark.parametrize("lists", [CommonLru, PercpuLru])
@pytest.mark.parametrize("slots", [4, 40, 1000])
def test_slots_are_unique(lists: type[CommonLru] | type[PercpuLru], slots: int) -> None:
    """No slot is ever handed out while it is in use, an element is always to be had, and none gets lost."""
    rng, table, cpus = random.Random(slots), Table(), 4
    lru = lists(slots, cpus, table.evict, bytearray(slots))
    nodes = {}
    for _ in range(5 * slots + 200):
        node = lru.pop(rng.randrange(cpus))
        assert node is not None
        assert node.slot not in table.used
        nodes[node.slot] = node
        if rng.random() < 0.1:
            lru.push(node)
        else:
            table.used.add(node.slot)
        if table.used and rng.random() < 0.2:
            slot = rng.choice(sorted(table.used))
            table.used.remove(slot)
            lru.push(nodes[slot])
        elif table.used:
            nodes[rng.choice(sorted(table.used))].referenced = True
    assert set(nodes) <= set(range(slots))


def test_used_elements_stay() -> None:
    """Of many elements, those that are used between the updates outlive those that are not."""
    table = Table()
    lru = CommonLru(1000, 1, table.evict, bytearray(1000))
    favourites = []
    for count in range(5000):
        node = lru.pop(0)
        assert node is not None
        table.used.add(node.slot)
        if count < 50:
            favourites.append(node)
        for each in favourites:
            each.referenced = True

    assert {node.slot for node in favourites} <= table.used
