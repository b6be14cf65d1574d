// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs on one packet, and on many that lie in one buffer. */
#include "driver.h"

enum { PLAIN, TOUCHED, NOT_HERE };

/*
 * One run, or `rounds` on the same packet. PLAIN: the packet is where `out` says. TOUCHED: Python took part, and has the result.
 * NOT_HERE: nothing was run.
 */
NATIVE u64 run_one(struct arena *a, const u8 *data, u64 size, u64 rounds)
{
	u64 start;

	if (a->xdp && size > XDP_MAX)
		return NOT_HERE;
	if (a->xdp ? xdp_begin(a, data, size) : skb_begin(a, data, size))
		return NOT_HERE;
	a->touched = 0;
	start = clock_ns(1);
	for (a->left = rounds; a->left;) {
		a->left--;
		run_once(a);
		if (unlikely(a->stopped))
			break;
	}
	a->duration = clock_ns(1) - start;
	return a->touched ? TOUCHED : PLAIN;
}

/* Packets that lie behind one another, and what became of them (driver.py). */
struct batch {
	struct arena *arena;
	const u8 *in;      /* the next packet */
	const u32 *sizes;  /* of each packet; NULL where all have `size` bytes */
	u64 size;
	u64 next, count;   /* packets that are done, and all */
	u64 out, out_end;  /* room for what comes out */
	u64 first;         /* where the offsets of results count from */
	u64 *offsets;
	u32 *lengths;
	u32 *retvals;
	u32 *errnos;
};

/* Ends when all packets are done, when the next result does not fit, or when a run raised something. */
NATIVE u64 run_batch(struct batch *b)
{
	struct arena *a = b->arena;
	u64 n, size, refused, start = clock_ns(1);

	for (n = b->next; n < b->count; n++) {
		size = b->sizes ? b->sizes[n] : b->size;
		if (unlikely(b->out_end - b->out < size + LARGEST))
			break;
		a->number = n;
		refused = run_packet(a, b->in, size);
		if (unlikely(a->stopped))
			break;
		b->in += size;
		b->offsets[n] = b->out - b->first;
		b->errnos[n] = refused;
		if (unlikely(refused)) {
			b->lengths[n] = 0;
			b->retvals[n] = 0;
			continue;
		}
		b->retvals[n] = a->retval;
		b->lengths[n] = a->out_size;
		copy((void *)b->out, (void *)a->out, a->out_size);
		b->out += a->out_size;
	}
	b->next = n;
	a->duration += clock_ns(1) - start;
	return n;
}
