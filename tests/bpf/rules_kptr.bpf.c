/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rules of kptrs in map values and of constant keys; tests/verifier/test_kernel_rules.py has the verdicts. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 first;
	struct bpf_crypto_ctx __kptr *cctx;
	struct bpf_crypto_ctx __kptr_untrusted *loose;
	u64 other;
};

struct row {
	struct bpf_crypto_ctx __kptr *cctx[4];
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);
TEST_MAP(table, BPF_MAP_TYPE_ARRAY, 4, struct value, 0);
TEST_MAP(percpu, BPF_MAP_TYPE_PERCPU_ARRAY, 4, struct value, 0);
TEST_MAP(recent, BPF_MAP_TYPE_LRU_HASH, 4, struct value, 0);
TEST_MAP(rows, BPF_MAP_TYPE_HASH, 4, struct row, 0);
TEST_MAP(plain, BPF_MAP_TYPE_HASH, 4, u64, 0);

struct bpf_crypto_ctx __kptr *global_slot SEC(".bss.kp");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} programs SEC(".maps");

struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
int err;
u32 selector;
u8 memory[64];
void *kept;

static __always_inline struct bpf_crypto_ctx *create(void)
{
	return bpf_crypto_ctx_create(&params, sizeof(params), &err);
}

static __always_inline struct value *look_up(void)
{
	u32 index = 1;

	return bpf_map_lookup_elem(&slots, &index);
}

static __always_inline int drop(struct bpf_crypto_ctx *cctx)
{
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __always_inline int encrypt(struct bpf_crypto_ctx *cctx)
{
	struct bpf_dynptr data;

	bpf_dynptr_from_mem(memory, 16, 0, &data);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

/* --- loads and stores --- */

SEC("?syscall")
__failure __msg("store to referenced kptr disallowed")
int store_null(void *args)
{
	struct value *value = look_up();

	if (value)
		value->cctx = NULL;
	return 0;
}

SEC("?syscall")
__failure __msg("store to referenced kptr disallowed")
int store_pointer(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx = create();

	if (cctx && value)
		value->cctx = cctx;
	return drop(cctx);
}

SEC("?tc")
__failure __msg("store to referenced kptr disallowed")
int store_number(struct __sk_buff *skb)
{
	struct value *value = look_up();

	if (value)
		*(u64 *)&value->cctx = skb->len;
	return 0;
}

SEC("?tc")
__failure __msg("kptr access size must be BPF_DW")
int load_half(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? *(volatile u32 *)&value->cctx : 0;
}

SEC("?tc")
__failure __msg("kptr access misaligned expected=8 off=12")
int load_inside(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? *(volatile u32 *)((void *)&value->cctx + 4) : 0;
}

SEC("?tc")
__failure __msg("kptr in map can only be accessed using BPF_MEM instruction mode")
int add_atomically(struct __sk_buff *skb)
{
	struct value *value = look_up();

	if (value)
		__sync_fetch_and_add((u64 *)&value->cctx, 1);
	return 0;
}

SEC("?tc")
__failure __msg("kptr access cannot have variable offset")
int load_somewhere(struct __sk_buff *skb)
{
	u32 index = 1, which = selector & 3;
	struct row *row = bpf_map_lookup_elem(&rows, &index);

	return row ? row->cctx[which] != NULL : 0;
}

SEC("?syscall")
__failure __msg("R1 doesn't have constant offset. kptr has to be at the constant offset")
int exchange_somewhere(void *args)
{
	u32 index = 1, which = selector & 3;
	struct row *row = bpf_map_lookup_elem(&rows, &index);

	return row ? drop(bpf_kptr_xchg(&row->cctx[which], NULL)) : 0;
}

/* --- helpers that touch the field --- */

SEC("?tc")
__failure __msg("kptr cannot be accessed indirectly by helper")
int load_bytes_over(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? bpf_skb_load_bytes(skb, 0, &value->cctx, 8) : 0;
}

SEC("?tc")
__failure __msg("kptr cannot be accessed indirectly by helper")
int store_bytes_from(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? bpf_skb_store_bytes(skb, 0, &value->first, 16, 0) : 0;
}

SEC("?tc")
__failure __msg("kptr cannot be accessed indirectly by helper")
int update_from_value(struct __sk_buff *skb)
{
	struct value *value = look_up();
	u32 index = 2;

	return value ? bpf_map_update_elem(&slots, &index, value, 0) : 0;
}

SEC("?tc")
__failure __msg("kptr cannot be accessed indirectly by helper")
int dynptr_over(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_dynptr data;

	return value ? bpf_dynptr_from_mem(value, sizeof(*value), 0, &data) : 0;
}

SEC("?tc")
__success
int dynptr_beside(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_dynptr data;

	return value ? bpf_dynptr_from_mem(&value->other, 8, 0, &data) : 0;
}

SEC("?tc")
__success
int load_bytes_beside(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? bpf_skb_load_bytes(skb, 0, &value->first, 8) : 0;
}

/* --- exchanges --- */

SEC("?tc")
__failure __msg("R1 has no valid kptr")
int exchange_plain(struct __sk_buff *skb)
{
	u32 index = 1;
	u64 *value = bpf_map_lookup_elem(&plain, &index);

	return value ? bpf_kptr_xchg(value, NULL) != NULL : 0;
}

SEC("?tc")
__failure __msg("R1 has no valid kptr")
int exchange_variable(struct __sk_buff *skb)
{
	return bpf_kptr_xchg(&kept, NULL) != NULL;
}

SEC("?tc")
__failure __msg("off=0 doesn't point to kptr")
int exchange_elsewhere(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? bpf_kptr_xchg(&value->first, NULL) != NULL : 0;
}

SEC("?tc")
__failure __msg("off=16 kptr isn't referenced kptr")
int exchange_loose(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value ? bpf_kptr_xchg(&value->loose, NULL) != NULL : 0;
}

SEC("?tc")
__failure __msg("invalid kptr access, R2 type=ptr_task_struct expected=ptr_bpf_crypto_ctx")
int exchange_task(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct task_struct *task = bpf_task_from_pid(1);

	if (!task)
		return 0;
	if (!value) {
		bpf_task_release(task);
		return 0;
	}
	return bpf_kptr_xchg(&value->cctx, task) != NULL;
}

SEC("?tc")
__failure __msg("R2 must be referenced when passed to release function")
int exchange_borrowed(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (!cctx)
		return 0;
	return bpf_kptr_xchg(&value->cctx, cctx) != NULL;
}

SEC("?syscall")
__failure __msg("R2 type=untrusted_ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_")
int exchange_untrusted(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	if (!cctx)
		return 0;
	return drop(bpf_kptr_xchg(&value->cctx, cctx));
}

SEC("?syscall")
__failure __msg("R2 type=scalar expected=ptr_, trusted_ptr_, rcu_ptr_")
int exchange_twice(void *args)
{
	struct bpf_crypto_ctx *cctx;
	struct value *value = look_up();

	if (!value)
		return 0;
	cctx = create();
	if (!cctx)
		return 0;
	drop(bpf_kptr_xchg(&value->cctx, cctx));
	return drop(bpf_kptr_xchg(&value->cctx, cctx));
}

SEC("?syscall")
__failure __msg("R1 type=fp expected=map_value, ptr_")
int exchange_on_stack(void *args)
{
	struct bpf_crypto_ctx *here = NULL;

	return drop(bpf_kptr_xchg(&here, NULL));
}

SEC("?syscall")
__success
int exchange(void *args)
{
	struct bpf_crypto_ctx *cctx;
	struct value *value = look_up();

	if (!value)
		return 0;
	cctx = create();
	if (!cctx)
		return 0;
	return drop(bpf_kptr_xchg(&value->cctx, cctx));
}

/* --- values on the stack --- */

SEC("?syscall")
__success
int update_null(void *args)
{
	struct value value = {.first = 1};
	u32 index = 1;

	return bpf_map_update_elem(&slots, &index, &value, 0);
}

SEC("?syscall")
__failure __msg("BPF_EXIT instruction in main prog would lead to reference leak")
int update_owned_leaks(void *args)
{
	struct value value = {};
	u32 index = 1;

	value.cctx = create();
	if (!value.cctx)
		return 0;
	return bpf_map_update_elem(&slots, &index, &value, 0);
}

SEC("?syscall")
__success
int update_owned(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	struct value value = {};
	u32 index = 1;

	if (!cctx)
		return 0;
	value.cctx = cctx;
	bpf_map_update_elem(&slots, &index, &value, 0);
	return drop(cctx);
}

/* --- untrusted kptrs --- */

SEC("?tc")
__success
int loose_store(struct __sk_buff *skb)
{
	struct value *value = look_up();

	if (value)
		value->loose = value->cctx;
	return 0;
}

SEC("?tc")
__success
int loose_load(struct __sk_buff *skb)
{
	struct value *value = look_up();

	return value && value->loose;
}

SEC("?tc")
__failure __msg("R1 must be a rcu pointer")
int loose_encrypt(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->loose;
	return cctx ? encrypt(cctx) : 0;
}

/* --- keys --- */

#define LOOK_UP_ZERO(name, map) \
	int name(struct __sk_buff *skb) \
	{ \
		u32 index = 0; \
		struct value *value = bpf_map_lookup_elem(&map, &index); \
\
		return value->other; \
	}

SEC("?tc")
__success
LOOK_UP_ZERO(zero_key_array, table)

SEC("?tc")
__success
LOOK_UP_ZERO(zero_key_percpu, percpu)

SEC("?tc")
__failure __msg("R0 invalid mem access 'map_value_or_null'")
LOOK_UP_ZERO(zero_key_hash, slots)

SEC("?tc")
__failure __msg("R0 invalid mem access 'map_value_or_null'")
LOOK_UP_ZERO(zero_key_lru, recent)

SEC("?tc")
__failure __msg("R0 invalid mem access 'map_value_or_null'")
int one_key_array(struct __sk_buff *skb)
{
	u32 index = 1;
	struct value *value = bpf_map_lookup_elem(&table, &index);

	return value->other;
}

SEC("?tc")
__failure __msg("R0 invalid mem access 'map_value_or_null'")
int variable_key_array(struct __sk_buff *skb)
{
	u32 index = selector & 1;
	struct value *value = bpf_map_lookup_elem(&table, &index);

	return value->other;
}

SEC("?syscall")
__success
int dead_branch_leaks(void *args)
{
	struct bpf_crypto_ctx *cctx = create();
	u32 index = 0;
	struct value *value;

	if (!cctx)
		return 0;
	value = bpf_map_lookup_elem(&table, &index);
	if (!value)
		return 0;
	return drop(bpf_kptr_xchg(&value->cctx, cctx));
}

/* --- a slot of its own section, and maps that sleepable programs may not use --- */

SEC("?syscall")
__success
int global_exchange(void *args)
{
	struct bpf_crypto_ctx *cctx = create();

	if (!cctx)
		return 0;
	return drop(bpf_kptr_xchg(&global_slot, cctx));
}

SEC("?tc")
__success
int global_use(struct __sk_buff *skb)
{
	struct bpf_crypto_ctx *cctx = global_slot;

	return cctx ? encrypt(cctx) : 0;
}

SEC("?syscall")
__failure __msg("Sleepable programs can only use array, hash, ringbuf and local storage maps")
int tail_call(void *args)
{
	bpf_tail_call(args, &programs, 0);
	return 0;
}

SEC("?tc")
__success
int tail_call_in_tc(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 0);
	return 0;
}
