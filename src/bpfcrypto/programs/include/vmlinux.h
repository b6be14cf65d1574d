/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that packet programs use, in place of the complete vmlinux.h that bpftool prints for one kernel.
 *
 * Types that user space may rely on have exactly the kernel's layout. Types that are the kernel's own hold a few members in
 * the kernel's order; every access to a record below is recorded as a CO-RE relocation, so that the loader puts in the
 * offsets of the kernel it runs on. A program that wants more members of such a type declares a flavour of it
 * (struct sk_buff___mine) with the members it needs. Define BPF_NO_PRESERVE_ACCESS_INDEX to compile fixed offsets instead.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

#include "vmlinux/base.h"
#include "vmlinux/enums.h"
#include "vmlinux/packet.h"
#include "vmlinux/bpf.h"
#include "vmlinux/kernel.h"

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif
