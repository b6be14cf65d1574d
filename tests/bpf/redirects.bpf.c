/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Redirects to interfaces, their peers and neighbours, and to elements of maps. */
#include "test.h"

LICENSE_GPL;

#define ENTRIES 4

#define TARGETS(name, kind, value_type) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, ENTRIES); \
		__type(key, u32); \
		__type(value, value_type); \
	} name SEC(".maps")

TARGETS(devices, BPF_MAP_TYPE_DEVMAP, struct bpf_devmap_val);
TARGETS(devices_short, BPF_MAP_TYPE_DEVMAP, u32);
TARGETS(devices_hash, BPF_MAP_TYPE_DEVMAP_HASH, struct bpf_devmap_val);
TARGETS(cpus, BPF_MAP_TYPE_CPUMAP, struct bpf_cpumap_val);
TARGETS(cpus_short, BPF_MAP_TYPE_CPUMAP, u32);
TARGETS(sockets, BPF_MAP_TYPE_XSKMAP, u32);

/* In. */
u32 ifindex;
u32 key;
u64 flags;
u32 verdict;
u32 size;

/* Out. */
s64 ret;
bool found;
u32 seen;

#define TC(name, call) \
	SEC("tc") \
	__success __description("the helper's verdict, returned") \
	int name(struct __sk_buff *skb) \
	{ \
		ret = call; \
		return ret; \
	}

TC(to_interface, bpf_redirect(ifindex, flags))
TC(to_peer, bpf_redirect_peer(ifindex, flags))
TC(to_neighbour, bpf_redirect_neigh(ifindex, NULL, 0, flags))

SEC("tc")
__success __description("a neighbour of another size than the kernel knows")
int to_neighbour_of(struct __sk_buff *skb)
{
	struct bpf_redir_neigh neighbour[4] = {};

	ret = bpf_redirect_neigh(ifindex, neighbour, size & 63, flags);
	return ret;
}

SEC("tc")
__success __description("a target, and then another verdict")
int to_interface_or_not(struct __sk_buff *skb)
{
	ret = bpf_redirect(ifindex, flags);
	return verdict;
}

SEC("tc")
__success __description("the last target counts")
int to_last(struct __sk_buff *skb)
{
	bpf_redirect(ifindex + 1, 0);
	bpf_redirect_peer(ifindex + 2, 0);
	ret = bpf_redirect(ifindex, flags);
	return TC_ACT_REDIRECT;
}

SEC("tc")
__success __description("a copy of the packet, and the packet itself goes on")
int copy_to(struct __sk_buff *skb)
{
	ret = bpf_clone_redirect(skb, ifindex, flags);
	return TC_ACT_OK;
}

SEC("tc")
__success __description("copies of a packet that changes in between")
int copy_and_change(struct __sk_buff *skb)
{
	u8 byte = 0xaa;

	bpf_clone_redirect(skb, ifindex, BPF_F_INGRESS);
	bpf_skb_store_bytes(skb, 13, &byte, 1, 0);
	ret = bpf_clone_redirect(skb, ifindex, BPF_F_INGRESS);
	return bpf_redirect(ifindex, 0);
}

SEC("action")
__success __description("a redirect by an action")
int action_to(struct __sk_buff *skb)
{
	return bpf_redirect(ifindex, flags);
}

SEC("xdp")
__success __description("a redirect from XDP")
int xdp_to(struct xdp_md *xdp)
{
	ret = bpf_redirect(ifindex, flags);
	return ret;
}

#define TO(kind) \
	SEC("xdp") \
	__success __description("to an element of a map, with a fallback in the flags") \
	int to_##kind(struct xdp_md *xdp) \
	{ \
		ret = bpf_redirect_map(&kind, key, flags); \
		return ret; \
	}

TO(devices)
TO(devices_short)
TO(devices_hash)
TO(cpus)
TO(cpus_short)
TO(sockets)

SEC("xdp")
__success __description("a missing element takes back the target before")
int to_missing(struct xdp_md *xdp)
{
	bpf_redirect(ifindex, 0);
	ret = bpf_redirect_map(&devices, ENTRIES + key, 0);
	return verdict;
}

#define LOOK(kind, type) \
	SEC("xdp") \
	__success __description("what a program sees of an element") \
	int look_##kind(struct xdp_md *xdp) \
	{ \
		u32 index = key; \
		type *value = bpf_map_lookup_elem(&kind, &index); \
\
		found = value != NULL; \
		seen = value ? *(u32 *)value : 0; \
		return XDP_PASS; \
	}

LOOK(devices, struct bpf_devmap_val)
LOOK(devices_short, u32)
LOOK(devices_hash, struct bpf_devmap_val)

SEC("xdp/devmap")
__success __description("runs on packets that were redirected to an interface, and never by itself")
int at_device(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("xdp.frags/devmap")
__success __description("the same with fragments, which makes it another kind")
int at_device_frags(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("xdp/cpumap")
__success __description("runs on packets that were redirected to a CPU")
int at_cpu(struct xdp_md *xdp)
{
	return XDP_PASS;
}
