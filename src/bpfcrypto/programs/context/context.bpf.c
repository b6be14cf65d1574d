/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One crypto context, made from what user space puts into a syscall program's context, and kept here. From here it is put into
 * maps of others, by programs that are written for each of them when they are needed.
 *
 *   create    makes the context, in place of the one before
 *   inspect   reads its reference count and the size of its IV
 *   check     its key check value, in a test run: the first three bytes of an encrypted block of zeros
 *   forget    gives it up
 *
 * The key is nowhere but in the context argument of create, which has erased it there when it returns, whatever the outcome. The
 * kernel's copy of the argument goes back to user space, so user space's is erased as well. bpf_crypto_ctx_create() reads the
 * parameters where they are: there is no copy on the stack to be erased.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"

#define BLOCK 16
#define HEADER sizeof(struct ethhdr)

char _license[] SEC("license") = "Dual BSD/GPL";

struct home {
	struct bpf_crypto_ctx __kptr *cctx;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct home);
} home SEC(".maps");

static __always_inline struct home *find_home(void)
{
	u32 index = 0;

	return bpf_map_lookup_elem(&home, &index);
}

static __always_inline int replace(struct home *slot, struct bpf_crypto_ctx *cctx)
{
	cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

/*
 * struct bpf_crypto_params as words: a context may be written at constant offsets only, which a relocated field is not for the
 * compiler.
 */
struct request {
	u64 type_and_algo[18];
	u64 key[32];
	u32 key_len;
	u32 authsize;
};

_Static_assert(sizeof(struct request) == sizeof(struct bpf_crypto_params), "as large as the parameters");
_Static_assert(__builtin_offsetof(struct request, key) == 144, "the key is where the kernel reads it");

static __always_inline void erase_key(volatile struct request *request)
{
	u32 i;

#pragma unroll
	for (i = 0; i < sizeof(request->key) / sizeof(request->key[0]); i++)
		request->key[i] = 0;
}

/* 0, or the negative errno of bpf_crypto_ctx_create(). */
SEC("syscall")
int create(struct request *request)
{
	struct home *slot = find_home();
	struct bpf_crypto_ctx *cctx;
	int err = 0;

	cctx = bpf_crypto_ctx_create((struct bpf_crypto_params *)request, sizeof(*request), &err);
	erase_key(request);
	if (!cctx)
		return err;
	if (slot)
		return replace(slot, cctx);
	bpf_crypto_ctx_release(cctx);
	return -ENOENT;
}

struct report {
	u32 references;
	u32 siv_len;
};

/* 0, or -ENOENT where there is no context. */
SEC("syscall")
int inspect(struct report *report)
{
	struct home *slot = find_home();
	struct bpf_crypto_ctx *cctx;
	int result = -ENOENT;

	if (!slot)
		return result;
	bpf_rcu_read_lock();
	cctx = slot->cctx;
	if (cctx) {
		report->references = cctx->usage.refs.counter;
		report->siv_len = cctx->siv_len;
		result = 0;
	}
	bpf_rcu_read_unlock();
	return result;
}

SEC("syscall")
int forget(void *args)
{
	struct home *slot = find_home();

	return slot ? replace(slot, NULL) : 0;
}

/*
 * For a frame of zeros: a header, a block and an IV. Gives the three bytes as a number, the first one highest, or a negative errno.
 * No more of the block leaves: all of it would be a subkey of some authentication codes.
 */
SEC("tc")
int check(struct __sk_buff *skb)
{
	u8 block[BLOCK], zeros[BLOCK] = {};
	struct home *slot = find_home();
	struct bpf_dynptr data, siv;
	struct bpf_crypto_ctx *cctx;
	int err;

	if (!slot)
		return -ENOENT;
	cctx = slot->cctx;
	if (!cctx)
		return -ENOENT;
	err = bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &data);
	err = err ?: bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &siv);
	err = err ?: bpf_dynptr_adjust(&data, HEADER, HEADER + BLOCK);
	err = err ?: bpf_dynptr_adjust(&siv, HEADER + BLOCK, HEADER + 2 * BLOCK);
	if (err)
		return err;
	err = bpf_crypto_encrypt(cctx, &data, &data, &siv);
	if (err == -EINVAL) { /* a cipher without IV: nothing has happened yet */
		err = bpf_dynptr_adjust(&siv, BLOCK, BLOCK);
		err = err ?: bpf_crypto_encrypt(cctx, &data, &data, &siv);
	}
	err = err ?: bpf_skb_load_bytes(skb, HEADER, block, sizeof(block));
	bpf_skb_store_bytes(skb, HEADER, zeros, sizeof(zeros), 0);
	bpf_skb_store_bytes(skb, HEADER + BLOCK, zeros, sizeof(zeros), 0);
	return err ?: block[0] << 16 | block[1] << 8 | block[2];
}
