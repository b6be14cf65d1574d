/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs that several threads run at once on the same maps. The first byte of the packet says which thread it is. */
#include "test.h"

LICENSE_GPL;

#define ROUNDS 400
#define STEADY 8

struct pair {
	struct bpf_spin_lock lock;
	u32 unused;
	u64 first;
	u64 second;
};

struct record {
	u32 thread;
	u32 number;
	u8 rest[40];
};

/* Few buckets, so that threads meet in them. */
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, 16, u64, 0);
TEST_MAP(m_lazy, BPF_MAP_TYPE_HASH, 16, u64, 1);
TEST_MAP(m_lru, BPF_MAP_TYPE_LRU_HASH, 4096, u64, 0);
TEST_MAP(m_pair, BPF_MAP_TYPE_ARRAY, 1, struct pair, 0);
TEST_MAP(m_sent, BPF_MAP_TYPE_ARRAY, 256, u64, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct prefix {
	u32 length;
	u32 bits;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, u64);
} m_trie SEC(".maps");

/* Out; only ever added to. */
u64 missing, wrong, failed, torn, full;

static __always_inline u32 thread_of(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data;

	return (void *)(data + 1) <= (void *)(long)skb->data_end ? *data : 0;
}

static __always_inline int churn(struct __sk_buff *skb, void *map)
{
	u32 thread = thread_of(skb), i;

	bpf_for(i, 0, ROUNDS) {
		u32 key = 1000 * (thread + 1) + i % 5;
		u64 value = key, *found;

		if (bpf_map_update_elem(map, &key, &value, i & 1)) {
			__sync_fetch_and_add(&failed, 1);
			continue;
		}
		found = bpf_map_lookup_elem(map, &key);
		if (!found)
			__sync_fetch_and_add(&missing, 1);
		else if (*found != key)
			__sync_fetch_and_add(&wrong, 1);
		if (bpf_map_update_elem(map, &key, &value, BPF_EXIST))
			__sync_fetch_and_add(&failed, 1);
		if (bpf_map_delete_elem(map, &key))
			__sync_fetch_and_add(&failed, 1);
		if (bpf_map_lookup_elem(map, &key))
			__sync_fetch_and_add(&wrong, 1);
	}
	return 0;
}

SEC("tc")
__success __description("elements come, are replaced and go")
int churn_hash(struct __sk_buff *skb)
{
	return churn(skb, &m_hash);
}

SEC("tc")
__success __description("the same without preallocation")
int churn_lazy(struct __sk_buff *skb)
{
	return churn(skb, &m_lazy);
}

SEC("tc")
__success __description("the same in an LRU map")
int churn_lru(struct __sk_buff *skb)
{
	return churn(skb, &m_lru);
}

/* The elements 0 to 7 are there all the time. */
SEC("tc")
__success __description("elements that stay are found")
int look(struct __sk_buff *skb)
{
	u32 i;

	bpf_for(i, 0, ROUNDS) {
		u32 key = i % STEADY;
		u64 *found = bpf_map_lookup_elem(&m_hash, &key);

		if (!found)
			__sync_fetch_and_add(&missing, 1);
	}
	return 0;
}

/* 10.0.0.0/8, with the value 1, is there all the time; 10.0.0.0 is at any time in a longer prefix with the value 2, of one length or another. */
SEC("tc")
__success __description("a longer prefix is there all the time, though not always the same")
int look_trie(struct __sk_buff *skb)
{
	u32 i;

	bpf_for(i, 0, ROUNDS) {
		struct prefix key = {.length = 32, .bits = i & 1 ? 0x0100000a : 0x0000800a};
		u64 *found = bpf_map_lookup_elem(&m_trie, &key);

		if (!found)
			__sync_fetch_and_add(&missing, 1);
		else if (i & 1 ? *found != 2 : *found != 1)
			__sync_fetch_and_add(&wrong, 1);
	}
	return 0;
}

SEC("tc")
__success __description("two values are equal under a lock")
int pair(struct __sk_buff *skb)
{
	u32 zero = 0, i;
	struct pair *p = bpf_map_lookup_elem(&m_pair, &zero);

	if (!p)
		return 1;
	bpf_for(i, 0, ROUNDS) {
		u32 bad;

		bpf_spin_lock(&p->lock);
		bad = *(volatile u64 *)&p->first != *(volatile u64 *)&p->second;
		*(volatile u64 *)&p->first += 1;
		*(volatile u64 *)&p->second += 1;
		bpf_spin_unlock(&p->lock);
		if (bad)
			__sync_fetch_and_add(&torn, 1);
	}
	return 0;
}

SEC("tc")
__success __description("records of one writer, some of them discarded")
int produce(struct __sk_buff *skb)
{
	u32 thread = thread_of(skb), i;
	u64 *sent = bpf_map_lookup_elem(&m_sent, &thread);

	if (!sent)
		return 1;
	bpf_for(i, 0, 50) {
		struct record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

		if (!r) {
			__sync_fetch_and_add(&full, 1);
			break;
		}
		r->thread = thread;
		r->number = *sent;
		for (u32 at = 0; at < sizeof(r->rest); at++)
			r->rest[at] = *sent + at;
		if (i % 7 == 6) {
			bpf_ringbuf_discard(r, 0);
		} else {
			*sent += 1;
			bpf_ringbuf_submit(r, 0);
		}
	}
	return 0;
}
