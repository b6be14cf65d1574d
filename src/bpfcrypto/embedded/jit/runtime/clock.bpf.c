// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Clocks (helpers_time.py). */
#include "runtime.h"

#define CLOCK_MONOTONIC 1

NATIVE u64 bpf_ktime_get_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}
