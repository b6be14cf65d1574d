/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every test program includes.
 *
 * A test program leaves what it saw in typed globals and in its return value. Two engines must leave the same, except in
 * globals whose names begin with nd_ (clocks, random numbers, CPU numbers).
 */
#ifndef TEST_H
#define TEST_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include "bpf_misc.h"
#include "bpf_tracing_net.h"

#define LICENSE_GPL char _license[] SEC("license") = "GPL"

/* A map of one kind, with 32-bit keys. */
#define TEST_MAP(name, kind, entries, value_type, map_flag) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__uint(map_flags, map_flag); \
		__type(key, u32); \
		__type(value, value_type); \
	} name SEC(".maps")

#endif
