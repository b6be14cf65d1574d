/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every BPF program starts from: sections, map definitions, annotations that end up in BTF, loops, and the helpers.
 * The names are those that BPF programs use everywhere.
 */
#ifndef BPF_HELPERS_H
#define BPF_HELPERS_H

#include "bpf_helper_defs.h"

/* --- definitions --- */

/* The ELF section decides what a function or variable is: a program's type, a map, a data section, the licence. */
#define SEC(name) __attribute__((section(name), used))

/* Attributes of a map in SEC(".maps"): a number, a 64-bit number, a type, an array of initial members. */
#define __uint(name, val) int (*name)[val]
#define __ulong(name, val) enum { bpf_ulong_##name = val } name
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __unused __attribute__((unused))

/* A function or variable of the kernel, found by name when the program is loaded. */
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))

/* Values of __uint(pinning, ...). */
enum libbpf_pin_type { LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME };

/* Values of a __kconfig variable that may be y, m or n. */
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

/* Pointers to kernel objects in map values. */
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __uptr __attribute__((btf_type_tag("uptr")))

/* Arguments of global functions, which the verifier proves without looking at their callers. */
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute__((btf_decl_tag("arg:nullable")))
#define __arg_trusted __attribute__((btf_decl_tag("arg:trusted")))
#define __arg_untrusted __attribute__((btf_decl_tag("arg:untrusted")))
#define __arg_arena __attribute__((btf_decl_tag("arg:arena")))

/* --- C that freestanding code has to bring itself --- */

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(ptr, type, member) ((type *)((void *)(ptr) - offsetof(type, member)))
#endif
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif
#ifndef memcpy
#define memcpy(dst, src, n) __builtin_memcpy((dst), (src), (n))
#endif
#ifndef memset
#define memset(dst, byte, n) __builtin_memset((dst), (byte), (n))
#endif
#ifndef memmove
#define memmove(dst, src, n) __builtin_memmove((dst), (src), (n))
#endif
#ifndef KERNEL_VERSION
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#endif

/* Keep the compiler from moving memory accesses across this point, or from reasoning about the value of a variable. */
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

/* --- kernel functions that may be absent --- */

/* Whether the kernel has a __ksym that was declared __weak. */
#define bpf_ksym_exists(sym) \
	({ \
		_Static_assert(!__builtin_constant_p(!!sym), #sym " is not marked as __weak"); \
		!!sym; \
	})

/* --- output to the kernel's trace pipe --- */

#define ___bpf_nth(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _a, _b, _c, N, ...) N
#define ___bpf_narg(...) ___bpf_nth(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define ___bpf_join(a, b) a##b
#define ___bpf_apply(fn, n) ___bpf_join(fn, n)

#ifdef BPF_NO_GLOBAL_DATA
#define BPF_PRINTK_FMT_MOD
#else
#define BPF_PRINTK_FMT_MOD static const
#endif

/* Up to three arguments go in registers; more are passed as an array. */
#define ___bpf_printk_few(fmt, args...) \
	({ \
		BPF_PRINTK_FMT_MOD char ____fmt[] = fmt; \
		bpf_trace_printk(____fmt, sizeof(____fmt), ##args); \
	})
#define ___bpf_printk_many(fmt, args...) \
	({ \
		static const char ____fmt[] = fmt; \
		unsigned long long ____args[] = {___bpf_apply(___bpf_each, ___bpf_narg(args))(args)}; \
		bpf_trace_vprintk(____fmt, sizeof(____fmt), ____args, sizeof(____args)); \
	})
#define ___bpf_each0()
#define ___bpf_each1(x) (unsigned long long)(x)
#define ___bpf_each2(x, args...) (unsigned long long)(x), ___bpf_each1(args)
#define ___bpf_each3(x, args...) (unsigned long long)(x), ___bpf_each2(args)
#define ___bpf_each4(x, args...) (unsigned long long)(x), ___bpf_each3(args)
#define ___bpf_each5(x, args...) (unsigned long long)(x), ___bpf_each4(args)
#define ___bpf_each6(x, args...) (unsigned long long)(x), ___bpf_each5(args)
#define ___bpf_each7(x, args...) (unsigned long long)(x), ___bpf_each6(args)
#define ___bpf_each8(x, args...) (unsigned long long)(x), ___bpf_each7(args)
#define ___bpf_each9(x, args...) (unsigned long long)(x), ___bpf_each8(args)
#define ___bpf_each10(x, args...) (unsigned long long)(x), ___bpf_each9(args)
#define ___bpf_each11(x, args...) (unsigned long long)(x), ___bpf_each10(args)
#define ___bpf_each12(x, args...) (unsigned long long)(x), ___bpf_each11(args)

#define ___bpf_pick_printk(...) \
	___bpf_nth(_, ##__VA_ARGS__, ___bpf_printk_many, ___bpf_printk_many, ___bpf_printk_many, ___bpf_printk_many, \
		   ___bpf_printk_many, ___bpf_printk_many, ___bpf_printk_many, ___bpf_printk_many, \
		   ___bpf_printk_many, ___bpf_printk_few, ___bpf_printk_few, ___bpf_printk_few, ___bpf_printk_few)

#define bpf_printk(fmt, args...) ___bpf_pick_printk(args)(fmt, ##args)

/* snprintf() into a buffer of known size. */
#define BPF_SNPRINTF(out, out_size, fmt, args...) \
	({ \
		static const char ____fmt[] = fmt; \
		unsigned long long ____args[] = {___bpf_apply(___bpf_each, ___bpf_narg(args))(args)}; \
		bpf_snprintf(out, out_size, ____fmt, ____args, sizeof(____args)); \
	})

/* --- tail calls --- */

/* A tail call whose index is known when compiling: the kernel can turn it into a jump. */
static __always_inline void bpf_tail_call_static(void *ctx, const void *map, const __u32 slot)
{
	if (!__builtin_constant_p(slot))
		__builtin_trap();
	asm volatile("r1 = %[ctx]\n\t"
		     "r2 = %[map]\n\t"
		     "r3 = %[slot]\n\t"
		     "call 12"
		     :
		     : [ctx] "r"(ctx), [map] "r"(map), [slot] "i"(slot)
		     : "r0", "r1", "r2", "r3", "r4", "r5");
}

/* --- loops over the kernel's iterators --- */

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

/*
 * bpf_for_each(kind, cur, args...): cur points to each element of an iterator of that kind; break, continue and return work.
 * The iterator is destroyed when the loop's scope ends, whichever way that is.
 */
#define bpf_for_each(kind, cur, args...) \
	for (struct bpf_iter_##kind ___it \
		     __attribute__((aligned(8), cleanup(bpf_iter_##kind##_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_##kind##_new(&___it, ##args), &___it); \
	     ((cur) = bpf_iter_##kind##_next(&___it));)

/* bpf_for(i, start, end): i takes each value of [start, end), and the verifier knows that it is in there. */
#define bpf_for(i, start, end) \
	for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_num_new(&___it, (start), (end)), &___it); \
	     ({ \
		     int *___next = bpf_iter_num_next(&___it); \
		     ___next && ((i) = *___next, (i) >= (start) && (i) < (end)); \
	     });)

/* bpf_repeat(n): do something n times. */
#define bpf_repeat(n) \
	for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_num_new(&___it, 0, (n)), &___it); \
	     bpf_iter_num_next(&___it);)

#endif
