/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The arguments of bpf_crypto_ctx_create, and where it may be called; tests/verifier/test_kernel_rules.py has the verdicts. */
#include "test.h"

LICENSE_GPL;

struct value {
	struct bpf_crypto_ctx __kptr *cctx;
	struct bpf_spin_lock lock;
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);

struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
int err;
const volatile int fixed_err = 1;
u8 memory[64];

#define FINISH(cctx) \
	do { \
		if (cctx) \
			bpf_crypto_ctx_release(cctx); \
		return 0; \
	} while (0)

static __always_inline struct value *look_up(void)
{
	u32 index = 1;

	return bpf_map_lookup_elem(&slots, &index);
}

SEC("?syscall")
__failure __msg("kernel func bpf_crypto_ctx_create is sleepable within rcu_read_lock region")
int in_section(void *args)
{
	struct bpf_crypto_ctx *cctx;

	bpf_rcu_read_lock();
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	bpf_rcu_read_unlock();
	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("function calls are not allowed while holding a lock")
int under_lock(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_spin_lock(&value->lock);
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	bpf_spin_unlock(&value->lock);
	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("function calls are not allowed while holding a lock")
int release_under_lock(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	struct value *value = look_up();

	if (!cctx)
		return 0;
	if (!value)
		FINISH(cctx);
	bpf_spin_lock(&value->lock);
	bpf_crypto_ctx_release(cctx);
	bpf_spin_unlock(&value->lock);
	return 0;
}

SEC("?tc")
__failure __msg("function calls are not allowed while holding a lock")
int exchange_under_lock(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_spin_lock(&value->lock);
	cctx = bpf_kptr_xchg(&value->cctx, NULL);
	bpf_spin_unlock(&value->lock);
	return cctx != NULL;
}

SEC("?tc")
__failure __msg("function calls are not allowed while holding a lock")
int encrypt_under_lock(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	bpf_spin_lock(&value->lock);
	cctx = value->cctx;
	if (cctx)
		bpf_crypto_encrypt(cctx, &data, &data, NULL);
	bpf_spin_unlock(&value->lock);
	return 0;
}

SEC("?tc")
__success
int load_under_lock(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;

	if (!value)
		return 0;
	bpf_dynptr_from_mem(memory, 16, 0, &data);
	bpf_spin_lock(&value->lock);
	cctx = value->cctx;
	bpf_spin_unlock(&value->lock);
	return cctx ? bpf_crypto_encrypt(cctx, &data, &data, NULL) : 0;
}

/* --- params --- */

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_null(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(NULL, 408, &err);

	FINISH(cctx);
}

SEC("?syscall")
__success
int params_null_empty(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(NULL, 0, &err);

	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_number(void *args)
{
	u64 number = 4096;
	struct bpf_crypto_ctx *cctx;

	__sink(number);
	cctx = bpf_crypto_ctx_create((void *)number, 408, &err);
	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_too_large(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, 4505, &err);

	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_unbounded(u32 *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, *args, &err);

	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_on_small_stack(void *args)
{
	u8 little[104] = {};
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create((void *)little, 408, &err);

	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_on_stack_beyond_end(void *args)
{
	u8 little[16] = {};
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create((void *)little, 408, &err);

	FINISH(cctx);
}

SEC("?syscall")
__success
int params_uninitialised(void *args)
{
	u8 space[408];
	struct bpf_crypto_ctx *cctx;

	asm volatile("" : "=m"(space));
	cctx = bpf_crypto_ctx_create((void *)space, sizeof(space), &err);
	FINISH(cctx);
}

SEC("?syscall")
__success
int params_in_context(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(args, sizeof(params), &err);

	FINISH(cctx);
}

SEC("?syscall")
__success
int params_in_context_bounded(u32 *args)
{
	u32 size = args[200];
	struct bpf_crypto_ctx *cctx;

	if (size > 512)
		return 0;
	cctx = bpf_crypto_ctx_create((void *)args, size, &err);
	FINISH(cctx);
}

SEC("?syscall")
__success
int params_in_map(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = bpf_crypto_ctx_create((void *)&value->other, 8, &err);
	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("arg#0 arg#1 memory, len pair leads to invalid memory access")
int params_over_kptr(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = bpf_crypto_ctx_create((void *)value, sizeof(*value), &err);
	FINISH(cctx);
}

/* --- err --- */

SEC("?syscall")
__failure __msg("write into map forbidden, value_size=4 off=0 size=4")
int err_in_rodata(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, sizeof(params), (int *)&fixed_err);

	FINISH(cctx);
}

SEC("?syscall")
__success
int err_null(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, sizeof(params), NULL);

	FINISH(cctx);
}

SEC("?syscall")
__success
int err_on_stack(void *args)
{
	int code = 1;
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create(&params, sizeof(params), &code);

	if (!cctx)
		return code;
	FINISH(cctx);
}

SEC("?syscall")
__failure __msg("R3 type=scalar expected=fp")
int err_number(void *args)
{
	u64 number = 4096;
	struct bpf_crypto_ctx *cctx;

	__sink(number);
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), (int *)number);
	FINISH(cctx);
}
