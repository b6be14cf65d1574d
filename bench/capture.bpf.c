/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the capture bench runs: a packet's payload behind 42 bytes of headers through ecb(aes), and programs that do nothing. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"

#define HEADERS 42
#define BLOCK 16

char _license[] SEC("license") = "Dual BSD/GPL";

u8 key[16];
int status;

struct slot {
	struct bpf_crypto_ctx __kptr *cctx;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

SEC("syscall")
int setup(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = sizeof(key)};
	struct bpf_crypto_ctx *cctx;
	struct slot *place;
	u32 index = 0;

	__builtin_memcpy(params.key, key, sizeof(key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &status);
	if (!cctx)
		return 0;
	place = bpf_map_lookup_elem(&slots, &index);
	if (place)
		cctx = bpf_kptr_xchg(&place->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

static __always_inline int encrypt(struct bpf_dynptr *packet)
{
	u32 index = 0, size = bpf_dynptr_size(packet);
	struct bpf_crypto_ctx *cctx;
	struct slot *place;

	if (size < HEADERS + BLOCK)
		return 0;
	place = bpf_map_lookup_elem(&slots, &index);
	if (!place)
		return -1;
	cctx = place->cctx;
	if (!cctx || bpf_dynptr_adjust(packet, HEADERS, HEADERS + ((size - HEADERS) & ~(BLOCK - 1))))
		return -1;
	return bpf_crypto_encrypt(cctx, packet, packet, NULL);
}

SEC("xdp")
int xdp_encrypt(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	return encrypt(&packet) ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int tc_encrypt(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &packet);
	return encrypt(&packet) ? 2 : 0;
}

SEC("xdp")
int xdp_nothing(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int tc_nothing(struct __sk_buff *skb)
{
	return 0;
}
