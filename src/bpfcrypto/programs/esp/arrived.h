/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What arrives at a host: which SA it is of, and what may come. */
#ifndef ESP_ARRIVED_H
#define ESP_ARRIVED_H

#include "maps.h"
#include "packet.h"

/* What comes in the clear. */
__noinline int judge_clear(const struct packet *packet __arg_nonnull)
{
	struct settings *settings = find_settings();
	struct policy *policy;

	if (packet->neighbour)
		return BYPASSED;
	policy = find_policy(&packet->source);
	if (!policy)
		return settings && settings->default_action == BYPASS ? BYPASSED : NO_POLICY;
	switch (policy->action) {
	case BYPASS:
		return BYPASSED;
	case PROTECT:
		return CLEARTEXT;
	case DISCARD:
		return DISCARDED;
	default:
		return NO_POLICY;
	}
}

/* The slot of an ESP packet; 0: none. */
static __always_inline u32 find_slot(const struct packet *packet, u32 spi)
{
	u32 *slot = bpf_map_lookup_elem(&inbound, &spi);

	return slot ? *slot : 0;
}

/* Whether an ESP packet is between the two ends that an SA was made for. */
static __always_inline bool is_for(const struct packet *packet, const struct terms *terms)
{
	return !terms->outbound && is_between(&packet->source, &packet->target, terms);
}

/*
 * ESP that no SA is for. What may come in the clear passes; but not from the other end of a peer, whose unknown SPI is left for the control
 * plane to look at: the lowest one above ours, since that is where a peer goes that was rebooted.
 */
__noinline int judge_unknown(const struct packet *packet __arg_nonnull, u32 spi)
{
	u32 index = spi & (PEERS - 1), *hint = bpf_map_lookup_elem(&hints, &index);
	struct sa *sa = find_sender(index);

	if (!sa || !is_between(&packet->target, &packet->source, &sa->terms))
		return judge_clear(packet) == BYPASSED ? BYPASSED : NO_SA;
	if (hint && (!*hint || (spi > sa->terms.spi && (*hint <= sa->terms.spi || spi < *hint))))
		*hint = spi;
	return NO_SA;
}

/* What extended sequence numbers are counted on from. */
static __always_inline u64 highest_of(const struct sa *sa)
{
	return sa->highest;
}

/* Whether an authentic packet may come from that peer, and to here. */
static __always_inline bool is_selected(const struct packet *packet, const struct terms *terms)
{
	return is_protected_by(&packet->source, terms->peer) && is_local(&packet->target);
}

#endif
