/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ChaCha20 and Poly1305 as ESP has them, each function on memory that user space fills. */
#include "test.h"
#include "../../src/bpfcrypto/programs/esp/chacha20_poly1305.h"

LICENSE_GPL;

/* In: what the functions read, and their arguments. Out: what they write, and what they give. */
struct scratch scratch;
u32 length;
u32 counter;
int status;

SEC("tc")
__success __description("encrypt or decrypt the text")
int crypt(struct __sk_buff *skb)
{
	status = chacha20_crypt(&scratch, length);
	return 0;
}

SEC("tc")
__success __description("the tag over associated data and text")
int tag(struct __sk_buff *skb)
{
	status = poly1305_tag(&scratch, length);
	return 0;
}

SEC("tc")
__success __description("both, as a sender does")
int seal(struct __sk_buff *skb)
{
	status = chacha20_crypt(&scratch, length);
	if (!status)
		status = poly1305_tag(&scratch, length);
	return 0;
}

SEC("tc")
__success __description("one block of key stream onto the text")
int block(struct __sk_buff *skb)
{
	status = chacha20_block(&scratch, counter, AT(text));
	return 0;
}

SEC("tc")
__success __description("Poly1305 of the text alone, under the one-time key; a last part has its bit set and zeros behind it")
int mac(struct __sk_buff *skb)
{
	poly1305_start(&scratch.poly1305);
	status = poly1305_blocks(&scratch, AT(text), length / BLOCK);
	if (!status && length % BLOCK) {
		/* A part has no 2^128, which every block is given. */
		scratch.poly1305.h[3] -= 1ULL << 32;
		status = poly1305_blocks(&scratch, AT(text) + length / BLOCK * BLOCK, 1);
	}
	poly1305_finish(&scratch.poly1305, scratch.tag);
	return 0;
}
