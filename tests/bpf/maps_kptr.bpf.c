/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Crypto contexts in maps of each kind: put in, used, taken out, and dropped by updates and deletions from programs. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 before;
	struct bpf_crypto_ctx __kptr *cctx;
	u64 after;
};

#define ENTRIES 4

TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, ENTRIES, struct value, 0);
TEST_MAP(m_percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, ENTRIES, struct value, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_hash_lazy, BPF_MAP_TYPE_HASH, ENTRIES, struct value, BPF_F_NO_PREALLOC);
TEST_MAP(m_percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_lru_hash, BPF_MAP_TYPE_LRU_HASH, ENTRIES, struct value, 0);
TEST_MAP(m_lru_percpu_hash, BPF_MAP_TYPE_LRU_PERCPU_HASH, ENTRIES, struct value, 0);

/* In: which element, how to update it, which key to make a context of. */
u32 key;
u64 flags;
u8 cipher_key[16];

/* Out. */
s64 ret;        /* what the helper returned */
int err;        /* from bpf_crypto_ctx_create() */
bool found;     /* whether there is an element */
bool replaced;  /* whether there was a context in it */
u64 before;     /* its other members */
u64 after;
u8 block[16];   /* zeros, encrypted by the context */

static __always_inline int fill(void *map)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = sizeof(cipher_key)};
	struct bpf_crypto_ctx *cctx;
	struct value *value;
	u32 index = key;

	memcpy(params.key, cipher_key, sizeof(cipher_key));
	value = bpf_map_lookup_elem(map, &index);
	found = value != NULL;
	if (!value)
		return 0;
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return 1;
	value->before++;
	value->after--;
	cctx = bpf_kptr_xchg(&value->cctx, cctx);
	replaced = cctx != NULL;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __always_inline int take(void *map)
{
	struct bpf_crypto_ctx *cctx;
	struct value *value;
	u32 index = key;

	replaced = false;
	value = bpf_map_lookup_elem(map, &index);
	found = value != NULL;
	if (!value)
		return 0;
	cctx = bpf_kptr_xchg(&value->cctx, NULL);
	replaced = cctx != NULL;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __always_inline int use(void *map)
{
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;
	struct value *value;
	u32 index = key;

	replaced = false;
	memset(block, 0, sizeof(block));
	value = bpf_map_lookup_elem(map, &index);
	found = value != NULL;
	if (!value)
		return 0;
	before = value->before;
	after = value->after;
	cctx = value->cctx;
	replaced = cctx != NULL;
	if (!cctx)
		return 0;
	bpf_dynptr_from_mem(block, sizeof(block), 0, &data);
	ret = bpf_crypto_encrypt(cctx, &data, &data, NULL);
	return 0;
}

static __always_inline int update(void *map)
{
	struct value value = {.before = 100, .after = 200};
	u32 index = key;

	ret = bpf_map_update_elem(map, &index, &value, flags);
	return 0;
}

static __always_inline int remove(void *map)
{
	u32 index = key;

	ret = bpf_map_delete_elem(map, &index);
	return 0;
}

#define PROGRAM(section, action, kind) \
	SEC(section) \
	__success __description("contexts in a map of this kind") \
	int action##_##kind(void *ctx) \
	{ \
		return action(&m_##kind); \
	}

#define PROGRAMS(kind) \
	PROGRAM("syscall", fill, kind) \
	PROGRAM("syscall", take, kind) \
	PROGRAM("tc", use, kind) \
	PROGRAM("tc", update, kind) \
	PROGRAM("tc", remove, kind)

PROGRAMS(array)
PROGRAMS(percpu_array)
PROGRAMS(hash)
PROGRAMS(hash_lazy)
PROGRAMS(percpu_hash)
PROGRAMS(lru_hash)
PROGRAMS(lru_percpu_hash)

SEC("syscall")
__success __description("a syscall program may delete and update as well")
int renew_hash(void *args)
{
	struct value value = {.before = 1};
	u32 index = key;

	ret = bpf_map_delete_elem(&m_hash, &index);
	err = bpf_map_update_elem(&m_hash, &index, &value, BPF_NOEXIST);
	return 0;
}

SEC("syscall")
__success __description("acquire what a map holds, under RCU, and keep it after the map has lost it")
int acquire_array(void *args)
{
	struct bpf_crypto_ctx *held, *taken;
	struct value *value;
	u32 index = key;

	value = bpf_map_lookup_elem(&m_array, &index);
	if (!value)
		return 1;
	bpf_rcu_read_lock();
	held = value->cctx;
	if (held)
		held = bpf_crypto_ctx_acquire(held);
	bpf_rcu_read_unlock();
	if (!held)
		return 2;
	taken = bpf_kptr_xchg(&value->cctx, NULL);
	if (taken)
		bpf_crypto_ctx_release(taken);
	taken = bpf_kptr_xchg(&value->cctx, held);
	if (taken)
		bpf_crypto_ctx_release(taken);
	return 0;
}
