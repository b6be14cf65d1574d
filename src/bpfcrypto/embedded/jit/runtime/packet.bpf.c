// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Helpers on the bytes and borders of packets (net/core/filter.c), for packets that are linear. Others, and those that need another buffer
 * or whose known sum changes, are left to Python.
 */
#include "runtime.h"

#define ETH_HLEN 14
#define XDP_HEADROOM 256
#define XDP_FRAME 40
#define XDP_HARD_END (4096 - 320)
#define PAGE 4096ull

/* The buffer of an xdp frame, a page, begins where its headroom does (packet_xdp.py); it is aligned to nothing, so the record says where. */
struct xdp {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
	struct words words;
};

/* Fields of struct __sk_buff. */
#define PROTOCOL 16
#define HASH 68
#define GSO_SEGS 164
#define GSO_SIZE 176

#define CACHE_LINE 64
#define SKB_MAX_ALLOC (4 * 4096 - 320)
#define NO_TRANSPORT 0xffff

enum { RECOMPUTE_CSUM = 1, INVALIDATE_HASH = 2 };
enum { NONE, UNNECESSARY, COMPLETE }; /* packet_csum.py */
enum { IPV4 = 0x0008, IPV6 = 0xdd86 }; /* as they stand in the packet */
#define IPV4_HEADER 20
#define IPV6_HEADER 40

INLINE struct skb *skb_of(u64 handle)
{
	return (struct skb *)(handle + SKB_WORDS);
}

INLINE u64 linear_size(const struct skb *skb)
{
	return skb->words.end - skb->words.start;
}

INLINE void clear_hash(u64 handle)
{
	*(u32 *)(handle + HASH) = 0;
	skb_of(handle)->hashed = 0;
}

/* Where a buffer ends whose packet ends there. */
INLINE u64 limit_of(const struct skb *skb, u64 end)
{
	return skb->words.buffer + ((end - skb->words.buffer + CACHE_LINE - 1) & ~(u64)(CACHE_LINE - 1));
}

/* Before the borders move for the first time: what is behind the packet becomes zero, as in a new buffer. */
INLINE void settle(struct skb *skb)
{
	u64 end = skb->words.end;

	if (skb->limit)
		return;
	skb->limit = limit_of(skb, end);
	fill((void *)end, 0, skb->limit - end);
}

NATIVE s64 bpf_skb_load_bytes(u64 handle, u32 offset, void *dst, u32 size)
{
	struct skb *skb = skb_of(handle);

	if ((u64)offset + size <= linear_size(skb)) {
		move(dst, (void *)(skb->words.start + offset), size);
		return 0;
	}
	if (!skb->words.behind) {
		fill(dst, 0, size);
		return -EFAULT;
	}
	ask_python();
	return 0;
}

NATIVE s64 bpf_skb_store_bytes(u64 handle, u32 offset, void *src, u32 size, u64 flags)
{
	struct skb *skb = skb_of(handle);

	if (flags & ~(u64)(RECOMPUTE_CSUM | INVALIDATE_HASH))
		return -EINVAL;
	if ((flags & RECOMPUTE_CSUM && skb->summed == COMPLETE) || skb->words.behind) {
		ask_python();
		return 0;
	}
	if ((u64)offset + size > linear_size(skb))
		return -EFAULT;
	move((void *)(skb->words.start + offset), src, size);
	if (flags & INVALIDATE_HASH)
		clear_hash(handle);
	return 0;
}

NATIVE s64 bpf_skb_pull_data(u64 handle, u32 size)
{
	struct skb *skb = skb_of(handle);

	if (size <= linear_size(skb))
		return 0;
	if (!skb->words.behind)
		return -ENOMEM;
	ask_python();
	return 0;
}

/* What the packet cannot be cut below. */
INLINE u64 smallest(const struct skb *skb)
{
	s64 transport = skb->transport - (skb->words.start - skb->words.buffer);

	return skb->transport != NO_TRANSPORT && transport > 0 ? transport : skb->network;
}

NATIVE s64 bpf_skb_change_tail(u64 handle, u32 size, u64 flags)
{
	struct skb *skb = skb_of(handle);
	u64 end = skb->words.start + size, old = skb->words.end;

	if (skb->words.behind) {
		ask_python();
		return 0;
	}
	if (flags || size > SKB_MAX_ALLOC || size < smallest(skb))
		return -EINVAL;
	if (skb->encapsulated)
		return -ENOTSUPP;
	settle(skb);
	if (end > skb->limit) { /* in a longer buffer, all behind the packet is zero */
		u64 limit = limit_of(skb, end);

		if (limit > skb->room) {
			ask_python();
			return 0;
		}
		fill((void *)old, 0, limit - old);
		skb->limit = limit;
	} else if (end > old) {
		fill((void *)old, 0, end - old);
	}
	if (end != old && skb->summed == COMPLETE)
		skb->summed = NONE;
	skb->words.end = end;
	*(u32 *)(handle + GSO_SIZE) = 0;
	*(u32 *)(handle + GSO_SEGS) = 0;
	return 0;
}

#define DIFFERENCE (IPV6_HEADER - IPV4_HEADER)

NATIVE s64 bpf_skb_change_proto(u64 handle, u64 protocol, u64 flags)
{
	struct skb *skb = skb_of(handle);
	u32 present = *(u32 *)(handle + PROTOCOL), wanted = protocol & 0xffff;
	u64 start = skb->words.start, at = skb->network, place = start - skb->words.buffer;

	if (flags)
		return -EINVAL;
	if (!((wanted == IPV4 && present == IPV6) || (wanted == IPV6 && present == IPV4)))
		return -ENOTSUPP;
	if (skb->words.behind || at > linear_size(skb) || (wanted == IPV6 && place < DIFFERENCE) || skb->summed == COMPLETE) {
		ask_python();
		return 0;
	}
	if (wanted == IPV4 && at + DIFFERENCE > linear_size(skb))
		return -ENOMEM;
	settle(skb);
	if (wanted == IPV6) {
		move((void *)(start - DIFFERENCE), (void *)start, at);
		fill((void *)(start - DIFFERENCE + at), 0, DIFFERENCE);
		skb->words.start = start - DIFFERENCE;
		if (skb->transport == place + at)
			skb->transport = (place - DIFFERENCE + at) & 0xffff;
	} else {
		move((void *)(start + DIFFERENCE), (void *)start, at);
		skb->words.start = start + DIFFERENCE;
	}
	*(u32 *)(handle + PROTOCOL) = wanted;
	clear_hash(handle);
	return 0;
}

NATIVE u64 bpf_xdp_get_buff_len(struct xdp *xdp)
{
	return xdp->words.end - xdp->words.data + xdp->words.behind;
}

NATIVE s64 bpf_xdp_load_bytes(struct xdp *xdp, u32 offset, void *dst, u32 size)
{
	struct words *words = &xdp->words;

	if (offset > 0xffff || size > 0xffff)
		return -EFAULT;
	if ((u64)offset + size <= words->end - words->data) {
		move(dst, (void *)(words->data + offset), size);
		return 0;
	}
	if (!words->behind)
		return -EINVAL;
	ask_python();
	return 0;
}

NATIVE s64 bpf_xdp_store_bytes(struct xdp *xdp, u32 offset, void *src, u32 size)
{
	struct words *words = &xdp->words;

	if (offset > 0xffff || size > 0xffff)
		return -EFAULT;
	if ((u64)offset + size <= words->end - words->data) {
		move((void *)(words->data + offset), src, size);
		return 0;
	}
	if (!words->behind)
		return -EINVAL;
	ask_python();
	return 0;
}

NATIVE s64 bpf_xdp_adjust_head(struct xdp *xdp, s32 delta)
{
	struct words *words = &xdp->words;
	u64 meta = words->data - words->start, data = words->data + (s64)delta;

	if ((s64)(data - (xdp->words.buffer + XDP_FRAME + meta)) < 0 || (s64)(words->end - ETH_HLEN - data) < 0)
		return -EINVAL;
	if (meta)
		move((void *)(data - meta), (void *)words->start, meta);
	words->start = data - meta;
	words->data = data;
	return 0;
}

NATIVE s64 bpf_xdp_adjust_meta(struct xdp *xdp, s32 delta)
{
	struct words *words = &xdp->words;
	u64 start = words->start + (s64)delta;

	if ((s64)(start - (xdp->words.buffer + XDP_FRAME)) < 0 || (s64)(words->data - start) < 0)
		return -EINVAL;
	if ((words->data - start) & 3)
		return -EACCES;
	words->start = start;
	return 0;
}

NATIVE s64 bpf_xdp_adjust_tail(struct xdp *xdp, s32 delta)
{
	struct words *words = &xdp->words;
	u64 end = words->end + (s64)delta;

	if (words->behind) {
		ask_python();
		return 0;
	}
	if ((s64)(xdp->words.buffer + XDP_HARD_END - end) < 0 || (s64)(end - (words->data + ETH_HLEN)) < 0)
		return -EINVAL;
	if (delta > 0)
		fill((void *)words->end, 0, delta);
	words->end = end;
	return 0;
}
