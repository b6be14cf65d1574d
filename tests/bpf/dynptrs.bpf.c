/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Dynptrs over map memory and packets: sizes, views, reads, writes, slices, and every way in which they refuse. */
#include "test.h"

LICENSE_GPL;

#define STEPS 24

/* In. */
u32 offset;
u32 length;
u64 flags;
u8 given[64];

/* Out: what each step returned, and what was read. */
s64 ret[STEPS];
u8 seen[64];
u8 memory[256];

SEC("tc")
__success __description("bpf_dynptr_from_mem() of any size and flags")
int from_mem(struct __sk_buff *skb)
{
	struct bpf_dynptr made;
	u32 size = length;

	if (size > sizeof(memory))
		size = sizeof(memory);
	ret[0] = bpf_dynptr_from_mem(memory, size, flags, &made);
	ret[1] = (s32)bpf_dynptr_size(&made);
	ret[2] = bpf_dynptr_is_null(&made);
	ret[3] = bpf_dynptr_is_rdonly(&made);
	ret[4] = bpf_dynptr_read(seen, 16, &made, offset, 0);
	ret[5] = bpf_dynptr_write(&made, offset, given, 16, 0);
	ret[6] = bpf_dynptr_data(&made, 0, 16) != NULL;
	ret[7] = bpf_dynptr_adjust(&made, 0, 0);
	return 0;
}

/* Reads, writes, views and slices that both kinds of packet and map memory have in common. */
static __always_inline int explore(struct bpf_dynptr *whole)
{
	struct bpf_dynptr view;
	u8 scratch[16] = {};
	u8 *slice;

	ret[0] = (s32)bpf_dynptr_size(whole);
	ret[1] = bpf_dynptr_is_null(whole);
	ret[2] = bpf_dynptr_is_rdonly(whole);
	ret[3] = bpf_dynptr_clone(whole, &view);
	ret[4] = bpf_dynptr_adjust(&view, offset, length);
	ret[5] = (s32)bpf_dynptr_size(&view);
	ret[6] = bpf_dynptr_read(seen, 8, &view, 0, 0);
	ret[7] = bpf_dynptr_read(seen + 8, 8, whole, offset, flags);
	ret[8] = bpf_dynptr_write(&view, 0, given, 4, 0);
	ret[9] = bpf_dynptr_write(whole, offset, given + 4, 4, flags);
	ret[10] = bpf_dynptr_adjust(&view, 1, (s32)bpf_dynptr_size(&view));
	ret[11] = bpf_dynptr_adjust(&view, 2, 1);
	ret[12] = (s32)bpf_dynptr_size(&view);
	slice = bpf_dynptr_slice(whole, offset, NULL, 12);
	ret[13] = slice ? slice[0] + (slice[11] << 8) : -1;
	slice = bpf_dynptr_slice(whole, offset, scratch, sizeof(scratch));
	ret[14] = slice ? slice[0] + (slice[15] << 8) : -1;
	slice = bpf_dynptr_slice_rdwr(whole, offset, scratch, sizeof(scratch));
	ret[15] = slice ? slice[1] : -1;
	if (slice)
		slice[1] = given[8];
	ret[16] = bpf_dynptr_read(seen + 16, 16, whole, 0, 0);
	ret[17] = bpf_dynptr_size(whole);
	return 0;
}

SEC("tc")
__success __description("dynptr over an skb")
int over_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;

	ret[20] = bpf_dynptr_from_skb(skb, 0, &whole);
	ret[21] = bpf_dynptr_data(&whole, 0, 4) != NULL;
	return explore(&whole);
}

SEC("xdp")
__success __description("dynptr over an XDP frame")
int over_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr whole;

	ret[20] = bpf_dynptr_from_xdp(xdp, 0, &whole);
	return explore(&whole);
}

SEC("tc")
__success __description("dynptr over map memory")
int over_mem(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;
	u8 *data;

	ret[20] = bpf_dynptr_from_mem(memory, sizeof(memory), 0, &whole);
	explore(&whole);
	data = bpf_dynptr_data(&whole, 8, 8);
	ret[21] = data ? data[7] : -1;
	if (data)
		data[0] = given[9];
	return 0;
}

SEC("tc")
__success __description("flags other than zero give a null dynptr, which every operation refuses")
int null_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;

	ret[20] = bpf_dynptr_from_skb(skb, 1, &whole);
	return explore(&whole);
}

SEC("xdp")
__success __description("flags other than zero give a null dynptr, which every operation refuses")
int null_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr whole;

	ret[20] = bpf_dynptr_from_xdp(xdp, 1, &whole);
	return explore(&whole);
}

SEC("tc")
__success __description("an skb dynptr keeps its size when the packet grows, and reads what is there now")
int over_grown_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr before, after;
	u32 size = skb->len;

	ret[0] = bpf_dynptr_from_skb(skb, 0, &before);
	ret[1] = bpf_skb_change_tail(skb, size + 32, 0);
	ret[2] = bpf_dynptr_from_skb(skb, 0, &after);
	ret[3] = bpf_dynptr_size(&before);
	ret[4] = bpf_dynptr_size(&after);
	ret[5] = bpf_dynptr_write(&after, size, given, 16, 0);
	ret[6] = bpf_dynptr_read(seen, 16, &before, size, 0);
	ret[7] = bpf_dynptr_read(seen + 16, 16, &after, size, 0);
	return 0;
}

SEC("tc")
__success __description("writing into map memory through two dynptrs that share it")
int shared_mem(struct __sk_buff *skb)
{
	struct bpf_dynptr one, two;

	bpf_dynptr_from_mem(memory, 64, 0, &one);
	bpf_dynptr_clone(&one, &two);
	ret[0] = bpf_dynptr_adjust(&two, 16, 48);
	ret[1] = bpf_dynptr_write(&one, 16, given, 16, 0);
	ret[2] = bpf_dynptr_read(seen, 16, &two, 0, 0);
	/* Source and destination of a write may be the same memory. */
	ret[3] = bpf_dynptr_write(&two, 4, memory + 16, 16, 0);
	return 0;
}
