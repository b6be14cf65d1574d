/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Look-ups of many keys in LPM tries with keys of different sizes, and changes of tries by programs. */
#include "test.h"

LICENSE_GPL;

#define KEYS 32
#define ELEMENTS 64

/* In. */
u32 count;
u32 value, flags;

/* Out. */
u32 found[KEYS];
s64 result;

#define TRIE(name, size) \
	struct name##_key { \
		u32 length; \
		u8 bits[size]; \
	} __attribute__((packed)) name##_keys[KEYS]; \
	struct { \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE); \
		__uint(max_entries, ELEMENTS); \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, struct name##_key); \
		__type(value, u32); \
	} name SEC(".maps"); \
	SEC("tc") __success __description("look up: " #name) \
	int look_##name(struct __sk_buff *skb) \
	{ \
		u32 i, *there; \
		bpf_for(i, 0, count) { \
			if (i >= KEYS) \
				break; \
			there = bpf_map_lookup_elem(&name, &name##_keys[i]); \
			found[i] = there ? *there : 0; \
		} \
		return 0; \
	} \
	SEC("tc") __success __description("update by a program: " #name) \
	int put_##name(struct __sk_buff *skb) \
	{ \
		result = bpf_map_update_elem(&name, &name##_keys[0], &value, flags); \
		return 0; \
	} \
	SEC("tc") __success __description("delete by a program: " #name) \
	int take_##name(struct __sk_buff *skb) \
	{ \
		result = bpf_map_delete_elem(&name, &name##_keys[0]); \
		return 0; \
	}

TRIE(byte, 1)
TRIE(v4, 4)
TRIE(odd, 5)
TRIE(v6, 16)
TRIE(wide, 61)
TRIE(widest, 256)
