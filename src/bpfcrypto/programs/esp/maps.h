/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of ESP, and how they are asked. */
#ifndef ESP_MAPS_H
#define ESP_MAPS_H

#include "types.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32); /* slot; 0 is never used */
	__type(value, struct sa);
} sas SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLOTS);
	__type(key, u32);   /* SPI */
	__type(value, u32); /* slot */
} inbound SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PEERS);
	__type(key, u32);   /* peer */
	__type(value, u32); /* slot to send with; 0: none */
} senders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, POLICIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_key);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32); /* slot; 0: packets that no SA was found for */
	__type(value, struct tally);
} tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PEERS);
	__type(key, u32);   /* the low byte of the SPI */
	__type(value, u32); /* the last unknown SPI that came with it */
} hints SEC(".maps");

/* All hooks of a CPU take turns: bottom halves are off at egress, and ingress is a bottom half itself. busy watches over that. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct settings *find_settings(void)
{
	u32 index = 0;

	return bpf_map_lookup_elem(&settings, &index);
}

static __always_inline struct policy *find_policy(const struct address *address)
{
	struct policy_key key = {.prefixlen = 8 * sizeof(*address), .address = *address};

	return bpf_map_lookup_elem(&policies, &key);
}

static __always_inline bool is_protected_by(const struct address *address, u32 peer)
{
	struct policy *policy = find_policy(address);

	return policy && policy->action == PROTECT && policy->peer == peer;
}

static __always_inline bool is_local(const struct address *address)
{
	struct policy *policy = find_policy(address);

	return policy && policy->action == LOCAL;
}

/* What is no IP, as VLAN tags are not: it passes where everything does that has no policy. */
static __always_inline enum verdict judge_other(enum verdict verdict)
{
	struct settings *settings = find_settings();

	return verdict == NOT_IP && settings && settings->default_action == BYPASS ? BYPASSED : verdict;
}

static __always_inline bool same_address(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

/* The SA that a peer is sent with. */
static __always_inline struct sa *find_sender(u32 peer)
{
	u32 *slot = bpf_map_lookup_elem(&senders, &peer);

	return slot && *slot ? bpf_map_lookup_elem(&sas, slot) : NULL;
}

/* Whether a packet is between the two ends of an SA, in that direction. */
static __always_inline bool is_between(const struct address *source, const struct address *target, const struct terms *terms)
{
	return same_address(source, &terms->source) && same_address(target, &terms->target);
}

/* A function of its own, so that its BTF tells readers of the map what the verdicts are called. */
static __noinline enum verdict count(u32 slot, enum verdict verdict, u64 bytes)
{
	struct tally *tally = bpf_map_lookup_elem(&tallies, &slot);

	if (!tally || verdict >= VERDICTS)
		return verdict;
	++tally->packets[verdict];
	tally->bytes += bytes;
	if (verdict <= OPENED || verdict == DUMMY)
		tally->last_ns = bpf_ktime_get_coarse_ns();
	return verdict;
}

#endif
