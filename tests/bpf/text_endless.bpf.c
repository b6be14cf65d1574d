/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel functions on text that does not end. */
#include "test.h"

LICENSE_GPL;

s32 ret[16];
u8 endless[70000] SEC(".bss.endless");

SEC("syscall")
__success __description("no end within 65536 bytes")
int too_long(void *args)
{
	struct bpf_dynptr whole;

	bpf_dynptr_from_mem(endless, sizeof(endless), 0, &whole);
	bpf_dynptr_memset(&whole, 0, sizeof(endless), 'a');
	ret[0] = bpf_strlen((char *)endless);
	ret[1] = bpf_strnlen((char *)endless, 65535);
	ret[2] = bpf_strnlen((char *)endless, 65536);
	ret[3] = bpf_strchr((char *)endless, 'b');
	ret[4] = bpf_strnchr((char *)endless, 65535, 'b');
	ret[5] = bpf_strrchr((char *)endless, 'a');
	ret[6] = bpf_strcmp((char *)endless, (char *)endless + 1);
	ret[7] = bpf_strspn((char *)endless, "a");
	ret[8] = bpf_strstr((char *)endless, "ab");
	ret[9] = bpf_strnstr((char *)endless, "ab", 100);
	ret[10] = bpf_strchrnul((char *)endless, 'b');
	return 0;
}
