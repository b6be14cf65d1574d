/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets, connections and IPsec states behind the pointers that helpers and kfuncs give, and what kfuncs take as options. Options are
 * complete; of objects of the kernel the members that programs ask for are here, in order.
 */
#ifndef VMLINUX_NETWORK_H
#define VMLINUX_NETWORK_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

typedef struct {
	u64 key[2];
} siphash_key_t;

struct in_addr {
	__be32 s_addr;
};

struct sockaddr_in {
	unsigned short sin_family;
	__be16 sin_port;
	struct in_addr sin_addr;
	unsigned char __pad[8];
};

struct sockaddr_in6 {
	unsigned short sin6_family;
	__be16 sin6_port;
	__be32 sin6_flowinfo;
	struct in6_addr sin6_addr;
	__u32 sin6_scope_id;
};

/* The TCP header by words. */
union tcp_word_hdr {
	struct tcphdr hdr;
	__be32 words[5];
};

/* Every kind of socket begins with the kind that it extends. */

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_ca_state;
	__u8 icsk_retransmits;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 rcv_nxt;
	u32 snd_nxt;
	u32 snd_una;
	u32 snd_cwnd;
	u32 srtt_us;
};

struct tcp6_sock {
	struct tcp_sock tcp;
};

struct udp_sock {
	struct inet_sock inet;
};

struct udp6_sock {
	struct udp_sock udp;
};

struct unix_sock {
	struct sock sk;
};

struct mptcp_sock {
	struct inet_connection_sock sk;
};

struct request_sock {
	struct sock_common __req_common;
	u16 mss;
};

struct inet_request_sock {
	struct request_sock req;
};

struct tcp_request_sock {
	struct inet_request_sock req;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
	__u32 tw_mark;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct file {
	unsigned int f_flags;
};

struct socket {
	short type;
	unsigned long flags;
	struct file *file;
	struct sock *sk;
};

struct cgroup {
	unsigned long flags;
	int level;
};

/* A tracked connection by the two tuples that its packets have, and one that is not in the table yet. */

union nf_inet_addr {
	__u32 all[4];
	__be32 ip;
	__be32 ip6[4];
	struct in_addr in;
	struct in6_addr in6;
};

struct nf_conntrack_tuple {
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
			struct {
				__be16 port;
			} tcp;
			struct {
				__be16 port;
			} udp;
		} u;
		u16 l3num;
	} src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
			struct {
				__be16 port;
			} tcp;
			struct {
				__be16 port;
			} udp;
			struct {
				u8 type;
				u8 code;
			} icmp;
		} u;
		u8 protonum;
		u8 dir;
	} dst;
};

struct nf_conntrack_tuple_hash {
	u64 hnnode[2];
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	u32 use;
	u32 lock;
	u32 timeout;
	u32 zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	u64 nat[3];
	struct nf_conn *master;
	u32 mark;
	u32 secmark;
};

struct nf_conn___init {
	struct nf_conn ct;
};

/* What bpf_skb_ct_lookup() and its kin take. */
struct bpf_ct_opts {
	s32 netns_id;
	s32 error;
	u8 l4proto;
	u8 dir;
	u16 ct_zone_id;
	u8 ct_zone_dir;
	u8 reserved[3];
};

/* What bpf_sk_assign_tcp_reqsk() takes. */
struct bpf_tcp_req_attrs {
	u32 rcv_tsval;
	u32 rcv_tsecr;
	u16 mss;
	u8 rcv_wscale;
	u8 snd_wscale;
	u8 ecn_ok;
	u8 wscale_ok;
	u8 sack_ok;
	u8 tstamp_ok;
	u8 usec_ts_ok;
	u8 reserved[3];
};

typedef union {
	__be32 a4;
	__be32 a6[4];
	struct in6_addr in6;
} xfrm_address_t;

/* What bpf_xdp_get_xfrm_state() takes. */
struct bpf_xfrm_state_opts {
	s32 error;
	s32 netns_id;
	u32 mark;
	xfrm_address_t daddr;
	__be32 spi;
	u8 proto;
	u16 family;
};

struct xfrm_replay_state_esn {
	unsigned int bmp_len;
	__u32 oseq;
	__u32 seq;
	__u32 oseq_hi;
	__u32 seq_hi;
	__u32 replay_window;
};

struct xfrm_state {
	struct xfrm_replay_state_esn *replay_esn;
};

/* Options of tunnels, as bpf_skb_get_tunnel_opt() gives them. */

struct vxlan_metadata {
	__u32 gbp;
};

struct erspan_md2 {
	__be32 timestamp;
	__be16 sgt;
	__u8 hwid_upper : 2;
	__u8 ft : 5;
	__u8 p : 1;
	__u8 o : 1;
	__u8 gra : 2;
	__u8 dir : 1;
	__u8 hwid : 4;
};

struct erspan_metadata {
	int version;
	union {
		__be32 index;
		struct erspan_md2 md2;
	} u;
};

struct geneve_opt {
	__be16 opt_class;
	__u8 type;
	__u8 length : 5;
	__u8 r3 : 1;
	__u8 r2 : 1;
	__u8 r1 : 1;
	__u8 opt_data[0];
};

#pragma clang attribute pop

#endif
