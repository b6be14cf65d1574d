/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The text that is encrypted: a payload, its padding and its trailer (RFC 4303, section 2.4), and the ICV behind it. */
#ifndef ESP_TEXT_H
#define ESP_TEXT_H

#include "packet.h"

#define TRAILER 2 /* pad length and next header */
#define ALIGNMENT 4

/* Zeros from length on, as far as the last block of it reaches, and beyond. */
__noinline int clear_behind(struct scratch *scratch __arg_nonnull, u32 length)
{
	u8 *end;
	u32 i;

	if (length > MAX_TEXT)
		return -EINVAL;
	end = scratch->text + length;
#pragma unroll
	for (i = 0; i < BLOCK; i++)
		end[i] = 0;
	return 0;
}

static __always_inline u32 text_length(u32 size)
{
	return (size + TRAILER + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Padding and trailer behind a payload of size bytes, and zeros behind them. */
__noinline int write_trailer(struct scratch *scratch __arg_nonnull, u32 size, u32 next_header)
{
	u32 padding = text_length(size) - size - TRAILER;
	u8 *end;

	if (size > MAX_TEXT || padding >= ALIGNMENT)
		return -EINVAL;
	end = scratch->text + size;
	end[0] = 1;
	end[1] = 2;
	end[2] = 3;
	end[padding] = padding;
	end[padding + 1] = next_header;
	return clear_behind(scratch, size + padding + TRAILER);
}

/* The payload in front of a trailer; negative where it is not as RFC 4303 says: padding counts from 1, for ciphers that say nothing else. */
__noinline int read_trailer(struct scratch *scratch __arg_nonnull, u32 length, struct payload *payload __arg_nonnull)
{
	u32 i, padding, start;
	u8 wrong = 0;

	if (length < TRAILER || length > MAX_TEXT)
		return -EINVAL;
	payload->next_header = scratch->text[length - 1];
	padding = scratch->text[length - TRAILER];
	start = length - TRAILER - padding;
	if (start > length)
		return -EINVAL;
	for (i = 0; i < 255; i++) {
		if (i >= padding)
			break;
		wrong |= scratch->text[start + i] ^ (i + 1);
	}
	payload->size = start;
	return wrong ? -EINVAL : 0;
}

/* The ICV behind the text, which ends at a multiple of 4. */
__noinline int write_icv(struct scratch *scratch __arg_nonnull, u32 length)
{
	u32 *icv, i;

	if (length > MAX_TEXT)
		return -EINVAL;
	icv = (u32 *)(scratch->text + (length & ~(ALIGNMENT - 1)));
#pragma unroll
	for (i = 0; i < 4; i++)
		icv[i] = ((u32 *)scratch->tag)[i];
	return 0;
}

#endif
