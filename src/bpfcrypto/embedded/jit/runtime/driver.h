/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets given to a program one after another, as test runs without a context give them (testrun.py, packet_skb.py, packet_xdp.py). */
#ifndef DRIVER_H
#define DRIVER_H

#include "runtime.h"

#define ETH_HLEN 14
#define SKB_HEADROOM 64
#define SKB_RECORD 296
#define SKB_MAX 3712
#define XDP_HEADROOM 256
#define XDP_FRAME 40
#define XDP_RECORD 64
#define XDP_MAX 3520
/* More than any run makes of a packet: 17 pages of fragments and a page. */
#define LARGEST 0x20000
#define CONTEXT_PKT_TYPE 4
#define CONTEXT_PROTOCOL 16

/* The place that packets take turns in (arena.py). */
struct arena {
	u64 xdp;      /* whether the program is an XDP program */
	u64 entry;    /* its code */
	u64 context;  /* the record */
	u64 fresh;    /* the record as each packet begins with it */
	u64 buffer;   /* what the packet lies in */
	u64 finish;   /* Python's end of a run that it took part in */
	u64 whole;    /* Python's run of a packet that does not fit here */
	u64 touched;  /* whether Python has taken part */
	u64 stopped;  /* whether a run raised something */
	u64 left;     /* repetitions that are to come */
	u64 number;   /* which packet it is */
	u64 retval;
	u64 out;      /* the packet after the run: address and size */
	u64 out_size;
	u64 duration;
	u64 forwards; /* verdicts below 64 that let a packet go on, one bit each */
	u64 others;   /* whether every other verdict does */
};

INLINE u16 big16(const u8 *at)
{
	return at[0] << 8 | at[1];
}

INLINE u64 skb_begin(struct arena *a, const u8 *data, u64 size)
{
	u32 type, low = 0;
	u16 ethertype;
	struct words *words = (struct words *)(a->context + SKB_WORDS);

	if (size < ETH_HLEN || size > SKB_MAX)
		return EINVAL;
	ethertype = big16(data + 12);
	if ((ethertype == 0x0800 && size < ETH_HLEN + 20) || (ethertype == 0x86dd && size < ETH_HLEN + 40))
		return EINVAL;
	copy((void *)a->context, (void *)a->fresh, SKB_RECORD);
	copy((void *)(a->buffer + SKB_HEADROOM), data, size);
	words->end = a->buffer + SKB_HEADROOM + size;
	if (ethertype < 0x600) /* a length: 802.3 or 802.2, by what follows */
		ethertype = size >= 16 && data[14] == 0xff && data[15] == 0xff ? 1 : 4;
	type = *(u32 *)data | *(u16 *)(data + 4);
	if (type)
		low = data[0] & 1 ? 2 : 3;
	*(u32 *)(a->context + CONTEXT_PKT_TYPE) = low;
	*(u32 *)(a->context + CONTEXT_PROTOCOL) = (u16)(ethertype << 8 | ethertype >> 8);
	return 0;
}

INLINE u64 xdp_begin(struct arena *a, const u8 *data, u64 size)
{
	struct words *words = (struct words *)(a->context + XDP_WORDS);

	if (size < ETH_HLEN)
		return EINVAL;
	copy((void *)a->context, (void *)a->fresh, XDP_RECORD);
	fill((void *)(a->buffer + XDP_FRAME), 0, XDP_HEADROOM - XDP_FRAME);
	copy((void *)(a->buffer + XDP_HEADROOM), data, size);
	words->end = a->buffer + XDP_HEADROOM + size;
	return 0;
}

/* Call the program on the packet that is in place. */
INLINE void run_once(struct arena *a)
{
	struct words *words = words_of(a->context, a->xdp ? XDP : SKB);

	a->retval = (u32)call_program(a->entry, a->context);
	if (unlikely(a->touched)) {
		call_program(a->finish, (u64)a);
		return;
	}
	a->out = words->start;
	a->out_size = words->end - words->start;
}

/* Run the program on a packet; 0, or the errno that a test run of it is refused with. What the packet has become is in the arena. */
INLINE u64 run_packet(struct arena *a, const u8 *data, u64 size)
{
	u64 refused;

	if (a->xdp && size > XDP_MAX) {
		a->out = (u64)data;
		a->out_size = size;
		return call_program(a->whole, (u64)a);
	}
	refused = a->xdp ? xdp_begin(a, data, size) : skb_begin(a, data, size);
	a->touched = 0;
	if (!refused)
		run_once(a);
	return refused;
}

#endif
