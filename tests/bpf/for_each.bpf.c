/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf_for_each_map_elem() over arrays and hashes: what the callback gets, what it may do, what the call gives. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 count;
	u32 seen;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 7);
	__type(key, u32);
	__type(value, struct value);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, u32);
	__type(value, struct value);
} percpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_ZERO_SEED);
	__type(key, u64);
	__type(value, struct value);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_ZERO_SEED);
	__type(key, u64);
	__type(value, struct value);
} percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_ZERO_SEED);
	__type(key, u64);
	__type(value, struct value);
} lru SEC(".maps");

/* In. */
u32 op;       /* what the callback does: 0 looks, 1 deletes what it was called for, 2 counts in the value */
u32 fill;     /* elements to insert before */
u64 stop_at;  /* the call that ends the walk, counted from 1 */
u64 flags;

/* Out. */
s64 ret;
u64 keys;     /* order of the keys, as a polynomial in 31 */
u64 values;
u64 calls;

struct walk {
	u64 calls;
	u64 keys;
	u64 values;
};

static __always_inline long visit(void *map, u64 key, struct value *value, struct walk *walk)
{
	walk->calls++;
	walk->keys = walk->keys * 31 + key + 1;
	walk->values += value->count;
	if (op == 2)
		value->seen++;
	return walk->calls == stop_at;
}

static long visit_index(void *map, u32 *key, struct value *value, struct walk *walk)
{
	return visit(map, *key, value, walk);
}

static long visit_key(void *map, u64 *key, struct value *value, struct walk *walk)
{
	u64 copy = *key;
	long end = visit(map, copy, value, walk);

	if (op == 1)
		bpf_map_delete_elem(map, &copy);
	return end;
}

static __always_inline void report(struct walk *walk)
{
	keys = walk->keys;
	values = walk->values;
	calls = walk->calls;
}

static __always_inline void insert(void *map, u32 limit)
{
	struct value value = {};

	for (u32 i = 0; i < limit && i < fill; i++) {
		u64 key = i * 7;

		value.count = i + 100;
		bpf_map_update_elem(map, &key, &value, BPF_NOEXIST);
	}
}

#define WALK(map, limit, callback)                                             \
	struct walk walk = {};                                                 \
	insert(&map, limit);                                                   \
	ret = bpf_for_each_map_elem(&map, callback, &walk, flags);             \
	report(&walk);                                                         \
	return 0

SEC("tc")
__success __description("an array has all its elements")
int each_array(struct __sk_buff *skb)
{
	struct walk walk = {};

	ret = bpf_for_each_map_elem(&array, visit_index, &walk, flags);
	report(&walk);
	return 0;
}

SEC("xdp")
__success __description("of a per-CPU array, this CPU's values")
int each_percpu_array(struct xdp_md *xdp)
{
	struct walk walk = {};

	ret = bpf_for_each_map_elem(&percpu_array, visit_index, &walk, flags);
	report(&walk);
	return 0;
}

SEC("tc")
__success __description("a hash, in the order of its buckets")
int each_hash(struct __sk_buff *skb)
{
	WALK(hash, 20, visit_key);
}

SEC("xdp")
__success __description("of a per-CPU hash, this CPU's values")
int each_percpu_hash(struct xdp_md *xdp)
{
	WALK(percpu_hash, 20, visit_key);
}

SEC("tc")
__success __description("an LRU hash")
int each_lru(struct __sk_buff *skb)
{
	WALK(lru, 8, visit_key);
}

SEC("syscall")
__success __description("from a program that may sleep")
int each_syscall(void *ctx)
{
	WALK(hash, 20, visit_key);
}

static long visit_inner(void *map, u32 *key, struct value *value, u64 *total)
{
	*total += value->count;
	return 0;
}

static long visit_outer(void *map, u32 *key, struct value *value, u64 *total)
{
	bpf_for_each_map_elem(&percpu_array, visit_inner, total, 0);
	*total += value->count + *key;
	return 0;
}

SEC("tc")
__success __description("a walk inside a walk")
int each_nested(struct __sk_buff *skb)
{
	u64 total = 0;

	ret = bpf_for_each_map_elem(&array, visit_outer, &total, 0);
	values = total;
	return 0;
}
