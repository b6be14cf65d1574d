/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a packet in the clear to ESP. */
#ifndef ESP_SENDING_H
#define ESP_SENDING_H

#include "common.h"

/* --- checksums that were left to the device --- */

#define CHECKSUM_PARTIAL 3 /* of sk_buff.ip_summed */
#define CSUM_PIECE 512	   /* what bpf_csum_diff() takes before Linux 6.13 */

/* Whether packets come from a device and go to one, as in all but test runs and capture files. */
static __always_inline bool has_device(void)
{
	struct settings *settings = find_settings();

	return settings && settings->output;
}

static __always_inline bool is_checksum_open(struct __sk_buff *skb)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);

	/* the plain expression would have the mask of our own declaration, which does not have all members */
	return BPF_CORE_READ_BITFIELD(kernel, ip_summed) == CHECKSUM_PARTIAL;
}

/*
 * The checksum is the sum of everything from its start on, with that of the pseudo-header, which the field already holds. The number of
 * checksummed bytes before the payload is not at most its size: the start lies in the text.
 */
__noinline int finish_checksum(struct __sk_buff *skb, struct scratch *scratch __arg_nonnull, const struct payload *payload __arg_nonnull)
{
	struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	u32 start = kernel->csum_start - (u32)(kernel->data - kernel->head) - payload->offset;
	u32 field = kernel->csum_offset, size = payload->size, length = size - start;
	u32 at = start, piece;
	s64 sum = 0;

	/* of TCP and of UDP */
	if (size > MAX_TEXT || start > size || length > MAX_TEXT || (field != 16 && field != 6) || length < field + sizeof(u16))
		return -EINVAL;
	if (clear_behind(scratch, size))
		return -EINVAL;
	barrier_var(start);
	if (start > MAX_TEXT - sizeof(u16) - 16)
		return -EINVAL;
	length = (length + 3) / 4 * 4;
	while (length && can_loop) {
		piece = length < CSUM_PIECE ? length : CSUM_PIECE;
		barrier_var(piece);
		if (at > MAX_TEXT || piece > CSUM_PIECE)
			return -EINVAL;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)(scratch->text + at), piece, sum);
		if (sum < 0)
			return -EINVAL;
		at += piece;
		length -= piece;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (u16)~sum;
	/* 0 would mean to UDP that there is none, and to TCP the two are the same number */
	*(u16 *)(scratch->text + start + field) = sum ?: 0xffff;
	return 0;
}

/*
 * Then the device must not do it again. No function says so to the kernel; but it forgets about the checksum when its start is pulled off
 * the packet, Ethernet header included, which the packet has to be long enough for. What was pulled off comes back as zeros: the payload is
 * written anew anyway, and the IP header, which transport mode keeps, waits where the key stream was.
 */
#define MAX_IP_HEADER 60
#define PULLED 80 /* more than an Ethernet header and the longest IP header */

__noinline int forget_checksum(struct __sk_buff *skb, struct scratch *scratch __arg_nonnull, u32 header, u32 length)
{
	if (header > MAX_IP_HEADER)
		return -EINVAL;
	if (length < 2 * PULLED && bpf_skb_change_tail(skb, ETH_HLEN + 2 * PULLED, 0))
		return -EINVAL;
	if (load(skb, ETH_HLEN, scratch->stream, header) || bpf_skb_adjust_room(skb, -PULLED, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_adjust_room(skb, PULLED, BPF_ADJ_ROOM_MAC, 0))
		return -EINVAL;
	return store(skb, ETH_HLEN, scratch->stream, header, 0);
}

/* --- the packet --- */

/* The text from the packet: payload, padding, trailer. */
__noinline int load_text(struct __sk_buff *skb, struct scratch *scratch __arg_nonnull, const struct payload *payload __arg_nonnull,
			 u32 checksum_open)
{
	u32 size = payload->size;

	if (size > MAX_TEXT)
		return TOO_BIG;
	if (size && load(skb, payload->offset, scratch->text, size))
		return KERNEL_ERROR;
	if (checksum_open && finish_checksum(skb, scratch, payload))
		return CHECKSUM;
	return write_trailer(scratch, size, payload->next_header) ? KERNEL_ERROR : GO_ON;
}

/* Sealed text, ICV and headers over the packet, which has its new size already. */
__noinline int write_sealed(struct __sk_buff *skb, const struct packet *packet __arg_nonnull,
			    struct scratch *scratch __arg_nonnull, u32 length)
{
	const struct terms *terms = &scratch->terms;
	void *esp = esp_header(scratch);
	u32 size = ESP_HEADER + IV_SIZE + length + icv_size(terms);

	if (write_icv(scratch, length))
		return -EINVAL;
	if (terms->mode == TRANSPORT)
		return rewrite_header(skb, packet, NEXTHDR_ESP, packet->header + size) ?:
		       store(skb, ETH_HLEN + packet->header, esp, size, BPF_F_INVALIDATE_HASH);
	if (outer_version(terms) == 4) {
		size += sizeof(struct iphdr);
		write_outer_v4(esp - sizeof(struct iphdr), terms, size, packet->tos);
		return store(skb, ETH_HLEN, esp - sizeof(struct iphdr), size, BPF_F_INVALIDATE_HASH) ?: write_ethertype(skb, 4);
	}
	size += sizeof(struct ipv6hdr);
	write_outer_v6(esp - sizeof(struct ipv6hdr), terms, size, packet->tos);
	return store(skb, ETH_HLEN, esp - sizeof(struct ipv6hdr), size, BPF_F_INVALIDATE_HASH) ?: write_ethertype(skb, 6);
}

/* Encrypt the text, with the next sequence number. */
static __always_inline enum verdict encrypt_text(struct sa *sa, struct scratch *scratch, u32 length, u64 installed)
{
	u64 iv, sequence = __sync_fetch_and_add(&sa->sequence, 1) + 1;
	int err;

	if (!scratch->terms.esn && sequence >> 32)
		return EXHAUSTED;
	iv = bpf_cpu_to_be64(sequence);
	if (scratch->terms.suite == CHACHA20_POLY1305)
		err = chacha_prepare(scratch, iv, sequence) ?: chacha20_crypt(scratch, length) ?: poly1305_tag(scratch, length);
	else
		err = ccm_seal(sa, scratch, iv, sequence, length);
	/* The slot was emptied in between: another CPU may use this number with the next key. Nothing has left yet. */
	if (sa->installed_ns != installed)
		return NO_SA;
	if (err)
		return err == -ENOENT ? NO_KEY : CIPHER_ERROR;
	scratch->blocks[2] = bpf_htonl(scratch->terms.spi) | (u64)bpf_htonl(sequence) << 32;
	scratch->blocks[3] = iv;
	return GO_ON;
}

static __always_inline enum verdict seal_with(struct __sk_buff *skb, const struct packet *packet, const struct payload *payload,
					      struct sa *sa, struct scratch *scratch, u64 installed, bool checksum_open)
{
	const struct terms *terms = &scratch->terms;
	u32 length = text_length(payload->size), total = ESP_HEADER + IV_SIZE + length + icv_size(terms);
	u8 version = terms->mode == TRANSPORT ? packet->version : outer_version(terms);
	enum verdict verdict;

	total += terms->mode == TRANSPORT ? packet->header : version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (total > terms->mtu || length > MAX_TEXT)
		return TOO_BIG;
	verdict = load_text(skb, scratch, payload, checksum_open);
	if (verdict == GO_ON)
		verdict = encrypt_text(sa, scratch, length, installed);
	if (verdict != GO_ON)
		return verdict;
	if (checksum_open && (forget_checksum(skb, scratch, packet->header, packet->length) || is_checksum_open(skb)))
		return CHECKSUM;
	if (resize(skb, packet->version, version, total) || write_sealed(skb, packet, scratch, length))
		return KERNEL_ERROR;
	return SEALED;
}

/* --- what is sent how --- */

/* How user space asks for a dummy packet: an IP packet with no next header, between the ends of an SA, and in it: */
struct dummy_request {
	u64 token;
	u32 slot;
	u32 zero;
};

/* The slot of a dummy packet that is asked for; 0: none is. */
static __always_inline u32 requested_slot(struct __sk_buff *skb, const struct packet *packet)
{
	struct settings *settings = find_settings();
	struct dummy_request request;

	if (packet->protocol != NEXTHDR_NONE || !settings || !settings->token ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + packet->header, &request, sizeof(request)))
		return 0;
	return request.token == settings->token ? request.slot : 0;
}

/* ESP at egress has been sealed here, or is none of our business; unless it goes to a protected prefix and is not between the two ends. */
__noinline int is_sealed(const struct packet *packet __arg_nonnull)
{
	struct policy *policy = find_policy(&packet->target);
	struct sa *sa;

	if (!policy || policy->action != PROTECT)
		return true;
	sa = find_sender(policy->peer);
	return sa && is_between(&packet->source, &packet->target, &sa->terms);
}

/* GO_ON: seal it with that slot. */
__noinline int judge_sending(struct __sk_buff *skb, const struct packet *packet __arg_nonnull, u32 routed, u32 *slot __arg_nonnull)
{
	struct settings *settings = find_settings();
	struct policy *policy;
	u32 peer, *sender;

	if (!settings)
		return KERNEL_ERROR;
	if (packet->neighbour)
		return routed ? NO_POLICY : BYPASSED;
	policy = find_policy(&packet->target);
	if (!policy)
		return !routed && settings->default_action == BYPASS ? BYPASSED : NO_POLICY;
	if (policy->action == DISCARD)
		return DISCARDED;
	if (policy->action == BYPASS)
		return routed ? NO_POLICY : BYPASSED;
	if (policy->action != PROTECT || !is_local(&packet->source))
		return NO_POLICY;
	peer = policy->peer;
	sender = bpf_map_lookup_elem(&senders, &peer);
	if (!sender || !*sender)
		return NO_SA;
	*slot = *sender;
	return skb->gso_size ? SUPER_PACKET : GO_ON;
}

/* GO_ON: that is to be encrypted. */
__noinline int choose_payload(const struct packet *packet __arg_nonnull, const struct terms *terms __arg_nonnull,
			      struct payload *payload __arg_nonnull, u32 dummy)
{
	if (dummy) { /* nothing, to that end only */
		*payload = (struct payload){.offset = ETH_HLEN + packet->header, .next_header = NEXTHDR_NONE};
		return is_between(&packet->source, &packet->target, terms) ? GO_ON : NO_POLICY;
	}
	if (terms->mode == TUNNEL) {
		*payload = (struct payload){ETH_HLEN, packet->length, packet->version == 6 ? NEXTHDR_IPV6 : NEXTHDR_IPIP};
		return GO_ON;
	}
	*payload = (struct payload){ETH_HLEN + packet->header, packet->length - packet->header, packet->protocol};
	if (packet->fragment)
		return FRAGMENT;
	return packet->extension ? EXTENSION_HEADER : GO_ON;
}

static __always_inline enum verdict seal_packet(struct __sk_buff *skb, bool routed, struct scratch *scratch, u32 *slot, u32 *bytes)
{
	struct payload payload;
	struct packet packet;
	enum verdict verdict;
	u64 installed;
	struct sa *sa;
	u32 dummy;

	verdict = parse(skb, &packet);
	if (verdict != GO_ON)
		return !routed ? judge_other(verdict) : verdict == BYPASSED ? NOT_IP : verdict;
	if (packet.protocol == NEXTHDR_ESP && !routed && is_sealed(&packet))
		return BYPASSED;
	*bytes = packet.length;
	dummy = requested_slot(skb, &packet);
	*slot = dummy;
	if (!dummy)
		verdict = judge_sending(skb, &packet, routed, slot);
	if (verdict != GO_ON)
		return verdict;
	sa = bpf_map_lookup_elem(&sas, slot);
	if (!sa)
		return NO_SA;
	installed = take_terms(sa, scratch);
	if (!installed || !scratch->terms.outbound)
		return NO_SA;
	verdict = choose_payload(&packet, &scratch->terms, &payload, dummy);
	if (verdict != GO_ON)
		return verdict;
	return seal_with(skb, &packet, &payload, sa, scratch, installed, !routed && has_device() && is_checksum_open(skb));
}

#endif
