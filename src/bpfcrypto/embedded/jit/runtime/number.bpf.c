// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The numbers iterator (kfuncs_core.py), sums (checksum.py) and the comparison of texts (helpers_text.py). */
#include "runtime.h"

#define MAX_LOOPS (8 << 20)

struct numbers {
	s32 current, end;
};

NATIVE s64 bpf_iter_num_new(struct numbers *it, s32 start, s32 end)
{
	it->current = it->end = 0;
	if (start > end)
		return -EINVAL;
	if ((s64)end - start > MAX_LOOPS)
		return -E2BIG;
	it->current = (u32)start - 1; /* wraps for the least number, and the first step wraps back */
	it->end = end;
	return 0;
}

NATIVE s32 *bpf_iter_num_next(struct numbers *it)
{
	s32 following = (u32)it->current + 1;

	if (following >= it->end) {
		it->current = it->end = 0;
		return 0;
	}
	it->current = following;
	return &it->current;
}

NATIVE u64 bpf_iter_num_destroy(struct numbers *it)
{
	it->current = it->end = 0;
	return 0;
}

INLINE u32 carried(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* A 32-bit sum of bytes; a last odd byte counts as a low one. */
INLINE u32 sum_of(const u8 *p, u32 size, u32 sum)
{
	u64 total = sum;

	for (; size >= 4; size -= 4, p += 4)
		total += *(const u32 *)p;
	if (size & 2) {
		total += *(const u16 *)p;
		if (size & 1)
			total += (u32)p[2] << 16;
	} else if (size & 1) {
		total += *p;
	}
	return carried(total);
}

INLINE u32 folded(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum + (sum >> 16)) & 0xffff;
}

NATIVE u64 bpf_csum_diff(const u8 *from, u32 from_size, const u8 *to, u32 to_size, u32 seed)
{
	if (from_size && to_size)
		return folded(carried((u64)sum_of(to, to_size, seed) + (u32)~sum_of(from, from_size, 0)));
	if (from_size)
		return folded(~sum_of(from, from_size, ~seed));
	return folded(sum_of(to, to_size, seed));
}

NATIVE s64 bpf_strncmp(const u8 *left, u32 size, const u8 *right)
{
	u32 at;

	for (at = 0; at < size; at++) {
		if (left[at] != right[at])
			return left[at] < right[at] ? -1 : 1;
		if (!left[at])
			break;
	}
	return 0;
}
