/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Resilient spin locks: several at once, and what a program is told that asks for one it has. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct value {
	struct bpf_res_spin_lock lock;
	u32 other;
	u64 count;
};

struct item {
	u64 key;
	struct bpf_list_node link;
};

TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, 4, struct value, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, 4, struct value, 0);

private(a) struct bpf_res_spin_lock lock;
private(a) struct bpf_list_head nd_items __contains(item, link);

u32 first;
u32 second;
s64 ret[4];
u64 seen;

SEC("tc")
__success __description("two locks of one map: the same one twice is refused while it runs")
int twice(struct __sk_buff *skb)
{
	struct value *one, *two;
	u32 key = first & 3, other = second & 3;

	ret[0] = ret[1] = 1;
	one = bpf_map_lookup_elem(&m_array, &key);
	two = bpf_map_lookup_elem(&m_array, &other);
	if (!one || !two)
		return 1;
	ret[0] = bpf_res_spin_lock(&one->lock);
	if (ret[0])
		return 2;
	one->count++;
	ret[1] = bpf_res_spin_lock(&two->lock);
	if (ret[1]) {
		bpf_res_spin_unlock(&one->lock);
		return 3;
	}
	two->count++;
	bpf_res_spin_unlock(&two->lock);
	bpf_res_spin_unlock(&one->lock);
	return 0;
}

SEC("xdp")
__success __description("without interrupts")
int without_interrupts(struct xdp_md *xdp)
{
	unsigned long flags, inner;
	struct value *one, *two;
	u32 key = first & 3, other = second & 3;

	one = bpf_map_lookup_elem(&m_array, &key);
	two = bpf_map_lookup_elem(&m_array, &other);
	if (!one || !two)
		return 1;
	ret[0] = bpf_res_spin_lock_irqsave(&one->lock, &flags);
	if (ret[0])
		return 2;
	ret[1] = bpf_res_spin_lock_irqsave(&two->lock, &inner);
	if (!ret[1]) {
		two->count += 2;
		bpf_res_spin_unlock_irqrestore(&two->lock, &inner);
	}
	one->count++;
	bpf_res_spin_unlock_irqrestore(&one->lock, &flags);
	return 0;
}

SEC("tc")
__success __description("a list under a resilient lock, an element of a hash")
int list_under_lock(struct __sk_buff *skb)
{
	struct bpf_list_node *node = NULL;
	struct value *value, fresh = {.count = 5};
	struct item *item = bpf_obj_new(typeof(*item));
	u32 key = first & 3;

	seen = 0;
	if (!item)
		return 1;
	item->key = first;
	if (bpf_res_spin_lock(&lock)) {
		bpf_obj_drop(item);
		return 2;
	}
	bpf_list_push_back(&nd_items, &item->link);
	if (second & 1)
		node = bpf_list_pop_front(&nd_items);
	bpf_res_spin_unlock(&lock);
	if (node) {
		item = container_of(node, struct item, link);
		seen = item->key;
		bpf_obj_drop(item);
	}
	value = bpf_map_lookup_elem(&m_hash, &key);
	if (!value)
		return bpf_map_update_elem(&m_hash, &key, &fresh, 0);
	if (bpf_res_spin_lock(&value->lock))
		return 3;
	value->count += first;
	bpf_res_spin_unlock(&value->lock);
	return 0;
}

SEC("?tc")
__failure __msg("AA deadlock detected")
int same_pointer(struct __sk_buff *skb)
{
	if (bpf_res_spin_lock(&lock))
		return 1;
	if (bpf_res_spin_lock(&lock)) {
		bpf_res_spin_unlock(&lock);
		return 2;
	}
	bpf_res_spin_unlock(&lock);
	bpf_res_spin_unlock(&lock);
	return 0;
}

SEC("?tc")
__failure __msg("bpf_res_spin_unlock without taking a lock")
int unlock_unlocked(struct __sk_buff *skb)
{
	bpf_res_spin_unlock(&lock);
	return 0;
}
