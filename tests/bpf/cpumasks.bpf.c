/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* CPU masks, in syscall programs. */
#include "test.h"

LICENSE_GPL;

struct value {
	struct bpf_cpumask __kptr *mask;
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_ARRAY, 2, struct value, 0);

u32 first;
u32 second;
u32 slot;
u64 bits;
s64 ret[24];
u32 nd_any[2];

SEC("syscall")
__success __description("bits of CPUs that are there and that cannot be; questions about them")
int single(void *args)
{
	struct bpf_cpumask *mask = bpf_cpumask_create();
	const struct cpumask *view = (const struct cpumask *)mask;

	if (!mask)
		return 1;
	ret[0] = bpf_cpumask_empty(view);
	ret[1] = bpf_cpumask_first(view);
	ret[2] = bpf_cpumask_first_zero(view);
	bpf_cpumask_set_cpu(first, mask);
	ret[3] = bpf_cpumask_test_cpu(first, view);
	ret[4] = bpf_cpumask_test_cpu(second, view);
	ret[5] = bpf_cpumask_test_and_set_cpu(second, mask);
	ret[6] = bpf_cpumask_weight(view);
	ret[7] = bpf_cpumask_first(view);
	ret[8] = bpf_cpumask_first_zero(view);
	ret[9] = bpf_cpumask_test_and_clear_cpu(first, mask);
	ret[10] = bpf_cpumask_weight(view);
	bpf_cpumask_setall(mask);
	ret[11] = bpf_cpumask_full(view);
	ret[12] = bpf_cpumask_weight(view);
	ret[13] = bpf_cpumask_first_zero(view);
	nd_any[0] = bpf_cpumask_any_distribute(view);
	ret[14] = bpf_cpumask_test_cpu(nd_any[0], view);
	bpf_cpumask_clear_cpu(first, mask);
	ret[15] = bpf_cpumask_full(view);
	bpf_cpumask_clear(mask);
	ret[16] = bpf_cpumask_empty(view);
	ret[17] = bpf_cpumask_any_distribute(view);
	ret[18] = bpf_cpumask_populate((struct cpumask *)mask, &bits, sizeof(bits));
	ret[19] = bpf_cpumask_weight(view);
	ret[20] = bpf_cpumask_populate((struct cpumask *)mask, &bits, 4);
	ret[21] = bpf_cpumask_full(view);
	ret[22] = mask->cpumask.bits[0];
	bpf_cpumask_release(mask);
	return 0;
}

SEC("syscall")
__success __description("two masks and what they make together")
int pairs(void *args)
{
	struct bpf_cpumask *one = bpf_cpumask_create(), *two = bpf_cpumask_create(), *made = bpf_cpumask_create(), *more;
	const struct cpumask *a = (const struct cpumask *)one, *b = (const struct cpumask *)two;

	if (one && two && made) {
		bpf_cpumask_set_cpu(first, one);
		bpf_cpumask_set_cpu(second, two);
		bpf_cpumask_populate((struct cpumask *)made, &bits, sizeof(bits));
		ret[0] = bpf_cpumask_equal(a, b);
		ret[1] = bpf_cpumask_intersects(a, b);
		ret[2] = bpf_cpumask_subset(a, (const struct cpumask *)made);
		ret[3] = bpf_cpumask_first_and(a, b);
		ret[4] = bpf_cpumask_and(made, a, b);
		ret[5] = bpf_cpumask_weight((const struct cpumask *)made);
		bpf_cpumask_or(made, a, b);
		ret[6] = bpf_cpumask_weight((const struct cpumask *)made);
		bpf_cpumask_xor(made, a, b);
		ret[7] = bpf_cpumask_weight((const struct cpumask *)made);
		bpf_cpumask_copy(made, b);
		ret[8] = bpf_cpumask_equal((const struct cpumask *)made, b);
		nd_any[1] = bpf_cpumask_any_and_distribute(a, b);
		more = bpf_cpumask_acquire(made);
		bpf_cpumask_release(more);
	}
	if (one)
		bpf_cpumask_release(one);
	if (two)
		bpf_cpumask_release(two);
	if (made)
		bpf_cpumask_release(made);
	return 0;
}

SEC("syscall")
__success __description("kept in a map")
int keep(void *args)
{
	struct bpf_cpumask *mask, *there;
	struct value *value;
	u32 index = slot & 1;

	ret[0] = ret[1] = -1;
	value = bpf_map_lookup_elem(&slots, &index);
	if (!value)
		return 1;
	bpf_rcu_read_lock();
	there = value->mask;
	if (there)
		ret[0] = bpf_cpumask_weight((const struct cpumask *)there);
	bpf_rcu_read_unlock();
	mask = bpf_cpumask_create();
	if (!mask)
		return 2;
	bpf_cpumask_set_cpu(first, mask);
	mask = bpf_kptr_xchg(&value->mask, mask);
	if (mask) {
		ret[1] = bpf_cpumask_first((const struct cpumask *)mask);
		bpf_cpumask_release(mask);
	}
	return 0;
}

SEC("?syscall")
__failure __msg("Unreleased reference")
int leak(void *args)
{
	return bpf_cpumask_create() != NULL;
}

SEC("?tc")
__failure __msg("calling kernel function bpf_cpumask_create is not allowed")
int in_tc(struct __sk_buff *skb)
{
	struct bpf_cpumask *mask = bpf_cpumask_create();

	if (mask)
		bpf_cpumask_release(mask);
	return 0;
}
