"""Maps that user space gives their number of elements before loading: programs can be judged without it."""

from __future__ import annotations

from collections.abc import Callable

from bpfcrypto.engine import Engine

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#define MAP(name, kind) struct { __uint(type, BPF_MAP_TYPE_##kind); __type(key, u32); __type(value, u32); } name SEC(".maps")
MAP(counts, PERCPU_ARRAY);
MAP(table, HASH);
MAP(ports, DEVMAP);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); } ring SEC(".maps");
char _license[] SEC("license") = "GPL";
SEC("xdp") int forward(struct xdp_md *xdp)
{
	u32 key = xdp->rx_queue_index, *count = bpf_map_lookup_elem(&counts, &key), *port = bpf_map_lookup_elem(&table, &key);

	if (!count || !port)
		return XDP_PASS;
	*count += bpf_ringbuf_query(&ring, 0);
	return bpf_redirect_map(&ports, *port, 0);
}
"""


def test_verdicts_without_sizes(engine: Engine, compile_bpf: Callable[..., bytes]) -> None:
    """Both verifiers accept the program."""
    [verdict] = engine.check(compile_bpf(SOURCE))

    assert verdict.accepted, verdict.message
