/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps in maps: an inner map found by key and then used as any other, with contexts in it. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 count;
	struct bpf_crypto_ctx __kptr *cctx;
};

#define ENTRIES 4

struct inner_array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__type(value, struct value);
};

struct inner_hash {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__type(value, struct value);
};

/* Arrays of any length, which differ from the template in nothing else. */
struct inner_any {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP);
	__type(key, u32);
	__type(value, u64);
};

struct inner_array first SEC(".maps"), second SEC(".maps");
struct inner_hash third SEC(".maps");
struct inner_any any SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__array(values, struct inner_array);
} arrays SEC(".maps") = {.values = {[0] = &first, [2] = &second}};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__array(values, struct inner_hash);
} hashes SEC(".maps") = {.values = {[1] = &third}};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__array(values, struct inner_any);
} anys SEC(".maps") = {.values = {[0] = &any}};

enum op { OP_LOOKUP, OP_UPDATE, OP_DELETE, OP_CHANGE };

/* In: which inner map, which element, and what to do with it. */
u32 slot;
u32 key;
enum op op;
u64 flags;
u64 given;
u8 cipher_key[16];

/* Out. */
s64 ret;
int err;
bool has_map;
bool found;
bool replaced;
u64 seen;
u8 block[16];

static __always_inline int operate(void *outer)
{
	struct value copy = {.count = given};
	struct value *value;
	u32 index = key, place = slot;
	void *inner;

	ret = 0;
	found = false;
	inner = bpf_map_lookup_elem(outer, &place);
	has_map = inner != NULL;
	if (!inner)
		return 1;
	switch (op) {
	case OP_UPDATE:
		ret = bpf_map_update_elem(inner, &index, &copy, flags);
		return 0;
	case OP_DELETE:
		ret = bpf_map_delete_elem(inner, &index);
		return 0;
	case OP_LOOKUP:
	case OP_CHANGE:
		value = bpf_map_lookup_elem(inner, &index);
		found = value != NULL;
		if (!value)
			return 0;
		seen = value->count;
		if (op == OP_CHANGE)
			value->count += given;
		return 0;
	}
	return 2;
}

SEC("tc")
__success __description("an operation on an array in an array")
int in_array(struct __sk_buff *skb)
{
	return operate(&arrays);
}

SEC("xdp")
__success __description("an operation on a hash in a hash")
int in_hash(struct xdp_md *xdp)
{
	return operate(&hashes);
}

SEC("syscall")
__success __description("the same in a program that may sleep")
int in_hash_syscall(void *args)
{
	return operate(&hashes);
}

SEC("tc")
__success __description("an element of an inner array whose length the program does not know")
int in_any(struct __sk_buff *skb)
{
	u32 index = key, place = slot;
	u64 *value;
	void *inner;

	found = false;
	inner = bpf_map_lookup_elem(&anys, &place);
	has_map = inner != NULL;
	if (!inner)
		return 1;
	value = bpf_map_lookup_elem(inner, &index);
	found = value != NULL;
	if (value)
		__sync_fetch_and_add(value, given);
	return 0;
}

static __always_inline int fill(void *outer)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = sizeof(cipher_key)};
	struct bpf_crypto_ctx *cctx;
	struct value *value;
	u32 index = key, place = slot;
	void *inner;

	memcpy(params.key, cipher_key, sizeof(cipher_key));
	inner = bpf_map_lookup_elem(outer, &place);
	has_map = inner != NULL;
	if (!inner)
		return 1;
	value = bpf_map_lookup_elem(inner, &index);
	found = value != NULL;
	if (!value)
		return 2;
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return 3;
	cctx = bpf_kptr_xchg(&value->cctx, cctx);
	replaced = cctx != NULL;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("syscall")
__success __description("a context into an element of an inner array")
int fill_array(void *args)
{
	return fill(&arrays);
}

SEC("syscall")
__success __description("a context into an element of an inner hash")
int fill_hash(void *args)
{
	return fill(&hashes);
}

static __always_inline int use(void *outer)
{
	struct bpf_dynptr data;
	struct bpf_crypto_ctx *cctx;
	struct value *value;
	u32 index = key, place = slot;
	void *inner;

	replaced = false;
	inner = bpf_map_lookup_elem(outer, &place);
	has_map = inner != NULL;
	if (!inner)
		return 1;
	value = bpf_map_lookup_elem(inner, &index);
	found = value != NULL;
	if (!value)
		return 2;
	cctx = value->cctx;
	replaced = cctx != NULL;
	if (!cctx)
		return 3;
	__builtin_memset(block, 0, sizeof(block));
	bpf_dynptr_from_mem(block, sizeof(block), 0, &data);
	ret = bpf_crypto_encrypt(cctx, &data, &data, NULL);
	return 0;
}

SEC("tc")
__success __description("encrypt by a context in an inner array")
int use_array(struct __sk_buff *skb)
{
	return use(&arrays);
}

SEC("tc")
__success __description("encrypt by a context in an inner hash")
int use_hash(struct __sk_buff *skb)
{
	return use(&hashes);
}
