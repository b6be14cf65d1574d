/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf_crypto_ctx_create() with any parameters, of any size, from every kind of memory. */
#include "test.h"

LICENSE_GPL;

/* In: struct bpf_crypto_params as bytes, with room behind it; the size to state. */
u8 params[512] __attribute__((aligned(8)));
u32 params_size;

/* Out: what was in err afterwards (a sentinel goes in), and whether a context came back. */
#define SENTINEL 0x5a5a5a5a
int err;
bool created;

static __always_inline void conclude(struct bpf_crypto_ctx *cctx)
{
	created = cctx != NULL;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
}

SEC("syscall")
__success __description("parameters and err in .bss, size from user space")
int create_bss(void *args)
{
	u32 size = params_size;

	err = SENTINEL;
	if (size > sizeof(params))
		return 1;
	conclude(bpf_crypto_ctx_create((void *)params, size, &err));
	return 0;
}

SEC("syscall")
__success __description("parameters and err on the stack")
int create_stack(void *args)
{
	u64 copy[sizeof(struct bpf_crypto_params) / sizeof(u64)];
	int result = SENTINEL;

	for (u32 i = 0; i < ARRAY_SIZE(copy); i++)
		((volatile u64 *)copy)[i] = ((u64 *)params)[i];
	conclude(bpf_crypto_ctx_create((void *)copy, sizeof(copy), &result));
	err = result;
	return 0;
}

SEC("syscall")
__success __description("parameters in the program's own context")
int create_ctx(struct bpf_crypto_params *args)
{
	err = SENTINEL;
	conclude(bpf_crypto_ctx_create(args, sizeof(*args), &err));
	return 0;
}

SEC("syscall")
__success __retval(0) __description("no parameters at all are EINVAL at run time")
int create_null(void *args)
{
	err = SENTINEL;
	conclude(bpf_crypto_ctx_create(NULL, 0, &err));
	return err != -EINVAL || created;
}

/* What the kernel keeps in a context: readable for programs with a GPL licence. */
u32 siv_len;
int usage;

SEC("syscall")
__success __description("members of a fresh context")
int create_fields(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_crypto_ctx_create((void *)params, sizeof(struct bpf_crypto_params), &err);

	created = cctx != NULL;
	if (!cctx)
		return 0;
	siv_len = cctx->siv_len;
	usage = cctx->usage.refs.counter;
	bpf_crypto_ctx_release(cctx);
	return 0;
}

SEC("syscall")
__success __description("a second reference keeps a context alive when the first one goes")
int create_acquire(void *args)
{
	struct bpf_crypto_ctx *first, *second;

	first = bpf_crypto_ctx_create((void *)params, sizeof(struct bpf_crypto_params), &err);
	created = first != NULL;
	if (!first)
		return 0;
	second = bpf_crypto_ctx_acquire(first);
	bpf_crypto_ctx_release(first);
	if (second)
		bpf_crypto_ctx_release(second);
	return second ? 2 : 1;
}
