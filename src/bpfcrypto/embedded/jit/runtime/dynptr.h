/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where the bytes of a dynptr are. */
#ifndef DYNPTR_H
#define DYNPTR_H

#include "runtime.h"

enum place { NOWHERE, CONTIGUOUS, PYTHON };

/*
 * The address of a range of a dynptr. NOWHERE: it has no such contiguous range. PYTHON: only the packet's object knows, since a part of
 * the packet lies behind the linear one.
 */
INLINE enum place dynptr_place(const struct dynptr *d, u32 offset, u32 size, u64 *address)
{
	u32 kind = DYNPTR_KIND(d), all = DYNPTR_SIZE(d);
	struct words *words;
	u64 first, at;

	if (!d->data || size > all || offset > all - size)
		return NOWHERE;
	at = (u64)d->offset + offset;
	if (likely(kind == LOCAL || kind == RINGBUF)) {
		*address = d->data + at;
		return CONTIGUOUS;
	}
	if (kind == SKB_META)
		return PYTHON;
	words = words_of(d->data, kind);
	first = kind == XDP ? words->data : words->start;
	if (kind == XDP && (at > 0xffff || size > 0xffff))
		return NOWHERE;
	if (at + size <= words->end - first) {
		if (kind == XDP && words->behind && at >= words->end - first)
			return PYTHON;
		*address = first + at;
		return CONTIGUOUS;
	}
	return words->behind ? PYTHON : NOWHERE;
}

#endif
