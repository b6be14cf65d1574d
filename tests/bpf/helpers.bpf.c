/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Helpers that are not about packets or maps: clocks, random numbers, the CPU, the trace pipe, loops by callback. */
#include "test.h"

LICENSE_GPL;

u64 nd_first;
u64 nd_second;
u32 nd_random[4];
u32 nd_cpu;

SEC("tc")
__success __retval(1) __description("the clock does not go back")
int clock(struct __sk_buff *skb)
{
	nd_first = bpf_ktime_get_ns();
	nd_second = bpf_ktime_get_ns();
	return nd_first && nd_second >= nd_first;
}

SEC("tc")
__success __retval(1) __description("four equal random numbers in a row do not happen")
int random(struct __sk_buff *skb)
{
	u32 different = 0;

	for (int i = 0; i < 4; i++) {
		nd_random[i] = bpf_get_prandom_u32();
		different |= nd_random[i] ^ nd_random[0];
	}
	return different != 0;
}

SEC("tc")
__success __retval(1) __description("a program stays on its CPU")
int cpu(struct __sk_buff *skb)
{
	nd_cpu = bpf_get_smp_processor_id();
	return nd_cpu == bpf_get_smp_processor_id() && nd_cpu < 4096;
}

/* The number of bytes that were printed, the final NUL included. */
s64 printed[4];

SEC("tc")
__success __retval(0) __description("what the trace helper returns for each kind of conversion")
int trace(struct __sk_buff *skb)
{
	printed[0] = bpf_printk("bpfcrypto test");
	printed[1] = bpf_printk("%d and %u", -7, 7U);
	printed[2] = bpf_printk("%x %llx %ld", 255, 1ULL << 40, -1L);
	printed[3] = bpf_printk("%c %%", 'x');
	return 0;
}

/* In and out of loops. */
u32 count;
u64 loop_flags;
s64 ret;
u64 sum;

struct walk {
	u64 sum;
	u32 stop;
};

static long add_up(u32 index, void *context)
{
	struct walk *walk = context;

	walk->sum += index;
	return index == walk->stop;
}

SEC("tc")
__success __description("bpf_loop() with a context on the stack, ended by the callback or by the count")
int loop_add(struct __sk_buff *skb)
{
	struct walk walk = {.stop = 100};

	ret = bpf_loop(count, add_up, &walk, loop_flags);
	sum = walk.sum;
	return 0;
}

static long inner(u32 index, void *context)
{
	u64 *total = context;

	*total += index + 1;
	return 0;
}

static long outer(u32 index, void *context)
{
	u64 total = 0;

	bpf_loop(index, inner, &total, 0);
	sum += total;
	return 0;
}

SEC("tc")
__success __retval(10) __description("a loop in a loop: 0 + 1 + 3 + 6")
int loop_nested(struct __sk_buff *skb)
{
	sum = 0;
	ret = bpf_loop(4, outer, NULL, 0);
	return sum;
}

static long encrypt_block(u32 index, void *context)
{
	return index > *(u32 *)context;
}

SEC("xdp")
__success __retval(5) __description("a callback that returns one ends the loop after that call")
int loop_stop(struct xdp_md *xdp)
{
	u32 last = 3;

	return bpf_loop(1000, encrypt_block, &last, 0);
}

SEC("syscall")
__success __retval(0) __description("the same helpers in a syscall program, with its context as output")
int in_syscall(u64 *args)
{
	struct walk walk = {.stop = 10};

	nd_first = bpf_ktime_get_ns();
	nd_random[0] = bpf_get_prandom_u32();
	nd_cpu = bpf_get_smp_processor_id();
	args[0] = bpf_loop(20, add_up, &walk, 0);
	args[1] = walk.sum;
	return 0;
}
