// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Spin locks (spinlock.py). The verifier proves that a program holds one at most and gives it back; where a run is ended from Python all the
 * same, its record says which lock it left behind.
 */
#include "map.h"
#include "run.h"

NATIVE u64 bpf_spin_lock(u32 *word)
{
	take(word);
	run_record()->lock = (u64)word;
	return 0;
}

NATIVE u64 bpf_spin_unlock(u32 *word)
{
	run_record()->lock = 0;
	give(word);
	return 0;
}

/* For Python (word_lock.py). */
NATIVE u64 try_take_word(u32 *word)
{
	return !__sync_val_compare_and_swap(word, 0, 1);
}

NATIVE u64 give_word(u32 *word)
{
	give(word);
	return 0;
}

NATIVE u64 order_stores(u64 *scratch)
{
	__sync_fetch_and_or(scratch, 0);
	return 0;
}
