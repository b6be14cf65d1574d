/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Samples from user space; and ring buffer memory as what is encrypted and where it goes. */
#include "test.h"

LICENSE_GPL;

#define RING_SIZE 4096

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, RING_SIZE);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} ring SEC(".maps");

/* In: how the drain is called, and after how many samples it is to stop. */
u64 flags;
u32 stop_after;
u8 given[16];

/* Out: what the drain returned, and what each sample was. */
s64 ret;
u32 count;
s64 answers[8];
u32 sizes[64];
u8 heads[64][16];
u8 seen[64];

static long on_sample(struct bpf_dynptr *sample, void *context)
{
	u32 index = count++ & 63;

	sizes[index] = bpf_dynptr_size(sample);
	answers[0] = bpf_dynptr_read(heads[index], 16, sample, 0, 0);
	*(u64 *)context += sizes[index];
	return count == stop_after;
}

SEC("tc")
__success __description("take samples until there is none or it is enough")
int drain(struct __sk_buff *skb)
{
	u64 total = 0;

	count = 0;
	ret = bpf_user_ringbuf_drain(&samples, on_sample, &total, flags);
	answers[1] = total;
	return 0;
}

SEC("syscall")
__success __description("the same without a packet")
int drain_syscall(void *args)
{
	u64 total = 0;

	count = 0;
	ret = bpf_user_ringbuf_drain(&samples, on_sample, &total, flags);
	answers[1] = total;
	return 0;
}

static long on_every_way(struct bpf_dynptr *sample, void *context)
{
	struct bpf_dynptr view;
	u8 *data;

	count++;
	answers[0] = bpf_dynptr_is_null(sample);
	answers[1] = bpf_dynptr_is_rdonly(sample);
	answers[2] = bpf_dynptr_write(sample, 4, given, 8, 0);
	answers[3] = bpf_dynptr_read(seen, 32, sample, 0, 0);
	answers[4] = bpf_dynptr_clone(sample, &view);
	answers[5] = bpf_dynptr_adjust(&view, 8, 16);
	data = bpf_dynptr_data(&view, 0, 8);
	answers[6] = data != NULL;
	if (data)
		seen[63] = data[0];
	answers[7] = bpf_user_ringbuf_drain(&samples, on_sample, context, 0);
	return 0;
}

SEC("tc")
__success __description("everything a program can do with a sample; draining within a drain is refused")
int explore(struct __sk_buff *skb)
{
	u64 total = 0;

	count = 0;
	ret = bpf_user_ringbuf_drain(&samples, on_every_way, &total, flags);
	return 0;
}

/* --- encryption --- */

struct slot {
	struct bpf_crypto_ctx __kptr *cctx;
};

TEST_MAP(slots, BPF_MAP_TYPE_ARRAY, 1, struct slot, 0);

/* In: a cipher, a key, and how much there is to encrypt. Out: what each step gave. */
char cipher[128];
u8 key[16];
u8 iv[16];
u32 length;
int status;

SEC("syscall")
__success __description("a context")
int setup(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .key_len = sizeof(key)};
	struct bpf_crypto_ctx *cctx;
	struct slot *slot;
	u32 index = 0;

	memcpy(params.algo, cipher, sizeof(params.algo));
	memcpy(params.key, key, sizeof(key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &status);
	if (!cctx)
		return 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (slot)
		cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __always_inline struct bpf_crypto_ctx *context(void)
{
	u32 index = 0;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	return slot ? slot->cctx : NULL;
}

SEC("tc")
__success __description("the packet's payload, encrypted into a record, and a record encrypted in place")
int encrypt_record(struct __sk_buff *skb)
{
	struct bpf_crypto_ctx *cctx = context();
	struct bpf_dynptr packet, record, vector;

	if (!cctx)
		return 1;
	bpf_dynptr_from_mem(iv, sizeof(iv), 0, &vector);
	bpf_dynptr_from_skb(skb, 0, &packet);
	answers[0] = bpf_dynptr_adjust(&packet, 14, 14 + length);
	answers[1] = bpf_ringbuf_reserve_dynptr(&ring, length, 0, &record);
	answers[2] = bpf_crypto_encrypt(cctx, &packet, &record, &vector);
	answers[3] = bpf_crypto_encrypt(cctx, &record, &record, &vector);
	answers[4] = bpf_crypto_decrypt(cctx, &record, &packet, &vector);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

static long on_secret(struct bpf_dynptr *sample, void *unused)
{
	struct bpf_crypto_ctx *cctx = context();
	struct bpf_dynptr record, vector;

	if (!cctx)
		return 1;
	count++;
	bpf_dynptr_from_mem(iv, sizeof(iv), 0, &vector);
	answers[0] = bpf_ringbuf_reserve_dynptr(&ring, bpf_dynptr_size(sample), 0, &record);
	answers[1] = bpf_crypto_encrypt(cctx, sample, &record, &vector);
	/* A sample can be written through too: user space's own memory. */
	answers[2] = bpf_crypto_decrypt(cctx, &record, sample, &vector);
	answers[3] = bpf_dynptr_read(seen, 16, sample, 0, 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

SEC("tc")
__success __description("samples, encrypted into records")
int encrypt_samples(struct __sk_buff *skb)
{
	count = 0;
	ret = bpf_user_ringbuf_drain(&samples, on_secret, NULL, 0);
	return 0;
}
