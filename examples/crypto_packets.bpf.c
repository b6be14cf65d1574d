/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Encrypt and decrypt the payload of UDP and TCP, IPv4 and IPv6, in place.
 *
 *   setup                      makes the crypto context from the globals cipher, key and key_len; call it again to rotate
 *   encrypt, decrypt           for tc
 *   xdp_encrypt, xdp_decrypt   for XDP
 *
 * What is encrypted: the whole 16-byte blocks of the payload. The last 0 to 15 bytes stay as they are, so that no packet
 * changes its length, and so do packets with less than one block. Everything else passes unchanged and is counted by reason.
 * A packet that should be encrypted and cannot be, for want of a key say, is dropped: never sent in the clear.
 *
 * IV: CBC wants one per packet that nobody can predict. Both sides compute it from header fields that do not change on the
 * way: those fields, 48 bytes of them, are encrypted in CBC mode with an IV of zeros, and the last block of that is the
 * packet's IV. The kernel leaves exactly this block behind in the IV buffer, so the payload is the continuation of one CBC
 * stream whose first three blocks are the header and are not sent.
 *
 * What this gives: a reader of the wire without the key learns headers, lengths and the last bytes of a payload, and nothing
 * of the rest except that two packets with the same fields (addresses, ports, lengths, IP identification, sequence number,
 * checksum) which begin with the same blocks look alike; a retransmission is the usual case. What it does not give:
 * integrity. An attacker can change packets, and no receiver can tell. It is an example of the kernel's functions; use a
 * protocol with authentication where attackers are on the wire.
 *
 * Checksums: that of UDP or TCP is left alone. It covers the plain payload, so it is wrong while the packet is on its way,
 * which routers do not look at, and right again after decrypt. This needs it to be complete before encrypt: on a device
 * that computes checksums after tc, turn that off (ethtool -K DEV tx off), and segmentation and merging too (tso, gso, gro).
 * No NAT between the two sides: addresses and checksum go into the IV.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include "bpf_parse.h"
#include "bpf_tracing_net.h"

#define BLOCK 16

char _license[] SEC("license") = "Dual BSD/GPL";

/* --- the key --- */

/* What setup reads, and the errno that it leaves: 0, or negative. It erases the key. */
char cipher[128] = "cbc(aes)";
u8 key[256];
u32 key_len;
u32 authsize;
int status;

struct crypto_slot {
	struct bpf_crypto_ctx __kptr *cctx;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct crypto_slot);
} crypto_slots SEC(".maps");

/* Put a context into the slot. Packets see the old one or the new one, never none. */
static int store_context(struct bpf_crypto_ctx *cctx)
{
	struct crypto_slot *slot;
	u32 index = 0;

	slot = bpf_map_lookup_elem(&crypto_slots, &index);
	if (!slot) {
		bpf_crypto_ctx_release(cctx);
		return -ENOENT;
	}
	cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("syscall")
int setup(void *args)
{
	struct bpf_crypto_params params = {
		.type = "skcipher",
		.key_len = key_len,
		.authsize = authsize,
	};
	struct bpf_crypto_ctx *cctx;
	int err = 0;

	if (!key_len || key_len > sizeof(key)) {
		status = -EINVAL;
		return 0;
	}
	memcpy(params.algo, cipher, sizeof(params.algo));
	memcpy(params.key, key, sizeof(params.key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	/* The key now is in the context, where no one can read it; the copies go. */
	memset(key, 0, sizeof(key));
	key_len = 0;
	memset(params.key, 0, sizeof(params.key));
	barrier_var(*(volatile u8 *)params.key);
	status = cctx ? store_context(cctx) : err;
	return 0;
}

/* --- counters --- */

enum verdict {
	ENCRYPTED,
	DECRYPTED,
	PASSED_NOT_IP,
	PASSED_FRAGMENT,
	PASSED_IP_OPTIONS,
	PASSED_EXTENSION_HEADER,
	PASSED_OTHER_PROTOCOL,
	PASSED_NO_WHOLE_BLOCK,
	PASSED_MALFORMED,
	DROPPED_NO_KEY,
	DROPPED_CIPHER_ERROR,
	VERDICTS,
};

struct counter {
	u64 packets;
	u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, u32); /* enum verdict */
	__type(value, struct counter);
} counters SEC(".maps");

/* A function of its own, so that its BTF tells readers of the map what the verdicts are called. */
static __noinline enum verdict count(enum verdict verdict, u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &verdict);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
	return verdict;
}

/* --- packets --- */

/* The header fields behind a packet's IV. Three blocks without gaps: gaps would not be zero. */
struct header_digest {
	struct in6_addr source;
	struct in6_addr target;
	__be32 seq;
	__be16 source_port;
	__be16 target_port;
	__be16 id;
	__sum16 check;
	u16 payload_len;
	u8 protocol;
	u8 zero;
};

_Static_assert(sizeof(struct header_digest) == 3 * BLOCK, "the digest must be whole blocks");

/* Memory for crypto calls: dynptrs cannot be over the stack. */
struct scratch {
	struct header_digest digest;
	u8 iv[BLOCK];
};

/* An XDP program may run while a tc program of the same CPU is under way: each has its own. */
enum hook { HOOK_TC, HOOK_XDP, HOOKS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, u32); /* enum hook */
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline enum verdict passed(enum parse_result result)
{
	switch (result) {
	case PARSE_NOT_IP:
		return PASSED_NOT_IP;
	case PARSE_OPTIONS:
		return PASSED_IP_OPTIONS;
	case PARSE_FRAGMENT:
		return PASSED_FRAGMENT;
	case PARSE_EXTENSION:
		return PASSED_EXTENSION_HEADER;
	case PARSE_PROTOCOL:
		return PASSED_OTHER_PROTOCOL;
	default:
		return PASSED_MALFORMED;
	}
}

/* Leave the IV of a packet in scratch->iv, and in *iv a dynptr over it. */
static __always_inline int derive_iv(struct bpf_crypto_ctx *cctx, const struct transport *found, struct scratch *scratch,
				     struct bpf_dynptr *iv)
{
	struct bpf_dynptr digest;

	scratch->digest = (struct header_digest){
		.source = found->source,
		.target = found->target,
		.seq = found->seq,
		.source_port = found->source_port,
		.target_port = found->target_port,
		.id = found->id,
		.check = found->check,
		.payload_len = found->payload_len,
		.protocol = found->protocol,
	};
	memset(scratch->iv, 0, BLOCK);
	bpf_dynptr_from_mem(&scratch->digest, sizeof(scratch->digest), 0, &digest);
	bpf_dynptr_from_mem(scratch->iv, BLOCK, 0, iv);
	return bpf_crypto_encrypt(cctx, &digest, &digest, iv);
}

/* Encrypt or decrypt the whole blocks of a payload that lies in one piece. packet becomes a view of just them. */
static __always_inline enum verdict crypt_payload(struct bpf_dynptr *packet, const struct transport *found, enum hook hook,
						  enum verdict success)
{
	struct bpf_crypto_ctx *cctx;
	struct scratch *scratch;
	struct crypto_slot *slot;
	struct bpf_dynptr iv;
	u32 index = 0;
	int err;

	slot = bpf_map_lookup_elem(&crypto_slots, &index);
	scratch = bpf_map_lookup_elem(&scratches, &hook);
	if (!slot || !scratch)
		return DROPPED_NO_KEY;
	cctx = slot->cctx;
	if (!cctx)
		return DROPPED_NO_KEY;
	if (derive_iv(cctx, found, scratch, &iv))
		return DROPPED_CIPHER_ERROR;
	/* A dynptr that could not be adjusted still is the whole packet: do not go on with it. */
	if (bpf_dynptr_adjust(packet, found->payload, found->payload + found->payload_len / BLOCK * BLOCK))
		return DROPPED_CIPHER_ERROR;
	if (success == ENCRYPTED)
		err = bpf_crypto_encrypt(cctx, packet, packet, &iv);
	else
		err = bpf_crypto_decrypt(cctx, packet, packet, &iv);
	return err ? DROPPED_CIPHER_ERROR : success;
}

static __always_inline int crypt_skb(struct __sk_buff *skb, enum verdict success)
{
	struct bpf_dynptr packet;
	struct transport found;
	enum parse_result result;
	enum verdict verdict;

	if (bpf_dynptr_from_skb(skb, 0, &packet))
		return TC_ACT_SHOT;
	result = parse_transport(&packet, &found);
	if (result)
		verdict = passed(result);
	else if (found.payload_len < BLOCK)
		verdict = PASSED_NO_WHOLE_BLOCK;
	/* In one piece and no one else's: what a packet socket or a retransmission shares must stay as it is. */
	else if (bpf_skb_pull_data(skb, found.payload + found.payload_len))
		verdict = DROPPED_CIPHER_ERROR;
	else
		verdict = crypt_payload(&packet, &found, HOOK_TC, success);
	return count(verdict, skb->len) < DROPPED_NO_KEY ? TC_ACT_OK : TC_ACT_SHOT;
}

static __always_inline int crypt_xdp(struct xdp_md *xdp, enum verdict success)
{
	struct bpf_dynptr packet;
	struct transport found;
	enum parse_result result;
	enum verdict verdict;
	u32 size;

	if (bpf_dynptr_from_xdp(xdp, 0, &packet))
		return XDP_DROP;
	size = bpf_dynptr_size(&packet);
	result = parse_transport(&packet, &found);
	if (result)
		verdict = passed(result);
	else if (found.payload_len < BLOCK)
		verdict = PASSED_NO_WHOLE_BLOCK;
	else /* a payload in several fragments is an error of the cipher call, and the frame is dropped */
		verdict = crypt_payload(&packet, &found, HOOK_XDP, success);
	return count(verdict, size) < DROPPED_NO_KEY ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int encrypt(struct __sk_buff *skb)
{
	return crypt_skb(skb, ENCRYPTED);
}

SEC("tc")
int decrypt(struct __sk_buff *skb)
{
	return crypt_skb(skb, DECRYPTED);
}

SEC("xdp")
int xdp_encrypt(struct xdp_md *xdp)
{
	return crypt_xdp(xdp, ENCRYPTED);
}

SEC("xdp")
int xdp_decrypt(struct xdp_md *xdp)
{
	return crypt_xdp(xdp, DECRYPTED);
}
