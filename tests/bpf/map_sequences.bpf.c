/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs that do to a map what they are told, step by step, and say what came of it. */
#include "test.h"

LICENSE_GPL;

#define STEPS 64
#define ZERO_SEED 64
#define NO_PREALLOC 1

enum action { LOOKUP, UPDATE, DELETE, ADD_IN_PLACE, LOOKUP_CPU, HOLD_AND_UPDATE };

struct step {
	u8 action;
	u8 key;
	u8 value;
	u8 flags;
};

/* In. */
struct step steps[STEPS];
u32 count;

/* Out: a value's first and last byte and a mark that there is one; an errno; what a held value has become. */
s64 results[STEPS];

static __always_inline void spread(u8 *bytes, u32 size, u8 seed)
{
	for (u32 i = 0; i < size; i++)
		bytes[i] = seed * (i + 1);
}

static __always_inline s64 seen(const u8 *value, u32 size)
{
	return value ? 1 << 16 | value[0] << 8 | value[size - 1] : -1;
}

#define MAP(name, kind, entries, key_bytes, value_bytes, flag, percpu) \
	struct name##_key { \
		u8 bytes[key_bytes]; \
	}; \
	struct name##_value { \
		u8 bytes[value_bytes]; \
	}; \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__uint(map_flags, flag); \
		__uint(key_size, key_bytes); \
		__uint(value_size, value_bytes); \
	} name SEC(".maps"); \
	static __noinline s64 name##_step(struct step *step) \
	{ \
		struct name##_key key; \
		struct name##_value given, *found; \
		s64 before; \
		if (!step) \
			return 0; \
		if (key_bytes == 4) \
			*(u32 *)&key = step->key; \
		else \
			spread(key.bytes, key_bytes, step->key); \
		spread(given.bytes, value_bytes, step->value); \
		switch (step->action) { \
		case LOOKUP: \
			return seen(bpf_map_lookup_elem(&name, &key), value_bytes); \
		case UPDATE: \
			return bpf_map_update_elem(&name, &key, &given, step->flags); \
		case DELETE: \
			return bpf_map_delete_elem(&name, &key); \
		case ADD_IN_PLACE: \
			found = bpf_map_lookup_elem(&name, &key); \
			if (found) \
				found->bytes[value_bytes - 1] += step->value; \
			return seen((void *)found, value_bytes); \
		case LOOKUP_CPU: \
			return percpu ? seen(bpf_map_lookup_percpu_elem(&name, &key, step->flags), value_bytes) : 0; \
		default: \
			found = bpf_map_lookup_elem(&name, &key); \
			before = bpf_map_update_elem(&name, &key, &given, step->flags); \
			return found ? seen((void *)found, value_bytes) << 20 | (before & 0xfffff) : before; \
		} \
	} \
	SEC("tc") __success __description("one step after the other: " #name) \
	int run_##name(struct __sk_buff *ctx) \
	{ \
		u32 i; \
		bpf_for(i, 0, count) { \
			if (i >= STEPS) \
				break; \
			results[i] = name##_step(&steps[i]); \
		} \
		return 0; \
	}

/* Values per CPU are whole words: the kernel copies what lies behind a program's value into the gap of a new element. */
MAP(array, BPF_MAP_TYPE_ARRAY, 7, 4, 12, 0, 0)
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 7, 4, 8, 0, 1)
MAP(hash, BPF_MAP_TYPE_HASH, 6, 4, 8, ZERO_SEED, 0)
MAP(lazy_hash, BPF_MAP_TYPE_HASH, 6, 8, 4, ZERO_SEED | NO_PREALLOC, 0)
MAP(odd_hash, BPF_MAP_TYPE_HASH, 9, 7, 5, ZERO_SEED, 0)
MAP(wide_hash, BPF_MAP_TYPE_HASH, 9, 30, 40, ZERO_SEED, 0)
MAP(narrow_hash, BPF_MAP_TYPE_HASH, 1, 1, 1, ZERO_SEED, 0)
MAP(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 6, 4, 16, ZERO_SEED, 1)
MAP(lazy_percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 6, 12, 8, ZERO_SEED | NO_PREALLOC, 1)
MAP(lru_hash, BPF_MAP_TYPE_LRU_HASH, 10, 4, 8, ZERO_SEED, 0)
MAP(lru_percpu_hash, BPF_MAP_TYPE_LRU_PERCPU_HASH, 10, 16, 8, ZERO_SEED, 1)
