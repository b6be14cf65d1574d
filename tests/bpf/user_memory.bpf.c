/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel functions that read the memory of the process. */
#include "test.h"

LICENSE_GPL;

u64 address;
u32 length;
u32 offset;
u64 flags;
u8 memory[256];
s64 ret[8];

SEC("syscall")
__success __description("text and bytes, for programs that may sleep")
int copy(void *args)
{
	struct bpf_dynptr mem, null;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_mem(memory, sizeof(memory), 1, &null);
	if (length <= sizeof(memory))
		ret[0] = bpf_copy_from_user_str(memory, length, (void *)address, flags);
	ret[1] = bpf_copy_from_user_dynptr(&mem, offset, length, (void *)address);
	ret[2] = bpf_copy_from_user_str_dynptr(&mem, length, offset, (void *)address);
	ret[3] = bpf_copy_from_user_dynptr(&null, 0, 0, (void *)address);
	ret[4] = bpf_copy_from_user_str_dynptr(&null, 0, 0, (void *)address);
	return 0;
}

SEC("tc")
__success __description("text and bytes, for programs that may not")
int probe_read(struct __sk_buff *skb)
{
	struct bpf_dynptr mem, packet, null;

	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &mem);
	bpf_dynptr_from_mem(memory, sizeof(memory), 1, &null);
	bpf_dynptr_from_skb(skb, 0, &packet);
	ret[0] = bpf_probe_read_user_dynptr(&mem, offset, length, (void *)address);
	ret[1] = bpf_probe_read_user_str_dynptr(&mem, length, offset, (void *)address);
	ret[2] = bpf_probe_read_user_dynptr(&packet, offset, length, (void *)address);
	ret[3] = bpf_probe_read_user_str_dynptr(&packet, length, offset, (void *)address);
	ret[4] = bpf_probe_read_user_dynptr(&null, 0, 0, (void *)address);
	ret[5] = bpf_probe_read_user_str_dynptr(&null, 0, 0, (void *)address);
	return 0;
}
