/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * CO-RE: questions about the kernel's types that the loader answers, and reads of members wherever that kernel has them.
 * The numbers are those of the compiler's builtins, which are also those of enum bpf_core_relo_kind in pairs.
 */
#ifndef BPF_CORE_READ_H
#define BPF_CORE_READ_H

#include "bpf_helpers.h"

enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};

enum bpf_type_id_kind { BPF_TYPE_ID_LOCAL = 0, BPF_TYPE_ID_TARGET = 1 };
enum bpf_type_info_kind { BPF_TYPE_EXISTS = 0, BPF_TYPE_SIZE = 1, BPF_TYPE_MATCHES = 2 };
enum bpf_enum_value_kind { BPF_ENUMVAL_EXISTS = 0, BPF_ENUMVAL_VALUE = 1 };

/* A field is given as an expression (p->member) or as a type and a member. */
#define ___bpf_field1(field) (field)
#define ___bpf_field2(type, field) (((typeof(type) *)0)->field)
#define ___bpf_field(args...) ___bpf_apply(___bpf_field, ___bpf_narg(args))(args)
#define ___bpf_typeptr(type) ((typeof(type) *)0)

#define bpf_core_field_exists(field...) __builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_EXISTS)
#define bpf_core_field_size(field...) __builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_offset(field...) __builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_BYTE_OFFSET)
#define bpf_core_field_signed(field...) __builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_SIGNED)

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*___bpf_typeptr(type), BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*___bpf_typeptr(type), BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*___bpf_typeptr(type), BPF_TYPE_EXISTS)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*___bpf_typeptr(type), BPF_TYPE_SIZE)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*___bpf_typeptr(type), BPF_TYPE_MATCHES)

#define bpf_core_enum_value_exists(enum_type, value) \
	__builtin_preserve_enum_value(*(typeof(enum_type) *)value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(enum_type, value) \
	__builtin_preserve_enum_value(*(typeof(enum_type) *)value, BPF_ENUMVAL_VALUE)

/* A bitfield member of a record that the program may read directly, such as a packet header. */
#define BPF_CORE_READ_BITFIELD(ptr, field) \
	({ \
		const void *___at = (const void *)(ptr) + bpf_core_field_offset((ptr)->field); \
		unsigned long long ___value = 0; \
		asm volatile("" : "+r"(___at)); \
		switch (bpf_core_field_size((ptr)->field)) { \
		case 1: \
			___value = *(const unsigned char *)___at; \
			break; \
		case 2: \
			___value = *(const unsigned short *)___at; \
			break; \
		case 4: \
			___value = *(const unsigned int *)___at; \
			break; \
		case 8: \
			___value = *(const unsigned long long *)___at; \
			break; \
		} \
		___value <<= __builtin_preserve_field_info((ptr)->field, BPF_FIELD_LSHIFT_U64); \
		if (bpf_core_field_signed((ptr)->field)) \
			___value = (long long)___value >> \
				   __builtin_preserve_field_info((ptr)->field, BPF_FIELD_RSHIFT_U64); \
		else \
			___value >>= __builtin_preserve_field_info((ptr)->field, BPF_FIELD_RSHIFT_U64); \
		___value; \
	})

/* Read from kernel memory; the address is relocated. */
#define bpf_core_read(dst, size, src) \
	bpf_probe_read_kernel(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, size, src) \
	bpf_probe_read_kernel_str(dst, size, (const void *)__builtin_preserve_access_index(src))

/* BPF_CORE_READ(p, a, b, c) is p->a->b->c, each step read from kernel memory; up to four steps. */
#define ___bpf_step(type, src, field) \
	({ \
		typeof(((type)0)->field) ___member; \
		bpf_core_read(&___member, sizeof(___member), &((type)(src))->field); \
		___member; \
	})
#define ___bpf_path1(src, a) ___bpf_step(typeof(src), src, a)
#define ___bpf_path2(src, a, b) ___bpf_step(typeof((src)->a), ___bpf_path1(src, a), b)
#define ___bpf_path3(src, a, b, c) ___bpf_step(typeof((src)->a->b), ___bpf_path2(src, a, b), c)
#define ___bpf_path4(src, a, b, c, d) ___bpf_step(typeof((src)->a->b->c), ___bpf_path3(src, a, b, c), d)
#define BPF_CORE_READ(src, path...) ___bpf_apply(___bpf_path, ___bpf_narg(path))(src, path)

#endif
