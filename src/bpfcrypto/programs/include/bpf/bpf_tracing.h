/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * BPF_PROG: name the arguments of a program whose context is an array of 64-bit words. Packet programs have no use for it;
 * programs that are shared with tracing code include this file, so it is here. Access to registers of a traced function is
 * not: bpfcrypto loads no tracing programs.
 */
#ifndef BPF_TRACING_H
#define BPF_TRACING_H

#include "bpf_helpers.h"

#define ___bpf_ctx0(ctx) ctx
#define ___bpf_ctx1(ctx, x) ___bpf_ctx0(ctx), (void *)ctx[0]
#define ___bpf_ctx2(ctx, x, args...) ___bpf_ctx1(ctx, args), (void *)ctx[1]
#define ___bpf_ctx3(ctx, x, args...) ___bpf_ctx2(ctx, args), (void *)ctx[2]
#define ___bpf_ctx4(ctx, x, args...) ___bpf_ctx3(ctx, args), (void *)ctx[3]
#define ___bpf_ctx5(ctx, x, args...) ___bpf_ctx4(ctx, args), (void *)ctx[4]
#define ___bpf_ctx6(ctx, x, args...) ___bpf_ctx5(ctx, args), (void *)ctx[5]

#define BPF_PROG(name, args...) \
	name(unsigned long long *ctx); \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args); \
	typeof(name(0)) name(unsigned long long *ctx) \
	{ \
		_Pragma("GCC diagnostic push"); \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\""); \
		return ____##name(___bpf_apply(___bpf_ctx, ___bpf_narg(args))(ctx, ##args)); \
		_Pragma("GCC diagnostic pop"); \
	} \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args)

#endif
