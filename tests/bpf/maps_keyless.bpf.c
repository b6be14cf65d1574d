/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One operation on a map without keys, or on a trie, chosen by user space. */
#include "test.h"

LICENSE_GPL;

#define ENTRIES 4

#define KEYLESS_MAP(name, kind, entries, value_type, map_flag) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__uint(map_flags, map_flag); \
		__type(value, value_type); \
	} name SEC(".maps")

struct value {
	u64 first;
	u32 second;
	u8 third[6];
};

/* A value whose size is no multiple of four is hashed in another way. */
struct odd {
	u8 bytes[7];
};

/* The length of a prefix in bits, and the bytes that it is taken from. */
struct prefix {
	u32 length;
	u8 bytes[6];
};

KEYLESS_MAP(m_queue, BPF_MAP_TYPE_QUEUE, ENTRIES, struct value, 0);
KEYLESS_MAP(m_stack, BPF_MAP_TYPE_STACK, ENTRIES, struct value, 0);
KEYLESS_MAP(m_single_queue, BPF_MAP_TYPE_QUEUE, 1, struct odd, 0);
KEYLESS_MAP(m_bloom, BPF_MAP_TYPE_BLOOM_FILTER, ENTRIES, struct value, BPF_F_ZERO_SEED);
KEYLESS_MAP(m_bloom_odd, BPF_MAP_TYPE_BLOOM_FILTER, 2 * ENTRIES, struct odd, BPF_F_ZERO_SEED);
KEYLESS_MAP(m_bloom_seed, BPF_MAP_TYPE_BLOOM_FILTER, ENTRIES, struct value, 0);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct value);
} m_trie SEC(".maps");

enum op { OP_PUSH, OP_POP, OP_PEEK };

/* In: what to do, and with what. */
enum op op;
u64 flags;
struct value given;
struct odd odd;
u32 length;
u8 bits[6];

/* Out: what the helper returned, and what it left in the buffer. */
s64 ret;
struct value seen;
struct odd seen_odd;
bool found;
u64 hits;

#define OPERATE(name, source, sink) \
	SEC("tc") \
	__success __description("push, pop or peek") \
	int do_##name(struct __sk_buff *skb) \
	{ \
		sink = source; \
		switch (op) { \
		case OP_PUSH: \
			ret = bpf_map_push_elem(&m_##name, &source, flags); \
			return 0; \
		case OP_POP: \
			ret = bpf_map_pop_elem(&m_##name, &sink); \
			return 0; \
		case OP_PEEK: \
			ret = bpf_map_peek_elem(&m_##name, &sink); \
			return 0; \
		} \
		return 1; \
	}

OPERATE(queue, given, seen)
OPERATE(stack, given, seen)
OPERATE(single_queue, odd, seen_odd)

/* Ask a filter for 64 values that begin like the given one, after it was perhaps pushed: some are there that never were. */
#define ASK(name, source, last) \
	SEC("tc") \
	__success __description("push into a filter, and ask for values that were pushed and that were not") \
	int do_##name(struct __sk_buff *skb) \
	{ \
		u64 answer = 0; \
		int i; \
\
		ret = op == OP_PUSH ? bpf_map_push_elem(&m_##name, &source, flags) : 1; \
		for (i = 0; i < 64; i++) { \
			source.last = i; \
			if (!bpf_map_peek_elem(&m_##name, &source)) \
				answer |= 1ULL << i; \
		} \
		hits = answer; \
		return 0; \
	}

ASK(bloom, given, second)
ASK(bloom_odd, odd, bytes[6])

SEC("tc")
__success __description("what was pushed into a filter is there, whatever its seed")
int do_bloom_seed(struct __sk_buff *skb)
{
	ret = bpf_map_push_elem(&m_bloom_seed, &given, 0);
	found = bpf_map_peek_elem(&m_bloom_seed, &given) == 0;
	return 0;
}

static __always_inline void set_prefix(struct prefix *key)
{
	key->length = length;
	__builtin_memcpy(key->bytes, bits, sizeof(key->bytes));
}

SEC("tc")
__success __description("store, delete or find a prefix")
int do_trie(struct __sk_buff *skb)
{
	struct value copy = given;
	struct prefix key = {};
	struct value *value;

	set_prefix(&key);
	found = false;
	switch (op) {
	case OP_PUSH:
		ret = bpf_map_update_elem(&m_trie, &key, &copy, flags);
		return 0;
	case OP_POP:
		ret = bpf_map_delete_elem(&m_trie, &key);
		return 0;
	case OP_PEEK:
		value = bpf_map_lookup_elem(&m_trie, &key);
		found = value != NULL;
		if (!value)
			return 0;
		seen = *value;
		value->first += 1;
		return 0;
	}
	return 1;
}

SEC("tc")
__success __description("an address that was found before an update or a deletion shows the old value")
int stale_trie(struct __sk_buff *skb)
{
	struct value copy = given;
	struct prefix key = {};
	struct value *old;

	set_prefix(&key);
	bpf_map_update_elem(&m_trie, &key, &copy, 0);
	old = bpf_map_lookup_elem(&m_trie, &key);
	copy.first = ~copy.first;
	ret = bpf_map_update_elem(&m_trie, &key, &copy, 0);
	if (old)
		hits = old->first;
	old = bpf_map_lookup_elem(&m_trie, &key);
	bpf_map_delete_elem(&m_trie, &key);
	if (old)
		seen = *old;
	return 0;
}

/* --- access --- */

KEYLESS_MAP(m_read_only, BPF_MAP_TYPE_QUEUE, ENTRIES, struct value, BPF_F_RDONLY_PROG);
KEYLESS_MAP(m_write_only, BPF_MAP_TYPE_STACK, ENTRIES, struct value, BPF_F_WRONLY_PROG);

SEC("tc")
__success __description("a queue that programs may only read can be peeked")
int peek_read_only(struct __sk_buff *skb)
{
	ret = bpf_map_peek_elem(&m_read_only, &seen);
	return 0;
}

SEC("tc")
__success __description("a stack that programs may only write can be pushed, and popped all the same")
int use_write_only(struct __sk_buff *skb)
{
	ret = bpf_map_push_elem(&m_write_only, &given, 0);
	hits = bpf_map_pop_elem(&m_write_only, &seen);
	return 0;
}

SEC("tc")
__failure __msg("write into map forbidden") __description("a queue that programs may only read cannot be pushed")
int push_read_only(struct __sk_buff *skb)
{
	ret = bpf_map_push_elem(&m_read_only, &given, 0);
	return 0;
}

SEC("tc")
__failure __msg("write into map forbidden") __description("a queue that programs may only read cannot be popped")
int pop_read_only(struct __sk_buff *skb)
{
	ret = bpf_map_pop_elem(&m_read_only, &seen);
	return 0;
}

SEC("tc")
__failure __msg("invalid zero-sized read") __description("a queue has no keys to look up")
int lookup_queue(struct __sk_buff *skb)
{
	u32 key = 0;

	found = bpf_map_lookup_elem(&m_queue, &key) != NULL;
	return 0;
}

SEC("tc")
__failure __msg("cannot pass map_type 30 into func bpf_map_pop_elem") __description("nothing can be popped from a filter")
int pop_bloom(struct __sk_buff *skb)
{
	ret = bpf_map_pop_elem(&m_bloom, &seen);
	return 0;
}

SEC("tc")
__failure __msg("cannot pass map_type 11 into func bpf_map_push_elem") __description("nothing can be pushed into a trie")
int push_trie(struct __sk_buff *skb)
{
	ret = bpf_map_push_elem(&m_trie, &given, 0);
	return 0;
}
