/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a map's address tells: a map is an object of the kernel that programs may look into. */
#include "test.h"

LICENSE_GPL;

TEST_MAP(numbers, BPF_MAP_TYPE_ARRAY, 7, u64, 0);

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 5);
	__type(value, u32);
} queue SEC(".maps");

u32 type, key_size, value_size, max_entries, queue_entries;

SEC("tc")
__success __retval(7)
int facts(struct __sk_buff *skb)
{
	struct bpf_map *map = (struct bpf_map *)&numbers;

	type = map->map_type;
	key_size = map->key_size;
	value_size = map->value_size;
	max_entries = map->max_entries;
	queue_entries = ((struct bpf_map *)&queue)->max_entries;
	return max_entries;
}

SEC("tc")
__failure __msg("only read from bpf_array is supported")
int write_facts(struct __sk_buff *skb)
{
	((struct bpf_map *)&numbers)->max_entries = 8;
	return 0;
}
