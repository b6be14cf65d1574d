/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Encrypt a link: everything behind the IPv4 header of what leaves an interface, and decrypt it where it arrives.
 *
 *   setup         makes the crypto context from the globals key and key_len; call it again to rotate
 *   send          for tc, at the egress of the sending end
 *   receive       for tc, at the ingress of the receiving end
 *   xdp_receive   the same for XDP
 *
 * Loaded once for each direction, with a key of its own: one key for both would let an attacker send packets back.
 *
 * What is encrypted: the whole payload of IPv4, the headers of TCP, UDP and ICMP included, and fragments each for itself. ARP
 * passes. All else (IPv6, VLANs) is dropped and counted, for this link carries nothing in the clear; so is a packet that should
 * be encrypted and cannot be.
 *
 * How: CBC over the whole 16-byte blocks. The 0 to 15 bytes behind them are XORed with the encryption of the last block of
 * ciphertext (of the IV where there is none), so that no packet changes its length. Both ends compute the IV from those fields
 * of the IPv4 header that stay the same on the way: they are encrypted as one block.
 *
 * What this does not give: integrity, and protection from replay. Two packets with the same header that begin with the same
 * blocks look alike. It is an example of the kernel's functions; use a protocol with authentication where attackers are on the
 * wire.
 *
 * Where it works: packets must leave as they were at egress. A super-packet, which the device cuts into segments later, is
 * dropped and counted (ip link set DEV gso_max_segs 1; and gro off where it is received by tc). A device that computes checksums
 * writes them into the ciphertext: virtual ones (veth) do not, on others send is not to be used.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include "bpf_tracing_net.h"

#define BLOCK 16

char _license[] SEC("license") = "Dual BSD/GPL";

/* --- the key --- */

/* What setup reads, and the errno that it leaves: 0, or negative. It erases the key. */
u8 key[32];
u32 key_len;
int status;

struct crypto_slot {
	struct bpf_crypto_ctx __kptr *cctx;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct crypto_slot);
} link_key SEC(".maps");

SEC("syscall")
int setup(void *args)
{
	struct bpf_crypto_params params = {
		.type = "skcipher",
		.algo = "cbc(aes)",
		.key_len = key_len,
	};
	struct bpf_crypto_ctx *cctx;
	struct crypto_slot *slot;
	u32 index = 0;
	int err = 0;

	slot = bpf_map_lookup_elem(&link_key, &index);
	if (!slot || key_len > sizeof(key)) {
		status = -EINVAL;
		return 0;
	}
	memcpy(params.key, key, sizeof(key));
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	/* The key now is in the context, where no one can read it; the copies go. */
	memset(key, 0, sizeof(key));
	key_len = 0;
	memset(params.key, 0, sizeof(key));
	barrier_var(*(volatile u8 *)params.key);
	status = err;
	if (!cctx)
		return 0;
	cctx = bpf_kptr_xchg(&slot->cctx, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}

/* --- counters --- */

enum verdict {
	DONE,
	PASSED_ARP,
	DROPPED_NOT_IP,
	DROPPED_MALFORMED,
	DROPPED_SUPER_PACKET,
	DROPPED_NO_KEY,
	DROPPED_CIPHER_ERROR,
	VERDICTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, u32); /* enum verdict */
	__type(value, u64);
} counters SEC(".maps");

/* A function of its own, so that its BTF tells readers of the map what the verdicts are called. */
static __noinline enum verdict count(enum verdict verdict)
{
	u64 *counter = bpf_map_lookup_elem(&counters, &verdict);

	if (counter)
		++*counter;
	return verdict;
}

/* --- packets --- */

struct headers {
	struct ethhdr ethernet;
	struct iphdr ip;
} __attribute__((packed));

/* The fields behind a packet's IV: one block without gaps. */
struct digest {
	__be32 source;
	__be32 target;
	__be16 id;
	__be16 fragment;
	__be16 length;
	u8 protocol;
	u8 zero;
};

_Static_assert(sizeof(struct digest) == BLOCK, "the digest must be one block");

/* Memory for crypto calls: dynptrs cannot be over the stack. */
struct scratch {
	union {
		struct digest digest;
		u64 pad[2];
	};
	u64 rest[2];
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

/* Where the payload is. */
struct place {
	u32 start;
	u32 length;
};

/* XOR the last bytes of the payload, less than a block, with the encryption of the block that was left in the IV buffer. */
static __always_inline int crypt_rest(struct bpf_crypto_ctx *cctx, struct bpf_dynptr *packet, struct scratch *scratch,
				      struct bpf_dynptr *iv, u32 start, u32 length)
{
	struct bpf_dynptr pad;

	if (!length)
		return 0;
	if (length >= BLOCK)
		return -EINVAL;
	scratch->pad[0] = scratch->pad[1] = 0;
	scratch->rest[0] = scratch->rest[1] = 0;
	bpf_dynptr_from_mem(scratch->pad, BLOCK, 0, &pad);
	if (bpf_crypto_encrypt(cctx, &pad, &pad, iv) || bpf_dynptr_read(scratch->rest, length, packet, start, 0))
		return -EINVAL;
	scratch->rest[0] ^= scratch->pad[0];
	scratch->rest[1] ^= scratch->pad[1];
	return bpf_dynptr_write(packet, start, scratch->rest, length, 0);
}

static __always_inline enum verdict crypt_payload(struct bpf_dynptr *packet, struct headers *headers,
						  const struct place *payload, enum hook hook, bool encrypting)
{
	u32 whole = payload->length / BLOCK * BLOCK, index = 0;
	struct bpf_dynptr digest, iv, blocks;
	struct bpf_crypto_ctx *cctx;
	struct scratch *scratch;
	struct crypto_slot *slot;
	int err = 0;

	slot = bpf_map_lookup_elem(&link_key, &index);
	scratch = bpf_map_lookup_elem(&scratches, &hook);
	if (!slot || !scratch)
		return DROPPED_NO_KEY;
	cctx = slot->cctx;
	if (!cctx)
		return DROPPED_NO_KEY;
	scratch->digest = (struct digest){
		.source = headers->ip.saddr,
		.target = headers->ip.daddr,
		.id = headers->ip.id,
		.fragment = headers->ip.frag_off,
		.length = headers->ip.tot_len,
		.protocol = headers->ip.protocol,
	};
	memset(scratch->iv, 0, BLOCK);
	bpf_dynptr_from_mem(&scratch->digest, BLOCK, 0, &digest);
	bpf_dynptr_from_mem(scratch->iv, BLOCK, 0, &iv);
	/* The kernel leaves the last block of ciphertext in the IV buffer: first the packet's IV, then where the rest goes on. */
	if (bpf_crypto_encrypt(cctx, &digest, &digest, &iv))
		return DROPPED_CIPHER_ERROR;
	if (whole) {
		/* A dynptr that could not be adjusted still is the whole packet: do not go on with it. */
		if (bpf_dynptr_clone(packet, &blocks) ||
		    bpf_dynptr_adjust(&blocks, payload->start, payload->start + whole))
			return DROPPED_CIPHER_ERROR;
		if (encrypting)
			err = bpf_crypto_encrypt(cctx, &blocks, &blocks, &iv);
		else
			err = bpf_crypto_decrypt(cctx, &blocks, &blocks, &iv);
	}
	if (err || crypt_rest(cctx, packet, scratch, &iv, payload->start + whole, payload->length % BLOCK))
		return DROPPED_CIPHER_ERROR;
	return DONE;
}

/* DONE: there is a payload, and it lies within the packet's first size bytes. */
static __always_inline enum verdict find_payload(const struct bpf_dynptr *packet, u32 size, struct headers *headers,
						 struct place *payload)
{
	u32 header, total;

	if (bpf_dynptr_read(headers, sizeof(headers->ethernet), packet, 0, 0))
		return DROPPED_MALFORMED;
	if (headers->ethernet.h_proto == bpf_htons(ETH_P_ARP))
		return PASSED_ARP;
	if (headers->ethernet.h_proto != bpf_htons(ETH_P_IP))
		return DROPPED_NOT_IP;
	if (bpf_dynptr_read(headers, sizeof(*headers), packet, 0, 0))
		return DROPPED_MALFORMED;
	header = headers->ip.ihl * 4;
	total = bpf_ntohs(headers->ip.tot_len);
	/* tot_len, not the packet's size: Ethernet pads short packets */
	if (headers->ip.version != 4 || header < sizeof(struct iphdr) || total <= header || ETH_HLEN + total > size)
		return DROPPED_MALFORMED;
	payload->start = ETH_HLEN + header;
	payload->length = total - header;
	return DONE;
}

static __always_inline int crypt_skb(struct __sk_buff *skb, bool encrypting)
{
	struct bpf_dynptr packet;
	struct headers headers;
	enum verdict verdict;
	struct place payload;

	if (bpf_dynptr_from_skb(skb, 0, &packet))
		return TC_ACT_SHOT;
	verdict = find_payload(&packet, skb->len, &headers, &payload);
	if (verdict == DONE && skb->gso_size)
		verdict = DROPPED_SUPER_PACKET;
	/* In one piece and no one else's: what a packet socket or a retransmission shares must stay as it is. */
	if (verdict == DONE && bpf_skb_pull_data(skb, payload.start + payload.length))
		verdict = DROPPED_CIPHER_ERROR;
	if (verdict == DONE)
		verdict = crypt_payload(&packet, &headers, &payload, HOOK_TC, encrypting);
	return count(verdict) < DROPPED_NOT_IP ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc/egress")
int send(struct __sk_buff *skb)
{
	return crypt_skb(skb, true);
}

SEC("tc/ingress")
int receive(struct __sk_buff *skb)
{
	return crypt_skb(skb, false);
}

SEC("xdp")
int xdp_receive(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;
	struct headers headers;
	enum verdict verdict;
	struct place payload;

	if (bpf_dynptr_from_xdp(xdp, 0, &packet))
		return XDP_DROP;
	verdict = find_payload(&packet, bpf_dynptr_size(&packet), &headers, &payload);
	if (verdict == DONE)
		verdict = crypt_payload(&packet, &headers, &payload, HOOK_XDP, false);
	return count(verdict) < DROPPED_NOT_IP ? XDP_PASS : XDP_DROP;
}
