// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Helpers on the bytes and borders of packets (net/core/filter.c), for packets that are linear. Others, and whatever has to do with what the
 * stack knows of an skb besides its bytes, are left to Python.
 */
#include "runtime.h"

#define ETH_HLEN 14
#define XDP_HEADROOM 256
#define XDP_FRAME 40
#define XDP_HARD_END (4096 - 320)
#define PAGE 4096ull

/* The page of an xdp frame begins where its headroom does (packet_xdp.py); it is aligned to nothing, so the record says where. */
struct xdp {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
	struct words words;
	u64 page;
};

INLINE struct words *skb_words(u64 skb)
{
	return words_of(skb, SKB);
}

NATIVE s64 bpf_skb_load_bytes(u64 skb, u32 offset, void *dst, u32 size)
{
	struct words *words = skb_words(skb);

	if ((u64)offset + size <= words->end - words->start) {
		move(dst, (void *)(words->start + offset), size);
		return 0;
	}
	ask_python();
	return 0;
}

NATIVE s64 bpf_skb_store_bytes(u64 skb, u32 offset, void *src, u32 size, u64 flags)
{
	struct words *words = skb_words(skb);

	if (!flags && (u64)offset + size <= words->end - words->start) {
		move((void *)(words->start + offset), src, size);
		return 0;
	}
	ask_python();
	return 0;
}

NATIVE s64 bpf_skb_pull_data(u64 skb, u32 size)
{
	struct words *words = skb_words(skb);

	if (size <= words->end - words->start)
		return 0;
	ask_python();
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

	if ((s64)(data - (xdp->page + XDP_FRAME + meta)) < 0 || (s64)(words->end - ETH_HLEN - data) < 0)
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

	if ((s64)(start - (xdp->page + XDP_FRAME)) < 0 || (s64)(words->data - start) < 0)
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
	if ((s64)(xdp->page + XDP_HARD_END - end) < 0 || (s64)(end - (words->data + ETH_HLEN)) < 0)
		return -EINVAL;
	if (delta > 0)
		fill((void *)words->end, 0, delta);
	words->end = end;
	return 0;
}
