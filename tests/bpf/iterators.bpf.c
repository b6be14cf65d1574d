/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Loops over the iterator of numbers, in all its forms, and its refusals. */
#include "test.h"

LICENSE_GPL;

int start;
int end;
s64 ret;
u64 sum;
u32 rounds;
u8 table[32];

SEC("tc")
__success __description("from start to end, whichever these are; a range that runs backwards is refused")
int count_range(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *next;

	sum = rounds = 0;
	ret = bpf_iter_num_new(&it, start, end);
	while ((next = bpf_iter_num_next(&it))) {
		sum += *next;
		rounds++;
	}
	bpf_iter_num_destroy(&it);
	return 0;
}

SEC("tc")
__success __description("bpf_for() gives an index that the verifier can bound")
int index_table(struct __sk_buff *skb)
{
	int i;

	bpf_for(i, 0, sizeof(table))
		table[i] = 3 * i;
	return 0;
}

SEC("tc")
__success __description("break, continue and a loop in a loop")
int leave_loops(struct __sk_buff *skb)
{
	int i, j;

	sum = 0;
	bpf_for(i, 0, 100) {
		if (i % 2)
			continue;
		if (i > end)
			break;
		bpf_for(j, 0, i) {
			if (j == 7)
				break;
			sum += i * j;
		}
	}
	return 0;
}

SEC("xdp")
__success __retval(21) __description("bpf_repeat() counts rounds")
int repeat(struct xdp_md *xdp)
{
	u32 done = 0;

	bpf_repeat(1000) {
		if (++done > 20)
			break;
	}
	return done;
}

SEC("syscall")
__success __description("returning from inside a loop destroys the iterator")
int leave_by_return(void *args)
{
	int *next;

	bpf_for_each(num, next, 5, 50) {
		if (*next == 9)
			return *next;
	}
	return 0;
}

SEC("tc")
__success __description("many rounds: the verifier does not walk through them one by one")
int long_loop(struct __sk_buff *skb)
{
	u64 total = 0;
	int i;

	bpf_for(i, 0, 20000)
		total += i;
	sum = total;
	return 0;
}
