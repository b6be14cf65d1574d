/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records for user space: copied, reserved, as dynptrs, nested, discarded, and until there is no room. */
#include "test.h"

LICENSE_GPL;

#define RING_SIZE 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} ring SEC(".maps");

/* In: how large, what, and how. */
u32 length;
u64 flags;
bool discard;
u8 given[256];

/* Out */
s64 ret[16];
u8 seen[256];
u64 numbers[6];

/* What bpf_ringbuf_query() says; also to a question that is none. */
static __always_inline void query(void)
{
	numbers[0] = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	numbers[1] = bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
	numbers[2] = bpf_ringbuf_query(&ring, BPF_RB_CONS_POS);
	numbers[3] = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
	numbers[4] = bpf_ringbuf_query(&ring, 100);
	numbers[5] = bpf_ringbuf_query(&ring, -1);
}

SEC("tc")
__success __description("a copy of memory")
int output(struct __sk_buff *skb)
{
	u32 size = length;

	if (size > sizeof(given))
		size = sizeof(given);
	ret[0] = bpf_ringbuf_output(&ring, given, size, flags);
	query();
	return 0;
}

#define RESERVE(size) \
	SEC("tc") \
	__success __description("a record in place: what was there before, and what user space gets") \
	int reserve_##size(struct __sk_buff *skb) \
	{ \
		u8 *record = bpf_ringbuf_reserve(&ring, size, flags); \
		int i; \
\
		ret[0] = record != NULL; \
		query(); \
		if (!record) \
			return 0; \
		for (i = 0; i < size && i < sizeof(seen); i++) \
			seen[i] = record[i]; \
		for (i = 0; i < size / 2; i++) \
			record[i] = given[i % sizeof(given)]; \
		if (discard) \
			bpf_ringbuf_discard(record, length & 3); \
		else \
			bpf_ringbuf_submit(record, length & 3); \
		return 0; \
	}

RESERVE(1)
RESERVE(8)
RESERVE(52)
RESERVE(700)
RESERVE(4080)
RESERVE(4088)
RESERVE(4096)

SEC("tc")
__success __description("a record without bytes")
int reserve_nothing(struct __sk_buff *skb)
{
	void *record = bpf_ringbuf_reserve(&ring, 0, 0);

	ret[0] = record != NULL;
	if (record)
		bpf_ringbuf_submit(record, 0);
	query();
	return 0;
}

SEC("tc")
__success __description("two records at once, the later one finished first")
int nested(struct __sk_buff *skb)
{
	u64 *first = bpf_ringbuf_reserve(&ring, 40, 0), *second;

	if (!first)
		return 1;
	second = bpf_ringbuf_reserve(&ring, 24, 0);
	if (second) {
		second[0] = 2;
		second[2] = *(u64 *)given;
		bpf_ringbuf_submit(second, 0);
	}
	ret[0] = bpf_ringbuf_output(&ring, given, 16, 0);
	query();
	first[0] = 1;
	first[4] = *(u64 *)(given + 8);
	if (discard)
		bpf_ringbuf_discard(first, 0);
	else
		bpf_ringbuf_submit(first, 0);
	return 0;
}

SEC("tc")
__success __description("records until there is no room")
int fill(struct __sk_buff *skb)
{
	int i;

	for (i = 0; i < 200; i++) {
		ret[0] = bpf_ringbuf_output(&ring, given, 56, BPF_RB_NO_WAKEUP);
		if (ret[0])
			break;
	}
	ret[1] = i;
	query();
	return 0;
}

SEC("tc")
__success __description("records until there is no room, while an earlier one is not finished")
int held(struct __sk_buff *skb)
{
	void *record = bpf_ringbuf_reserve(&ring, 200, 0);
	int i;

	if (!record)
		return 1;
	for (i = 0; i < 200; i++) {
		ret[0] = bpf_ringbuf_output(&ring, given, 56, 0);
		if (ret[0])
			break;
	}
	ret[1] = i;
	bpf_ringbuf_discard(record, 0);
	query();
	return 0;
}

SEC("tc")
__success __description("a record as a dynptr, of a size that is known when it runs")
int dynptr(struct __sk_buff *skb)
{
	struct bpf_dynptr record, view;
	u8 *data;

	ret[0] = bpf_ringbuf_reserve_dynptr(&ring, length, flags, &record);
	ret[1] = (s32)bpf_dynptr_size(&record);
	ret[2] = bpf_dynptr_is_null(&record);
	ret[3] = bpf_dynptr_is_rdonly(&record);
	ret[4] = bpf_dynptr_read(seen, 16, &record, 0, 0);
	ret[5] = bpf_dynptr_write(&record, 4, given, 40, 0);
	ret[6] = bpf_dynptr_write(&record, 0, given, 4, 1);
	ret[7] = bpf_dynptr_clone(&record, &view);
	ret[8] = bpf_dynptr_adjust(&view, 8, 24);
	ret[9] = (s32)bpf_dynptr_size(&view);
	data = bpf_dynptr_data(&view, 0, 8);
	ret[10] = data != NULL;
	if (data)
		data[7] = 0x77;
	ret[11] = bpf_dynptr_adjust(&record, 2, 5);
	query();
	if (discard)
		bpf_ringbuf_discard_dynptr(&record, BPF_RB_FORCE_WAKEUP);
	else
		bpf_ringbuf_submit_dynptr(&record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("syscall")
__success __description("a record from a program without a packet")
int output_syscall(void *args)
{
	ret[0] = bpf_ringbuf_output(&ring, given, sizeof(given), 0);
	return 0;
}

/* --- what the verifier refuses --- */

SEC("tc")
__failure __msg("Unreleased reference") __description("a record that is never finished")
int forgotten(struct __sk_buff *skb)
{
	u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	return record != NULL;
}

SEC("tc")
__failure __msg("invalid mem access 'scalar'") __description("a record that is used after it was submitted")
int used_late(struct __sk_buff *skb)
{
	u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	bpf_ringbuf_submit(record, 0);
	*(volatile u64 *)record = 1;
	return 0;
}

SEC("tc")
__failure __msg("min value is outside of the allowed memory range") __description("a write behind the record")
int too_far(struct __sk_buff *skb)
{
	u8 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	*(volatile u8 *)(record + 8) = 1;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("tc")
__failure __msg("invalid zero-sized read") __description("a ring has no elements")
int lookup_ring(struct __sk_buff *skb)
{
	u32 key = 0;

	return bpf_map_lookup_elem(&ring, &key) != NULL;
}
