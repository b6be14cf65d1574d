/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copying between dynptrs and filling them, over memory and packets, contiguous or not. */
#include "test.h"

LICENSE_GPL;

u32 dst_offset;
u32 src_offset;
u32 length;
u32 cut;
u8 value;
u8 memory[640];
u8 given[640];
s64 ret[12];

SEC("tc")
__success __description("memory to memory, overlapping too")
int copy_memory(struct __sk_buff *skb)
{
	struct bpf_dynptr into, from, null;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &into);
	bpf_dynptr_from_mem(given, sizeof(given), 0, &from);
	bpf_dynptr_from_mem(given, sizeof(given), 1, &null);
	ret[0] = bpf_dynptr_copy(&into, dst_offset, &from, src_offset, length);
	ret[1] = bpf_dynptr_copy(&into, src_offset, &into, dst_offset, length);
	ret[2] = bpf_dynptr_copy(&null, dst_offset, &from, src_offset, length);
	ret[3] = bpf_dynptr_copy(&into, dst_offset, &null, src_offset, length);
	ret[4] = bpf_dynptr_copy(&null, 0, &null, 0, length);
	ret[5] = bpf_dynptr_copy(&null, 0, &null, 0, 0);
	return 0;
}

SEC("tc")
__success __description("to and from an skb")
int copy_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr mem, packet;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_skb(skb, 0, &packet);
	ret[0] = bpf_dynptr_copy(&packet, dst_offset, &mem, src_offset, length);
	ret[1] = bpf_dynptr_copy(&mem, dst_offset, &packet, src_offset, length);
	ret[2] = bpf_dynptr_copy(&packet, dst_offset, &packet, src_offset, length);
	return 0;
}

SEC("xdp.frags")
__success __description("to, from and within a frame in pieces")
int copy_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr mem, packet;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_xdp(xdp, 0, &packet);
	ret[0] = bpf_dynptr_copy(&packet, dst_offset, &mem, src_offset, length);
	ret[1] = bpf_dynptr_copy(&mem, dst_offset, &packet, src_offset, length);
	ret[2] = bpf_dynptr_copy(&packet, dst_offset, &packet, src_offset, length);
	return 0;
}

SEC("tc")
__success __description("one byte over a range of memory, of an skb, of nothing")
int fill(struct __sk_buff *skb)
{
	struct bpf_dynptr mem, packet, null;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_mem(memory, sizeof(memory), 1, &null);
	bpf_dynptr_from_skb(skb, 0, &packet);
	ret[0] = bpf_dynptr_memset(&mem, dst_offset, length, value);
	ret[1] = bpf_dynptr_memset(&packet, src_offset, length, value);
	ret[2] = bpf_dynptr_memset(&null, dst_offset, length, value);
	ret[3] = bpf_dynptr_memset(&null, 0, 0, value);
	return 0;
}

SEC("xdp.frags")
__success __description("one byte over a range of a frame in pieces")
int fill_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(xdp, 0, &packet);
	ret[0] = bpf_dynptr_memset(&packet, dst_offset, length, value);
	return 0;
}

SEC("tc")
__success __description("a narrowed view: offsets count from its start")
int copy_views(struct __sk_buff *skb)
{
	struct bpf_dynptr into, from;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &into);
	bpf_dynptr_from_mem(given, sizeof(given), 0, &from);
	ret[0] = bpf_dynptr_adjust(&into, dst_offset, sizeof(memory));
	ret[1] = bpf_dynptr_adjust(&from, 0, src_offset);
	ret[2] = bpf_dynptr_copy(&into, 3, &from, 5, length);
	ret[3] = bpf_dynptr_memset(&from, 1, length, value);
	return 0;
}

SEC("tc")
__success __description("from an address: bytes and text")
int probe_read(struct __sk_buff *skb)
{
	struct bpf_dynptr mem, packet, null;

	given[sizeof(given) - 1] = 0;
	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_mem(memory, sizeof(memory), 1, &null);
	bpf_dynptr_from_skb(skb, 0, &packet);
	ret[0] = bpf_probe_read_kernel_dynptr(&mem, dst_offset, length & 0xff, given);
	ret[1] = bpf_probe_read_kernel_dynptr(&packet, dst_offset, length & 0xff, given);
	ret[2] = bpf_probe_read_kernel_dynptr(&mem, dst_offset, length, NULL);
	ret[3] = bpf_probe_read_kernel_str_dynptr(&mem, src_offset, length, given + (cut & 0xff));
	ret[4] = bpf_probe_read_kernel_str_dynptr(&packet, src_offset, length & 0xff, given + (cut & 0xff));
	ret[5] = bpf_probe_read_kernel_str_dynptr(&mem, 0, 16, NULL);
	ret[6] = bpf_probe_read_kernel_dynptr(&null, 0, 0, given);
	ret[7] = bpf_probe_read_kernel_str_dynptr(&null, 0, 0, given);
	ret[8] = bpf_probe_read_kernel_dynptr(&null, 0, 0, NULL);
	ret[9] = bpf_probe_read_kernel_dynptr(&mem, 0, 0, NULL);
	ret[10] = bpf_probe_read_kernel_str_dynptr(&mem, 0, 0, NULL);
	ret[11] = bpf_probe_read_kernel_dynptr(&packet, 0, 0, NULL);
	return 0;
}

SEC("xdp.frags")
__success __description("text into a frame in pieces")
int probe_read_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;

	given[sizeof(given) - 1] = 0;
	bpf_dynptr_from_xdp(xdp, 0, &packet);
	ret[0] = bpf_probe_read_kernel_str_dynptr(&packet, dst_offset, length, given + (cut & 0xff));
	ret[1] = bpf_probe_read_kernel_dynptr(&packet, src_offset, length & 0xff, given);
	return 0;
}

SEC("tc")
__success __description("metadata: a test run's skb has none")
int metadata(struct __sk_buff *skb)
{
	struct bpf_dynptr meta, mem;

	ret[0] = bpf_dynptr_from_skb_meta(skb, length & 1, &meta);
	ret[1] = bpf_dynptr_size(&meta);
	ret[2] = bpf_dynptr_is_null(&meta);
	ret[3] = bpf_dynptr_is_rdonly(&meta);
	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	ret[4] = bpf_dynptr_copy(&meta, 0, &mem, 0, length);
	ret[5] = bpf_dynptr_copy(&mem, 0, &meta, 0, length);
	ret[6] = bpf_dynptr_memset(&meta, 0, length, value);
	ret[7] = bpf_dynptr_adjust(&meta, 0, length);
	return 0;
}
