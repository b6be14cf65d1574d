/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Atomic operations of the v3 instruction set on map memory and on the stack, 32 and 64 bits, with and without the old value. */
#include "test.h"

LICENSE_GPL;

/* In and out. */
u64 wide[8];
u32 narrow[8];
u64 operand;
u64 expected;

/* Out: what the operations returned. */
u64 old_wide[8];
u32 old_narrow[8];

SEC("tc")
__success
int without_old(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&wide[0], operand);
	__sync_fetch_and_and(&wide[1], operand);
	__sync_fetch_and_or(&wide[2], operand);
	__sync_fetch_and_xor(&wide[3], operand);
	__sync_fetch_and_add(&narrow[0], (u32)operand);
	__sync_fetch_and_and(&narrow[1], (u32)operand);
	__sync_fetch_and_or(&narrow[2], (u32)operand);
	__sync_fetch_and_xor(&narrow[3], (u32)operand);
	return 0;
}

SEC("tc")
__success
int with_old(struct __sk_buff *skb)
{
	old_wide[0] = __sync_fetch_and_add(&wide[0], operand);
	old_wide[1] = __sync_fetch_and_and(&wide[1], operand);
	old_wide[2] = __sync_fetch_and_or(&wide[2], operand);
	old_wide[3] = __sync_fetch_and_xor(&wide[3], operand);
	old_wide[4] = __sync_lock_test_and_set(&wide[4], operand);
	old_wide[5] = __sync_val_compare_and_swap(&wide[5], expected, operand);
	old_narrow[0] = __sync_fetch_and_add(&narrow[0], (u32)operand);
	old_narrow[1] = __sync_fetch_and_and(&narrow[1], (u32)operand);
	old_narrow[2] = __sync_fetch_and_or(&narrow[2], (u32)operand);
	old_narrow[3] = __sync_fetch_and_xor(&narrow[3], (u32)operand);
	old_narrow[4] = __sync_lock_test_and_set(&narrow[4], (u32)operand);
	old_narrow[5] = __sync_val_compare_and_swap(&narrow[5], (u32)expected, (u32)operand);
	return 0;
}

SEC("xdp")
__success __description("on the stack")
int on_stack(struct xdp_md *xdp)
{
	volatile u64 cell = wide[6];
	volatile u32 small = narrow[6];

	old_wide[6] = __sync_fetch_and_add(&cell, operand);
	old_narrow[6] = __sync_val_compare_and_swap(&small, (u32)expected, (u32)operand);
	wide[6] = cell;
	narrow[6] = small;
	return 0;
}
