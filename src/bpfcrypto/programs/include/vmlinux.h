/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that packet programs use, in place of the complete vmlinux.h that bpftool prints for one kernel.
 *
 * Packet headers and types of the user-space interface have exactly the kernel's layout, which never changes. Types that are
 * the kernel's own hold a few members in the kernel's order; every access to one of them is recorded as a CO-RE relocation, so
 * that the loader puts in the offsets of the kernel it runs on. A program that wants more members of such a type declares a
 * flavour of it (struct sk_buff___mine) with the members it needs, and with __attribute__((preserve_access_index)).
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "vmlinux/base.h"
#include "vmlinux/enums.h"
#include "vmlinux/packet.h"
#include "vmlinux/bpf.h"
#include "vmlinux/kernel.h"
#include "vmlinux/network.h"

#endif
