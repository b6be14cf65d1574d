/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A context made by a syscall program the way programs of other projects do it: these includes, kernel functions declared by the
 * program itself, a named map type, and a slot that is emptied by an update before the context goes in.
 */
#include "vmlinux.h"
#include "bpf_tracing_net.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "bpf_kfuncs.h"

struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, u32 params__sz, int *err) __ksym;
struct bpf_crypto_ctx *bpf_crypto_ctx_acquire(struct bpf_crypto_ctx *ctx) __ksym;
void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym;

struct context_value {
	struct bpf_crypto_ctx __kptr * ctx;
};

struct context_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, int);
	__type(value, struct context_value);
	__uint(max_entries, 1);
} contexts SEC(".maps");

char cipher[128] = {};
u32 key_len, authsize;
u8 key[256] = {};
int status;

static inline int keep(struct bpf_crypto_ctx *fresh)
{
	struct context_value empty = {}, *slot;
	struct bpf_crypto_ctx *former;
	int index = 0;
	int result;

	result = bpf_map_update_elem(&contexts, &index, &empty, BPF_ANY);
	slot = result ? NULL : bpf_map_lookup_elem(&contexts, &index);
	if (!slot) {
		bpf_crypto_ctx_release(fresh);
		return result ?: -ENOENT;
	}
	former = bpf_kptr_xchg(&slot->ctx, fresh);
	if (!former)
		return 0;
	bpf_crypto_ctx_release(former);
	return -EEXIST;
}

SEC("syscall")
__success __description("status is 0, or the errno of what failed")
int set_up(void *args)
{
	struct bpf_crypto_params wanted = {
		.type = "skcipher",
		.key_len = key_len,
		.authsize = authsize,
	};
	struct bpf_crypto_ctx *fresh;

	if (!cipher[0] || !key_len || key_len > sizeof(key)) {
		status = -EINVAL;
		return 0;
	}
	__builtin_memcpy(&wanted.algo, cipher, sizeof(cipher));
	__builtin_memcpy(&wanted.key, key, sizeof(key));
	fresh = bpf_crypto_ctx_create(&wanted, sizeof(wanted), &status);
	if (fresh)
		status = keep(fresh);
	return 0;
}

char _license[] SEC("license") = "GPL";
