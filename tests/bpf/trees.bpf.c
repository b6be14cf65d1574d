/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Red-black trees of objects: adding, finding, taking out, and the shape that programs can see. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct item {
	u64 key;
	struct bpf_rb_node node;
};

struct member {
	u64 key;
	struct bpf_rb_node node;
	struct bpf_list_node link;
	struct bpf_refcount ref;
};

struct value {
	struct bpf_spin_lock lock;
	struct bpf_rb_root items __contains(item, node);
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);

private(a) struct bpf_spin_lock lock;
private(a) struct bpf_rb_root items __contains(item, node);
private(b) struct bpf_spin_lock shared_lock;
private(b) struct bpf_rb_root members __contains(member, node);
private(b) struct bpf_list_head nd_queue __contains(member, link);

u32 op;
u32 slot;
u64 given;
u64 wanted;
u64 shape;
u64 seen[8];
u32 depth;
s64 ret;

static bool item_less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct item, node)->key < container_of(b, struct item, node)->key;
}

static bool member_less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct member, node)->key < container_of(b, struct member, node)->key;
}

/* Where the bits of "given" lead, right for a one, and what is on the way. */
static __always_inline void look_around(void)
{
	struct bpf_rb_node *node;
	u64 path = given * 0x9e3779b97f4a7c15, sum = 0;
	u32 steps = 0;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_first(&items);
	if (node)
		seen[0] = container_of(node, struct item, node)->key;
	node = bpf_rbtree_root(&items);
	while (node && can_loop) {
		sum = sum * 31 + container_of(node, struct item, node)->key;
		steps++;
		if (path & 1)
			node = bpf_rbtree_right(&items, node);
		else
			node = bpf_rbtree_left(&items, node);
		path >>= 1;
	}
	bpf_spin_unlock(&lock);
	shape = sum;
	depth = steps;
}

SEC("tc")
__success __description("keys go in at random; the tree has the kernel's shape")
int add(struct __sk_buff *skb)
{
	struct item *item = bpf_obj_new(typeof(*item));

	seen[0] = 0;
	if (!item)
		return 1;
	item->key = given;
	bpf_spin_lock(&lock);
	ret = bpf_rbtree_add(&items, &item->node, item_less);
	bpf_spin_unlock(&lock);
	look_around();
	return 0;
}

static __always_inline struct item *take_out(void)
{
	struct bpf_rb_node *node, *found = NULL;
	struct item *item;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_root(&items);
	while (node && can_loop) {
		item = container_of(node, struct item, node);
		if (item->key == wanted) {
			found = bpf_rbtree_remove(&items, node);
			break;
		}
		if (wanted < item->key)
			node = bpf_rbtree_left(&items, node);
		else
			node = bpf_rbtree_right(&items, node);
	}
	bpf_spin_unlock(&lock);
	return found ? container_of(found, struct item, node) : NULL;
}

SEC("tc")
__success __description("keys go in and out")
int add_and_remove(struct __sk_buff *skb)
{
	struct item *item;

	seen[0] = seen[1] = 0;
	if (op & 3) {
		item = bpf_obj_new(typeof(*item));
		if (!item)
			return 1;
		item->key = given;
		bpf_spin_lock(&lock);
		ret = bpf_rbtree_add(&items, &item->node, item_less);
		bpf_spin_unlock(&lock);
	}
	if (op & 4) {
		item = take_out();
		if (item) {
			seen[1] = item->key + 1;
			bpf_obj_drop(item);
		}
	}
	look_around();
	return 0;
}

SEC("tc")
__success __description("the smallest goes first, until there is none")
int remove_first(struct __sk_buff *skb)
{
	struct bpf_rb_node *node;
	struct item *item;

	seen[0] = seen[1] = 0;
	item = bpf_obj_new(typeof(*item));
	if (!item)
		return 1;
	item->key = given;
	bpf_spin_lock(&lock);
	bpf_rbtree_add(&items, &item->node, item_less);
	node = op & 4 ? NULL : bpf_rbtree_first(&items);
	if (node)
		node = bpf_rbtree_remove(&items, node);
	bpf_spin_unlock(&lock);
	if (node) {
		item = container_of(node, struct item, node);
		seen[1] = item->key;
		bpf_obj_drop(item);
	}
	look_around();
	return 0;
}

SEC("syscall")
__success __description("one object in a tree and on a list; a node that is in a tree goes into no other")
int share(void *args)
{
	struct member *member, *again, *third = NULL;
	struct bpf_list_node *link;
	struct bpf_rb_node *node;

	seen[0] = seen[1] = seen[2] = seen[3] = 0;
	member = bpf_obj_new(typeof(*member));
	if (!member)
		return 1;
	member->key = given;
	again = bpf_refcount_acquire(member);
	if (op & 1)
		third = bpf_refcount_acquire(member);
	bpf_spin_lock(&shared_lock);
	seen[0] = bpf_rbtree_add(&members, &member->node, member_less);
	bpf_spin_unlock(&shared_lock);
	if (again) {
		bpf_spin_lock(&shared_lock);
		seen[1] = bpf_list_push_back(&nd_queue, &again->link);
		bpf_spin_unlock(&shared_lock);
	}
	if (third) {
		bpf_spin_lock(&shared_lock);
		seen[2] = bpf_rbtree_add(&members, &third->node, member_less);
		bpf_spin_unlock(&shared_lock);
	}
	if (!(op & 2))
		return 0;
	/* Off the list, then out of the tree: where it is not in the tree any more, nothing comes out. */
	bpf_spin_lock(&shared_lock);
	link = bpf_list_pop_front(&nd_queue);
	if (!link) {
		bpf_spin_unlock(&shared_lock);
		return 2;
	}
	member = container_of(link, struct member, link);
	node = bpf_rbtree_remove(&members, &member->node);
	bpf_spin_unlock(&shared_lock);
	if (node) {
		again = container_of(node, struct member, node);
		seen[3] = again->key;
		bpf_obj_drop(again);
	}
	bpf_spin_lock(&shared_lock);
	node = bpf_rbtree_remove(&members, &member->node);
	bpf_spin_unlock(&shared_lock);
	if (node) {
		seen[4]++;
		bpf_obj_drop(container_of(node, struct member, node));
	}
	bpf_obj_drop(member);
	return 0;
}

SEC("tc")
__success __description("updating and deleting an element drops its tree")
int drop_trees(struct __sk_buff *skb)
{
	struct value *value, empty = {};
	struct bpf_rb_node *node;
	struct item *item;
	u32 key = slot & 3;

	seen[0] = 0;
	if (op & 1)
		ret = bpf_map_update_elem(&slots, &key, &empty, 0);
	if (op & 2)
		ret = bpf_map_delete_elem(&slots, &key);
	value = bpf_map_lookup_elem(&slots, &key);
	if (!value)
		return 1;
	item = bpf_obj_new(typeof(*item));
	if (!item)
		return 2;
	item->key = given;
	bpf_spin_lock(&value->lock);
	bpf_rbtree_add(&value->items, &item->node, item_less);
	node = bpf_rbtree_first(&value->items);
	if (node)
		seen[0] = container_of(node, struct item, node)->key;
	bpf_spin_unlock(&value->lock);
	return 0;
}

/* --- what the verifier refuses --- */

SEC("?tc")
__failure __msg("bpf_spin_lock at off=0 must be held for bpf_rb_root")
int add_without_lock(struct __sk_buff *skb)
{
	struct item *item = bpf_obj_new(typeof(*item));

	if (item)
		bpf_rbtree_add(&items, &item->node, item_less);
	return 0;
}

SEC("?tc")
__failure __msg("Unreleased reference")
int remove_and_forget(struct __sk_buff *skb)
{
	struct bpf_rb_node *node;

	bpf_spin_lock(&lock);
	node = bpf_rbtree_first(&items);
	if (node)
		node = bpf_rbtree_remove(&items, node);
	bpf_spin_unlock(&lock);
	return node != NULL;
}
