/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finding the payload of UDP and TCP in a packet.
 *
 * The parser walks over a dynptr, so that tc and XDP programs share it and a packet that does not lie in one piece is read
 * correctly. Every header is checked against the end of the packet and against the length that the header in front of it
 * states; Ethernet padding is therefore never taken for payload. What the parser does not follow, it names.
 */
#ifndef BPF_PARSE_H
#define BPF_PARSE_H

#include "bpf_kfuncs.h"
#include "bpf_tracing_net.h"
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PARSE_MAX_VLANS 2
#define PARSE_MAX_EXTENSIONS 6

/* Why parse_transport() stopped. */
enum parse_result {
	PARSE_OK,        /* UDP or TCP: every field of struct transport is set */
	PARSE_MALFORMED, /* too short for its headers, or lengths that contradict each other */
	PARSE_NOT_IP,    /* neither IPv4 nor IPv6 behind at most two VLAN tags */
	PARSE_OPTIONS,   /* IPv4 with options */
	PARSE_FRAGMENT,  /* a fragment, the first one included */
	PARSE_EXTENSION, /* IPv6 with a routing header, or with more extension headers than are followed */
	PARSE_PROTOCOL,  /* IP, but neither UDP nor TCP */
};

/* Where things are in a packet. Offsets count from its first byte. */
struct transport {
	u32 network;     /* offset of the IPv4 or IPv6 header */
	u32 header;      /* offset of the UDP or TCP header */
	u32 payload;     /* offset of the payload */
	u32 payload_len; /* its bytes, as the headers state them */
	__be16 ethertype;
	u8 protocol;
	/* Fields that stay the same from sender to receiver where nobody translates addresses. */
	struct in6_addr source; /* IPv4 addresses as ::ffff:a.b.c.d */
	struct in6_addr target;
	__be16 id; /* IPv4 identification, 0 for IPv6 */
	__be16 source_port;
	__be16 target_port;
	__be32 seq; /* of TCP, 0 for UDP */
	__sum16 check;
};

/* A position in a packet. */
struct cursor {
	const struct bpf_dynptr *packet;
	u32 offset;
};

/* The next header, which must have room in buffer; NULL at the end of the packet. The cursor moves behind it. */
#define cursor_next(cursor, buffer) ((typeof(buffer))cursor_bytes(cursor, buffer, sizeof(*(buffer))))

static __always_inline void *cursor_bytes(struct cursor *cursor, void *buffer, const u32 size)
{
	void *header = bpf_dynptr_slice(cursor->packet, cursor->offset, buffer, size);

	cursor->offset += size;
	return header;
}

/* Ethernet and VLAN tags; *ethertype is what follows them. */
static __always_inline enum parse_result parse_ethernet(struct cursor *cursor, __be16 *ethertype)
{
	struct ethhdr ethernet_buffer, *ethernet;
	struct vlan_hdr tag_buffer, *tag;

	ethernet = cursor_next(cursor, &ethernet_buffer);
	if (!ethernet)
		return PARSE_MALFORMED;
	*ethertype = ethernet->h_proto;
	for (int depth = 0; depth < PARSE_MAX_VLANS; depth++) {
		if (*ethertype != bpf_htons(ETH_P_8021Q) && *ethertype != bpf_htons(ETH_P_8021AD))
			break;
		tag = cursor_next(cursor, &tag_buffer);
		if (!tag)
			return PARSE_MALFORMED;
		*ethertype = tag->h_vlan_encapsulated_proto;
	}
	return PARSE_OK;
}

/* The IPv4 header; *end is the offset behind the packet's last byte by its own account. */
static __always_inline enum parse_result parse_ipv4(struct cursor *cursor, struct transport *found, u32 *end)
{
	struct iphdr buffer, *ip;

	ip = cursor_next(cursor, &buffer);
	if (!ip || ip->version != 4 || ip->ihl < 5)
		return PARSE_MALFORMED;
	*end = found->network + bpf_ntohs(ip->tot_len);
	found->protocol = ip->protocol;
	found->id = ip->id;
	found->source.in6_u.u6_addr32[2] = bpf_htonl(0xffff);
	found->source.in6_u.u6_addr32[3] = ip->saddr;
	found->target.in6_u.u6_addr32[2] = bpf_htonl(0xffff);
	found->target.in6_u.u6_addr32[3] = ip->daddr;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return PARSE_FRAGMENT;
	return ip->ihl > 5 ? PARSE_OPTIONS : PARSE_OK;
}

/* The IPv6 header and its extension headers. Destinations change on the way under a routing header: it is not followed. */
static __always_inline enum parse_result parse_ipv6(struct cursor *cursor, struct transport *found, u32 *end)
{
	struct ipv6hdr buffer, *ip;
	struct ipv6_opt_hdr extension_buffer, *extension;

	ip = cursor_next(cursor, &buffer);
	if (!ip || ip->version != 6)
		return PARSE_MALFORMED;
	*end = cursor->offset + bpf_ntohs(ip->payload_len);
	found->protocol = ip->nexthdr;
	found->source = ip->saddr;
	found->target = ip->daddr;
	for (int depth = 0; depth < PARSE_MAX_EXTENSIONS; depth++) {
		switch (found->protocol) {
		case NEXTHDR_HOP:
		case NEXTHDR_DEST:
			extension = cursor_next(cursor, &extension_buffer);
			if (!extension)
				return PARSE_MALFORMED;
			found->protocol = extension->nexthdr;
			cursor->offset += 8 * extension->hdrlen + 8 - sizeof(*extension);
			break;
		case NEXTHDR_FRAGMENT:
			return PARSE_FRAGMENT;
		case NEXTHDR_ROUTING:
			return PARSE_EXTENSION;
		default:
			return PARSE_OK;
		}
	}
	return found->protocol == NEXTHDR_HOP || found->protocol == NEXTHDR_DEST ? PARSE_EXTENSION : PARSE_OK;
}

static __always_inline enum parse_result parse_udp(struct cursor *cursor, struct transport *found, u32 end)
{
	struct udphdr buffer, *udp;

	udp = cursor_next(cursor, &buffer);
	if (!udp || found->header + bpf_ntohs(udp->len) != end)
		return PARSE_MALFORMED;
	found->payload = cursor->offset;
	found->source_port = udp->source;
	found->target_port = udp->dest;
	found->check = udp->check;
	return PARSE_OK;
}

static __always_inline enum parse_result parse_tcp(struct cursor *cursor, struct transport *found)
{
	struct tcphdr buffer, *tcp;

	tcp = cursor_next(cursor, &buffer);
	if (!tcp || tcp->doff < 5)
		return PARSE_MALFORMED;
	found->payload = found->header + 4 * tcp->doff;
	found->source_port = tcp->source;
	found->target_port = tcp->dest;
	found->seq = tcp->seq;
	found->check = tcp->check;
	return PARSE_OK;
}

/*
 * Find the payload of UDP or TCP in a packet.
 *
 * packet: a dynptr over the whole packet, from bpf_dynptr_from_skb() or bpf_dynptr_from_xdp().
 * found:  filled as far as the packet could be followed.
 */
static __always_inline enum parse_result parse_transport(const struct bpf_dynptr *packet, struct transport *found)
{
	struct cursor cursor = {.packet = packet};
	enum parse_result result;
	u32 end;

	memset(found, 0, sizeof(*found));
	result = parse_ethernet(&cursor, &found->ethertype);
	if (result)
		return result;
	found->network = cursor.offset;
	if (found->ethertype == bpf_htons(ETH_P_IP))
		result = parse_ipv4(&cursor, found, &end);
	else if (found->ethertype == bpf_htons(ETH_P_IPV6))
		result = parse_ipv6(&cursor, found, &end);
	else
		return PARSE_NOT_IP;
	if (result)
		return result;
	found->header = cursor.offset;
	if (found->protocol == IPPROTO_UDP)
		result = parse_udp(&cursor, found, end);
	else if (found->protocol == IPPROTO_TCP)
		result = parse_tcp(&cursor, found);
	else
		return PARSE_PROTOCOL;
	if (result)
		return result;
	if (found->payload > end || end > bpf_dynptr_size(packet))
		return PARSE_MALFORMED;
	found->payload_len = end - found->payload;
	return PARSE_OK;
}

#endif
