/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Subprograms: static and global, with up to five arguments, memory arguments, several levels, and their own stack. */
#include "test.h"

LICENSE_GPL;

struct pair {
	u64 left;
	u64 right;
};

u64 inputs[5];
u64 results[8];

static __noinline u64 combine(u64 a, u64 b, u64 c, u64 d, u64 e)
{
	return a + 3 * b + 5 * c + 7 * d + 11 * e;
}

static __noinline u64 swap(struct pair *pair)
{
	u64 left = pair->left;

	pair->left = pair->right;
	pair->right = left;
	return left;
}

/* A frame of its own: 64 bytes that are not the caller's. */
static __noinline u64 fill_frame(u32 start)
{
	volatile u64 frame[8];

	for (u32 i = 0; i < 8; i++)
		frame[i] = start + i;
	return frame[0] + frame[7];
}

static __noinline u64 level3(u64 x)
{
	return fill_frame(x) + 1;
}

static __noinline u64 level2(u64 x)
{
	volatile u64 kept = x * 2;

	return level3(x) + kept;
}

static __noinline u64 level1(u64 x)
{
	volatile u64 kept = x * 3;

	return level2(x + 1) + kept;
}

SEC("tc")
__success __description("static subprograms see the caller's memory; frames do not overlap")
int statics(struct __sk_buff *skb)
{
	struct pair pair = {.left = inputs[0], .right = inputs[1]};

	results[0] = combine(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]);
	results[1] = swap(&pair);
	results[2] = pair.left;
	results[3] = pair.right;
	results[4] = level1(inputs[0] & 0xff);
	return 0;
}

/* Global functions are proved on their own: a pointer may be NULL, and is checked. */
__noinline int sum_pair(struct pair *pair)
{
	return pair ? pair->left + pair->right : -1;
}

__noinline u32 packet_length(struct __sk_buff *skb)
{
	return skb->len;
}

__weak __noinline int choose(int which)
{
	return which > 3 ? 30 : which;
}

__noinline int sum_present(struct pair *pair __arg_nonnull)
{
	return pair->left * pair->right;
}

SEC("tc")
__success __description("global functions, with memory and context arguments")
int globals(struct __sk_buff *skb)
{
	struct pair pair = {.left = inputs[0], .right = inputs[1]};

	results[0] = sum_pair(&pair);
	results[1] = sum_pair(NULL);
	results[2] = packet_length(skb);
	results[3] = choose(inputs[2]);
	results[4] = sum_present(&pair);
	return choose(2);
}

/* The same subprogram from programs of two types. */
SEC("xdp")
__success __retval(36) __description("a subprogram that a tc program uses too")
int shared(struct xdp_md *xdp)
{
	return combine(1, 1, 1, 1, 1) + choose(9) - 21;
}

/* A packet pointer given to a subprogram, and bounds proved there. */
static __noinline int first_byte(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data;

	return (void *)(data + 1) > (void *)(long)skb->data_end ? -1 : *data;
}

SEC("tc")
__success __description("packet access in a subprogram")
int packet_in_subprogram(struct __sk_buff *skb)
{
	results[0] = first_byte(skb);
	return 0;
}

/* More work than inlining would do: a jump table by hand over static functions. */
static __noinline u64 op_add(u64 a, u64 b)
{
	return a + b;
}

static __noinline u64 op_mul(u64 a, u64 b)
{
	return a * b;
}

static __noinline u64 op_xor(u64 a, u64 b)
{
	return a ^ b;
}

SEC("tc")
__success __description("calls in a loop, chosen at run time")
int calls_in_loop(struct __sk_buff *skb)
{
	u64 value = inputs[0];

	for (u32 i = 0; i < 16; i++) {
		u64 operand = inputs[i & 3];

		switch (operand % 3) {
		case 0:
			value = op_add(value, operand);
			break;
		case 1:
			value = op_mul(value, operand);
			break;
		default:
			value = op_xor(value, operand);
		}
	}
	results[0] = value;
	return 0;
}
