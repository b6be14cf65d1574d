/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * CO-RE relocations of every kind. The answers are the same on every kernel that has the crypto functions: sizes and offsets are
 * asked only of types that never change, the rest is asked for existence.
 */
#include "test.h"

LICENSE_GPL;

#define RELOCATED __attribute__((preserve_access_index))

u64 answers[32];

/* Flavours: ___ and what follows is not part of the name. Members may be missing, in another order, of another size. */
struct iphdr___short {
	__be32 daddr;
	u8 protocol;
	u8 ttl;
} RELOCATED;

struct iphdr___with_extra {
	u8 protocol;
	u64 no_such_member;
} RELOCATED;

struct tcphdr___bits {
	u16 doff : 4;
	u16 syn : 1;
	u16 window;
} RELOCATED;

struct bpf_crypto_params___small {
	u32 authsize;
	u32 key_len;
	char algo[128];
} RELOCATED;

struct no_such_struct___here {
	int member;
} RELOCATED;

struct __sk_buff___array {
	u32 cb[5];
	u32 len;
} RELOCATED;

enum bpf_map_type___other {
	BPF_MAP_TYPE_LRU_HASH___other = 1000,
	BPF_MAP_TYPE_NO_SUCH___other = 1001,
};

enum no_such_enum___here { NO_SUCH_VALUE___here = 7 };

SEC("tc")
__success __description("byte offsets and sizes of members")
int fields(struct __sk_buff *skb)
{
	struct bpf_crypto_params___small *params = NULL;
	struct iphdr___short *ip = NULL;

	answers[0] = bpf_core_field_offset(ip->daddr);
	answers[1] = bpf_core_field_offset(ip->protocol);
	answers[2] = bpf_core_field_size(ip->daddr);
	answers[3] = bpf_core_field_offset(params->key_len);
	answers[4] = bpf_core_field_offset(params->algo);
	answers[5] = bpf_core_field_size(params->algo);
	answers[6] = bpf_core_field_offset(struct __sk_buff___array, cb[3]);
	answers[7] = bpf_core_field_size(struct bpf_fib_lookup, ipv6_dst);
	return 0;
}

SEC("tc")
__success __description("existence of members, types and enumerators, and what is left where there is none")
int existence(struct __sk_buff *skb)
{
	struct iphdr___with_extra *ip = NULL;

	answers[0] = bpf_core_field_exists(ip->protocol);
	answers[1] = bpf_core_field_exists(ip->no_such_member);
	answers[2] = bpf_core_field_exists(struct bpf_crypto_ctx, siv_len);
	answers[3] = bpf_core_type_exists(struct bpf_crypto_params);
	answers[4] = bpf_core_type_exists(struct no_such_struct___here);
	answers[5] = bpf_core_type_size(struct no_such_struct___here);
	answers[6] = bpf_core_enum_value_exists(enum bpf_map_type___other, BPF_MAP_TYPE_LRU_HASH___other);
	answers[7] = bpf_core_enum_value_exists(enum bpf_map_type___other, BPF_MAP_TYPE_NO_SUCH___other);
	answers[8] = bpf_core_enum_value_exists(enum no_such_enum___here, NO_SUCH_VALUE___here);
	if (bpf_core_field_exists(ip->no_such_member))
		answers[9] = ip->no_such_member;
	return 0;
}

SEC("tc")
__success __description("sizes, matches and ids of types; values of enumerators")
int types(struct __sk_buff *skb)
{
	answers[0] = bpf_core_type_size(struct bpf_crypto_params);
	answers[1] = bpf_core_type_size(struct iphdr___short);
	/* A match compares the names of integers too, and compilers differ in all of them but this one's: unsigned int. */
	answers[2] = bpf_core_type_matches(struct xdp_md);
	answers[3] = bpf_core_type_matches(struct iphdr___with_extra);
	answers[4] = bpf_core_type_id_local(struct udphdr) != 0;
	answers[5] = bpf_core_type_id_kernel(struct udphdr) != 0;
	answers[6] = bpf_core_enum_value(enum bpf_map_type___other, BPF_MAP_TYPE_LRU_HASH___other);
	answers[7] = bpf_core_enum_value(enum xdp_action, XDP_REDIRECT);
	answers[8] = bpf_core_type_size(enum bpf_map_type);
	return 0;
}

SEC("tc")
__success __description("signedness and shifts of bitfields, and bitfields read through them")
int bitfields(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcphdr___bits *tcp = data + 34;
	struct iphdr *ip = data + 14;

	if (data + 54 > end)
		return 1;
	answers[0] = bpf_core_field_signed(tcp->window);
	answers[1] = bpf_core_field_signed(struct bpf_sock, rx_queue_mapping);
	answers[2] = BPF_CORE_READ_BITFIELD(tcp, doff);
	answers[3] = BPF_CORE_READ_BITFIELD(tcp, syn);
	answers[4] = __builtin_preserve_field_info(tcp->doff, BPF_FIELD_LSHIFT_U64);
	answers[5] = __builtin_preserve_field_info(tcp->doff, BPF_FIELD_RSHIFT_U64);
	answers[6] = bpf_core_field_offset(tcp->doff) + 256 * bpf_core_field_size(tcp->doff);
	answers[7] = BPF_CORE_READ_BITFIELD(ip, version);
	return 0;
}

SEC("tc")
__success __description("accesses of a packet by relocated offsets")
int accesses(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr___short *ip = data + 14;

	if (data + 34 > end)
		return 1;
	answers[0] = ip->daddr;
	answers[1] = ip->protocol;
	ip->ttl = 9;
	answers[2] = ((struct __sk_buff___array *)skb)->len;
	return 0;
}
