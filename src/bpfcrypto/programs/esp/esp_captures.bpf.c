/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ESP in captures, which have both directions of what a host has sent and received. Nothing here is for interfaces.
 *
 *   look      tc: notes which SAs a capture has packets of
 *   open      tc: authenticates and decrypts packets of both directions; drops what should be protected and is not
 *   install   syscall: fills a slot with a security association
 */
#include "captured.h"
#include "install.h"
#include "receiving.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("tc/ingress")
int look(struct __sk_buff *skb)
{
	struct ip_esp_hdr esp;
	struct packet packet;
	struct flow flow;
	u32 none = 0;

	if (parse(skb, &packet) != GO_ON || packet.protocol != NEXTHDR_ESP || packet.fragment ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + packet.header, &esp, ESP_HEADER))
		return TCX_NEXT;
	flow = (struct flow){bpf_ntohl(esp.spi), packet.source, packet.target};
	if (!bpf_map_lookup_elem(&flows, &flow)) /* which is far cheaper */
		bpf_map_update_elem(&flows, &flow, &none, BPF_NOEXIST);
	return TCX_NEXT;
}

SEC("tc/ingress")
int open(struct __sk_buff *skb)
{
	return receive(skb) < FIRST_DROP ? TCX_NEXT : TCX_DROP;
}
