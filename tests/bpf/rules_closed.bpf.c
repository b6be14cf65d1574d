/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a program whose licence is not compatible with the GPL may not do. */
#include "test.h"

char _license[] SEC("license") = "Dual Apache/MIT";

struct value {
	struct bpf_crypto_ctx __kptr *cctx;
};

TEST_MAP(slots, BPF_MAP_TYPE_HASH, 4, struct value, 0);

SEC("?tc")
__failure __msg("Cannot access kernel 'struct bpf_crypto_ctx' from non-GPL compatible program")
int read_member(struct __sk_buff *skb)
{
	u32 index = 1;
	struct value *value = bpf_map_lookup_elem(&slots, &index);
	struct bpf_crypto_ctx *cctx;

	if (!value)
		return 0;
	cctx = value->cctx;
	return cctx ? cctx->siv_len : 0;
}

SEC("?tc")
__failure __msg("cannot call kernel function from non-GPL compatible program")
int call_kfunc(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	return bpf_dynptr_from_skb(skb, 0, &data);
}

SEC("?tc")
__failure __msg("cannot call GPL-restricted function from non-GPL compatible program")
int call_helper(struct __sk_buff *skb)
{
	static const char text[] = "hello";

	return bpf_trace_printk(text, sizeof(text));
}
