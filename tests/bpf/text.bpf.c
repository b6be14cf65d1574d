/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel functions on NUL-terminated text, with arguments from outside. */
#include "test.h"

LICENSE_GPL;

u8 first[64];
u8 second[64];
u64 count;
u32 wanted;
s32 ret[16];

SEC("tc")
__success __description("comparing: bytes are signed, letters fold as in Latin-1")
int compare(struct __sk_buff *skb)
{
	ret[0] = bpf_strcmp((char *)first, (char *)second);
	ret[1] = bpf_strcasecmp((char *)first, (char *)second);
	ret[2] = bpf_strcmp((char *)first, (char *)first);
	return 0;
}

SEC("xdp")
__success __description("lengths and characters")
int find_characters(struct xdp_md *xdp)
{
	const char *text = (char *)first;

	ret[0] = bpf_strlen(text);
	ret[1] = bpf_strnlen(text, count);
	ret[2] = bpf_strchr(text, wanted);
	ret[3] = bpf_strrchr(text, wanted);
	ret[4] = bpf_strchrnul(text, wanted);
	ret[5] = bpf_strnchr(text, count, wanted);
	return 0;
}

SEC("syscall")
__success __description("sets of characters, text in text")
int find_text(void *args)
{
	const char *text = (char *)first, *other = (char *)second;

	ret[0] = bpf_strspn(text, other);
	ret[1] = bpf_strcspn(text, other);
	ret[2] = bpf_strstr(text, other);
	ret[3] = bpf_strnstr(text, other, count);
	return 0;
}

SEC("tc")
__success __description("addresses that no text is at")
int nowhere(struct __sk_buff *skb)
{
	const char *text = (char *)first, *low = (char *)16;

	ret[0] = bpf_strlen(NULL);
	ret[1] = bpf_strcmp(text, NULL);
	ret[2] = bpf_strcmp(NULL, text);
	ret[3] = bpf_strchr(low, 'x');
	ret[4] = bpf_strstr(text, low);
	ret[5] = bpf_strspn(low, text);
	ret[6] = bpf_strnlen(NULL, 0);
	ret[7] = bpf_strnstr(NULL, text, 0);
	ret[8] = bpf_strnchr(low, 0, 'x');
	ret[9] = bpf_strrchr(low, 'x');
	ret[10] = bpf_strcspn(text, NULL);
	ret[11] = bpf_strchrnul(NULL, 'x');
	return 0;
}

SEC("tc")
__success __description("text on the stack and in constants")
int anywhere(struct __sk_buff *skb)
{
	char name[] = "cbc(aes)";

	ret[0] = bpf_strcmp(name, "cbc(aes)");
	ret[1] = bpf_strstr(name, "aes");
	ret[2] = bpf_strcasecmp("CBC(AES)", name);
	return 0;
}
