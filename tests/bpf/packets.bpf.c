/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Helpers of tc and XDP programs that read, write, resize and check packets; arguments from user space. */
#include "test.h"

LICENSE_GPL;

/* In. */
u32 offset;
u32 length;
s32 delta;
u64 flags;
u64 from;
u64 to;
u8 given[64];

/* Out. */
s64 ret;
s64 second;
u32 len_after;
u32 linear_after; /* data_end - data */
s32 meta_after;   /* data - data_meta */
u8 seen[64];

static __always_inline void measure_skb(struct __sk_buff *skb)
{
	len_after = skb->len;
	linear_after = skb->data_end - skb->data;
	meta_after = skb->data - skb->data_meta;
}

static __always_inline void measure_xdp(struct xdp_md *xdp)
{
	linear_after = xdp->data_end - xdp->data;
	meta_after = xdp->data - xdp->data_meta;
}

SEC("tc")
__success
int load_bytes(struct __sk_buff *skb)
{
	u32 size = length;

	if (size > sizeof(seen) || !size)
		return 1;
	ret = bpf_skb_load_bytes(skb, offset, seen, size);
	return 0;
}

SEC("tc")
__success
int store_bytes(struct __sk_buff *skb)
{
	u32 size = length;

	if (size > sizeof(given) || !size)
		return 1;
	ret = bpf_skb_store_bytes(skb, offset, given, size, flags);
	measure_skb(skb);
	return 0;
}

SEC("tc")
__success
int pull_data(struct __sk_buff *skb)
{
	ret = bpf_skb_pull_data(skb, length);
	measure_skb(skb);
	return 0;
}

SEC("tc")
__success
int change_tail(struct __sk_buff *skb)
{
	ret = bpf_skb_change_tail(skb, length, flags);
	measure_skb(skb);
	return 0;
}

SEC("tc")
__success
int l3_csum_replace(struct __sk_buff *skb)
{
	ret = bpf_l3_csum_replace(skb, offset, from, to, flags);
	return 0;
}

SEC("tc")
__success
int l4_csum_replace(struct __sk_buff *skb)
{
	ret = bpf_l4_csum_replace(skb, offset, from, to, flags);
	return 0;
}

SEC("tc")
__success __description("differences of checksums, of every combination of sizes")
int csum_diff(struct __sk_buff *skb)
{
	u32 from_size = offset, to_size = length;

	if (from_size > 32 || to_size > 32)
		return 1;
	ret = bpf_csum_diff((__be32 *)given, from_size, (__be32 *)(given + 32), to_size, delta);
	second = bpf_csum_diff(NULL, 0, (__be32 *)given, 8, 0);
	return 0;
}

SEC("tc")
__success __description("the source address changes, and both checksums with it")
int rewrite_source(struct __sk_buff *skb)
{
	__be32 old, new = to;
	s64 difference;

	if (bpf_skb_load_bytes(skb, 26, &old, sizeof(old)))
		return TC_ACT_SHOT;
	ret = bpf_skb_store_bytes(skb, 26, &new, sizeof(new), 0);
	difference = bpf_csum_diff(&old, sizeof(old), &new, sizeof(new), 0);
	ret |= bpf_l3_csum_replace(skb, 24, 0, difference, 0);
	second = bpf_l4_csum_replace(skb, 40, 0, difference, BPF_F_PSEUDO_HDR | flags);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("direct access, bounded by data_end")
int direct_skb(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	ret = ip->version << 8 | ip->ihl;
	second = bpf_ntohl(ip->daddr);
	ip->ttl--;
	return TC_ACT_OK;
}

SEC("tc")
__success __description("every readable member of the context, and every writable one written")
int context_skb(struct __sk_buff *skb)
{
	u32 members[16] = {
		skb->len, skb->pkt_type, skb->mark, skb->queue_mapping, skb->protocol, skb->vlan_present, skb->vlan_tci,
		skb->vlan_proto, skb->priority, skb->ingress_ifindex, skb->ifindex, skb->tc_index, skb->hash, skb->tc_classid,
		skb->gso_segs, skb->gso_size,
	};

	memcpy(seen, members, sizeof(members));
	ret = skb->tstamp;
	second = (u64)skb->wire_len << 32 | skb->cb[4];
	skb->mark += 1;
	skb->priority += 2;
	skb->tc_index = 3;
	skb->tc_classid = 4;
	skb->cb[0] += 10;
	skb->cb[1] += 11;
	skb->cb[2] += 12;
	skb->cb[3] += 13;
	skb->cb[4] += 14;
	skb->tstamp += 5;
	skb->queue_mapping = 6;
	return TC_ACT_PIPE;
}

SEC("xdp")
__success
int adjust_head(struct xdp_md *xdp)
{
	ret = bpf_xdp_adjust_head(xdp, delta);
	measure_xdp(xdp);
	return XDP_PASS;
}

SEC("xdp")
__success
int adjust_tail(struct xdp_md *xdp)
{
	ret = bpf_xdp_adjust_tail(xdp, delta);
	measure_xdp(xdp);
	return XDP_PASS;
}

SEC("xdp.frags")
__success __description("frames of several fragments are grown and shrunk at their end as well")
int adjust_tail_frags(struct xdp_md *xdp)
{
	struct bpf_dynptr whole;

	ret = bpf_xdp_adjust_tail(xdp, delta);
	measure_xdp(xdp);
	if (bpf_dynptr_from_xdp(xdp, 0, &whole))
		return XDP_ABORTED;
	len_after = bpf_dynptr_size(&whole);
	second = bpf_dynptr_read(seen, 32, &whole, offset, 0);
	return XDP_PASS;
}

SEC("xdp.frags")
__success __description("reads and writes across fragments")
int read_write_frags(struct xdp_md *xdp)
{
	struct bpf_dynptr whole;
	u8 scratch[32] = {};
	u8 *slice;

	if (bpf_dynptr_from_xdp(xdp, 0, &whole))
		return XDP_ABORTED;
	ret = bpf_dynptr_read(seen, 32, &whole, offset, 0);
	slice = bpf_dynptr_slice(&whole, offset, NULL, 32);
	second = slice != NULL;
	slice = bpf_dynptr_slice(&whole, offset, scratch, 32);
	len_after = slice ? slice[31] : 1000;
	measure_xdp(xdp);
	return bpf_dynptr_write(&whole, offset + 4, given, 24, 0) ? XDP_DROP : XDP_TX;
}

SEC("xdp")
__success __description("direct access, bounded by data_end")
int direct_xdp(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *ethernet = data;
	u8 address[6];

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	memcpy(address, ethernet->h_dest, 6);
	memcpy(ethernet->h_dest, ethernet->h_source, 6);
	memcpy(ethernet->h_source, address, 6);
	ret = xdp->ingress_ifindex;
	second = xdp->rx_queue_index;
	measure_xdp(xdp);
	return XDP_TX;
}

SEC("xdp")
__success __description("room in front of a frame becomes a second Ethernet header")
int push_header(struct xdp_md *xdp)
{
	void *data, *end;

	ret = bpf_xdp_adjust_head(xdp, -(int)sizeof(struct ethhdr));
	if (ret)
		return XDP_ABORTED;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	if (data + 2 * sizeof(struct ethhdr) > end)
		return XDP_DROP;
	memcpy(data, data + sizeof(struct ethhdr), sizeof(struct ethhdr));
	return XDP_PASS;
}
