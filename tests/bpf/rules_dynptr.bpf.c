/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rules of dynptr arguments; tests/verifier/test_kernel_rules.py has the verdicts. */
#include "test.h"

LICENSE_GPL;

struct value {
	struct bpf_crypto_ctx __kptr *cctx;
	u64 other[8];
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);
TEST_MAP(readable, BPF_MAP_TYPE_ARRAY, 4, u64, BPF_F_RDONLY_PROG);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

u8 memory[64];
u32 selector;
struct bpf_dynptr global_dynptr;
const volatile u8 fixed[32] = {1};

static __always_inline struct bpf_crypto_ctx *borrow(void)
{
	u32 index = 1;
	struct value *value = bpf_map_lookup_elem(&slots, &index);

	return value ? value->cctx : NULL;
}

static __always_inline struct value *look_up(void)
{
	u32 index = 1;

	return bpf_map_lookup_elem(&slots, &index);
}

/* A context in ``cctx``, or the end of the program. */
#define CONTEXT \
	struct bpf_crypto_ctx *cctx = borrow(); \
\
	if (!cctx) \
	return 0

#define MEMORY(name) \
	struct bpf_dynptr name; \
\
	bpf_dynptr_from_mem(memory, 16, 0, &name)

#pragma clang diagnostic ignored "-Wuninitialized-const-pointer"
#pragma clang diagnostic ignored "-Wuninitialized"

/* --- no dynptr at all --- */

SEC("?tc")
__failure __msg("arg#1 expected pointer to stack or const struct bpf_dynptr")
int src_is_value(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, (void *)memory, &data, NULL);
}

SEC("?tc")
__failure __msg("arg#2 expected pointer to stack or const struct bpf_dynptr")
int dst_is_value(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, &data, (void *)memory, NULL);
}

SEC("?tc")
__failure __msg("arg#3 expected pointer to stack or const struct bpf_dynptr")
int siv_is_value(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, &data, &data, (void *)memory);
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg1")
int src_may_be_null(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, (void *)look_up(), &data, NULL);
}

SEC("?tc")
__failure __msg("arg#3 expected pointer to stack or const struct bpf_dynptr")
int siv_may_be_null(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, &data, &data, (void *)look_up());
}

SEC("?tc")
__failure __msg("arg#1 expected pointer to stack or const struct bpf_dynptr")
int src_is_number(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	u64 number = 7;

	__sink(number);
	return bpf_crypto_encrypt(cctx, (void *)number, &data, NULL);
}

SEC("?tc")
__failure __msg("arg#1 expected pointer to stack or const struct bpf_dynptr")
int src_is_skb(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, (void *)skb, &data, NULL);
}

SEC("?tc")
__failure __msg("arg#1 expected pointer to stack or const struct bpf_dynptr")
int src_is_record(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	void *record = bpf_ringbuf_reserve(&ring, 16, 0);
	int result;

	if (!record)
		return 0;
	result = bpf_crypto_encrypt(cctx, record, &data, NULL);
	bpf_ringbuf_discard(record, 0);
	return result;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg1")
int src_null(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, NULL, &data, NULL);
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg2")
int dst_null(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, &data, NULL, NULL);
}

SEC("?tc")
__success
int siv_null(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

SEC("?tc")
__success
int siv_null_at_run_time(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	MEMORY(siv);

	return bpf_crypto_encrypt(cctx, &data, &data, selector ? &siv : NULL);
}

/* --- not initialised --- */

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_uninitialised(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr never;

	return bpf_crypto_encrypt(cctx, &never, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #2")
int dst_uninitialised(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr never;

	return bpf_crypto_encrypt(cctx, &data, &never, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #3")
int siv_uninitialised(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr never;

	return bpf_crypto_encrypt(cctx, &data, &data, &never);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_zeroes(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr zero = {};

	return bpf_crypto_encrypt(cctx, &zero, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_bytes(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	u8 bytes[16] = {1, 2, 3};

	return bpf_crypto_encrypt(cctx, (void *)bytes, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_on_one_branch(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr sometimes;

	if (skb->mark)
		bpf_dynptr_from_mem(memory, 16, 0, &sometimes);
	return bpf_crypto_encrypt(cctx, &sometimes, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_partly_overwritten(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	MEMORY(broken);

	*(volatile u32 *)&broken = 1;
	return bpf_crypto_encrypt(cctx, &broken, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_inside(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, (void *)&data + 8, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_unaligned(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);

	return bpf_crypto_encrypt(cctx, (void *)&data + 4, &data, NULL);
}

SEC("?tc")
__failure __msg("Expected an initialized dynptr as arg #1")
int src_submitted(struct __sk_buff *skb)
{
	CONTEXT;
	MEMORY(data);
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &record);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return bpf_crypto_encrypt(cctx, &record, &data, NULL);
}

/* --- made again --- */

SEC("?tc")
__success
int remake(struct __sk_buff *skb)
{
	MEMORY(data);

	bpf_dynptr_from_mem(memory, 32, 0, &data);
	return bpf_dynptr_size(&data);
}

SEC("?tc")
__failure __msg("cannot overwrite referenced dynptr")
int remake_record(struct __sk_buff *skb)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &record);
	bpf_dynptr_from_mem(memory, 16, 0, &record);
	return 0;
}

SEC("?tc")
__failure __msg("cannot overwrite referenced dynptr")
int overwrite_record(struct __sk_buff *skb)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &record);
	*(volatile u64 *)&record = 0;
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

SEC("?tc")
__failure __msg("R4 type=map_value expected=fp, dynptr_ptr")
int in_map_memory(struct __sk_buff *skb)
{
	return bpf_dynptr_from_mem(memory, 16, 0, &global_dynptr);
}

SEC("?tc")
__failure __msg("arg 1 is an unacquired reference")
int submit_twice(struct __sk_buff *skb)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 16, 0, &record);
	bpf_ringbuf_submit_dynptr(&record, 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

SEC("?tc")
__failure __msg("arg 1 is an unacquired reference")
int submit_memory(struct __sk_buff *skb)
{
	MEMORY(data);

	bpf_ringbuf_submit_dynptr(&data, 0);
	return 0;
}

/* --- over what --- */

SEC("?tc")
__failure __msg("Unsupported reg type fp for bpf_dynptr_from_mem data")
int over_stack(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	u8 bytes[16] = {};

	return bpf_dynptr_from_mem(bytes, 16, 0, &data);
}

SEC("?tc")
__failure __msg("Unsupported reg type ringbuf_mem for bpf_dynptr_from_mem data")
int over_record(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	void *record = bpf_ringbuf_reserve(&ring, 16, 0);

	if (!record)
		return 0;
	bpf_dynptr_from_mem(record, 16, 0, &data);
	bpf_ringbuf_discard(record, 0);
	return 0;
}

SEC("?tc")
__failure __msg("helper access to the packet is not allowed")
int over_packet(struct __sk_buff *skb)
{
	void *start = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_dynptr data;

	if (start + 16 > end)
		return 0;
	return bpf_dynptr_from_mem(start, 16, 0, &data);
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=32 off=0 size=16")
int over_rodata(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_mem((void *)fixed, 16, 0, &data);
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=8 off=0 size=8")
int over_readable_map(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	u32 index = selector;
	u64 *value = bpf_map_lookup_elem(&readable, &index);

	return value ? bpf_dynptr_from_mem(value, 8, 0, &data) : 0;
}

SEC("?tc")
__failure __msg("R2 unbounded memory access, use 'var &= const' or 'if (var < const)'")
int unbounded(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_mem(memory, skb->len, 0, &data);
}

/* --- packets --- */

SEC("?tc")
__failure __msg("arg#0 expected pointer to ctx, but got map_value")
int skb_from_value(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_skb((void *)memory, 0, &data);
}

SEC("?xdp")
__failure __msg("calling kernel function bpf_dynptr_from_skb is not allowed")
int skb_in_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_skb((void *)xdp, 0, &data);
}

SEC("?tc")
__failure __msg("calling kernel function bpf_dynptr_from_xdp is not allowed")
int xdp_in_tc(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_xdp((void *)skb, 0, &data);
}

SEC("?tc")
__success
int skb_with_flags(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_skb(skb, 3, &data);
}

SEC("?tc")
__success
int skb_stays_valid(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	CONTEXT;

	if (bpf_dynptr_from_skb(skb, 0, &data))
		return 0;
	bpf_skb_pull_data(skb, 64);
	bpf_skb_change_tail(skb, 100, 0);
	bpf_skb_store_bytes(skb, 0, memory, 4, 0);
	bpf_skb_adjust_room(skb, 8, BPF_ADJ_ROOM_NET, 0);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

SEC("?xdp")
__success
int xdp_stays_valid(struct xdp_md *xdp)
{
	struct bpf_dynptr data;
	CONTEXT;

	if (bpf_dynptr_from_xdp(xdp, 0, &data))
		return 0;
	bpf_xdp_adjust_head(xdp, -16);
	bpf_xdp_adjust_tail(xdp, -16);
	bpf_xdp_adjust_meta(xdp, -8);
	return bpf_crypto_encrypt(cctx, &data, &data, NULL);
}

SEC("?tc")
__success
int packet_after_encrypt(struct __sk_buff *skb)
{
	u8 *start = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_dynptr data;
	CONTEXT;

	if (start + 16 > end || bpf_dynptr_from_skb(skb, 0, &data))
		return 0;
	bpf_crypto_encrypt(cctx, &data, &data, NULL);
	return start[3];
}

SEC("?tc")
__failure __msg("R6 invalid mem access 'scalar'")
int packet_after_pull(struct __sk_buff *skb)
{
	u8 *start = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (start + 16 > end)
		return 0;
	bpf_skb_pull_data(skb, 64);
	return start[3];
}

SEC("?tc")
__failure __msg("R7 invalid mem access 'scalar'")
int slice_after_write(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	u8 *slice;

	if (bpf_dynptr_from_skb(skb, 0, &data))
		return 0;
	slice = bpf_dynptr_slice(&data, 0, NULL, 16);
	if (!slice)
		return 0;
	bpf_dynptr_write(&data, 0, memory, 4, 0);
	return slice[3];
}

SEC("?tc")
__failure __msg("R6 invalid mem access 'scalar'")
int slice_after_remake(struct __sk_buff *skb)
{
	MEMORY(data);
	u8 *part = bpf_dynptr_data(&data, 0, 8);

	if (!part)
		return 0;
	bpf_dynptr_from_mem(memory, 32, 0, &data);
	return part[3];
}

SEC("?tc")
__failure __msg("R0 min value is outside of the allowed memory range")
int slice_beyond(struct __sk_buff *skb)
{
	MEMORY(data);
	u8 *part = bpf_dynptr_data(&data, 0, 8);

	return part ? ((volatile u8 *)part)[8] : 0;
}

SEC("?tc")
__failure __msg("R0 cannot write into rdonly_mem")
int slice_written(struct __sk_buff *skb)
{
	struct bpf_dynptr data;
	u8 *slice, copy[16];

	if (bpf_dynptr_from_skb(skb, 0, &data))
		return 0;
	slice = bpf_dynptr_slice(&data, 0, copy, sizeof(copy));
	if (!slice)
		return 0;
	slice[0] = 1;
	return 0;
}

SEC("?tc")
__success
int adjust_and_clone(struct __sk_buff *skb)
{
	struct bpf_dynptr data, part;
	CONTEXT;

	if (bpf_dynptr_from_skb(skb, 0, &data) || bpf_dynptr_clone(&data, &part) || bpf_dynptr_adjust(&part, 16, 32))
		return 0;
	return bpf_crypto_encrypt(cctx, &part, &part, NULL);
}
