/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Samples for user space: some bytes of the program, and as many of the packet as the flags ask for. */
#include "test.h"

LICENSE_GPL;

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} one_cpu SEC(".maps");

/* In. */
u64 flags;
u32 size;
u8 given[64];

/* Out. */
s64 ret;

static __always_inline int output(void *ctx, void *map)
{
	u8 copy[64];
	u32 bytes = size;

	memcpy(copy, given, sizeof(copy));
	if (bytes > sizeof(copy))
		bytes = sizeof(copy);
	ret = bpf_perf_event_output(ctx, map, flags, copy, bytes);
	return 0;
}

SEC("tc")
__success __description("a sample from TC")
int output_tc(struct __sk_buff *skb)
{
	return output(skb, &samples);
}

SEC("xdp.frags")
__success __description("a sample from XDP, of a packet that may have fragments")
int output_xdp(struct xdp_md *xdp)
{
	return output(xdp, &samples);
}

SEC("tc")
__success __description("a map with a slot for one CPU alone")
int output_one(struct __sk_buff *skb)
{
	return output(skb, &one_cpu);
}
