/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is in a capture: packets that a host has received, and packets that it has sent. So SAs of both directions open, the outbound ones
 * what was sent with them: a capture's replay window is in them, which sending has no use for.
 */
#ifndef ESP_CAPTURED_H
#define ESP_CAPTURED_H

#include "maps.h"
#include "packet.h"

#define FLOWS 4096

/* Both directions may have one SPI, and so may different receivers. */
struct flow {
	u32 spi;
	struct address source;
	struct address target;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow);
	__type(value, u32); /* slot; 0: none, but there is such a packet */
} flows SEC(".maps");

/* What is in the clear: it may be if it may at either end, and neither end protects or discards it. */
__noinline int judge_clear(const struct packet *packet __arg_nonnull)
{
	struct policy *source = find_policy(&packet->source), *target = find_policy(&packet->target);
	struct settings *settings = find_settings();

	if (packet->neighbour)
		return BYPASSED;
	if ((source && source->action == PROTECT) || (target && target->action == PROTECT))
		return CLEARTEXT;
	if ((source && source->action == DISCARD) || (target && target->action == DISCARD))
		return DISCARDED;
	if ((source && source->action == BYPASS) || (target && target->action == BYPASS))
		return BYPASSED;
	/* What is left is this side's, or without a policy. */
	if (source && target)
		return NO_POLICY;
	return settings && settings->default_action == BYPASS ? BYPASSED : NO_POLICY;
}

/* The slot of an ESP packet; 0: none. */
static __always_inline u32 find_slot(const struct packet *packet, u32 spi)
{
	struct flow flow = {spi, packet->source, packet->target};
	u32 *slot = bpf_map_lookup_elem(&flows, &flow);

	return slot ? *slot : 0;
}

/* Whether an SA is for an ESP packet: it was found by everything that there is. */
static __always_inline bool is_for(const struct packet *packet, const struct terms *terms)
{
	return true;
}

/* ESP that no SA is for. */
static __always_inline int judge_unknown(const struct packet *packet, u32 spi)
{
	return judge_clear(packet) == BYPASSED ? BYPASSED : NO_SA;
}

/* The numbers of a capture may begin where half of one does not tell the other: then somebody has said where. */
static __always_inline u64 highest_of(const struct sa *sa)
{
	return sa->highest ?: sa->sequence;
}

/* Whether an authentic packet may go from that peer to this side, or the other way. */
static __always_inline bool is_selected(const struct packet *packet, const struct terms *terms)
{
	if (terms->outbound)
		return is_protected_by(&packet->target, terms->peer) && is_local(&packet->source);
	return is_protected_by(&packet->source, terms->peer) && is_local(&packet->target);
}

#endif
