/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the v4 instruction set adds: signed division, sign-extending moves and loads, byte swaps, and acquire and release. */
#include "test.h"

LICENSE_GPL;

/* In. */
s64 a;
s64 b;
s8 bytes[8];
s16 halves[4];
s32 words[2];
u64 shared;

/* Out. */
s64 results[16];

SEC("tc")
__success
int divide(struct __sk_buff *skb)
{
	results[0] = a / b;
	results[1] = a % b;
	results[2] = (s32)a / (s32)b;
	results[3] = (s32)a % (s32)b;
	results[4] = (u64)a / (u64)b;
	results[5] = (u32)a % (u32)b;
	return 0;
}

SEC("tc")
__success
int extend(struct __sk_buff *skb)
{
	for (int i = 0; i < 2; i++)
		results[i] = words[i];
	for (int i = 0; i < 4; i++)
		results[2 + i] = halves[i];
	for (int i = 0; i < 8; i++)
		results[6 + i] = bytes[i];
	results[14] = (s8)a + (s16)b;
	results[15] = (s32)(a + b);
	return 0;
}

SEC("tc")
__success
int swap(struct __sk_buff *skb)
{
	results[0] = __builtin_bswap16(a);
	results[1] = __builtin_bswap32(a);
	results[2] = __builtin_bswap64(a);
	results[3] = bpf_htonl(b);
	return 0;
}

SEC("tc")
__success __description("load-acquire and store-release")
int ordered(struct __sk_buff *skb)
{
	results[0] = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
	__atomic_store_n(&shared, a, __ATOMIC_RELEASE);
	results[1] = __atomic_load_n((u32 *)&shared, __ATOMIC_ACQUIRE);
	__atomic_store_n((u16 *)&shared, b, __ATOMIC_RELEASE);
	results[2] = __atomic_load_n((u8 *)&shared, __ATOMIC_ACQUIRE);
	results[3] = shared;
	return 0;
}
