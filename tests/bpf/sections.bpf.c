/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every name of a program section, several programs in one, and sections that are loaded on request. */
#include "test.h"

char _license[] SEC("license") = "Dual MIT/GPL";

u32 runs;

#define PROGRAM(section, name, context, result) \
	SEC(section) \
	__success __retval(result) \
	int name(context ctx) \
	{ \
		runs++; \
		return result; \
	}

PROGRAM("tc", tc_one, struct __sk_buff *, 1)
PROGRAM("tc", tc_two, struct __sk_buff *, 2)
PROGRAM("classifier", old_classifier, struct __sk_buff *, 3)
PROGRAM("action", tc_action, struct __sk_buff *, 4)
PROGRAM("tcx/ingress", tcx_ingress, struct __sk_buff *, 5)
PROGRAM("tcx/egress", tcx_egress, struct __sk_buff *, 6)
PROGRAM("tc/ingress", tc_ingress, struct __sk_buff *, 7)
PROGRAM("tc/egress", tc_egress, struct __sk_buff *, 8)
PROGRAM("xdp", xdp_plain, struct xdp_md *, 9)
PROGRAM("xdp.frags", xdp_frags, struct xdp_md *, 10)
PROGRAM("syscall", plain_syscall, void *, 11)
PROGRAM("?tc", tc_optional, struct __sk_buff *, 12)
PROGRAM("?xdp", xdp_optional, struct xdp_md *, 13)
PROGRAM("?syscall", syscall_optional, void *, 14)
