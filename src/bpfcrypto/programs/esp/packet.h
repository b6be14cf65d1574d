/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where things are in a packet, and the headers that are written. */
#ifndef ESP_PACKET_H
#define ESP_PACKET_H

#include "types.h"

#define GO_ON VERDICTS /* nothing is decided yet */
#define MAPPED_PREFIX bpf_htonl(0xffff) /* ::ffff:0:0/96 stands for IPv4 */
#define HOP_LIMIT 64
#define ND_FIRST 133 /* router solicitation to redirect (RFC 4861) */
#define ND_LAST 137
#define ECN_MASK 3
#define ECN_NONE 0
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

struct packet {
	struct address source;
	struct address target;
	u32 header;    /* bytes of the IP header, options included */
	u32 length;    /* bytes of the IP packet; Ethernet pads short ones */
	u8 version;
	u8 protocol;
	u8 tos;	       /* DSCP and ECN, for IPv6 the traffic class */
	u8 fragment;
	u8 extension;  /* IPv6: a header that has to stay in front of ESP */
	u8 neighbour;  /* neighbour discovery, which cannot be protected */
};

union ip_header {
	struct iphdr v4;
	struct ipv6hdr v6;
};

static __always_inline void map_address(struct address *address, __be32 v4)
{
	*address = (struct address){{0, 0, MAPPED_PREFIX, v4}};
}

static __always_inline u8 traffic_class(const struct ipv6hdr *header)
{
	return header->priority << 4 | header->flow_lbl[0] >> 4;
}

static __always_inline enum verdict read_v4(const struct iphdr *header, struct packet *packet)
{
	packet->version = 4;
	packet->header = header->ihl * 4;
	packet->length = bpf_ntohs(header->tot_len);
	packet->protocol = header->protocol;
	packet->tos = header->tos;
	packet->fragment = !!(header->frag_off & bpf_htons(IP_MF | IP_OFFSET));
	map_address(&packet->source, header->saddr);
	map_address(&packet->target, header->daddr);
	if (header->version != 4 || packet->header < sizeof(*header) || packet->length < packet->header)
		return MALFORMED;
	return GO_ON;
}

static __always_inline enum verdict read_v6(const struct ipv6hdr *header, struct packet *packet)
{
	packet->version = 6;
	packet->header = sizeof(*header);
	packet->length = sizeof(*header) + bpf_ntohs(header->payload_len);
	packet->protocol = header->nexthdr;
	packet->tos = traffic_class(header);
	packet->fragment = header->nexthdr == NEXTHDR_FRAGMENT;
	packet->extension = header->nexthdr == NEXTHDR_HOP || header->nexthdr == NEXTHDR_ROUTING;
	__builtin_memcpy(&packet->source, &header->saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->target, &header->daddr, sizeof(packet->target));
	return header->version == 6 ? GO_ON : MALFORMED;
}

/* GO_ON, or what is to be done with a packet that is no whole IP packet. */
__noinline int parse(struct __sk_buff *skb, struct packet *packet __arg_nonnull)
{
	union ip_header ip = {};
	enum verdict verdict;
	__be16 ethertype;
	u8 icmp_type;

	*packet = (struct packet){};
	if (skb->vlan_present || bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype)))
		return NOT_IP;
	if (ethertype == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip.v4)))
			return MALFORMED;
		verdict = read_v4(&ip.v4, packet);
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip.v6)))
			return MALFORMED;
		verdict = read_v6(&ip.v6, packet);
		if (packet->protocol == NEXTHDR_ICMP && ip.v6.hop_limit == 255 &&
		    !bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip.v6), &icmp_type, 1))
			packet->neighbour = icmp_type >= ND_FIRST && icmp_type <= ND_LAST;
	} else {
		return ethertype == bpf_htons(ETH_P_ARP) ? BYPASSED : NOT_IP;
	}
	if (verdict == GO_ON && ETH_HLEN + packet->length > skb->len)
		return MALFORMED;
	return verdict;
}

/* The Internet checksum of an IPv4 header, for which the field itself has to be zero. */
static __always_inline __sum16 header_checksum(const struct iphdr *header)
{
	const u16 *word = (const u16 *)header;
	u32 sum = 0, i;

#pragma unroll
	for (i = 0; i < sizeof(*header) / sizeof(*word); i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

/* The checksum of a header in which one 16-bit word has changed (RFC 1624, equation 3). */
static __always_inline __sum16 changed_checksum(__sum16 check, u16 from, u16 to)
{
	u32 sum = (u16)~check + (u32)(u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

/* The outer header of tunnel mode, in front of what stands behind it in memory. DSCP and ECN are those of the inner one (RFC 6040). */
static __always_inline void write_outer_v4(struct iphdr *header, const struct terms *terms, u32 length, u8 tos)
{
	*header = (struct iphdr){
		.version = 4,
		.ihl = sizeof(*header) / 4,
		.tos = tos,
		.tot_len = bpf_htons(length),
		.frag_off = bpf_htons(IP_DF), /* so that the identification may be anything (RFC 6864, section 4.1) */
		.ttl = HOP_LIMIT,
		.protocol = NEXTHDR_ESP,
		.saddr = terms->source.word[3],
		.daddr = terms->target.word[3],
	};
	header->check = header_checksum(header);
}

static __always_inline void write_outer_v6(struct ipv6hdr *header, const struct terms *terms, u32 length, u8 tos)
{
	*header = (struct ipv6hdr){
		.version = 6,
		.priority = tos >> 4,
		.flow_lbl[0] = tos << 4,
		.payload_len = bpf_htons(length - sizeof(*header)),
		.nexthdr = NEXTHDR_ESP,
		.hop_limit = HOP_LIMIT,
	};
	__builtin_memcpy(&header->saddr, &terms->source, sizeof(header->saddr));
	__builtin_memcpy(&header->daddr, &terms->target, sizeof(header->daddr));
}

/* Transport mode: what changes in the IP header when another payload follows it. */
static __always_inline int rewrite_header(struct __sk_buff *skb, const struct packet *packet, u8 protocol, u32 length)
{
	union ip_header ip;
	u16 *ttl_protocol, before, total = bpf_htons(length);

	if (packet->version == 6) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip.v6, sizeof(ip.v6)))
			return -EINVAL;
		ip.v6.payload_len = bpf_htons(length - sizeof(ip.v6));
		ip.v6.nexthdr = protocol;
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip.v6, sizeof(ip.v6), BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip.v4, sizeof(ip.v4)))
		return -EINVAL;
	ttl_protocol = (u16 *)&ip.v4.ttl;
	before = *ttl_protocol;
	ip.v4.protocol = protocol;
	ip.v4.check = changed_checksum(ip.v4.check, before, *ttl_protocol);
	ip.v4.check = changed_checksum(ip.v4.check, ip.v4.tot_len, total);
	ip.v4.tot_len = total;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip.v4, sizeof(ip.v4), BPF_F_RECOMPUTE_CSUM);
}

#endif
