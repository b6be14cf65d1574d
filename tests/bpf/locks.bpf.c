/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Spin locks in map values: what two CPUs do to one element under its lock does not get mixed up. */
#include "test.h"

LICENSE_GPL;

struct value {
	u64 first;
	struct bpf_spin_lock lock;
	u64 second;
};

#define ENTRIES 4

TEST_MAP(m_array, BPF_MAP_TYPE_ARRAY, ENTRIES, struct value, 0);
TEST_MAP(m_hash, BPF_MAP_TYPE_HASH, ENTRIES, struct value, 0);

/* A lock among global variables. */
struct bpf_spin_lock lock SEC(".bss.lock");
u64 guarded SEC(".bss.lock");

/* In. */
u32 key;
u64 flags;
u64 given;

/* Out. */
s64 ret;
bool found;
bool torn;
u64 seen;

static __always_inline int add(void *map)
{
	struct value *value;
	u32 index = key;

	value = bpf_map_lookup_elem(map, &index);
	found = value != NULL;
	if (!value)
		return 1;
	bpf_spin_lock(&value->lock);
	if (value->first != value->second)
		torn = true;
	value->first += given;
	value->second += given;
	seen = value->first;
	bpf_spin_unlock(&value->lock);
	return 0;
}

static __always_inline int replace(void *map)
{
	struct value copy = {.first = given, .second = given};
	u32 index = key;

	ret = bpf_map_update_elem(map, &index, &copy, flags);
	return 0;
}

SEC("tc")
__success __description("add to both members of an array's element under its lock")
int add_array(struct __sk_buff *skb)
{
	return add(&m_array);
}

SEC("xdp")
__success __description("add to both members of a hash's element under its lock")
int add_hash(struct xdp_md *xdp)
{
	return add(&m_hash);
}

SEC("tc")
__success __description("replace an array's element, with BPF_F_LOCK if user space says so")
int replace_array(struct __sk_buff *skb)
{
	return replace(&m_array);
}

SEC("tc")
__success __description("replace a hash's element, with BPF_F_LOCK if user space says so")
int replace_hash(struct __sk_buff *skb)
{
	return replace(&m_hash);
}

SEC("tc")
__success __description("a lock that is a global variable")
int add_global(struct __sk_buff *skb)
{
	bpf_spin_lock(&lock);
	guarded += given;
	seen = guarded;
	bpf_spin_unlock(&lock);
	return 0;
}
