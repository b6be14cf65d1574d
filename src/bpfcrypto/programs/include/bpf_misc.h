/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Expectations that travel with a test program: decl tags in its BTF, which a test runner reads. A tag is "key=value"; a
 * program may have several of one key where that makes sense (__msg: all of them, in this order, must be in the log).
 */
#ifndef BPF_MISC_H
#define BPF_MISC_H

#include <bpf/bpf_helpers.h>

#define __bpf_test_tag(text) __attribute__((btf_decl_tag("comment:test_" text)))
#define ___str(x) #x
#define __str(x) ___str(x)

/* The verifier must accept or refuse the program. */
#define __success __bpf_test_tag("expect_success")
#define __failure __bpf_test_tag("expect_failure")
/* A text that the verifier's log must hold; and at which log level it is asked for. */
#define __msg(text) __bpf_test_tag("expect_msg=" text)
#define __log_level(level) __bpf_test_tag("log_level=" __str(level))
/* What one test run returns. */
#define __retval(value) __bpf_test_tag("retval=" __str(value))
/* Program flags, such as BPF_F_SLEEPABLE, that the section does not imply. */
#define __flag(flag) __bpf_test_tag("prog_flags=" __str(flag))
/* What the program shows, for people. */
#define __description(text) __bpf_test_tag("description=" text)
/* This function is a callee of tests and not one itself; this program does not take part on its own. */
#define __auxiliary __bpf_test_tag("auxiliary")

/* Whole programs in assembly. */
#define __naked __attribute__((naked))
#define __clobber_all "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "memory"
#define __clobber_common "r0", "r1", "r2", "r3", "r4", "r5", "memory"
#define __imm(name) [name] "i"(name)
#define __imm_const(name, expr) [name] "i"(expr)
#define __imm_addr(name) [name] "i"(&name)
#define __imm_ptr(name) [name] "r"(&name)
#define __imm_insn(name, expr) [name] "i"(*(long *)&(expr))

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#endif

/* Make the compiler believe that a value is used. */
#define __sink(expr) asm volatile("" : "+g"(expr))

#endif
