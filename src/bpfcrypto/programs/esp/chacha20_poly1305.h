/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ChaCha20 and Poly1305 (RFC 8439), put together as in its section 2.8, which is how ESP uses them (RFC 7634).
 *
 *   chacha20_crypt	encrypts or decrypts the text
 *   poly1305_tag	the tag over associated data and the text as it stands there, which must be the ciphertext
 *
 * Neither needs the other: a sender encrypts first, a receiver computes the tag first. Both work on struct scratch: key, nonce, text,
 * aad (zeros behind it) and aad_length are read, text or tag is written. They give 0, or -EINVAL for more than MAX_TEXT.
 *
 * The functions are global, so that the verifier looks at each once, whatever it is called with; their loops ask can_loop (Linux 6.9),
 * so that it goes around once. What is secret decides neither where a jump goes nor which address is read.
 */
#ifndef ESP_CHACHA20_POLY1305_H
#define ESP_CHACHA20_POLY1305_H

#include "types.h"

#define ROUNDS 20
#define CHACHA20_BLOCK 64

/* "expand 32-byte k" */
#define CONSTANT0 0x61707865
#define CONSTANT1 0x3320646e
#define CONSTANT2 0x79622d32
#define CONSTANT3 0x6b206574

/* Where a member of struct scratch is. */
#define AT(member) __builtin_offsetof(struct scratch, member)

/*
 * A quarter of a quarter round: a += b; d = (d ^ a) rotated left. Of the 16 words 8 stay in registers, those of which a round makes b
 * and d, and 8 in memory. That leaves two registers, with which the compiler would have to move more than it computes: so the
 * instructions are written here, and memory is volatile.
 */
#define STEP(index, b, d, left) \
	do { \
		u32 a = memory[index], t; \
		asm volatile("%[sum] += %[term];" \
			     "%[word] ^= %[sum];" \
			     "%[copy] = %[word];" \
			     "%[copy] <<= " #left ";" \
			     "%[word] >>= 32 - " #left ";" \
			     "%[word] |= %[copy];" \
			     : [sum] "+w"(a), [word] "+w"(d), [copy] "=&w"(t) \
			     : [term] "w"(b)); \
		memory[index] = a; \
	} while (0)

/* The same step of four quarter rounds, which do not wait for each other. */
#define STEPS(a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, left) \
	do { \
		STEP(a0, b0, d0, left); \
		STEP(a1, b1, d1, left); \
		STEP(a2, b2, d2, left); \
		STEP(a3, b3, d3, left); \
	} while (0)

/* Four quarter rounds: of columns, or, with the rows turned, of diagonals. */
#define ROUND(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
	do { \
		STEPS(a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, 16); \
		STEPS(c0, c1, c2, c3, d0, d1, d2, d3, b0, b1, b2, b3, 12); \
		STEPS(a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, 8); \
		STEPS(c0, c1, c2, c3, d0, d1, d2, d3, b0, b1, b2, b3, 7); \
	} while (0)

/* XOR one block of key stream onto the 64 bytes at an offset, a multiple of 8, in struct scratch. */
__noinline int chacha20_block(struct scratch *scratch, u32 counter, u32 at)
{
	u32 b0, b1, b2, b3, d0, d1, d2, d3, *out;
	volatile u32 memory[8]; /* the rows a and c */

	if (!scratch || at > sizeof(*scratch) - CHACHA20_BLOCK)
		return -EINVAL;
	memory[0] = CONSTANT0;
	memory[1] = CONSTANT1;
	memory[2] = CONSTANT2;
	memory[3] = CONSTANT3;
	b0 = scratch->key[0];
	b1 = scratch->key[1];
	b2 = scratch->key[2];
	b3 = scratch->key[3];
	memory[4] = scratch->key[4];
	memory[5] = scratch->key[5];
	memory[6] = scratch->key[6];
	memory[7] = scratch->key[7];
	d0 = counter;
	d1 = scratch->nonce[0];
	d2 = scratch->nonce[1];
	d3 = scratch->nonce[2];
#pragma clang loop unroll(disable)
	for (u32 round = 0; round < ROUNDS; round += 2) {
		ROUND(0, 1, 2, 3, b0, b1, b2, b3, 4, 5, 6, 7, d0, d1, d2, d3);
		ROUND(0, 1, 2, 3, b1, b2, b3, b0, 6, 7, 4, 5, d3, d0, d1, d2);
	}
	out = (void *)scratch + (at & -8);
	out[0] ^= memory[0] + CONSTANT0;
	out[1] ^= memory[1] + CONSTANT1;
	out[2] ^= memory[2] + CONSTANT2;
	out[3] ^= memory[3] + CONSTANT3;
	out[4] ^= b0 + scratch->key[0];
	out[5] ^= b1 + scratch->key[1];
	out[6] ^= b2 + scratch->key[2];
	out[7] ^= b3 + scratch->key[3];
	out[8] ^= memory[4] + scratch->key[4];
	out[9] ^= memory[5] + scratch->key[5];
	out[10] ^= memory[6] + scratch->key[6];
	out[11] ^= memory[7] + scratch->key[7];
	out[12] ^= d0 + counter;
	out[13] ^= d1 + scratch->nonce[0];
	out[14] ^= d2 + scratch->nonce[1];
	out[15] ^= d3 + scratch->nonce[2];
	return 0;
}

/* Encrypt or decrypt text[0..length). Bytes behind it, up to the next multiple of 64, come out changed. */
__noinline int chacha20_crypt(struct scratch *scratch, u32 length)
{
	u32 block;

	if (!scratch || length > MAX_TEXT)
		return -EINVAL;
	/* From the last to the first: numbers that only fall are those that the verifier has seen before. */
	for (block = (length + CHACHA20_BLOCK - 1) / CHACHA20_BLOCK; block && can_loop; block--)
		if (chacha20_block(scratch, block, AT(text) + (block - 1) * CHACHA20_BLOCK))
			return -EINVAL;
	return block ? -EINVAL : 0;
}

/*
 * Take whole blocks from an offset, a multiple of 8, in struct scratch: for each, h = (h + block + 2^128) * r mod 2^130 - 5.
 *
 * Nothing overflows 64 bits. With W = 2^32: s0 < 3.25 W, s1 and s2 < 2 W, s3 < 6 W; r <= 2^28, folded <= 1.25 * 2^28; so the largest
 * sum is x0 < 2^28 * W * (3.25 + 1.25 * (2 + 2 + 6)) = 15.75 * 2^60.
 */
__noinline int poly1305_blocks(struct scratch *scratch, u32 at, u32 count)
{
	u64 h0, h1, h2, h3, s0, s1, s2, s3, x0, x1, x2, x3, r0, r1, r2, r3, f1, f2, f3;
	const u32 *block;

	if (!scratch)
		return -EINVAL;
	at &= -8;
	r0 = scratch->poly1305.r[0];
	r1 = scratch->poly1305.r[1];
	r2 = scratch->poly1305.r[2];
	r3 = scratch->poly1305.r[3];
	f1 = scratch->poly1305.folded[1];
	f2 = scratch->poly1305.folded[2];
	f3 = scratch->poly1305.folded[3];
	h0 = scratch->poly1305.h[0];
	h1 = scratch->poly1305.h[1];
	h2 = scratch->poly1305.h[2];
	h3 = scratch->poly1305.h[3];
	for (; count && can_loop; count--, at += BLOCK) {
		if (at > sizeof(*scratch) - BLOCK)
			return -EINVAL;
		block = (void *)scratch + at;
		/* s0 is known last */
		s3 = h3 + block[3] + (1ULL << 32);
		s2 = h2 + block[2];
		s1 = h1 + block[1];
		s0 = h0 + block[0];
		x0 = s3 * f1 + s2 * f2 + s1 * f3 + s0 * r0;
		x1 = s3 * f2 + s2 * f3 + s1 * r0 + s0 * r1 + (x0 >> 32);
		x2 = s3 * f3 + s2 * r0 + s1 * r1 + s0 * r2 + (x1 >> 32);
		x3 = s3 * r0 + s2 * r1 + s1 * r2 + s0 * r3 + (x2 >> 32);
		/* Bit 130 is bit 34 of the last word, and 2^130 is 5. */
		h0 = (u32)x0 + (x3 >> 34) * 5;
		h1 = (u32)x1;
		h2 = (u32)x2;
		h3 = x3 << 30 >> 30;
	}
	scratch->poly1305.h[0] = h0;
	scratch->poly1305.h[1] = h1;
	scratch->poly1305.h[2] = h2;
	scratch->poly1305.h[3] = h3;
	return count ? -EINVAL : 0;
}

/* Begin a sum under the one-time key. */
static __always_inline void poly1305_start(struct poly1305 *p)
{
	p->r[0] = p->one_time[0] & 0x0fffffff;
	p->r[1] = p->one_time[0] >> 32 & 0x0ffffffc;
	p->r[2] = p->one_time[1] & 0x0ffffffc;
	p->r[3] = p->one_time[1] >> 32 & 0x0ffffffc;
	p->folded[1] = p->r[1] / 4 * 5;
	p->folded[2] = p->r[2] / 4 * 5;
	p->folded[3] = p->r[3] / 4 * 5;
	memset(p->h, 0, sizeof(p->h));
}

/* The sum modulo 2^130 - 5, plus the other half of the key, modulo 2^128. */
static __always_inline void poly1305_finish(const struct poly1305 *p, u64 tag[2])
{
	u64 x, low;

	/* 1 if the sum is 2^130 - 5 or more, which is when adding 5 reaches 2^130; it is less than twice that */
	x = (p->h[0] + 5) >> 32;
	x = (p->h[1] + x) >> 32;
	x = (p->h[2] + x) >> 32;
	x = (p->h[3] + x) >> 34;
	/* Subtracting 2^130 - 5 is adding 5 and losing bit 130. */
	x = p->h[0] + 5 * x + (u32)p->one_time[2];
	low = (u32)x;
	x = (x >> 32) + p->h[1] + (p->one_time[2] >> 32);
	tag[0] = low | x << 32;
	x = (x >> 32) + p->h[2] + (u32)p->one_time[3];
	low = (u32)x;
	x = (x >> 32) + p->h[3] + (p->one_time[3] >> 32);
	tag[1] = low | x << 32;
}

/*
 * The tag, as it stands on the wire, over aad and text[0..length). What is behind the text is neither used nor changed. The
 * one-time key is a block of key stream that encrypts nothing (RFC 8439, section 2.6).
 */
__noinline int poly1305_tag(struct scratch *scratch, u32 length)
{
	u32 whole = length / BLOCK * BLOCK, rest = length % BLOCK;
	struct poly1305 *p;
	u64 *text;

	if (!scratch || length > MAX_TEXT)
		return -EINVAL;
	p = &scratch->poly1305;
	memset(p->one_time, 0, sizeof(p->one_time));
	if (chacha20_block(scratch, 0, AT(poly1305.one_time)))
		return -EINVAL;
	poly1305_start(p);
	text = (void *)scratch->text + whole;
	if (rest >= 8) {
		p->last[0] = text[0];
		p->last[1] = text[1] & ((1ULL << 8 * (rest - 8)) - 1);
	} else {
		p->last[0] = text[0] & ((1ULL << 8 * rest) - 1);
		p->last[1] = 0;
	}
	p->last[2] = scratch->aad_length;
	p->last[3] = length;
	if (poly1305_blocks(scratch, AT(aad), 1) || poly1305_blocks(scratch, AT(text), whole / BLOCK) ||
	    poly1305_blocks(scratch, rest ? AT(poly1305.last) : AT(poly1305.last[2]), rest ? 2 : 1))
		return -EINVAL;
	poly1305_finish(p, scratch->tag);
	return 0;
}

#endif
