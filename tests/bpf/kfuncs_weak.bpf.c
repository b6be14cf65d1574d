/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel functions that may be absent: found out at load time, so that the call is never reached where there is none. */
#include "test.h"

LICENSE_GPL;

extern int bpf_crypto_no_such_function(int argument) __ksym __weak;
extern int bpf_dynptr_no_such_function(const struct bpf_dynptr *p) __ksym __weak;
extern bool bpf_dynptr_is_null(const struct bpf_dynptr *p) __ksym __weak;

bool exists[4];
u8 memory[16];

SEC("tc")
__success __retval(7) __description("a function that no kernel has: the other branch is taken")
int absent(struct __sk_buff *skb)
{
	exists[0] = bpf_ksym_exists(bpf_crypto_no_such_function);
	if (bpf_ksym_exists(bpf_crypto_no_such_function))
		return bpf_crypto_no_such_function(1);
	return 7;
}

SEC("tc")
__success __retval(0) __description("a weak function that is there is called like any other")
int present(struct __sk_buff *skb)
{
	struct bpf_dynptr made;

	exists[1] = bpf_ksym_exists(bpf_dynptr_is_null);
	bpf_dynptr_from_mem(memory, sizeof(memory), 0, &made);
	return bpf_ksym_exists(bpf_dynptr_is_null) ? bpf_dynptr_is_null(&made) : 2;
}

SEC("?tc")
__failure __description("a weak function that is absent, called without asking")
int unguarded(struct __sk_buff *skb)
{
	return bpf_crypto_no_such_function(1);
}
