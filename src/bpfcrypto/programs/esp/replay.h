/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The replay window of an inbound SA: a ring of words, of which the oldest is cleared before the highest number moves into it, so that
 * nothing is ever shifted (RFC 6479). 32 words, of which 31 can be used at any time: 1984 numbers.
 */
#ifndef ESP_REPLAY_H
#define ESP_REPLAY_H

#include "packet.h"

#define WINDOW_SIZE ((WINDOW_WORDS - 1) * 64)

/* The whole number behind the low 32 bits that were received (RFC 4303, appendix A2.2), for a window of less than 2^32. */
static __always_inline u64 extend(u64 highest, u32 low)
{
	u64 high = highest >> 32;
	u32 top = highest;

	if (top >= WINDOW_SIZE - 1)
		high += low < top - (WINDOW_SIZE - 1);
	else if (high && low >= (u32)(top - (WINDOW_SIZE - 1)))
		--high;
	return high << 32 | low;
}

/* GO_ON, or why a number cannot be new. Without the lock: cheap, before anything is decrypted; accept_sequence decides. */
static __always_inline enum verdict check_sequence(const struct sa *sa, u64 sequence)
{
	u64 highest = sa->highest;

	if (sequence > highest)
		return GO_ON;
	if (!sequence || highest - sequence >= WINDOW_SIZE)
		return TOO_OLD;
	return sa->window[sequence / 64 % WINDOW_WORDS] >> (sequence % 64) & 1 ? REPLAY : GO_ON;
}

/* GO_ON for the first that brings this number, and what it was refused for to all others. The packet is authentic. */
static __always_inline enum verdict accept_sequence(struct sa *sa, u64 sequence, u64 installed)
{
	u64 word, advance, i;
	enum verdict verdict;

	bpf_spin_lock(&sa->lock);
	verdict = sa->installed_ns == installed ? check_sequence(sa, sequence) : NO_SA;
	if (verdict == GO_ON) {
		if (sequence > sa->highest) {
			word = sa->highest / 64;
			advance = sequence / 64 - word;
			/* Without a branch: the verifier would follow each number of words through all of the program. */
			for (i = 1; i <= WINDOW_WORDS; i++)
				sa->window[(word + i) % WINDOW_WORDS] &= (s64)(advance - i) >> 63;
			sa->highest = sequence;
		}
		sa->window[sequence / 64 % WINDOW_WORDS] |= 1ULL << (sequence % 64);
	}
	bpf_spin_unlock(&sa->lock);
	return verdict;
}

#endif
