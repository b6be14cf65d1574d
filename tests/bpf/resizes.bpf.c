/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program that does to its packet what it is told, step by step: reads, writes, other sizes, other headers. */
#include "test.h"

LICENSE_GPL;

#define STEPS 24
#define MOST 64

enum action { LOAD, STORE, PULL, TAIL, PROTO, LOOK, DIRECT, HASH, HAND_OVER, HEAD, ROOM, PUSH, POP, LEVEL };

struct step {
	u32 action;
	u32 first, second;
	u32 flags;
};

/* In. */
struct step steps[STEPS];
u32 count;
u8 pattern[MOST];

/* Out. */
s64 results[STEPS];

struct bytes {
	u8 bytes[8];
};

/* Updates of such a map are Python's in the embedded engine. */
TEST_MAP(handed, BPF_MAP_TYPE_LRU_HASH, 64, struct bytes, 0);

static __always_inline s64 sum(const u8 *bytes, u32 size)
{
	s64 all = 0;

	for (u32 i = 0; i < MOST && i < size; i++)
		all = all * 31 + bytes[i];
	return all;
}

static __noinline s64 load(struct __sk_buff *skb, u32 offset, u32 size)
{
	u8 bytes[MOST] = {};

	size = (size & (MOST - 1)) + 1;
	return bpf_skb_load_bytes(skb, offset, bytes, size) + sum(bytes, MOST) * 256;
}

static __noinline s64 store(struct __sk_buff *skb, u32 offset, u32 size, u32 flags)
{
	return bpf_skb_store_bytes(skb, offset, pattern, (size & (MOST - 1)) + 1, flags);
}

static __noinline s64 look(struct __sk_buff *skb)
{
	return (u64)skb->len << 48 ^ (u64)skb->hash << 16 ^ (u64)skb->protocol << 32 ^ (u64)skb->gso_size << 8 ^ skb->gso_segs;
}

static __noinline s64 direct(struct __sk_buff *skb, u32 offset, u32 value)
{
	u8 *data, *end = (void *)(long)skb->data_end;
	s64 all;

	offset &= 0xfff;
	data = (void *)(long)skb->data;
	data += offset;
	if (data + 8 > end)
		return -1;
	all = sum(data, 8);
	data[3] = value;
	return all;
}

static __noinline s64 hand_over(struct __sk_buff *skb, u32 offset, u32 key)
{
	u8 *data, *end = (void *)(long)skb->data_end;
	struct bytes *kept;

	offset &= 0xfff;
	key &= 15;
	data = (void *)(long)skb->data;
	data += offset;
	if (data + 8 > end || bpf_map_update_elem(&handed, &key, data, 0))
		return -1;
	kept = bpf_map_lookup_elem(&handed, &key);
	return kept ? sum(kept->bytes, 8) : -2;
}

static __noinline s64 act(struct __sk_buff *skb, struct step *step)
{
	u32 first, second, flags;

	if (!step)
		return 0;
	first = step->first;
	second = step->second;
	flags = step->flags;
	switch (step->action) {
	case LOAD:
		return load(skb, first, second);
	case STORE:
		return store(skb, first, second, flags);
	case PULL:
		return bpf_skb_pull_data(skb, first);
	case TAIL:
		return bpf_skb_change_tail(skb, first, flags);
	case PROTO:
		return bpf_skb_change_proto(skb, first, flags);
	case LOOK:
		return look(skb);
	case DIRECT:
		return direct(skb, first, second);
	case HASH:
		bpf_set_hash(skb, first);
		return 0;
	case HAND_OVER:
		return hand_over(skb, first, second);
	case HEAD:
		return bpf_skb_change_head(skb, first, 0);
	case ROOM:
		return bpf_skb_adjust_room(skb, first, second, flags);
	case PUSH:
		return bpf_skb_vlan_push(skb, first, second);
	case POP:
		return bpf_skb_vlan_pop(skb);
	case LEVEL:
		return bpf_csum_level(skb, first);
	}
	return 0;
}

SEC("tc")
__success __description("one step after the other")
int take_steps(struct __sk_buff *skb)
{
	u32 i;

	bpf_for(i, 0, count) {
		if (i >= STEPS)
			break;
		results[i] = act(skb, &steps[i]);
	}
	return skb->len;
}

/* What is read behind the end of a frame that machine code has lengthened, after Python has seen the shorter one. */
s64 longer;

SEC("xdp")
__success __description("a frame grows between two helpers that are not machine code")
int grow_between(struct xdp_md *xdp)
{
	u8 *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct bytes *kept;
	u32 key = 0;

	if (data + 8 > end || bpf_map_update_elem(&handed, &key, data, 0) || bpf_xdp_adjust_tail(xdp, 40))
		return XDP_ABORTED;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	if (data + 100 > end)
		return XDP_DROP;
	data[95] = 9;
	if (bpf_map_update_elem(&handed, &key, data + 92, 0))
		return XDP_ABORTED;
	kept = bpf_map_lookup_elem(&handed, &key);
	longer = kept ? sum(kept->bytes, 8) : -1;
	return XDP_PASS;
}
