/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Helpers that need nothing but their arguments: sums, the comparison of texts, numbers in turn, chance. */
#include "test.h"

LICENSE_GPL;

/* In. */
u8 old[256], new[256], text[8];
u32 old_size, new_size, seed;
s32 start, end;

/* Out. */
s64 sum, order, first_of_two, made;
s32 last;
u32 steps;
u32 nd_random[64];

SEC("tc")
__success __description("the sum of what changed")
int sums(struct __sk_buff *skb)
{
	u32 before = old_size, after = new_size;

	if (before <= sizeof(old) && after <= sizeof(new))
		sum = bpf_csum_diff((void *)old, before, (void *)new, after, seed);
	return 0;
}

SEC("tc")
__success __description("a text beside a constant one")
int texts(struct __sk_buff *skb)
{
	order = bpf_strncmp((char *)text, sizeof(text), "abab");
	first_of_two = bpf_strncmp((char *)text, 2, "abab");
	return 0;
}

SEC("tc")
__success __description("numbers from one to another")
int numbers(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *number;

	steps = 0;
	made = bpf_iter_num_new(&it, start, end);
	while ((number = bpf_iter_num_next(&it))) {
		last = *number;
		if (++steps == 1000)
			break;
	}
	bpf_iter_num_destroy(&it);
	return 0;
}

SEC("tc")
__success __description("random numbers")
int chance(struct __sk_buff *skb)
{
	for (u32 i = 0; i < 64; i++)
		nd_random[i] = bpf_get_prandom_u32();
	return 0;
}
