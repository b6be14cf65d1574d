/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sections without preemption and without interrupts: what the verifier wants of them. */
#include "test.h"

LICENSE_GPL;

u64 count;

SEC("tc")
__success __retval(3) __description("sections, one in another")
int nested(struct __sk_buff *skb)
{
	unsigned long outer, inner;

	count = 0;
	bpf_preempt_disable();
	count++;
	bpf_local_irq_save(&outer);
	bpf_local_irq_save(&inner);
	count++;
	bpf_local_irq_restore(&inner);
	bpf_local_irq_restore(&outer);
	bpf_preempt_disable();
	count++;
	bpf_preempt_enable();
	bpf_preempt_enable();
	return count;
}

SEC("?tc")
__failure __msg("cannot be used inside bpf_preempt_disable-ed region")
int leave_preempt(struct __sk_buff *skb)
{
	bpf_preempt_disable();
	return 0;
}

SEC("?tc")
__failure __msg("unmatched attempt to enable preemption")
int enable_twice(struct __sk_buff *skb)
{
	bpf_preempt_enable();
	return 0;
}

SEC("?tc")
__failure __msg("cannot be used inside bpf_local_irq_save-ed region")
int leave_irq(struct __sk_buff *skb)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	return 0;
}

SEC("?syscall")
__failure __msg("cannot restore irq state out of order")
int restore_out_of_order(void *args)
{
	unsigned long outer, inner;

	bpf_local_irq_save(&outer);
	bpf_local_irq_save(&inner);
	bpf_local_irq_restore(&outer);
	bpf_local_irq_restore(&inner);
	return 0;
}

SEC("?syscall")
__failure __msg("is sleepable within non-preemptible region")
int sleep_without_preemption(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
	struct bpf_crypto_ctx *cctx;
	int err;

	bpf_preempt_disable();
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	bpf_preempt_enable();
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}
