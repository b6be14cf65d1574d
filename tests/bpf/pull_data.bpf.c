/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A frame in pieces, made linear as far as is asked for; the count of a map's elements. */
#include "test.h"

LICENSE_GPL;

TEST_MAP(table, BPF_MAP_TYPE_HASH, 64, u64, 0);
TEST_MAP(recent, BPF_MAP_TYPE_LRU_HASH, 64, u64, 0);
TEST_MAP(each_cpu, BPF_MAP_TYPE_PERCPU_HASH, 64, u64, BPF_F_NO_PREALLOC);
TEST_MAP(array, BPF_MAP_TYPE_ARRAY, 7, u64, 0);

u32 first;
u32 second;
s32 delta;
s64 ret[6];
u32 seen[8];

SEC("xdp.frags")
__success __description("pulled twice, cut and grown in between")
int pull(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;

	ret[0] = bpf_xdp_pull_data(xdp, first);
	seen[0] = xdp->data_end - xdp->data;
	seen[1] = xdp->data - xdp->data_meta;
	ret[1] = bpf_xdp_adjust_tail(xdp, delta);
	seen[2] = xdp->data_end - xdp->data;
	ret[2] = bpf_xdp_pull_data(xdp, second);
	seen[3] = xdp->data_end - xdp->data;
	seen[4] = bpf_xdp_get_buff_len(xdp);
	bpf_dynptr_from_xdp(xdp, 0, &packet);
	seen[5] = !!bpf_dynptr_slice(&packet, second & 0xff, NULL, 100);
	ret[3] = bpf_xdp_adjust_head(xdp, -200);
	ret[4] = bpf_xdp_adjust_head(xdp, -16);
	ret[5] = bpf_xdp_adjust_tail(xdp, 5000);
	seen[6] = bpf_xdp_get_buff_len(xdp);
	return 0;
}

SEC("tc")
__success __description("how many elements hash maps have; arrays do not count")
int count(struct __sk_buff *skb)
{
	u32 key = first & 63, other = second & 63;
	u64 value = first;

	bpf_map_update_elem(&table, &key, &value, 0);
	bpf_map_update_elem(&recent, &key, &value, 0);
	bpf_map_update_elem(&each_cpu, &key, &value, 0);
	bpf_map_delete_elem(&table, &other);
	bpf_map_delete_elem(&recent, &other);
	bpf_map_delete_elem(&each_cpu, &other);
	ret[0] = bpf_map_sum_elem_count((const struct bpf_map *)&table);
	ret[1] = bpf_map_sum_elem_count((const struct bpf_map *)&recent);
	ret[2] = bpf_map_sum_elem_count((const struct bpf_map *)&each_cpu);
	ret[3] = bpf_map_sum_elem_count((const struct bpf_map *)&array);
	return 0;
}
