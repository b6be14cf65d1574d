/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The two calls that ESP with AES-CCM makes for a packet, and nothing else: what the kernel's cipher alone takes. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include "bpf_tracing_net.h"

#define BLOCK 16
#define LARGEST 2048

char _license[] SEC("license") = "Dual BSD/GPL";

u8 key[16];
u32 text_size; /* bytes that are encrypted, a multiple of 16 */

struct contexts {
	struct bpf_crypto_ctx __kptr *ecb;
	struct bpf_crypto_ctx __kptr *cbc;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct contexts);
} contexts SEC(".maps");

struct buffers {
	u8 text[LARGEST + 2 * BLOCK];
	u8 stream[LARGEST + 2 * BLOCK];
	u8 mac[BLOCK];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct buffers);
} buffers SEC(".maps");

static __always_inline int release(struct bpf_crypto_ctx *former)
{
	if (former)
		bpf_crypto_ctx_release(former);
	return 0;
}

SEC("syscall")
int setup(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = sizeof(key)};
	struct bpf_crypto_ctx *cctx;
	struct contexts *found;
	u32 index = 0;
	int err = 0;

	found = bpf_map_lookup_elem(&contexts, &index);
	if (!found)
		return -ENOENT;
	memcpy(params.key, key, sizeof(key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return err;
	release(bpf_kptr_xchg(&found->ecb, cctx));
	params.algo[0] = 'c';
	params.algo[1] = 'b';
	params.algo[2] = 'c';
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return err;
	return release(bpf_kptr_xchg(&found->cbc, cctx));
}

SEC("tc")
int ciphers(struct __sk_buff *skb)
{
	struct bpf_dynptr text, stream, mac;
	struct bpf_crypto_ctx *ecb, *cbc;
	struct contexts *found;
	struct buffers *buffer;
	u32 index = 0, size;

	found = bpf_map_lookup_elem(&contexts, &index);
	buffer = bpf_map_lookup_elem(&buffers, &index);
	size = text_size;
	if (!found || !buffer || size > LARGEST)
		return TC_ACT_SHOT;
	ecb = found->ecb;
	cbc = found->cbc;
	if (!ecb || !cbc)
		return TC_ACT_SHOT;
	bpf_dynptr_from_mem(buffer->text, size + 2 * BLOCK, 0, &text);
	bpf_dynptr_from_mem(buffer->stream, size + 2 * BLOCK, 0, &stream);
	bpf_dynptr_from_mem(buffer->mac, BLOCK, 0, &mac);
	if (bpf_crypto_encrypt(cbc, &text, &stream, &mac))
		return TC_ACT_SHOT;
	bpf_dynptr_adjust(&stream, 0, size + BLOCK);
	return bpf_crypto_encrypt(ecb, &stream, &stream, NULL) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc")
int nothing(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}
