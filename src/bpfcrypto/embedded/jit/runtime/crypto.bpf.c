// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* bpf_crypto_encrypt and bpf_crypto_decrypt (kernel/bpf/crypto.c). */
#include "dynptr.h"

/* struct bpf_crypto_ctx (contexts.py): the transform is a native cipher, or an odd number where only Python has one. */
struct context {
	u64 type;
	u64 cipher;
};

struct arguments {
	u64 src, src_len;
	u64 dst, dst_len;
	u64 iv, iv_len;
	u64 encrypt;
};

INLINE s64 run(struct context *context, struct dynptr *src, struct dynptr *dst, struct dynptr *siv, u64 encrypt)
{
	struct arguments a = { .encrypt = encrypt };
	enum place from, to, with = CONTIGUOUS;

	if (dst->packed & DYNPTR_RDONLY)
		return -EINVAL;
	a.src_len = DYNPTR_SIZE(src);
	a.dst_len = DYNPTR_SIZE(dst);
	from = dynptr_place(src, 0, a.src_len, &a.src);
	to = dynptr_place(dst, 0, a.dst_len, &a.dst);
	if (siv && DYNPTR_SIZE(siv)) {
		if (siv->packed & DYNPTR_RDONLY)
			return -EINVAL;
		a.iv_len = DYNPTR_SIZE(siv);
		with = dynptr_place(siv, 0, a.iv_len, &a.iv);
	}
	if (unlikely(context->cipher & 1 || from == PYTHON || to == PYTHON || with == PYTHON)) {
		ask_python();
		return 0;
	}
	if (from == NOWHERE || to == NOWHERE || with == NOWHERE)
		return -EINVAL;
	return -(s64)crypt((void *)context->cipher, &a);
}

NATIVE s64 bpf_crypto_encrypt(struct context *context, struct dynptr *src, struct dynptr *dst, struct dynptr *siv)
{
	return run(context, src, dst, siv, 1);
}

NATIVE s64 bpf_crypto_decrypt(struct context *context, struct dynptr *src, struct dynptr *dst, struct dynptr *siv)
{
	return run(context, src, dst, siv, 0);
}
