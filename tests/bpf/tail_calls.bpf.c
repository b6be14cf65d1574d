/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tail calls: chains, their limit, empty slots, from subprograms, with and without fragments. */
#include "test.h"

LICENSE_GPL;

#define SLOTS 6

int leaf(struct __sk_buff *skb);
int itself(struct __sk_buff *skb);
int twice(struct __sk_buff *skb);
int hop(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__uint(key_size, sizeof(u32));
	__array(values, int(void *));
} next SEC(".maps") = {
	.values = {
		[0] = (void *)&leaf,
		[1] = (void *)&itself,
		[2] = (void *)&twice,
		[3] = (void *)&hop,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u32);
} next_xdp SEC(".maps");

/* In: where to go. */
u64 slot;
u32 missing;

/* Out: how often a program began, and how often a call came back. */
u32 begun;
u32 back;
u32 mark;

SEC("tc")
__success __retval(77) __description("the end of a chain")
int leaf(struct __sk_buff *skb)
{
	begun++;
	return 77;
}

SEC("tc")
__success __description("a program that calls itself: once, and then 33 times")
int itself(struct __sk_buff *skb)
{
	begun++;
	bpf_tail_call(skb, &next, 1);
	back++;
	return begun;
}

SEC("tc")
__success __description("wherever user space says")
int anywhere(struct __sk_buff *skb)
{
	begun++;
	bpf_tail_call(skb, &next, slot);
	back++;
	return 1;
}

SEC("tc")
__success __description("an index of 64 bits, of which 32 count")
int wide(struct __sk_buff *skb)
{
	u64 index = slot;

	asm volatile("r1 = %0\n\t"
		     "r2 = %1 ll\n\t"
		     "r3 = %2\n\t"
		     "call 12"
		     :
		     : "r"(skb), "i"(&next), "r"(index)
		     : "r0", "r1", "r2", "r3", "r4", "r5");
	back++;
	return 1;
}

static __noinline int below(struct __sk_buff *skb)
{
	int result = 5;

	barrier_var(result); /* the compiler believes that it is always 5 */
	begun++;
	bpf_tail_call(skb, &next, slot);
	back++;
	return result;
}

SEC("tc")
__success __description("from a subprogram: the other program returns to the caller")
int from_below(struct __sk_buff *skb)
{
	return below(skb) + 1000;
}

static __noinline int again(struct __sk_buff *skb)
{
	int result = 1;

	barrier_var(result);
	begun++;
	bpf_tail_call(skb, &next, 2);
	back++;
	return result;
}

SEC("tc")
__success __description("two subprograms that call their program: all frames share one limit")
int twice(struct __sk_buff *skb)
{
	int sum = again(skb);

	return sum + again(skb);
}

SEC("tc")
__success __description("calls of empty slots do not count")
int empty_slots(struct __sk_buff *skb)
{
	for (u32 i = 0; i < 40; i++)
		bpf_tail_call(skb, &next, missing + 4 + (i & 1));
	bpf_tail_call(skb, &next, 1);
	back++;
	return 2;
}

SEC("tc")
__success __description("what a program leaves in the packet's fields the next one finds")
int hop(struct __sk_buff *skb)
{
	mark = skb->mark;
	skb->mark = mark + 1;
	bpf_tail_call(skb, &next, mark < 5 ? 3 : 0);
	return 3;
}

SEC("action")
__success __description("another type of program, and so never in the same map")
int plain_action(struct __sk_buff *skb)
{
	return 9;
}

SEC("xdp")
__success __description("from XDP")
int xdp_from(struct xdp_md *xdp)
{
	begun++;
	bpf_tail_call(xdp, &next_xdp, slot);
	back++;
	return XDP_PASS;
}

SEC("xdp")
__success __retval(3) __description("to XDP")
int xdp_to(struct xdp_md *xdp)
{
	return XDP_TX;
}

SEC("xdp.frags")
__success __retval(1) __description("to XDP with fragments")
int xdp_frags(struct xdp_md *xdp)
{
	return XDP_DROP;
}
