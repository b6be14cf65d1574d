/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Linked lists of objects: in map values, in data sections, in objects; shared nodes.
 *
 * Where a list head is, user space reads addresses of the copy that the kernel made for it: such maps and variables are nd_.
 */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct item {
	u64 key;
	struct bpf_list_node link;
	u64 other;
};

struct member {
	u64 key;
	struct bpf_list_node link;
	struct bpf_list_node second;
	struct bpf_refcount ref;
};

struct bag {
	u64 key;
	struct bpf_spin_lock lock;
	struct bpf_list_head items __contains(item, link);
};

struct value {
	struct bpf_spin_lock lock;
	struct bpf_list_head items __contains(item, link);
	struct member __kptr *member;
	struct bag __kptr *bag;
	u64 other;
};

TEST_MAP(nd_slots, BPF_MAP_TYPE_ARRAY, 2, struct value, 0);
TEST_MAP(nd_table, BPF_MAP_TYPE_HASH, 4, struct value, 0);

private(a) struct bpf_spin_lock lock;
private(a) struct bpf_list_head nd_members __contains(member, link);
private(a) struct bpf_list_head nd_others __contains(member, second);

u32 op;
u32 slot;
u64 given;
u64 seen[8];
s64 ret;

SEC("tc")
__success __description("in a map value: either end, on and off")
int in_map(struct __sk_buff *skb)
{
	struct bpf_list_node *node;
	struct value *value;
	struct item *item;
	u32 index = slot & 1;

	seen[0] = seen[1] = seen[2] = ret = 0;
	value = bpf_map_lookup_elem(&nd_slots, &index);
	if (!value)
		return 1;
	if (op & 4) {
		item = bpf_obj_new(typeof(*item));
		if (!item)
			return 2;
		item->key = given;
		item->other = 1;
		bpf_spin_lock(&value->lock);
		ret = op & 1 ? bpf_list_push_front(&value->items, &item->link) : bpf_list_push_back(&value->items, &item->link);
		bpf_spin_unlock(&value->lock);
	} else {
		bpf_spin_lock(&value->lock);
		node = op & 1 ? bpf_list_pop_front(&value->items) : bpf_list_pop_back(&value->items);
		bpf_spin_unlock(&value->lock);
		if (node) {
			item = container_of(node, struct item, link);
			seen[0] = item->key;
			bpf_obj_drop(item);
		}
	}
	bpf_spin_lock(&value->lock);
	node = bpf_list_front(&value->items);
	if (node)
		seen[1] = container_of(node, struct item, link)->key;
	node = bpf_list_back(&value->items);
	if (node)
		seen[2] = container_of(node, struct item, link)->key;
	bpf_spin_unlock(&value->lock);
	return 0;
}

SEC("tc")
__success __description("what is still written to a node after it went on a list is there when it comes off")
int write_after_push(struct __sk_buff *skb)
{
	struct bpf_list_node *node;
	struct value *value;
	struct item *item;
	u32 index = slot & 1;

	seen[0] = 0;
	value = bpf_map_lookup_elem(&nd_slots, &index);
	if (!value)
		return 1;
	item = bpf_obj_new(typeof(*item));
	if (!item)
		return 2;
	bpf_spin_lock(&value->lock);
	ret = bpf_list_push_back(&value->items, &item->link);
	item->key = given;
	node = bpf_list_pop_front(&value->items);
	bpf_spin_unlock(&value->lock);
	if (node) {
		item = container_of(node, struct item, link);
		seen[0] = item->key;
		bpf_obj_drop(item);
	}
	return 0;
}

SEC("syscall")
__success __description("one object on two lists; a node that is on a list goes on no other")
int share(void *args)
{
	struct bpf_list_node *node;
	struct member *member, *again;

	seen[0] = seen[1] = seen[2] = ret = 0;
	member = bpf_obj_new(typeof(*member));
	if (!member)
		return 1;
	member->key = given;
	again = bpf_refcount_acquire(member);
	bpf_spin_lock(&lock);
	ret = bpf_list_push_back(&nd_members, &member->link);
	bpf_spin_unlock(&lock);
	if (again) {
		bpf_spin_lock(&lock);
		ret = ret * 100 + (op & 1 ? bpf_list_push_front(&nd_members, &again->link) : bpf_list_push_front(&nd_others, &again->second));
		bpf_spin_unlock(&lock);
	}
	if (!(op & 2))
		return 0;
	bpf_spin_lock(&lock);
	node = bpf_list_pop_front(&nd_members);
	bpf_spin_unlock(&lock);
	if (node) {
		member = container_of(node, struct member, link);
		seen[0] = member->key;
		member->key++;
		bpf_obj_drop(member);
	}
	bpf_spin_lock(&lock);
	node = bpf_list_pop_back(&nd_others);
	bpf_spin_unlock(&lock);
	if (node) {
		member = container_of(node, struct member, second);
		seen[1] = member->key;
		bpf_obj_drop(member);
	}
	return 0;
}

SEC("tc")
__success __description("a list in an object in a map: the object goes with all that is on it")
int in_object(struct __sk_buff *skb)
{
	struct bpf_list_node *node;
	struct value *value;
	struct item *item;
	struct bag *bag;
	u32 index = slot & 1;

	seen[0] = seen[1] = 0;
	value = bpf_map_lookup_elem(&nd_slots, &index);
	if (!value)
		return 1;
	bag = bpf_kptr_xchg(&value->bag, NULL);
	if (!bag) {
		bag = bpf_obj_new(typeof(*bag));
		if (!bag)
			return 2;
		bag->key = given;
	}
	seen[0] = bag->key;
	item = bpf_obj_new(typeof(*item));
	if (item) {
		item->key = given;
		bpf_spin_lock(&bag->lock);
		bpf_list_push_back(&bag->items, &item->link);
		bpf_spin_unlock(&bag->lock);
	}
	bpf_spin_lock(&bag->lock);
	node = op & 1 ? bpf_list_pop_front(&bag->items) : NULL;
	bpf_spin_unlock(&bag->lock);
	if (node) {
		item = container_of(node, struct item, link);
		seen[1] = item->key;
		bpf_obj_drop(item);
	}
	if (op & 2) {
		bpf_obj_drop(bag);
		return 0;
	}
	bag = bpf_kptr_xchg(&value->bag, bag);
	if (bag)
		bpf_obj_drop(bag);
	return 0;
}

SEC("tc")
__success __description("updating and deleting an element drops its list")
int drop_lists(struct __sk_buff *skb)
{
	struct bpf_list_node *node = NULL;
	struct value *value, empty = {};
	struct item *item;
	u32 key = slot & 3;

	seen[0] = 0;
	if (op & 1)
		ret = bpf_map_update_elem(&nd_table, &key, &empty, 0);
	if (op & 2)
		ret = bpf_map_delete_elem(&nd_table, &key);
	value = bpf_map_lookup_elem(&nd_table, &key);
	if (!value)
		return 1;
	item = bpf_obj_new(typeof(*item));
	if (!item)
		return 2;
	item->key = given;
	bpf_spin_lock(&value->lock);
	bpf_list_push_back(&value->items, &item->link);
	if (op & 4)
		node = bpf_list_pop_front(&value->items);
	bpf_spin_unlock(&value->lock);
	if (node) {
		item = container_of(node, struct item, link);
		seen[0] = item->key;
		bpf_obj_drop(item);
	}
	return 0;
}

/* --- what the verifier refuses --- */

SEC("?tc")
__failure __msg("bpf_spin_lock at off=0 must be held for bpf_list_head")
int push_without_lock(struct __sk_buff *skb)
{
	struct member *member = bpf_obj_new(typeof(*member));

	if (member)
		bpf_list_push_back(&nd_members, &member->link);
	return 0;
}

SEC("?tc")
__failure __msg("arg#1 offset=32, but expected bpf_list_node at offset=8 in struct member")
int push_wrong_node(struct __sk_buff *skb)
{
	struct member *member = bpf_obj_new(typeof(*member));

	if (!member)
		return 0;
	bpf_spin_lock(&lock);
	bpf_list_push_back(&nd_members, &member->second);
	bpf_spin_unlock(&lock);
	return 0;
}

SEC("?tc")
__failure __msg("Unreleased reference")
int pop_and_forget(struct __sk_buff *skb)
{
	struct bpf_list_node *node;

	bpf_spin_lock(&lock);
	node = bpf_list_pop_front(&nd_members);
	bpf_spin_unlock(&lock);
	return node != NULL;
}

SEC("?tc")
__failure __msg("invalid mem access 'scalar'")
int read_after_unlock(struct __sk_buff *skb)
{
	struct item *item = bpf_obj_new(typeof(*item));
	u32 index = 0;
	struct value *value;

	if (!item)
		return 0;
	value = bpf_map_lookup_elem(&nd_slots, &index);
	if (!value) {
		bpf_obj_drop(item);
		return 0;
	}
	bpf_spin_lock(&value->lock);
	bpf_list_push_back(&value->items, &item->link);
	bpf_spin_unlock(&value->lock);
	return item->key;
}
