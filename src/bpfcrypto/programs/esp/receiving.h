/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From ESP to a packet in the clear. Which SA a packet is of, and what may come, is in arrived.h for hosts and in captured.h for captures. */
#ifndef ESP_RECEIVING_H
#define ESP_RECEIVING_H

#include "common.h"
#include "replay.h"

/* GO_ON: authentic, new, and decrypted. Plaintext of AES-CCM does not leave scratch memory before its tag is checked. */
static __always_inline enum verdict decrypt_text(struct sa *sa, struct scratch *scratch, u64 sequence, u32 length, u64 installed)
{
	u64 iv = scratch->blocks[3], difference, icv[2];
	bool chacha = scratch->terms.suite == CHACHA20_POLY1305;
	enum verdict verdict;
	int err;

	__builtin_memcpy(icv, scratch->text + length, sizeof(icv));
	err = clear_behind(scratch, length);
	if (!err && chacha)
		err = chacha_prepare(scratch, iv, sequence) ?: poly1305_tag(scratch, length);
	else if (!err)
		err = ccm_open(sa, scratch, iv, sequence, length);
	if (err)
		return err == -ENOENT ? NO_KEY : CIPHER_ERROR;
	difference = scratch->tag[0] ^ icv[0];
	if (icv_size(&scratch->terms) == 16)
		difference |= scratch->tag[1] ^ icv[1];
	if (difference)
		return BAD_TAG;
	verdict = accept_sequence(sa, sequence, installed);
	if (verdict == GO_ON && chacha && chacha20_crypt(scratch, length))
		return CIPHER_ERROR;
	return verdict;
}

/* What the outer header says of congestion goes into the inner one (RFC 6040, figure 4). */
static __always_inline enum verdict copy_congestion(struct scratch *scratch, const struct packet *outer, const struct packet *inner)
{
	u8 out = outer->tos & ECN_MASK, in = inner->tos & ECN_MASK, differs;
	struct ipv6hdr *v6 = (struct ipv6hdr *)scratch->text;
	struct iphdr *v4 = (struct iphdr *)scratch->text;
	u16 before;

	if (in == ECN_NONE)
		return out == ECN_CE ? BAD_ECN : GO_ON;
	if (out != ECN_CE && !(out == ECN_ECT1 && in == ECN_ECT0))
		return GO_ON;
	differs = in ^ out;
	if (inner->version == 6) {
		v6->flow_lbl[0] ^= differs << 4;
	} else {
		before = *(u16 *)v4;
		v4->tos ^= differs;
		v4->check = changed_checksum(v4->check, before, *(u16 *)v4);
	}
	return GO_ON;
}

__noinline int deliver_transport(struct __sk_buff *skb, const struct packet *packet __arg_nonnull,
				 struct scratch *scratch __arg_nonnull,
				 const struct payload *payload __arg_nonnull)
{
	u32 size = payload->size, total = packet->header + size;

	if (!is_selected(packet, &scratch->terms))
		return BAD_SELECTOR;
	if (size > MAX_TEXT || rewrite_header(skb, packet, payload->next_header, total) ||
	    bpf_skb_change_tail(skb, ETH_HLEN + total, 0))
		return KERNEL_ERROR;
	if (size && store(skb, ETH_HLEN + packet->header, scratch->text, size, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))
		return KERNEL_ERROR;
	return OPENED;
}

__noinline int deliver_tunnel(struct __sk_buff *skb, const struct packet *packet __arg_nonnull,
			      struct scratch *scratch __arg_nonnull,
			      const struct payload *payload __arg_nonnull)
{
	struct packet inner = {};
	enum verdict verdict;

	if (payload->next_header == NEXTHDR_IPV6 && payload->size >= sizeof(struct ipv6hdr))
		verdict = read_v6((struct ipv6hdr *)scratch->text, &inner);
	else if (payload->next_header == NEXTHDR_IPIP && payload->size >= sizeof(struct iphdr))
		verdict = read_v4((struct iphdr *)scratch->text, &inner);
	else
		return BAD_SELECTOR;
	/* There may be more than the packet: padding that hides its length (RFC 4303, section 2.7). */
	if (verdict != GO_ON || inner.length > payload->size || inner.length > MAX_TEXT || !is_selected(&inner, &scratch->terms))
		return BAD_SELECTOR;
	verdict = copy_congestion(scratch, packet, &inner);
	if (verdict != GO_ON)
		return verdict;
	if (resize(skb, packet->version, inner.version, inner.length) ||
	    store(skb, ETH_HLEN, scratch->text, inner.length, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH) ||
	    write_ethertype(skb, inner.version))
		return KERNEL_ERROR;
	return OPENED;
}

static __always_inline enum verdict open_packet(struct __sk_buff *skb, struct scratch *scratch, u32 *slot, u32 *bytes)
{
	const struct terms *terms = &scratch->terms;
	u32 length, overhead, esp_at, spi;
	struct payload payload = {};
	u64 sequence, installed;
	struct ip_esp_hdr esp;
	struct packet packet;
	enum verdict verdict;
	struct sa *sa;

	verdict = parse(skb, &packet);
	if (verdict != GO_ON)
		return judge_other(verdict);
	if (packet.protocol != NEXTHDR_ESP)
		return judge_clear(&packet);
	if (packet.fragment)
		return FRAGMENT;
	esp_at = ETH_HLEN + packet.header;
	if (packet.length < packet.header + ESP_HEADER || bpf_skb_load_bytes(skb, esp_at, &esp, ESP_HEADER))
		return TOO_SHORT;
	spi = bpf_ntohl(esp.spi);
	*slot = find_slot(&packet, spi);
	sa = bpf_map_lookup_elem(&sas, slot);
	installed = *slot && sa ? take_terms(sa, scratch) : 0;
	if (!installed || !sa || terms->spi != spi || !is_for(&packet, terms)) {
		*slot = 0;
		return judge_unknown(&packet, spi);
	}
	overhead = packet.header + ESP_HEADER + IV_SIZE + icv_size(terms);
	if (packet.length < overhead + ALIGNMENT)
		return TOO_SHORT;
	length = packet.length - overhead;
	if (length > MAX_TEXT)
		return TOO_BIG;
	sequence = bpf_ntohl(esp.seq_no);
	if (terms->esn)
		sequence = extend(highest_of(sa), sequence);
	verdict = check_sequence(sa, sequence);
	if (verdict != GO_ON)
		return verdict;
	if (load(skb, esp_at, esp_header(scratch), ESP_HEADER + IV_SIZE + length + icv_size(terms)))
		return KERNEL_ERROR;
	verdict = decrypt_text(sa, scratch, sequence, length, installed);
	if (verdict != GO_ON)
		return verdict;
	if (read_trailer(scratch, length, &payload))
		return BAD_PADDING;
	if (payload.next_header == NEXTHDR_NONE || sa->on_probation)
		return DUMMY;
	*bytes = payload.size + (terms->mode == TRANSPORT ? packet.header : 0);
	if (terms->mode == TUNNEL)
		return deliver_tunnel(skb, &packet, scratch, &payload);
	return deliver_transport(skb, &packet, scratch, &payload);
}

/* Open a packet, and count what has become of it. */
static __always_inline enum verdict receive(struct __sk_buff *skb)
{
	struct scratch *scratch = claim_scratch();
	enum verdict verdict = NESTED;
	u32 slot = 0, bytes = 0;

	if (scratch) {
		verdict = open_packet(skb, scratch, &slot, &bytes);
		leave_scratch(scratch);
	}
	return count(slot, verdict, verdict == OPENED ? bytes : 0);
}

#endif
