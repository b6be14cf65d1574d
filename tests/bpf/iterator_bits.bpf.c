/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The iterator over bits of words. */
#include "test.h"

LICENSE_GPL;

#define WORDS 512

u64 words[WORDS];
u64 given[4];
u32 count;
s64 ret;
u32 rounds;
u64 sum;
u64 order;

static __always_inline void walk(const u64 *from, u32 length)
{
	struct bpf_iter_bits it;
	int *bit;

	rounds = sum = order = 0;
	ret = bpf_iter_bits_new(&it, from, length);
	while ((bit = bpf_iter_bits_next(&it))) {
		rounds++;
		sum += *bit;
		order = order * 31 + *bit;
	}
	bpf_iter_bits_destroy(&it);
}

SEC("tc")
__success __description("one word")
int one_word(struct __sk_buff *skb)
{
	walk(given, 1);
	return 0;
}

SEC("xdp")
__success __description("as many words as are asked for, none and too many too")
int many_words(struct xdp_md *xdp)
{
	int i;

	bpf_for(i, 0, WORDS)
		words[i] = given[i & 3] & 1ull << (i & 63);
	words[7] = given[1];
	walk(words, count);
	return 0;
}

SEC("syscall")
__success __description("the bits are those of the start; what changes later is not seen")
int copied(void *args)
{
	struct bpf_iter_bits it;
	int *bit;

	rounds = 0;
	ret = bpf_iter_bits_new(&it, given, 3);
	given[0] = given[1] = given[2] = 0;
	while ((bit = bpf_iter_bits_next(&it)))
		rounds++;
	bpf_iter_bits_destroy(&it);
	return 0;
}

SEC("syscall")
__success __description("no address: nothing to walk over")
int no_words(void *args)
{
	walk(NULL, count);
	return 0;
}
