/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The record of the run (record.py). */
#ifndef RUN_H
#define RUN_H

#include "runtime.h"

struct run_record {
	u32 cpu, unwind;
	u64 jump, stack;
	u64 lock;
	u64 random;
};

extern struct run_record *run_record(void) KSYM;

#endif
