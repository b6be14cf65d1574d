/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The verifier's rules of ownership, each broken in a program of its own; tests/verifier/test_kernel_rules.py has the verdicts. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct value {
	struct bpf_crypto_ctx __kptr *cctx;
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
int err;
u32 selector;
u8 memory[64];
u64 leaked;

static __always_inline struct bpf_crypto_ctx *create(void)
{
	return bpf_crypto_ctx_create(&params, sizeof(params), &err);
}

static __always_inline struct value *look_up(void)
{
	u32 index = 1;

	return bpf_map_lookup_elem(&slots, &index);
}

static __always_inline int encrypt(struct bpf_crypto_ctx *cctx)
{
	struct bpf_dynptr data;

	bpf_dynptr_from_mem(memory, 16, 0, &data);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

/* Any number as a pointer, which the compiler does not see through. */
static __always_inline void *cast(u64 number)
{
	__sink(number);
	return (void *)number;
}

/* --- leaks --- */

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int drop_result(void *args)
{
	create();
	return 0;
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int leave_without_release(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	return cctx->siv_len;
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int acquire_without_release(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_acquire(cctx);
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int forget_old(void *args)
{
	struct value *value = look_up();

	if (value)
		bpf_kptr_xchg(&value->cctx, NULL);
	return 0;
}

SEC("?tc")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int keep_record(struct __sk_buff *skb)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &record);
	return 0;
}

static __noinline int leak_inside(void)
{
	return create() != NULL;
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int leak_in_function(void *args)
{
	return leak_inside();
}

static int leak_each(u32 index, void *context)
{
	return create() != NULL;
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int leak_in_loop(void *args)
{
	return bpf_loop(4, leak_each, NULL, 0);
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
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int release_null(void *args)
{
	bpf_crypto_ctx_release(NULL);
	return 0;
}

SEC("?syscall")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int acquire_unchecked(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	struct bpf_crypto_ctx *again = bpf_crypto_ctx_acquire(cctx);

	if (again)
		bpf_crypto_ctx_release(again);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int encrypt_unchecked(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? encrypt(value->cctx) : 0;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int encrypt_null(struct __sk_buff *skb)
{
	return encrypt(NULL);
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

SEC("?syscall")
__failure __msg("R0 invalid mem access 'ptr_or_null_'")
int read_unchecked(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	u32 size = cctx->siv_len;

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return size;
}

/* --- what is no context any more, or never was --- */

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
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int acquire_released(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_release(cctx);
	cctx = bpf_crypto_ctx_acquire(cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int release_stored(void *args)
{
	struct bpf_crypto_ctx *cctx, *old;
	struct value *value = look_up();

	if (!value)
		return 0;
	cctx = create();
	if (!cctx)
		return 0;
	old = bpf_kptr_xchg(&value->cctx, cctx);
	if (old)
		bpf_crypto_ctx_release(old);
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int release_number(void *args)
{
	bpf_crypto_ctx_release(cast(0x1234));
	return 0;
}

SEC("?syscall")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int release_value(void *args)
{
	struct value *value = look_up();

	if (value)
		bpf_crypto_ctx_release((void *)value);
	return 0;
}

SEC("?tc")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int encrypt_with_number(struct __sk_buff *skb)
{
	return encrypt(cast(0x1234));
}

SEC("?tc")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int encrypt_with_skb(struct __sk_buff *skb)
{
	return encrypt((void *)skb);
}

SEC("?tc")
__failure __msg("arg#0 pointer type STRUCT bpf_crypto_ctx must point to scalar, or struct with scalar")
int encrypt_with_value(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? encrypt((void *)value) : 0;
}

SEC("?syscall")
__failure __msg("R6 invalid mem access 'scalar'")
int read_released(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_release(cctx);
	return cctx->siv_len;
}

SEC("?syscall")
__failure __msg("R7 invalid mem access 'scalar'")
int read_stored(void *args)
{
	struct bpf_crypto_ctx *cctx, *old;
	struct value *value = look_up();

	if (!value)
		return 0;
	cctx = create();
	if (!cctx)
		return 0;
	old = bpf_kptr_xchg(&value->cctx, cctx);
	if (old)
		bpf_crypto_ctx_release(old);
	return cctx->siv_len;
}

/* --- what is only borrowed --- */

SEC("?syscall")
__failure __msg("R1 must be referenced or trusted")
int release_borrowed(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("R1 must be referenced or trusted")
int release_protected(void *args)
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

SEC("?syscall")
__failure __msg("R1 must be a rcu pointer")
int acquire_untrusted(void *args)
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

SEC("?tc")
__failure __msg("R1 must be a rcu pointer")
int encrypt_after_section(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	cctx = value->cctx;
	bpf_rcu_read_unlock();
	return cctx ? encrypt(cctx) : 0;
}

SEC("?syscall")
__failure __msg("R1 must be a rcu pointer")
int acquire_after_second_lock(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	cctx = value->cctx;
	bpf_rcu_read_unlock();
	if (!cctx)
		return 0;
	bpf_rcu_read_lock();
	cctx = bpf_crypto_ctx_acquire(cctx);
	bpf_rcu_read_unlock();
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int load_twice(struct __sk_buff *skb)
{
	struct value *value = look_up();

	if (!value || !*(void *volatile *)&value->cctx)
		return 0;
	return encrypt(*(struct bpf_crypto_ctx *volatile *)&value->cctx);
}

/* --- the wrong place or type --- */

SEC("?syscall")
__failure __msg("R1 must have zero offset when passed to release func or trusted arg to kfunc")
int release_inside(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_crypto_ctx_release((void *)cctx + 8);
	return 0;
}

SEC("?tc")
__failure __msg("kernel function bpf_crypto_encrypt args#0 expected pointer to STRUCT bpf_crypto_ctx but R1 has a pointer to STRUCT bpf_crypto_ctx")
int encrypt_inside(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	return cctx ? encrypt((void *)cctx + 8) : 0;
}

SEC("?syscall")
__failure __msg("kernel function bpf_crypto_ctx_release args#0 expected pointer to STRUCT bpf_crypto_ctx but R1 has a pointer to STRUCT task_struct")
int release_task(void *args)
{
	bpf_crypto_ctx_release((void *)bpf_get_current_task_btf());
	return 0;
}

SEC("?syscall")
__failure __msg("arg#0 expected pointer to allocated object")
int drop_context(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_obj_drop_impl(cctx, NULL);
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

SEC("?tc")
__failure __msg("only read is supported")
int write_member_in_tc(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (cctx)
		cctx->siv_len = 1;
	return 0;
}

/* --- what is fine --- */

SEC("?syscall")
__success
int release_in_section(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	bpf_rcu_read_lock();
	bpf_crypto_ctx_release(cctx);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("?syscall")
__success
int spill(void *args)
{
	struct bpf_crypto_ctx *volatile kept = create();
	struct bpf_crypto_ctx *cctx = kept;

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __noinline struct bpf_crypto_ctx *create_inside(void)
{
	return create();
}

SEC("?syscall")
__success
int create_in_function(void *args)
{
	struct bpf_crypto_ctx *cctx = create_inside();

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static int create_each(u32 index, void *context)
{
	struct bpf_crypto_ctx *cctx = create();

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__success
int create_in_loop(void *args)
{
	return bpf_loop(4, create_each, NULL, 0);
}

SEC("?syscall")
__success
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

SEC("?syscall")
__success
int acquire_in_section(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	cctx = value->cctx;
	if (cctx)
		cctx = bpf_crypto_ctx_acquire(cctx);
	bpf_rcu_read_unlock();
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?syscall")
__success
int leak_address(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	leaked = (u64)cctx;
	bpf_crypto_ctx_release(cctx);
	return 0;
}

/* --- who may call what --- */

SEC("?tc")
__failure __msg("calling kernel function bpf_crypto_ctx_create is not allowed")
int create_in_tc(struct __sk_buff *skb)
{
	return create() == NULL;
}

SEC("?xdp")
__failure __msg("calling kernel function bpf_crypto_ctx_create is not allowed")
int create_in_xdp(struct xdp_md *xdp)
{
	return create() == NULL;
}

SEC("?xdp")
__failure __msg("calling kernel function bpf_crypto_ctx_release is not allowed")
int move_in_xdp(struct xdp_md *xdp)
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

SEC("?tc")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int move_in_tc(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = bpf_kptr_xchg(&value->cctx, NULL);
	if (!cctx)
		return 0;
	bpf_kptr_xchg(&value->cctx, cctx);
	return 0;
}

SEC("?syscall")
__failure __msg("calling kernel function bpf_crypto_encrypt is not allowed")
int encrypt_in_syscall(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	err = encrypt(cctx);
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("?tc")
__success
int only_load(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value && value->cctx;
}
