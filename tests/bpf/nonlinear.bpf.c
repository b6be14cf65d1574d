/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One operation on an skb, whose bytes are kept from before and after: shows what is different about one that is not linear. */
#include "test.h"

LICENSE_GPL;

enum operation {
	LOAD,
	RELATIVE,
	PULL,
	SLICE,
	SLICE_DIRECT,
	SLICE_WRITE,
	READ,
	WRITE,
	STORE,
	CUT,
	HEAD,
	ROOM,
	PROTO,
	PUSH,
	POP,
	CHECK,
};

/* In. */
u32 operation;
u32 least;   /* skbs that are shorter are let through */
u32 offset;
u32 length;
s32 delta;
u64 flags;
u8 given[64];

/* Out. */
u32 done;
s64 ret;
u32 len_before;
u32 linear_before;
u32 len_after;
u32 linear_after;
u8 seen[64];
u8 before[4096];
u8 after[4096];

static __always_inline u32 linear(struct __sk_buff *skb)
{
	return skb->data_end - skb->data;
}

static __always_inline void keep(struct __sk_buff *skb, u8 *to)
{
	u32 size = skb->len;

	if (size && size <= 4096)
		bpf_skb_load_bytes(skb, 0, to, size);
}

static __always_inline s64 slice(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;
	u8 buffer[32] = {};
	u8 *found;

	if (bpf_dynptr_from_skb(skb, 0, &whole))
		return -1;
	if (operation == SLICE_WRITE) {
		found = bpf_dynptr_slice_rdwr(&whole, offset, buffer, sizeof(buffer));
		if (found)
			found[0] ^= 0xff; /* gets into the packet only if the slice is no copy */
	} else if (operation == SLICE_DIRECT) {
		found = bpf_dynptr_slice(&whole, offset, NULL, sizeof(buffer));
	} else {
		found = bpf_dynptr_slice(&whole, offset, buffer, sizeof(buffer));
	}
	if (!found)
		return 0;
	memcpy(seen, found, sizeof(buffer));
	return 1;
}

static __always_inline s64 through_dynptr(struct __sk_buff *skb)
{
	struct bpf_dynptr whole;

	if (bpf_dynptr_from_skb(skb, 0, &whole))
		return -1;
	if (operation == READ)
		return bpf_dynptr_read(seen, 48, &whole, offset, 0);
	return bpf_dynptr_write(&whole, offset, given, 48, flags);
}

static __always_inline s64 operate(struct __sk_buff *skb)
{
	u32 size = length;

	switch (operation) {
	case LOAD:
		return size && size <= sizeof(seen) ? bpf_skb_load_bytes(skb, offset, seen, size) : 0;
	case RELATIVE:
		return size && size <= sizeof(seen) ? bpf_skb_load_bytes_relative(skb, offset, seen, size, flags) : 0;
	case PULL:
		return bpf_skb_pull_data(skb, size);
	case SLICE:
	case SLICE_DIRECT:
	case SLICE_WRITE:
		return slice(skb);
	case READ:
	case WRITE:
		return through_dynptr(skb);
	case STORE:
		return size && size <= sizeof(given) ? bpf_skb_store_bytes(skb, offset, given, size, flags) : 0;
	case CUT:
		return bpf_skb_change_tail(skb, size, 0);
	case HEAD:
		return bpf_skb_change_head(skb, size, 0);
	case ROOM:
		return bpf_skb_adjust_room(skb, delta, offset, flags);
	case PROTO:
		return bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0);
	case PUSH:
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 5);
		return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 6);
	case POP:
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 5);
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 6);
		bpf_skb_vlan_pop(skb);
		return bpf_skb_vlan_pop(skb);
	case CHECK:
		return bpf_l3_csum_replace(skb, offset, 1, 2, 2);
	}
	return 0;
}

SEC("tc")
__success
int operate_once(struct __sk_buff *skb)
{
	if (done || skb->len < least)
		return TC_ACT_OK;
	done = 1;
	len_before = skb->len;
	linear_before = linear(skb);
	keep(skb, before);
	ret = operate(skb);
	len_after = skb->len;
	linear_after = linear(skb);
	keep(skb, after);
	return TC_ACT_SHOT;
}
