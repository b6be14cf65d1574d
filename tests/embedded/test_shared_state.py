"""What makes the order of packets matter is found in the instructions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.engine import EmbeddedEngine

BPF = Path(__file__).parents[1] / "bpf"

PRELUDE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_kfuncs.h"
char _license[] SEC("license") = "GPL";
#define MAP(name, kind) struct { __uint(type, kind); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } name SEC(".maps")
MAP(array, BPF_MAP_TYPE_ARRAY);
MAP(hash, BPF_MAP_TYPE_HASH);
MAP(each_cpu, BPF_MAP_TYPE_PERCPU_ARRAY);
MAP(each_cpu_hash, BPF_MAP_TYPE_PERCPU_HASH);
const volatile u64 constant = 7;
u64 variable;
static __always_inline u64 *find(void *map) { u32 key = 0; return bpf_map_lookup_elem(map, &key); }
static __noinline int add(u64 *value) { if (value) *value += 1; return 0; }
SEC("tc") int program(struct __sk_buff *skb)
{
    u64 *value, local = 5;
    u32 key = 1;
    %s
}
"""

CASES = {
    "return skb->len;": (),
    "return constant + variable;": (),
    "skb->mark = 7; skb->cb[0] = 1; return 0;": (),
    "variable = skb->len; return 0;": ("map '.bss'",),
    "__sync_fetch_and_add(&variable, 1); return 0;": ("map '.bss'",),
    "value = find(&array); return value ? *value : 0;": (),
    "value = find(&array); if (value) *value = 1; return 0;": ("map 'array'",),
    "return add(find(&array));": ("map 'array'",),
    "value = find(&each_cpu); if (value) ++*value; return add(find(&each_cpu));": (),
    "value = find(&each_cpu_hash); if (value) ++*value; return 0;": (),
    "return bpf_map_update_elem(&each_cpu, &key, &local, 0);": (),
    "return bpf_map_update_elem(&each_cpu_hash, &key, &local, 0);": ("map 'each_cpu_hash'",),
    "return bpf_map_delete_elem(&hash, &key);": ("map 'hash'",),
    "value = bpf_map_lookup_percpu_elem(&each_cpu, &key, 1); return value ? *value : 0;": (
        "bpf_map_lookup_percpu_elem",
    ),
    "return bpf_get_smp_processor_id();": ("bpf_get_smp_processor_id",),
    'bpf_printk("x"); return 0;': ("bpf_trace_printk",),
    "value = find(&array); if (value) bpf_skb_load_bytes(skb, 0, value, 8); return 0;": ("map 'array'",),
    "value = find(&array); if (!value) value = find(&hash); if (value) *value = 1; return 0;": (
        "map 'array'",
        "map 'hash'",
    ),
    "value = skb->len > 60 ? find(&array) : &local; if (value) *(volatile u64 *)value = 1; return local;": None,
}


@pytest.mark.parametrize("body", CASES)
def test_bodies(embedded_engine: EmbeddedEngine, compile_bpf: Callable[..., bytes], body: str) -> None:
    """One statement that matters, or not."""
    with embedded_engine.load(compile_bpf(PRELUDE % body)) as collection:
        found = collection.programs["program"].shared_state

    expected = CASES[body]
    assert (
        found
        if expected is None
        else set(found) <= {*expected, "maps", "objects in memory"} and bool(found) == bool(expected)
    )
    if expected is not None and len(expected) == 1:
        assert found == expected


@pytest.mark.parametrize(
    ("name", "program", "reason"),
    [
        ("user_ringbuf", "encrypt_record", "map 'ring'"),
        ("events", "output_tc", "map 'samples'"),
        ("tail_calls", "hop", "map 'next'"),
        ("lists", "in_map", "objects in memory"),
        ("locks", "add_hash", "map 'm_hash'"),
        ("cpus", "churn", "map 'm_own_lru'"),
    ],
)
def test_corpus(embedded_engine: EmbeddedEngine, name: str, program: str, reason: str) -> None:
    """Ring buffers, samples, program arrays, objects, locks, and maps that forget are shared."""
    with embedded_engine.load(BPF / f"{name}.bpf.o", programs=[program]) as collection:
        assert reason in collection.programs[program].shared_state


def test_unverified_programs_are_not_known(unverified_engine: EmbeddedEngine) -> None:
    """Without the verifier's facts, order matters."""
    with unverified_engine.load(BPF / "records.bpf.o") as collection:
        assert collection.programs["each_xdp"].shared_state == ("a program that is interpreted",)
