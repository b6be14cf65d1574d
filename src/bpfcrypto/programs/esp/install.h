/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How slots are filled and emptied: in an order in which whoever is at work with one meanwhile does no harm. */
#ifndef ESP_INSTALL_H
#define ESP_INSTALL_H

#include "maps.h"

#define CBC_AES 0x2973656128636263ULL /* the text "cbc(aes)" */

_Static_assert(__builtin_offsetof(struct bpf_crypto_params, algo) == 16, "the name is the third word");
_Static_assert(__builtin_offsetof(struct install, slot) == sizeof(struct bpf_crypto_params), "as large as the parameters");

static __always_inline void release(struct bpf_crypto_ctx *former)
{
	if (former)
		bpf_crypto_ctx_release(former);
}

static __always_inline void erase_keys(volatile struct install *args)
{
	u32 i;

#pragma unroll
	for (i = 0; i < sizeof(args->key) / sizeof(args->key[0]); i++)
		args->key[i] = 0;
}

static __always_inline int make_contexts(struct install *args, struct sa *sa)
{
	struct bpf_crypto_ctx *cctx;
	int err = 0;

	cctx = bpf_crypto_ctx_create((struct bpf_crypto_params *)args, sizeof(struct bpf_crypto_params), &err);
	if (!cctx)
		return err;
	release(bpf_kptr_xchg(&sa->ecb, cctx));
	args->type_and_algo[2] = CBC_AES; /* in place of "ecb(aes)" */
	cctx = bpf_crypto_ctx_create((struct bpf_crypto_params *)args, sizeof(struct bpf_crypto_params), &err);
	if (!cctx)
		return err;
	release(bpf_kptr_xchg(&sa->cbc, cctx));
	return 0;
}

static __always_inline int copy_key(const struct install *args, struct sa *sa)
{
	if (args->key_len != sizeof(sa->terms.chacha_key))
		return -EINVAL;
	__builtin_memcpy(sa->terms.chacha_key, args->key, sizeof(sa->terms.chacha_key));
	return 0;
}

/* Forget which numbers have come, but for those up to one that counts as seen. Packets of the former SA may be under way: hence the lock. */
static __always_inline void reset_window(struct sa *sa, u64 highest)
{
	u64 i;

	bpf_spin_lock(&sa->lock);
	sa->highest = highest;
	for (i = 0; i < WINDOW_WORDS; i++)
		sa->window[i] = highest ? ~0ULL : 0;
	if (highest)
		sa->window[highest / 64 % WINDOW_WORDS] = (2ULL << (highest % 64)) - 1;
	bpf_spin_unlock(&sa->lock);
}

/* Mode and addresses stay: who is still at work with the SA has a copy of what matters, and finds out before anything leaves. */
static __always_inline void empty(struct sa *sa)
{
	__sync_lock_test_and_set(&sa->installed_ns, 0);
	sa->terms.spi = 0;
	release(bpf_kptr_xchg(&sa->ecb, NULL));
	release(bpf_kptr_xchg(&sa->cbc, NULL));
	__builtin_memset(sa->terms.chacha_key, 0, sizeof(sa->terms.chacha_key));
	sa->terms.salt = 0;
}

static __always_inline int fill(struct install *args, struct sa *sa)
{
	u32 spi = args->terms.spi;
	int err;

	args->terms.spi = 0;
	sa->terms = args->terms;
	sa->on_probation = args->on_probation;
	sa->sequence = args->sequence;
	reset_window(sa, args->highest);
	err = args->terms.suite == CHACHA20_POLY1305 ? copy_key(args, sa) : make_contexts(args, sa);
	if (err) {
		empty(sa);
		return err;
	}
	__sync_lock_test_and_set(&sa->installed_ns, bpf_ktime_get_ns());
	sa->terms.spi = spi; /* now it is there */
	return 0;
}

/* 0, -EEXIST where the slot is not empty, or the negative errno of bpf_crypto_ctx_create(). */
SEC("syscall")
int install(struct install *args)
{
	u32 slot = args->slot;
	struct sa *sa = bpf_map_lookup_elem(&sas, &slot);
	int err;

	if (!sa || !slot)
		err = -ENOENT;
	else
		err = sa->terms.spi ? -EEXIST : fill(args, sa);
	erase_keys(args);
	return err;
}

#endif
