/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's own objects behind a context, and memory looked at as a type of the kernel. */
#include "test.h"

LICENSE_GPL;

u32 room;
u64 seen[24];
struct ethhdr header;

SEC("tc")
__success __description("struct sk_buff and its device, before and after the packet was changed")
int look_into_skb(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);

	skb->mark = room;
	skb->priority = room + 1;
	skb->queue_mapping = room & 7;
	seen[0] = kernel->len;
	seen[1] = kernel->data_len;
	seen[2] = kernel->mark;
	seen[3] = kernel->priority;
	seen[4] = kernel->queue_mapping;
	seen[5] = kernel->protocol;
	seen[6] = kernel->hash;
	seen[7] = kernel->vlan_tci;
	seen[8] = kernel->vlan_proto;
	seen[9] = kernel->skb_iif;
	seen[10] = kernel->dev->ifindex;
	seen[11] = kernel->data - kernel->head;
	seen[12] = kernel->tail;
	seen[13] = kernel->network_header;
	if (bpf_skb_change_tail(skb, skb->len + (room & 63), 0))
		return 1;
	seen[14] = kernel->len;
	seen[15] = kernel->tail - (kernel->data - kernel->head);
	seen[16] = bpf_core_type_exists(struct sock);
	return 0;
}

SEC("xdp.frags")
__success __description("struct xdp_buff, its queue and its device")
int look_into_xdp(struct xdp_md *xdp)
{
	struct xdp_buff *kernel = bpf_cast_to_kern_ctx(xdp);

	bpf_xdp_adjust_meta(xdp, -8);
	bpf_xdp_adjust_head(xdp, room & 7);
	seen[0] = kernel->data_end - kernel->data;
	seen[1] = kernel->data - kernel->data_hard_start;
	seen[2] = kernel->data - kernel->data_meta;
	seen[3] = kernel->frame_sz;
	seen[4] = kernel->flags;
	seen[5] = kernel->rxq->queue_index;
	seen[6] = kernel->rxq->reg_state;
	seen[7] = kernel->rxq->frag_size;
	seen[8] = kernel->rxq->dev->ifindex;
	seen[9] = (u64)kernel->txq;
	return 0;
}

SEC("tc")
__success __description("bytes of the packet and of a variable as a header; an object as what it is")
int look_as(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb), *again;
	struct ethhdr *eth;

	again = bpf_rdonly_cast(kernel, bpf_core_type_id_kernel(struct sk_buff));
	seen[0] = again->len;
	eth = bpf_rdonly_cast(kernel->data, bpf_core_type_id_kernel(struct ethhdr));
	seen[1] = eth->h_proto;
	seen[2] = eth->h_dest[5];
	header.h_proto = room;
	eth = bpf_rdonly_cast(&header, bpf_core_type_id_kernel(struct ethhdr));
	seen[3] = eth->h_proto;
	seen[4] = *(u32 *)bpf_rdonly_cast(kernel->data + 4, 0);
	return 0;
}

SEC("?tc")
__failure __msg("only read is supported")
int write_to_skb(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);

	kernel->mark = 1;
	return 0;
}

SEC("?syscall")
__failure __msg("is not a struct")
int no_context(void *args)
{
	return bpf_cast_to_kern_ctx(args) != NULL;
}
