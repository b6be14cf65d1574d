/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Arguments of helpers and kfuncs that are easy to get wrong: found by calling each of them with each kind of register. */
#include "test.h"

LICENSE_GPL;

TEST_MAP(devices, BPF_MAP_TYPE_DEVMAP, 4, u32, 0);

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__uint(value_size, 8);
} queue SEC(".maps");

struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;

SEC("?tc")
__failure __msg("helper access to the packet is not allowed")
int pop_into_packet(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;

	if (data + 8 > (void *)(long)skb->data_end)
		return 0;
	return bpf_map_pop_elem(&queue, data);
}

SEC("?tc")
__success
int push_from_packet(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;

	if (data + 8 > (void *)(long)skb->data_end)
		return 0;
	return bpf_map_push_elem(&queue, data, 0);
}

SEC("?tc")
__failure __msg("write into map forbidden")
int update_device(struct __sk_buff *skb)
{
	u32 key = 1, value = 1;

	return bpf_map_update_elem(&devices, &key, &value, 0);
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=4 off=0 size=4")
int write_device(struct __sk_buff *skb)
{
	u32 key = 1, *value = bpf_map_lookup_elem(&devices, &key);

	if (value)
		*value = 1;
	return 0;
}

SEC("?tc")
__success
int cookie_of_nothing(struct __sk_buff *skb)
{
	return bpf_get_netns_cookie((void *)0) != 0;
}

SEC("?tc")
__failure __msg("R3 type=scalar expected=fp")
int mtu_is_no_pointer(struct __sk_buff *skb)
{
	return bpf_check_mtu(skb, 1, (void *)1500, 0, 0);
}

SEC("?tc")
__failure __msg("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
int task_on_stack(struct __sk_buff *skb)
{
	u64 memory[16] = {};

	return bpf_task_acquire((void *)memory) != 0;
}

SEC("?tc")
__failure __msg("invalid write to stack R1 off=0 size=8")
int iterator_at_frame_pointer(struct __sk_buff *skb)
{
	void *frame;

	asm volatile("%0 = r10" : "=r"(frame));
	return bpf_iter_num_new(frame, 0, 5);
}

/* --- a constant key of an array always finds an element, but for arrays that may stand for longer or shorter ones --- */

TEST_MAP(m_four, BPF_MAP_TYPE_ARRAY, 4, u64, 0);
TEST_MAP(m_some, BPF_MAP_TYPE_ARRAY, 4, u64, BPF_F_INNER_MAP);

static __always_inline int third(void *map)
{
	u32 key[2]; /* the verifier knows a constant at the beginning of a slot of the stack */
	u64 *value;

	key[0] = 3;
	value = bpf_map_lookup_elem(map, key);
	return *value;
}

SEC("?tc")
__success __description("the fourth of four")
int third_of_four(struct __sk_buff *skb)
{
	return third(&m_four);
}

SEC("?tc")
__failure __msg("R0 invalid mem access 'map_value_or_null'")
__description("the fourth of an array of any length")
int third_of_some(struct __sk_buff *skb)
{
	return third(&m_some);
}
