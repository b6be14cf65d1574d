// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Clocks (helpers_time.py). */
#include "runtime.h"

#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7
#define CLOCK_TAI 11

#define HZ 250
#define TICK (1000000000 / HZ)
#define FIRST_JIFFY ((1ull << 32) - 300 * HZ)

NATIVE u64 bpf_ktime_get_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

NATIVE u64 bpf_ktime_get_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

NATIVE u64 bpf_ktime_get_tai_ns(void)
{
	return clock_ns(CLOCK_TAI);
}

NATIVE u64 bpf_ktime_get_coarse_ns(void)
{
	u64 now = clock_ns(CLOCK_MONOTONIC);

	return now - now % TICK;
}

NATIVE u64 bpf_jiffies64(void)
{
	return FIRST_JIFFY + clock_ns(CLOCK_MONOTONIC) / TICK;
}
