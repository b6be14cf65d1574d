/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs whose packets come out dropped, changed, longer, shorter or as they were, as the byte behind their Ethernet header asks. */
#include "test.h"

LICENSE_GPL;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

u64 in_order;

static __always_inline void count(void)
{
	u32 index = 0;
	u64 *value = bpf_map_lookup_elem(&seen, &index);

	if (value)
		(*value)++;
}

SEC("xdp")
__success __description("by machine code alone")
int each_xdp(struct xdp_md *xdp)
{
	u8 *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	u8 what;

	count();
	if (data + 15 > end)
		return XDP_PASS;
	what = data[14];
	if (what & 1)
		data[13] ^= 0x55;
	switch (what >> 1 & 7) {
	case 1:
		return XDP_DROP;
	case 2:
		bpf_xdp_adjust_tail(xdp, what >> 4);
		break;
	case 3:
		bpf_xdp_adjust_tail(xdp, -1);
		break;
	case 4:
		bpf_xdp_adjust_head(xdp, -(what >> 4));
		break;
	case 5:
		bpf_xdp_adjust_meta(xdp, -4);
		break;
	case 6:
		return what;
	}
	return XDP_TX;
}

SEC("tc")
__success __description("sizes by helpers that are no machine code")
int each_tc(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	u32 size = skb->len;
	u8 what;

	count();
	if (data + 15 > end)
		return 0;
	what = data[14];
	if (what & 1)
		data[13] ^= 0x55;
	switch (what >> 1 & 7) {
	case 1:
		return 2;
	case 2:
		bpf_skb_change_tail(skb, size + (what >> 4) * 8, 0);
		break;
	case 3:
		bpf_skb_change_tail(skb, size - 1, 0);
		break;
	case 4:
		bpf_skb_change_head(skb, 14, 0);
		break;
	case 5:
		bpf_skb_vlan_push(skb, bpf_htons(0x8100), 7);
		break;
	case 6:
		return what;
	case 7:
		return skb->pkt_type << 16 | skb->protocol;
	}
	return skb->tc_index++;
}

SEC("tc")
__success __description("what it does depends on how many packets came before")
int in_turn(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	u64 number = __sync_fetch_and_add(&in_order, 1);

	if (data + 15 > end)
		return 0;
	data[0] = number;
	data[1] = number >> 8;
	return 0;
}
