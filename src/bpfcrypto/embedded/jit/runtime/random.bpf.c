// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Chance (helpers_core.py): splitmix64 from a state of each CPU, which begins with bits of the system's (runs.py). */
#include "run.h"

NATIVE u64 bpf_get_prandom_u32(void)
{
	u64 *state = (u64 *)run_record()->random;
	u64 z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) >> 32;
}
