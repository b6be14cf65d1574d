/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The copies of other CPUs in per-CPU maps. */
#include "test.h"

LICENSE_GPL;

#define ENTRIES 3

TEST_MAP(m_array, BPF_MAP_TYPE_PERCPU_ARRAY, ENTRIES, u64, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_PERCPU_HASH, ENTRIES, u64, 0);
TEST_MAP(m_lru, BPF_MAP_TYPE_LRU_PERCPU_HASH, ENTRIES, u64, 0);

/* In. */
u32 key;
u32 other;
u64 given;
bool insert;

/* Out. */
s64 ret;
bool found;
u64 seen;

static __always_inline int add(void *map)
{
	u32 index = key;
	u64 zero = 0, *value;

	if (insert)
		ret = bpf_map_update_elem(map, &index, &zero, BPF_NOEXIST);
	value = bpf_map_lookup_percpu_elem(map, &index, other);
	found = value != NULL;
	if (!value)
		return 1;
	*value += given;
	seen = *value;
	return 0;
}

SEC("tc")
__success __description("add to a CPU's copy in an array")
int add_array(struct __sk_buff *skb)
{
	return add(&m_array);
}

SEC("xdp")
__success __description("add to a CPU's copy in a hash")
int add_hash(struct xdp_md *xdp)
{
	return add(&m_hash);
}

SEC("syscall")
__success __description("add to a CPU's copy in an LRU hash")
int add_lru(void *args)
{
	return add(&m_lru);
}
