/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * AES-CCM (RFC 3610) as ESP uses it (RFC 4309), made of two calls to the kernel's cipher for each packet.
 *
 * CBC-MAC: one cbc(aes) encryption of B0, B1 and the padded text. The kernel leaves the last block in the IV buffer, which so is the
 * MAC; the ciphertext itself goes nowhere. CTR: one ecb(aes) encryption of counter blocks, and an XOR. Both directions only encrypt.
 */
#ifndef ESP_CCM_H
#define ESP_CCM_H

#include "maps.h"
#include "text.h"

#define CCM_B0_FLAGS_8 0x5b  /* associated data; ICV of 8 bytes; lengths of 4 bytes */
#define CCM_B0_FLAGS_16 0x7b /* ICV of 16 bytes */
#define CCM_COUNTER_FLAGS 3  /* lengths of 4 bytes */

/* The first twelve bytes of B0 and of counter blocks: flags, salt, IV; the IV as it stands in the packet. */
static __always_inline u64 ccm_nonce_low(u8 flags, u32 salt, u64 iv)
{
	return flags | (u64)(salt & 0xffffff) << 8 | iv << 32;
}

static __always_inline u64 ccm_nonce_high(u64 iv, u32 number)
{
	return iv >> 32 | (u64)bpf_htonl(number) << 32;
}

/*
 * Most functions here are global: the verifier looks at them once, and not again for each number of blocks, each mode and version with all
 * that follows. What has dynptrs is a function of its own, since the compiler would reuse their places on the stack for other things.
 */
__noinline int ccm_fill_counters(struct scratch *scratch __arg_nonnull, u32 salt, u64 iv, u32 length)
{
	u64 *block, low = ccm_nonce_low(CCM_COUNTER_FLAGS, salt, iv);
	u32 i;

	if (length > MAX_TEXT)
		return -EINVAL;
	block = (u64 *)scratch->stream;
	for (i = 0; i <= MAX_TEXT / BLOCK; i++) {
		if (i > (length + BLOCK - 1) / BLOCK)
			break;
		block[2 * i] = low;
		block[2 * i + 1] = ccm_nonce_high(iv, i);
	}
	return 0;
}

__noinline int ccm_xor(struct scratch *scratch __arg_nonnull, u32 length)
{
	u64 *text, *stream;
	u32 i;

	if (length > MAX_TEXT)
		return -EINVAL;
	text = (u64 *)scratch->text;
	stream = (u64 *)scratch->stream + 2; /* the first block is the tag's */
	for (i = 0; i < MAX_TEXT / 16; i++) {
		if (i >= (length + 15) / 16)
			break;
		text[2 * i] ^= stream[2 * i];
		text[2 * i + 1] ^= stream[2 * i + 1];
	}
	return 0;
}

/* B0, and B1 with the associated data: SPI and sequence number, all 64 bits of it if it is extended (RFC 4309, section 5). */
__noinline int ccm_first_blocks(struct scratch *scratch __arg_nonnull, u64 iv, u64 sequence, u32 length)
{
	const struct terms *terms = &scratch->terms;
	u64 spi = bpf_htonl(terms->spi), low = bpf_htonl(sequence), high = bpf_htonl(sequence >> 32);

	scratch->blocks[0] = ccm_nonce_low(terms->suite == AES_CCM_16 ? CCM_B0_FLAGS_16 : CCM_B0_FLAGS_8, terms->salt, iv);
	scratch->blocks[1] = ccm_nonce_high(iv, length);
	if (terms->esn) {
		scratch->blocks[2] = bpf_htons(12) | spi << 16 | high << 48;
		scratch->blocks[3] = high >> 16 | low << 16;
	} else {
		scratch->blocks[2] = bpf_htons(8) | spi << 16 | low << 48;
		scratch->blocks[3] = low >> 16;
	}
	return 0;
}

static __always_inline int ccm_stream(struct bpf_crypto_ctx *ecb, struct scratch *scratch, u32 salt, u64 iv, u32 length)
{
	struct bpf_dynptr stream, no_iv; /* which may be NULL since Linux 6.11 */

	if (ccm_fill_counters(scratch, salt, iv, length))
		return -EINVAL;
	bpf_dynptr_from_mem(scratch->stream, (length + 2 * BLOCK - 1) / BLOCK * BLOCK, 0, &stream);
	bpf_dynptr_from_mem(scratch->tag, 0, 0, &no_iv);
	return bpf_crypto_encrypt(ecb, &stream, &stream, &no_iv);
}

/* The MAC of the first blocks and the text, before it is masked, into tag. Behind the text there must be zeros up to a whole block. */
static __always_inline int ccm_mac(struct bpf_crypto_ctx *cbc, struct scratch *scratch, u32 length)
{
	u32 whole = sizeof(scratch->blocks) + (length + BLOCK - 1) / BLOCK * BLOCK;
	struct bpf_dynptr text, nowhere, mac;

	scratch->tag[0] = scratch->tag[1] = 0;
	bpf_dynptr_from_mem(scratch->blocks, whole, 0, &text);
	bpf_dynptr_from_mem(scratch->stream, whole, 0, &nowhere);
	bpf_dynptr_from_mem(scratch->tag, BLOCK, 0, &mac);
	return bpf_crypto_encrypt(cbc, &text, &nowhere, &mac);
}

/* Encrypt text, and leave its tag. */
static __noinline int ccm_seal(struct sa *sa, struct scratch *scratch, u64 iv, u64 sequence, u32 length)
{
	struct bpf_crypto_ctx *ecb = sa->ecb, *cbc = sa->cbc;

	if (!ecb || !cbc)
		return -ENOENT;
	if (ccm_first_blocks(scratch, iv, sequence, length) || ccm_mac(cbc, scratch, length) ||
	    ccm_stream(ecb, scratch, scratch->terms.salt, iv, length))
		return -EINVAL;
	scratch->tag[0] ^= ((u64 *)scratch->stream)[0];
	scratch->tag[1] ^= ((u64 *)scratch->stream)[1];
	return ccm_xor(scratch, length);
}

/* Decrypt text, and leave the tag that it should have had. */
static __noinline int ccm_open(struct sa *sa, struct scratch *scratch, u64 iv, u64 sequence, u32 length)
{
	struct bpf_crypto_ctx *ecb = sa->ecb, *cbc = sa->cbc;
	u64 mask[2];

	if (!ecb || !cbc)
		return -ENOENT;
	if (ccm_stream(ecb, scratch, scratch->terms.salt, iv, length) || ccm_xor(scratch, length))
		return -EINVAL;
	mask[0] = ((u64 *)scratch->stream)[0];
	mask[1] = ((u64 *)scratch->stream)[1];
	if (clear_behind(scratch, length))
		return -EINVAL;
	if (ccm_first_blocks(scratch, iv, sequence, length) || ccm_mac(cbc, scratch, length))
		return -EINVAL;
	scratch->tag[0] ^= mask[0];
	scratch->tag[1] ^= mask[1];
	return 0;
}

#endif
