/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Clocks of every kind: none goes back, each is near the one it belongs to. What they show is in nd_ globals. */
#include "test.h"

LICENSE_GPL;

#define SECOND 1000000000ULL

u64 nd_mono;
u64 nd_boot;
u64 nd_coarse;
u64 nd_tai;
u64 nd_jiffies;

static __always_inline int ordered(u64 first, u64 second)
{
	return first && second >= first && second - first < SECOND;
}

SEC("tc")
__success __retval(31) __description("one bit for each clock that does what it should")
int of_packets(struct __sk_buff *skb)
{
	u32 good = 0;

	nd_mono = bpf_ktime_get_ns();
	nd_boot = bpf_ktime_get_boot_ns();
	nd_coarse = bpf_ktime_get_coarse_ns();
	nd_tai = bpf_ktime_get_tai_ns();
	nd_jiffies = bpf_jiffies64();
	good |= ordered(nd_mono, bpf_ktime_get_ns());
	good |= ordered(nd_boot, bpf_ktime_get_boot_ns()) << 1;
	/* it stands still between two ticks, at most 10 ms; a run that is held up meanwhile finds it ahead */
	good |= (ordered(nd_coarse, bpf_ktime_get_ns()) && (s64)(nd_mono - nd_coarse) < (s64)SECOND / 100) << 2;
	good |= (ordered(nd_tai, bpf_ktime_get_tai_ns()) && nd_tai > 1600000000ULL * SECOND) << 3;
	good |= (nd_jiffies && bpf_jiffies64() - nd_jiffies < 1000) << 4;
	return good;
}

SEC("xdp")
__success __retval(7) __description("the clocks of XDP programs")
int of_frames(struct xdp_md *xdp)
{
	u32 good = 0;

	nd_boot = bpf_ktime_get_boot_ns();
	nd_coarse = bpf_ktime_get_coarse_ns();
	nd_jiffies = bpf_jiffies64();
	good |= ordered(nd_boot, bpf_ktime_get_boot_ns());
	good |= ordered(nd_coarse, bpf_ktime_get_ns()) << 1;
	good |= (bpf_jiffies64() - nd_jiffies < 1000) << 2;
	return good;
}

SEC("syscall")
__success __retval(7) __description("syscall programs have all but the coarse one")
int of_syscalls(void *args)
{
	u32 good = 0;

	nd_boot = bpf_ktime_get_boot_ns();
	nd_tai = bpf_ktime_get_tai_ns();
	nd_jiffies = bpf_jiffies64();
	good |= ordered(nd_boot, bpf_ktime_get_boot_ns());
	good |= ordered(nd_tai, bpf_ktime_get_tai_ns()) << 1;
	good |= (bpf_jiffies64() - nd_jiffies < 1000) << 2;
	return good;
}
