/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Memory that machine code found by itself, given to helpers that are not machine code: records of a ring, keys and values of maps. */
#include "test.h"

LICENSE_GPL;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

TEST_MAP(m_from, BPF_MAP_TYPE_HASH, 16, u64, BPF_F_ZERO_SEED);
TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, 4, u64, 0);
TEST_MAP(m_to, BPF_MAP_TYPE_LRU_HASH, 64, u64, BPF_F_ZERO_SEED);

/* Out. */
s64 written, visited;

SEC("tc")
__success __description("a helper writes into a record")
int into_record(struct __sk_buff *skb)
{
	u64 number = skb->len;
	char *r = bpf_ringbuf_reserve(&ring, 500, 0);

	if (!r)
		return 1;
	__builtin_memset(r, 0, 500);
	written = bpf_snprintf(r + 490, 10, "%d bytes", &number, sizeof(number));
	bpf_ringbuf_submit(r, 0);
	return 0;
}

SEC("tc")
__success __description("a helper writes into a record by its dynptr")
int into_dynptr(struct __sk_buff *skb)
{
	struct bpf_dynptr d;
	char text[8] = "dynptr";
	u64 number = skb->len;
	void *data;

	if (!bpf_ringbuf_reserve_dynptr(&ring, 300, 0, &d)) {
		bpf_dynptr_write(&d, 280, text, sizeof(text), 0);
		data = bpf_dynptr_data(&d, 288, 8);
		if (data)
			written = bpf_snprintf(data, 8, "%d", &number, sizeof(number));
	}
	bpf_ringbuf_submit_dynptr(&d, 0);
	return 0;
}

static long copy_element(void *map, u32 *key, u64 *value, void *ctx)
{
	return bpf_map_update_elem(&m_to, key, value, 0) != 0;
}

SEC("tc")
__success __description("keys and values of one map go into another")
int copy_elements(struct __sk_buff *skb)
{
	u32 i;

	bpf_for(i, 0, 10) {
		u32 key = 100 + i;
		u64 value = key * 3;

		bpf_map_update_elem(&m_from, &key, &value, 0);
	}
	visited = bpf_for_each_map_elem(&m_from, copy_element, NULL, 0);
	visited += 100 * bpf_for_each_map_elem(&m_array, copy_element, NULL, 0);
	return 0;
}
