/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lists in an array of heads under one lock. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct item {
	u64 key;
	struct bpf_list_node link;
};

private(a) struct bpf_spin_lock lock;
private(a) struct bpf_list_head nd_lists[2] __contains(item, link);

static __always_inline int push(struct bpf_list_head *list, u64 key)
{
	struct item *item = bpf_obj_new(struct item);

	if (!item)
		return 0;
	item->key = key;
	bpf_spin_lock(&lock);
	bpf_list_push_back(list, &item->link);
	bpf_spin_unlock(&lock);
	return 1;
}

static __always_inline u64 pop(struct bpf_list_head *list)
{
	struct bpf_list_node *link;
	struct item *item;
	u64 key;

	bpf_spin_lock(&lock);
	link = bpf_list_pop_front(list);
	bpf_spin_unlock(&lock);
	if (!link)
		return 0;
	item = container_of(link, struct item, link);
	key = item->key;
	bpf_obj_drop(item);
	return key;
}

SEC("tc")
__success __retval(0x53)
int each_has_its_own(struct __sk_buff *skb)
{
	push(&nd_lists[0], 3);
	push(&nd_lists[1], 5);
	return pop(&nd_lists[0]) + (pop(&nd_lists[1]) << 4) + (pop(&nd_lists[0]) << 8);
}

SEC("tc")
__failure __msg("bpf_list_head not found at offset=8")
int between_two(struct __sk_buff *skb)
{
	return push((void *)&nd_lists[0] + 8, 3);
}
