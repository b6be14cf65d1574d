/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a compiler puts the members of structures: each is read and written one by one, as a variable and in maps.
 *
 * `seen` gets the value of every member of `in`, in the order of the source, and `out` a copy that was made member by member.
 */
#include "test.h"

LICENSE_GPL;

enum colour { RED, GREEN = 5, BLUE = 0x7fffffff };
enum side { BELOW = -3, ABOVE = 3 };
enum huge { NEAR = 1, FAR = 0x123456789abcULL };

typedef u16 port_t;

struct inner {
	u8 a;
	s16 b[3];
};

struct bits {
	u32 one : 1;
	u32 three : 3;
	s32 five : 5;
	enum colour colour : 31;
	u64 wide : 40;
	s64 minus : 20;
	bool yes : 1;
	u8 plain;
	u16 : 3;
	u16 last : 9;
};

struct all {
	u8 b8;
	s64 s64;
	port_t port;
	bool truth;
	struct inner inner[2];
	union {
		u64 whole;
		struct {
			u16 low;
			u16 high;
			union {
				u32 rest;
				u8 bytes[4];
			};
		};
	};
	struct {
		s8 small;
		struct bits bits;
	} named;
	enum colour colour;
	enum side side;
	enum huge huge;
	char text[7];
	u8 raw[5];
	const volatile s32 grid[2][2];
	void *pointer;
	union {
		u32 number;
		u8 octets[4];
	} either;
	struct {
		u16 odd;
		u32 unaligned;
		u8 end;
	} __attribute__((packed)) packed;
	u8 tail;
};

TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, 2, struct all, 0);
TEST_MAP(m_percpu, BPF_MAP_TYPE_PERCPU_ARRAY, 1, struct all, 0);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, struct inner);
	__type(value, struct bits);
} m_hash SEC(".maps");

/* In. */
struct all in;
struct inner key;

/* Out. */
struct all out;
u64 seen[64];
u32 count;

#define ONE(member) \
	do { \
		out->member = in->member; \
		seen[n++ & 63] = (u64)in->member; \
	} while (0)

static __always_inline u32 copy(struct all *out, const struct all *in)
{
	u32 n = 0;
	int i;

	ONE(b8);
	ONE(s64);
	ONE(port);
	ONE(truth);
	for (i = 0; i < 2; i++) {
		ONE(inner[i].a);
		ONE(inner[i].b[0]);
		ONE(inner[i].b[1]);
		ONE(inner[i].b[2]);
	}
	ONE(low);
	ONE(high);
	for (i = 0; i < 4; i++)
		ONE(bytes[i]);
	ONE(named.small);
	ONE(named.bits.one);
	ONE(named.bits.three);
	ONE(named.bits.five);
	ONE(named.bits.colour);
	ONE(named.bits.wide);
	ONE(named.bits.minus);
	ONE(named.bits.yes);
	ONE(named.bits.plain);
	ONE(named.bits.last);
	ONE(colour);
	ONE(side);
	ONE(huge);
	for (i = 0; i < 7; i++)
		ONE(text[i]);
	for (i = 0; i < 5; i++)
		ONE(raw[i]);
	for (i = 0; i < 4; i++) {
		((s32 *)out->grid)[i] = in->grid[i >> 1][i & 1];
		seen[n++ & 63] = (u64)(s64)in->grid[i >> 1][i & 1];
	}
	ONE(pointer);
	ONE(either.number);
	ONE(packed.odd);
	ONE(packed.unaligned);
	ONE(packed.end);
	ONE(tail);
	return n;
}

SEC("tc")
__success __description("from one variable to another")
int variables(struct __sk_buff *skb)
{
	count = copy(&out, &in);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("from an element of an array to another, and to each CPU's own")
int maps(struct __sk_buff *skb)
{
	struct all *from, *to, *own;
	u32 index = 0;

	from = bpf_map_lookup_elem(&m_array, &index);
	own = bpf_map_lookup_elem(&m_percpu, &index);
	index = 1;
	to = bpf_map_lookup_elem(&m_array, &index);
	if (!from || !to || !own)
		return TC_ACT_SHOT;
	count = copy(to, from);
	copy(own, from);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("a structure as a key, and bit fields as a value")
int keys(struct __sk_buff *skb)
{
	struct bits bits = {}, *found;
	struct inner copied = {.a = key.a, .b = {key.b[0], key.b[1], key.b[2]}};

	found = bpf_map_lookup_elem(&m_hash, &copied);
	if (found) {
		found->wide += 1;
		found->minus -= 1;
		found->yes = !found->yes;
		return TC_ACT_OK;
	}
	bits.three = 5;
	bits.last = 300;
	bpf_map_update_elem(&m_hash, &copied, &bits, BPF_ANY);
	return TC_ACT_SHOT;
}
