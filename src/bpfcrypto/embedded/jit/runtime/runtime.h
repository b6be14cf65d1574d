/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Helpers and kfuncs as machine code. They are written as BPF programs and compiled by the same compiler as everybody's, so that one
 * object serves every machine. They are never verified: they are the engine, not its guest.
 *
 * A function gets the arguments of the helper it stands for and gives what the helper gives. What it has no code for it leaves to Python:
 * it calls ask_python() and returns, having changed nothing.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define NATIVE __attribute__((section("syscall"), used))
#define KSYM __attribute__((section(".ksyms")))
#define INLINE static inline __attribute__((always_inline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What the compiler of these functions writes out itself (lower_runtime.py). */
extern void ask_python(void) KSYM;
extern u32 run_cpu(void) KSYM;
extern void copy(void *dst, const void *src, u64 size) KSYM;        /* no overlap */
extern void move(void *dst, const void *src, u64 size) KSYM;        /* any overlap */
extern void fill(void *dst, u64 byte, u64 size) KSYM;
extern u64 differs(const void *a, const void *b, u64 size) KSYM;
extern void pause_cpu(void) KSYM;
extern u64 clock_ns(u64 clock) KSYM;
extern u64 crypt(void *cipher, const void *args) KSYM;
extern u64 call_program(u64 entry, u64 context) KSYM;

enum {
	ENOENT = 2,
	E2BIG = 7,
	EAGAIN = 11,
	ENOMEM = 12,
	EACCES = 13,
	EFAULT = 14,
	EBUSY = 16,
	EEXIST = 17,
	EINVAL = 22,
	ERANGE = 34,
	ENOTSUPP = 524,
};

/* The words behind a context (packet_record.py). */
struct words {
	u64 start, end, data, behind, buffer;
};

/* Those of an skb. */
struct skb {
	struct words words;
	u64 limit, room, network, mac, transport, summed, hashed, encapsulated;
};

#define SKB_WORDS 192
#define XDP_WORDS 24

/* struct bpf_dynptr_kern (dynptr.py). */
struct dynptr {
	u64 data;
	u32 packed;
	u32 offset;
};

enum { INVALID, LOCAL, RINGBUF, SKB, XDP, SKB_META };

#define DYNPTR_KIND(d) ((d)->packed >> 28 & 7)
#define DYNPTR_SIZE(d) ((d)->packed & 0xffffff)
#define DYNPTR_RDONLY (1u << 31)
#define DYNPTR_MAX 0xffffff

INLINE struct words *words_of(u64 handle, u32 kind)
{
	return (struct words *)(handle + (kind == XDP ? XDP_WORDS : SKB_WORDS));
}

#endif
