/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One operation on a map of each kind, chosen by user space. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 first;
	u32 second;
	u8 third[6];
};

#define ENTRIES 4

TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, ENTRIES, struct value, 0);
TEST_MAP(m_percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, ENTRIES, struct value, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_hash_lazy, BPF_MAP_TYPE_HASH, ENTRIES, struct value, BPF_F_NO_PREALLOC);
TEST_MAP(m_percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_lru_hash, BPF_MAP_TYPE_LRU_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_lru_percpu_hash, BPF_MAP_TYPE_LRU_PERCPU_HASH, ENTRIES, struct value, 0);

enum op { OP_LOOKUP, OP_UPDATE, OP_DELETE, OP_CHANGE };

/* In: what to do, and with what. */
enum op op;
u32 key;
u64 flags;
struct value given;

/* Out: what the helper returned, whether an element was found, and a copy of it. */
s64 ret;
bool found;
struct value seen;

static __always_inline int operate(void *map)
{
	struct value copy = given;
	struct value *value;
	u32 index = key;

	ret = 0;
	found = false;
	switch (op) {
	case OP_UPDATE:
		ret = bpf_map_update_elem(map, &index, &copy, flags);
		return 0;
	case OP_DELETE:
		ret = bpf_map_delete_elem(map, &index);
		return 0;
	case OP_LOOKUP:
	case OP_CHANGE:
		value = bpf_map_lookup_elem(map, &index);
		found = value != NULL;
		if (!value)
			return 0;
		seen = *value;
		if (op == OP_CHANGE) {
			value->first += given.first;
			__sync_fetch_and_add(&value->second, given.second);
			value->third[5] = given.third[5];
		}
		return 0;
	}
	return 1;
}

#define OPERATE(kind) \
	SEC("tc") \
	__success __description("an operation on a map of this kind") \
	int do_##kind(struct __sk_buff *skb) \
	{ \
		return operate(&m_##kind); \
	}

OPERATE(array)
OPERATE(percpu_array)
OPERATE(hash)
OPERATE(hash_lazy)
OPERATE(percpu_hash)
OPERATE(lru_hash)
OPERATE(lru_percpu_hash)

/* A key and a value without padding, from the stack: every byte is the program's. */
struct flow {
	u32 address;
	u16 port;
	u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, u64);
} m_flows SEC(".maps");

SEC("tc")
__success __description("count packets by source address and first payload word")
int count_flows(struct __sk_buff *skb)
{
	struct flow flow = {};
	u64 one = 1, *count;

	if (bpf_skb_load_bytes(skb, 26, &flow.address, 4) || bpf_skb_load_bytes(skb, 34, &flow.port, 2))
		return TC_ACT_SHOT;
	count = bpf_map_lookup_elem(&m_flows, &flow);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		ret = bpf_map_update_elem(&m_flows, &flow, &one, BPF_NOEXIST);
	return TC_ACT_OK;
}
