/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf_crypto_encrypt() and bpf_crypto_decrypt() over any views of one buffer and of the packet, set by user space. */
#include "test.h"

LICENSE_GPL;

#define SLOTS 8
#define BUFFER_SIZE 4096

/* --- contexts --- */

struct slot {
	struct bpf_crypto_ctx __kptr *cctx;
};

TEST_MAP(slots, BPF_MAP_TYPE_ARRAY, SLOTS, struct slot, 0);

/* In: parameters, and which slot they are for. Out: 0 or an errno. */
char cipher[128];
u8 key[256];
u32 key_len;
u32 authsize;
u32 slot;
int status;

static __always_inline int put(struct bpf_crypto_ctx *cctx)
{
	u32 index = slot;
	struct slot *place = bpf_map_lookup_elem(&slots, &index);

	if (!place) {
		if (cctx)
			bpf_crypto_ctx_release(cctx);
		return -ENOENT;
	}
	cctx = bpf_kptr_xchg(&place->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("syscall")
__success __description("a context for one slot; the one that was there goes")
int setup(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .key_len = key_len, .authsize = authsize};
	struct bpf_crypto_ctx *cctx;
	int err = 0;

	memcpy(params.algo, cipher, sizeof(params.algo));
	memcpy(params.key, key, sizeof(params.key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	status = cctx ? put(cctx) : err;
	return 0;
}

SEC("syscall")
__success __description("empty one slot")
int teardown(void *args)
{
	status = put(NULL);
	return 0;
}

/* --- calls --- */

enum view_kind {
	VIEW_NONE,        /* no dynptr: NULL as IV, the source itself as destination */
	VIEW_BUFFER,      /* bytes of the buffer, by adjusting a dynptr over all of it */
	VIEW_PACKET,      /* bytes of the packet, by adjusting */
	VIEW_EXACT,       /* bytes of the buffer's first half, by bpf_dynptr_from_mem() of just these */
	VIEW_NULL_DYNPTR, /* what a bpf_dynptr_from_mem() leaves that was refused */
};

struct view {
	enum view_kind kind;
	u32 offset;
	u32 length;
};

/* In: where source, destination and IV are. */
struct view src;
struct view dst;
struct view iv;
u8 buffer[BUFFER_SIZE];

/* Out: what making each view gave, their sizes, and what the call gave. */
int view_err[3];
s32 view_size[3];
int ret;

static __always_inline void make_view(struct bpf_dynptr *packet, const struct view *view, u32 index, struct bpf_dynptr *made)
{
	u32 offset = view->offset, length = view->length;
	enum view_kind kind = view->kind;
	int err = 0;

	if (kind == VIEW_PACKET) {
		err = bpf_dynptr_clone(packet, made) ?: bpf_dynptr_adjust(made, offset, offset + length);
	} else if (kind == VIEW_EXACT) {
		offset &= BUFFER_SIZE / 2 - 1;
		if (length > BUFFER_SIZE / 2)
			length = BUFFER_SIZE / 2;
		err = bpf_dynptr_from_mem(buffer + offset, length, 0, made);
	} else if (kind == VIEW_NULL_DYNPTR) {
		err = bpf_dynptr_from_mem(buffer, 16, 1, made);
	} else {
		err = bpf_dynptr_from_mem(buffer, sizeof(buffer), 0, made) ?: bpf_dynptr_adjust(made, offset, offset + length);
	}
	view_err[index] = err;
	view_size[index] = bpf_dynptr_size(made);
}

static __always_inline int call(struct bpf_dynptr *packet, bool encrypt)
{
	struct bpf_dynptr from, to, state;
	struct bpf_crypto_ctx *cctx;
	struct slot *place;
	u32 index = slot;

	place = bpf_map_lookup_elem(&slots, &index);
	if (!place)
		return 1;
	cctx = place->cctx;
	if (!cctx)
		return 2;
	make_view(packet, &src, 0, &from);
	make_view(packet, &dst, 1, &to);
	make_view(packet, &iv, 2, &state);
	if (dst.kind == VIEW_NONE && iv.kind == VIEW_NONE)
		ret = encrypt ? bpf_crypto_encrypt(cctx, &from, &from, NULL) : bpf_crypto_decrypt(cctx, &from, &from, NULL);
	else if (dst.kind == VIEW_NONE)
		ret = encrypt ? bpf_crypto_encrypt(cctx, &from, &from, &state) : bpf_crypto_decrypt(cctx, &from, &from, &state);
	else if (iv.kind == VIEW_NONE)
		ret = encrypt ? bpf_crypto_encrypt(cctx, &from, &to, NULL) : bpf_crypto_decrypt(cctx, &from, &to, NULL);
	else
		ret = encrypt ? bpf_crypto_encrypt(cctx, &from, &to, &state) : bpf_crypto_decrypt(cctx, &from, &to, &state);
	return 0;
}

static __always_inline int call_skb(struct __sk_buff *skb, bool encrypt)
{
	struct bpf_dynptr packet;

	return bpf_dynptr_from_skb(skb, 0, &packet) ? 3 : call(&packet, encrypt);
}

static __always_inline int call_xdp(struct xdp_md *xdp, bool encrypt)
{
	struct bpf_dynptr packet;

	return bpf_dynptr_from_xdp(xdp, 0, &packet) ? 3 : call(&packet, encrypt);
}

SEC("tc")
__success __description("one encrypt call of a tc program")
int do_encrypt(struct __sk_buff *skb)
{
	return call_skb(skb, true);
}

SEC("tc")
__success __description("one decrypt call of a tc program")
int do_decrypt(struct __sk_buff *skb)
{
	return call_skb(skb, false);
}

SEC("xdp")
__success __description("one encrypt call of an XDP program")
int do_encrypt_xdp(struct xdp_md *xdp)
{
	return call_xdp(xdp, true);
}

SEC("xdp")
__success __description("one decrypt call of an XDP program")
int do_decrypt_xdp(struct xdp_md *xdp)
{
	return call_xdp(xdp, false);
}
