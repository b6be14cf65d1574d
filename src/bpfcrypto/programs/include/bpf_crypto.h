/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's crypto functions for BPF programs (Linux 6.10 and later).
 *
 * bpf_crypto_ctx_create(), _acquire() and _release() are for syscall programs, bpf_crypto_encrypt() and _decrypt() for tc and
 * XDP programs. A context travels between the two as a kptr in a map value: stored by bpf_kptr_xchg(), read by a plain load.
 */
#ifndef BPF_CRYPTO_H
#define BPF_CRYPTO_H

#include "errno.h"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/*
 * params__sz is sizeof(struct bpf_crypto_params). Where NULL is returned, *err is a negative errno: EINVAL for reserved bytes
 * that are not zero, a size that is wrong or a key that does not fit; ENOENT for an unknown type; EOPNOTSUPP for an unknown
 * algorithm or an authsize. err must not be NULL: the kernel stores through it in every case.
 */
extern struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, u32 params__sz, int *err) __ksym;
extern struct bpf_crypto_ctx *bpf_crypto_ctx_acquire(struct bpf_crypto_ctx *ctx) __ksym;
extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym;

/*
 * Whole 16-byte blocks of src go to dst, which may be the same memory and must not be shorter. siv is the IV, as long as the
 * cipher wants it (NULL where it wants none); the kernel leaves the next IV of the stream in it. A length that is not a
 * multiple of 16 is -EINVAL *after* the whole blocks have been processed: cut it beforehand.
 */
extern int bpf_crypto_encrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *src, const struct bpf_dynptr *dst,
			      const struct bpf_dynptr *siv__nullable) __ksym;
extern int bpf_crypto_decrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *src, const struct bpf_dynptr *dst,
			      const struct bpf_dynptr *siv__nullable) __ksym;

#endif
