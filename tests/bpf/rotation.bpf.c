/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Contexts that are replaced while others use them. All have the same key, so every block encrypts to the same bytes. */
#include "test.h"

LICENSE_GPL;

struct slot {
	struct bpf_crypto_ctx __kptr *cctx;
	u64 version;
};

TEST_MAP(m_slot, BPF_MAP_TYPE_ARRAY, 1, struct slot, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, 8, struct slot, 0);
TEST_MAP(m_lru, BPF_MAP_TYPE_LRU_HASH, 8, struct slot, 0);

/* In. */
u64 expected[2]; /* a block of zeros, encrypted */

/* Out. */
u64 rotations;
u64 encrypted;
u64 wrong;    /* other bytes than expected */
u64 failed;   /* bpf_crypto_encrypt() refused */
u64 missing;  /* no context in the slot */
u64 kept;     /* contexts that were acquired and put elsewhere */

static __always_inline struct bpf_crypto_ctx *make(void)
{
	struct bpf_crypto_params params = {
		.type = "skcipher", .algo = "ecb(aes)", .key = {1, 2, 3, 4, 5, 6, 7, 8}, .key_len = 16,
	};
	int err;

	return bpf_crypto_ctx_create(&params, sizeof(params), &err);
}

static __always_inline void put(struct slot *slot, struct bpf_crypto_ctx *cctx)
{
	cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	__sync_fetch_and_add(&slot->version, 1);
}

SEC("syscall")
__success __description("a new context takes the place of the old one")
int rotate(void *args)
{
	struct bpf_crypto_ctx *cctx;
	struct slot *slot;
	u32 index = 0;

	slot = bpf_map_lookup_elem(&m_slot, &index);
	if (!slot)
		return 1;
	cctx = make();
	if (!cctx)
		return 2;
	put(slot, cctx);
	__sync_fetch_and_add(&rotations, 1);
	return 0;
}

SEC("syscall")
__success __description("a context of a new element, which an update, a deletion or an eviction drops")
int scatter(void *args)
{
	struct slot none = {}, *slot;
	struct bpf_crypto_ctx *cctx;
	u32 index = __sync_fetch_and_add(&rotations, 1);

	bpf_map_update_elem(&m_lru, &index, &none, BPF_ANY);
	slot = bpf_map_lookup_elem(&m_lru, &index);
	if (slot) {
		cctx = make();
		if (!cctx)
			return 1;
		put(slot, cctx);
	}
	index &= 7;
	bpf_map_update_elem(&m_hash, &index, &none, BPF_ANY);
	slot = bpf_map_lookup_elem(&m_hash, &index);
	if (slot) {
		cctx = make();
		if (!cctx)
			return 2;
		put(slot, cctx);
	}
	index ^= 5;
	bpf_map_delete_elem(&m_hash, &index);
	return 0;
}

SEC("syscall")
__success __description("a second reference to the context of the moment, put elsewhere")
int keep(void *args)
{
	struct slot none = {}, *slot, *target;
	struct bpf_crypto_ctx *cctx;
	u32 index = 0;

	bpf_map_update_elem(&m_hash, &index, &none, BPF_NOEXIST);
	slot = bpf_map_lookup_elem(&m_slot, &index);
	target = bpf_map_lookup_elem(&m_hash, &index);
	if (!slot || !target)
		return 0;
	bpf_rcu_read_lock();
	cctx = slot->cctx;
	if (cctx)
		cctx = bpf_crypto_ctx_acquire(cctx);
	bpf_rcu_read_unlock();
	if (!cctx)
		return 0;
	put(target, cctx);
	__sync_fetch_and_add(&kept, 1);
	return 0;
}

SEC("tc")
__success __description("16 bytes behind the Ethernet header there and back, on whatever context is in the slot")
int use(struct __sk_buff *skb)
{
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;
	struct slot *slot;
	u32 index = 0;
	u64 block[2];
	int err;

	slot = bpf_map_lookup_elem(&m_slot, &index);
	if (!slot)
		return TC_ACT_SHOT;
	cctx = slot->cctx;
	if (!cctx) {
		__sync_fetch_and_add(&missing, 1);
		return TC_ACT_OK;
	}
	bpf_dynptr_from_skb(skb, 0, &data);
	err = bpf_dynptr_adjust(&data, sizeof(struct ethhdr), sizeof(struct ethhdr) + sizeof(block));
	if (!err)
		err = bpf_crypto_encrypt(cctx, &data, &data, NULL);
	if (err || bpf_skb_load_bytes(skb, sizeof(struct ethhdr), block, sizeof(block))) {
		__sync_fetch_and_add(&failed, 1);
		return TC_ACT_SHOT;
	}
	if (block[0] != expected[0] || block[1] != expected[1])
		__sync_fetch_and_add(&wrong, 1);
	if (bpf_crypto_decrypt(cctx, &data, &data, NULL))
		__sync_fetch_and_add(&failed, 1);
	__sync_fetch_and_add(&encrypted, 1);
	return TC_ACT_OK;
}
