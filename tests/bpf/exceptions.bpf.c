/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf_throw(): the end of a program from any depth. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct owned {
	u64 value;
};

u64 given;
u64 seen;
u64 caught_cookie;

static __noinline int deeper(u64 value)
{
	if (value & 1)
		bpf_throw(value + 10);
	return value + 1;
}

static __noinline int deep(u64 value)
{
	if (value & 2)
		bpf_throw(value);
	return deeper(value) + 1;
}

SEC("tc")
__success __description("the cookie is what the program returns")
int plain(struct __sk_buff *skb)
{
	seen = 1;
	seen += deep(given);
	if (given & 4)
		bpf_throw(seen);
	return 99;
}

__noinline int turn(u64 cookie)
{
	return cookie ^ 0x55;
}

__noinline int handle(u64 cookie)
{
	caught_cookie = cookie;
	return turn(cookie) + 1;
}

SEC("xdp")
__exception_cb(handle)
__success __description("a callback has the last word")
int with_callback(struct xdp_md *xdp)
{
	seen = 2;
	seen += deep(given);
	return 98;
}

SEC("syscall")
__success __description("out of a loop over an iterator")
int in_loop(void *args)
{
	seen = 0;
	bpf_repeat(20) {
		seen++;
		if (seen > (given & 15))
			break;
	}
	if (given & 16)
		bpf_throw(seen);
	return -1;
}

static int each(u32 index, void *data)
{
	if (index == 3)
		bpf_throw(index);
	return 0;
}

SEC("?tc")
__failure __msg("cannot be called from callback subprog")
int in_callback(struct __sk_buff *skb)
{
	return bpf_loop(5, each, NULL, 0);
}

SEC("?tc")
__failure __msg("Unreleased reference")
int while_owning(struct __sk_buff *skb)
{
	u64 *made = (u64 *)bpf_obj_new(struct owned);

	if (!made)
		return 0;
	if (given)
		bpf_throw(1);
	bpf_obj_drop(made);
	return 0;
}
