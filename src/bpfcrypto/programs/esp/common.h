/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sending and receiving have in common: sizes of an SA, its cipher, and how packets are read, written and given another size. */
#ifndef ESP_COMMON_H
#define ESP_COMMON_H

#include "ccm.h"
#include "chacha20_poly1305.h"
#include "text.h"

static __always_inline u32 icv_size(const struct terms *terms)
{
	return terms->suite == AES_CCM_8 ? 8 : 16;
}

static __always_inline u8 outer_version(const struct terms *terms)
{
	return !terms->source.word[0] && !terms->source.word[1] && terms->source.word[2] == MAPPED_PREFIX ? 4 : 6;
}

/* ESP header and IV, in front of the text. */
static __always_inline void *esp_header(struct scratch *scratch)
{
	return &scratch->blocks[2];
}

/* What ChaCha20-Poly1305 reads: key, nonce (RFC 7634, section 2), and associated data (section 2.1), as they stand in memory. */
__noinline int chacha_prepare(struct scratch *scratch __arg_nonnull, u64 iv, u64 sequence)
{
	const struct terms *terms = &scratch->terms;
	u64 spi = bpf_htonl(terms->spi), low = bpf_htonl(sequence), high = bpf_htonl(sequence >> 32);

	__builtin_memcpy(scratch->key, terms->chacha_key, sizeof(scratch->key));
	scratch->nonce[0] = terms->salt;
	scratch->nonce[1] = iv;
	scratch->nonce[2] = iv >> 32;
	scratch->aad[0] = spi | (terms->esn ? high : low) << 32;
	scratch->aad[1] = terms->esn ? low : 0;
	scratch->aad_length = terms->esn ? 12 : 8;
	return 0;
}

/* What lies in scratch memory, over the packet. The verifier wants to see the bounds where the call is. */
static __always_inline int store(struct __sk_buff *skb, u32 offset, const void *from, u32 length, u64 flags)
{
	barrier_var(length);
	if (!length || length > sizeof(union ip_header) + ESP_HEADER + IV_SIZE + MAX_TEXT + BLOCK)
		return -EINVAL;
	return bpf_skb_store_bytes(skb, offset, from, length, flags);
}

static __always_inline int load(struct __sk_buff *skb, u32 offset, void *to, u32 length)
{
	barrier_var(length);
	if (!length || length > ESP_HEADER + IV_SIZE + MAX_TEXT + BLOCK)
		return -EINVAL;
	return bpf_skb_load_bytes(skb, offset, to, length);
}

/* Give a packet its new length, and the kernel its new version of IP. */
static __always_inline int resize(struct __sk_buff *skb, u8 from, u8 to, u32 length)
{
	if (from != to && bpf_skb_change_proto(skb, to == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP), 0))
		return -EINVAL;
	return bpf_skb_change_tail(skb, ETH_HLEN + length, 0);
}

static __always_inline int write_ethertype(struct __sk_buff *skb, u8 version)
{
	__be16 ethertype = version == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

	return bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype), 0);
}

/* Where a program works: one packet at a time on each CPU. */
static __always_inline struct scratch *claim_scratch(void)
{
	struct scratch *scratch;
	u32 index = 0;

	scratch = bpf_map_lookup_elem(&scratches, &index);
	if (!scratch || scratch->busy)
		return NULL;
	scratch->busy = 1;
	return scratch;
}

/* No key stays here. */
static __always_inline void leave_scratch(struct scratch *scratch)
{
	if (scratch->terms.suite == CHACHA20_POLY1305) {
		__builtin_memset(scratch->terms.chacha_key, 0, sizeof(scratch->terms.chacha_key));
		__builtin_memset(scratch->key, 0, sizeof(scratch->key));
		__builtin_memset(&scratch->poly1305, 0, sizeof(scratch->poly1305));
	}
	scratch->terms.suite = NO_SUITE;
	scratch->busy = 0;
}

/*
 * A copy of what an SA was made for, which stays whole while its slot is emptied or filled anew. Gives when it was installed, and 0 if there
 * is none.
 */
static __always_inline u64 take_terms(struct sa *sa, struct scratch *scratch)
{
	u64 installed = sa->installed_ns;

	barrier();
	scratch->terms = sa->terms;
	barrier();
	return scratch->terms.spi && sa->installed_ns == installed ? installed : 0;
}

#endif
