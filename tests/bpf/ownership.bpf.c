/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* References to crypto contexts: what the verifier accepts and refuses, each in a program of its own. */
#include "test.h"

LICENSE_GPL;

struct value {
	struct bpf_crypto_ctx __kptr *cctx;
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);

struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
int err;
u8 memory[64];

static __always_inline struct bpf_crypto_ctx *create(void)
{
	return bpf_crypto_ctx_create(&params, sizeof(params), &err);
}

static __always_inline struct value *look_up(void)
{
	u32 index = 1;

	return bpf_map_lookup_elem(&slots, &index);
}

/* --- leaks --- */

SEC("?syscall")
__failure __msg("Unreleased reference") __msg("would lead to reference leak")
int leak(void *args)
{
	return create() != NULL;
}

SEC("?syscall")
__failure __msg("Unreleased reference")
int leak_on_one_path(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	if (err == 5)
		return 1;
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("Unreleased reference")
int leak_what_was_there(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	struct value *value = look_up();

	if (!cctx)
		return 0;
	if (!value) {
		bpf_crypto_ctx_release(cctx);
		return 0;
	}
	return bpf_kptr_xchg(&value->cctx, cctx) != NULL;
}

static __noinline int leak_inside(void)
{
	return create() != NULL;
}

SEC("?syscall")
__failure __msg("Unreleased reference")
int leak_in_subprogram(void *args)
{
	return leak_inside();
}

/* --- NULL --- */

SEC("?syscall")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int release_unchecked(void *args)
{
	bpf_crypto_ctx_release(create());
	return 0;
}

SEC("?syscall")
__failure __msg("Possibly NULL pointer passed to helper arg2")
int store_unchecked(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *old;

	if (!value)
		return 0;
	old = bpf_kptr_xchg(&value->cctx, create());
	if (old)
		bpf_crypto_ctx_release(old);
	return 0;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int encrypt_unchecked(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_dynptr data;

	if (!value)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	return bpf_crypto_encrypt(value->cctx, &data, &data, NULL);
}

SEC("?syscall")
__failure __msg("invalid mem access 'ptr_or_null_'")
int read_unchecked(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	u32 size = cctx->siv_len;

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return size;
}

/* --- after the end --- */

SEC("?syscall")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int release_twice(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_release(cctx);
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("invalid mem access 'scalar'")
int read_after_release(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_release(cctx);
	return cctx->siv_len;
}

/* --- borrowed pointers --- */

SEC("?syscall")
__failure __msg("R1 must be a rcu pointer")
int acquire_outside_rcu(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (!cctx)
		return 0;
	cctx = bpf_crypto_ctx_acquire(cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("R1 must be referenced or trusted")
int release_borrowed(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	cctx = value->cctx;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("?tc")
__failure __msg("R1 must be a rcu pointer")
int use_after_rcu(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	cctx = value->cctx;
	bpf_rcu_read_unlock();
	if (!cctx)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

/* --- the wrong program --- */

SEC("?tc")
__failure __msg("calling kernel function bpf_crypto_ctx_create is not allowed")
int create_in_tc(struct __sk_buff *skb)
{
	return create() == NULL;
}

SEC("?xdp")
__failure __msg("calling kernel function bpf_crypto_ctx_release is not allowed")
int release_in_xdp(struct xdp_md *xdp)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = bpf_kptr_xchg(&value->cctx, NULL);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("calling kernel function bpf_crypto_encrypt is not allowed")
int encrypt_in_syscall(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	struct bpf_dynptr data;

	if (!cctx)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	err = bpf_crypto_encrypt(cctx, &data, &data, NULL);
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("kernel func bpf_crypto_ctx_create is sleepable within rcu_read_lock region")
int create_under_rcu(void *args)
{
	struct bpf_crypto_ctx *cctx;

	bpf_rcu_read_lock();
	cctx = create();
	bpf_rcu_read_unlock();
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

/* --- the wrong arguments --- */

SEC("?syscall")
__failure __msg("memory, len pair leads to invalid memory access")
int create_without_bound(u32 *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, *args, &err);

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

#pragma clang diagnostic ignored "-Wuninitialized-const-pointer" /* the point of the next one */
SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int encrypt_uninitialised(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 0;
	cctx = value->cctx;
	return cctx ? bpf_crypto_encrypt(cctx, &data, &data, NULL) : 0;
}

SEC("?syscall")
__failure __msg("kptr cannot be accessed indirectly by helper")
int write_over_kptr(void *args)
{
	struct value *value = look_up();
	struct bpf_dynptr data;

	return value ? bpf_dynptr_from_mem(value, sizeof(*value), 0, &data) : 0;
}

SEC("?syscall")
__failure __msg("store to referenced kptr disallowed")
int store_directly(void *args)
{
	struct value *value = look_up();

	if (value)
		value->cctx = NULL;
	return 0;
}

SEC("?syscall")
__failure __msg("only read is supported")
int write_member(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	cctx->siv_len = 1;
	bpf_crypto_ctx_release(cctx);
	return 0;
}

/* --- and what is fine --- */

SEC("?syscall")
__success __description("owned twice, released twice, in either order")
int own_twice(void *args)
{
	struct bpf_crypto_ctx *one = create(), *two;

	if (!one)
		return 0;
	two = bpf_crypto_ctx_acquire(one);
	bpf_crypto_ctx_release(one);
	if (two)
		bpf_crypto_ctx_release(two);
	return 0;
}

SEC("?tc")
__success __description("one load, one check, no lock: packet programs run under RCU")
int use_borrowed(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (!cctx)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}
