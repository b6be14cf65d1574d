/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ESP (RFC 4303) in transport and tunnel mode, for IPv4 and IPv6, with AES-CCM (RFC 4309) or ChaCha20-Poly1305 (RFC 7634).
 *
 *   seal          tc, egress of the interface: protects what the policies say; ESP passes
 *   seal_routed   tc, ingress of the far end of a virtual pair that protected packets are routed to; sends them on
 *   open          tc, ingress of the interface: authenticates, decrypts, delivers; drops what should be protected and is not
 *   install       syscall: fills a slot with a security association
 *   clear         syscall: empties it
 *   admit         syscall: what is authentic is delivered from now on
 *
 * Once a policy says that a packet is to be protected, whatever goes wrong drops it, and is counted. Packets without a policy are
 * dropped as well, unless the settings say otherwise.
 */
#include "arrived.h"
#include "install.h"
#include "receiving.h"
#include "sending.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int seal_on(struct __sk_buff *skb, bool routed)
{
	struct scratch *scratch = claim_scratch();
	struct settings *settings = find_settings();
	enum verdict verdict = NESTED;
	u32 slot = 0, bytes = 0;

	if (scratch) {
		verdict = seal_packet(skb, routed, scratch, &slot, &bytes);
		leave_scratch(scratch);
	}
	verdict = count(slot, verdict, verdict == SEALED ? bytes : 0);
	if (verdict >= FIRST_DROP || !settings)
		return TCX_DROP;
	/* At egress, too: the next hop to the outer address may be another one. What comes by there again is ESP, and passes. */
	if (verdict == SEALED && settings->output)
		return bpf_redirect_neigh(settings->output, NULL, 0, 0);
	return TCX_NEXT;
}

SEC("tc/egress")
int seal(struct __sk_buff *skb)
{
	return seal_on(skb, false);
}

SEC("tc/ingress")
int seal_routed(struct __sk_buff *skb)
{
	return seal_on(skb, true);
}

SEC("tc/ingress")
int open(struct __sk_buff *skb)
{
	struct settings *settings = find_settings();
	enum verdict verdict = receive(skb);

	if (verdict >= FIRST_DROP || !settings)
		return TCX_DROP;
	if (verdict != OPENED || !settings->deliver)
		return TCX_NEXT;
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), settings->deliver_mac, ETH_ALEN, 0))
		return TCX_DROP;
	return bpf_redirect(settings->deliver, BPF_F_INGRESS);
}

/* The context is a slot's number. Who is still at work with it finds it empty, or notices that it has changed. */
SEC("syscall")
int clear(u32 *args)
{
	u32 slot = *args;
	struct sa *sa = bpf_map_lookup_elem(&sas, &slot);

	if (!sa)
		return -ENOENT;
	empty(sa);
	return 0;
}

SEC("syscall")
int admit(u32 *args)
{
	u32 slot = *args;
	struct sa *sa = bpf_map_lookup_elem(&sas, &slot);

	if (!sa)
		return -ENOENT;
	sa->on_probation = 0;
	return 0;
}
