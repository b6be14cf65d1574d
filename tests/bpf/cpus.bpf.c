/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What several CPUs share and what each has for itself: per-CPU maps, atomics, spin locks.
 *
 * The programs can also run at the same time: no counter but `lossy` may then lose an update.
 */
#include "test.h"

LICENSE_GPL;

struct shared {
	struct bpf_spin_lock lock;
	u32 unlocked; /* how often the two were found to differ */
	u64 first;
	u64 second;
};

struct own {
	u32 runs;
	u16 low;
	u64 sum;
};

#define ENTRIES 4

TEST_MAP(m_shared, BPF_MAP_TYPE_ARRAY, ENTRIES, struct shared, 0);
TEST_MAP(m_shared_hash, BPF_MAP_TYPE_HASH, ENTRIES, struct shared, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, ENTRIES, u64, 0);
TEST_MAP(m_lru, BPF_MAP_TYPE_LRU_HASH, 1024, u64, 0);
TEST_MAP(m_own, BPF_MAP_TYPE_PERCPU_ARRAY, ENTRIES, struct own, 0);
TEST_MAP(m_own_hash, BPF_MAP_TYPE_PERCPU_HASH, ENTRIES, struct own, 0);
TEST_MAP(m_own_lru, BPF_MAP_TYPE_LRU_PERCPU_HASH, 64, struct own, 0);

/* In. */
u32 key;
u64 flags;
u64 operand = 1;
struct own given;

/* Out. */
u32 cpu;
s64 ret;
u64 lossy;    /* counted with neither lock nor atomic */
u64 added;
u64 fetched;
u32 narrow;
u64 highest;  /* by compare and exchange */
u64 missed;   /* elements that were not there */

static __always_inline void count_own(void *map)
{
	struct own *own;
	u32 index = key;

	own = bpf_map_lookup_elem(map, &index);
	if (!own) {
		__sync_fetch_and_add(&missed, 1);
		return;
	}
	own->runs++;
	own->low += 3;
	own->sum += operand;
}

static __always_inline void count_shared(void *map)
{
	struct shared *shared;
	u32 index = key;

	shared = bpf_map_lookup_elem(map, &index);
	if (!shared) {
		__sync_fetch_and_add(&missed, 1);
		return;
	}
	bpf_spin_lock(&shared->lock);
	if (shared->first != shared->second)
		shared->unlocked++;
	shared->first += operand;
	shared->second += operand;
	bpf_spin_unlock(&shared->lock);
}

static __always_inline void count_atomic(void *map)
{
	u64 *count, zero = 0;
	u32 index = key;

	count = bpf_map_lookup_elem(map, &index);
	if (!count) {
		/* two may try, and one of them finds the other's */
		bpf_map_update_elem(map, &index, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(map, &index);
	}
	if (count)
		__sync_fetch_and_add(count, operand);
	else
		__sync_fetch_and_add(&missed, 1);
}

SEC("tc")
__success __description("each CPU counts on its own")
int own_counters(struct __sk_buff *skb)
{
	cpu = bpf_get_smp_processor_id();
	count_own(&m_own);
	count_own(&m_own_hash);
	count_own(&m_own_lru);
	return TC_ACT_OK;
}

SEC("xdp")
__success __description("the same in XDP")
int own_counters_xdp(struct xdp_md *xdp)
{
	cpu = bpf_get_smp_processor_id();
	count_own(&m_own);
	count_own(&m_own_hash);
	return XDP_PASS;
}

SEC("syscall")
__success __description("and in a syscall program")
int own_counters_syscall(void *args)
{
	count_own(&m_own);
	count_own(&m_own_hash);
	return 0;
}

#define UPDATE(kind) \
	SEC("tc") \
	__success __description("an update from a program gives its own CPU a value") \
	int update_##kind(struct __sk_buff *skb) \
	{ \
		struct own value = given; \
		u32 index = key; \
		cpu = bpf_get_smp_processor_id(); \
		ret = bpf_map_update_elem(&m_##kind, &index, &value, flags); \
		return TC_ACT_OK; \
	} \
	SEC("xdp") \
	__success __description("a deletion takes it from all of them") \
	int delete_##kind(struct xdp_md *xdp) \
	{ \
		u32 index = key; \
		ret = bpf_map_delete_elem(&m_##kind, &index); \
		return XDP_PASS; \
	}

UPDATE(own)
UPDATE(own_hash)
UPDATE(own_lru)

SEC("tc")
__success __description("two counters that must agree, under a spin lock")
int locked_counters(struct __sk_buff *skb)
{
	count_shared(&m_shared);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("the same in an element of a hash")
int locked_hash(struct __sk_buff *skb)
{
	struct shared none = {};
	u32 index = key;

	bpf_map_update_elem(&m_shared_hash, &index, &none, BPF_NOEXIST);
	count_shared(&m_shared_hash);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("atomic operations on global variables")
int atomic_counters(struct __sk_buff *skb)
{
	u64 seen, next;
	int i;

	lossy++;
	__sync_fetch_and_add(&added, operand);
	next = __sync_fetch_and_add(&fetched, 1) + 1;
	__sync_fetch_and_add(&narrow, 1);
	for (i = 0; i < 100; i++) {
		seen = highest;
		if (seen >= next || __sync_val_compare_and_swap(&highest, seen, next) == seen)
			break;
	}
	return TC_ACT_OK;
}

SEC("tc")
__success __description("atomic operations on elements that whoever comes first inserts")
int hash_counters(struct __sk_buff *skb)
{
	count_atomic(&m_hash);
	count_atomic(&m_lru);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("elements come and go, the keys of one program being none of the others'")
int churn(struct __sk_buff *skb)
{
	struct own own = {.runs = 1};
	u64 value = operand;
	u32 index = key + 100;
	int i;

	for (i = 0; i < 3; i++, index++) {
		bpf_map_update_elem(&m_lru, &index, &value, BPF_ANY);
		bpf_map_update_elem(&m_own_lru, &index, &own, BPF_ANY);
	}
	index--;
	bpf_map_delete_elem(&m_lru, &index);
	bpf_map_delete_elem(&m_own_lru, &index);
	return TC_ACT_OK;
}
