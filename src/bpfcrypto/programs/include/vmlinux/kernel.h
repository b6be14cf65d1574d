/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Types of the kernel's own, as far as packet programs look into them. The lists of members are not complete and the offsets
 * are not the kernel's: only the order is. CO-RE puts in the true offsets at load time.
 */
#ifndef VMLINUX_KERNEL_H
#define VMLINUX_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct refcount_struct {
	atomic_t refs;
};

typedef struct refcount_struct refcount_t;

struct cpumask {
	unsigned long bits[1]; /* as many as there are CPUs */
};

/* A CPU mask that programs make, bpf_cpumask_create(). */
struct bpf_cpumask {
	struct cpumask cpumask;
	refcount_t usage;
};

struct callback_head {
	struct callback_head *next;
	void (*func)(struct callback_head *head);
};

/* What bpf_crypto_ctx_create() takes: 408 bytes, the reserved ones zero. */
struct bpf_crypto_params {
	char type[14];
	u8 reserved[2];
	char algo[128];
	u8 key[256];
	u32 key_len;
	u32 authsize;
};

/* A crypto context: a cipher with its key. siv_len is the size of the IV that encrypt and decrypt want. */
struct bpf_crypto_ctx {
	const void *type;
	void *tfm;
	u32 siv_len;
	struct callback_head rcu;
	refcount_t usage;
};

/* What is behind the opaque words of struct bpf_dynptr. */
struct bpf_dynptr_kern {
	void *data;
	u32 size;
	u32 offset;
} __attribute__((aligned(8)));

struct bpf_map {
	enum bpf_map_type map_type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
	u32 id;
	char name[16];
};

struct net_device {
	unsigned int mtu;
	unsigned short needed_headroom;
	unsigned int flags;
	unsigned short hard_header_len;
	int ifindex;
	char name[16];
	unsigned short type;
	unsigned short needed_tailroom;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
};

struct sock {
	struct sock_common __sk_common;
	u32 sk_mark;
	u16 sk_protocol;
	u16 sk_type;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	char cb[48];
	unsigned long _skb_refdst;
	unsigned long _nfct;
	unsigned int len;
	unsigned int data_len;
	__u16 mac_len;
	__u16 hdr_len;
	__u16 queue_mapping;
	__u8 cloned : 1;
	__u8 pkt_type : 3;
	__u8 ip_summed : 2;
	__u8 l4_hash : 1;
	__u8 encapsulation : 1;
	__u16 tc_index;
	__u16 csum_start;
	__u16 csum_offset;
	__u32 priority;
	int skb_iif;
	__u32 hash;
	__be16 vlan_proto;
	__u16 vlan_tci;
	unsigned int napi_id;
	__u32 secmark;
	__u32 mark;
	__be16 inner_protocol;
	__u16 inner_transport_header;
	__u16 inner_network_header;
	__u16 inner_mac_header;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
	unsigned int truesize;
};

/* Maps of each kind, as far as programs look into them through a map's address. */

struct bpf_array {
	struct bpf_map map;
	u32 elem_size;
	u32 index_mask;
};

struct bpf_htab {
	struct bpf_map map;
	atomic_t count;
	u32 n_buckets;
	u32 elem_size;
};

struct lpm_trie {
	struct bpf_map map;
	size_t n_entries;
	size_t max_prefixlen;
	size_t data_size;
};

struct bpf_stack_map {
	struct bpf_map map;
	u32 n_buckets;
};

struct bpf_dtab {
	struct bpf_map map;
	unsigned int items;
	u32 n_buckets;
};

struct bpf_cpu_map {
	struct bpf_map map;
};

struct xsk_map {
	struct bpf_map map;
	atomic_t count;
};

struct bpf_stab {
	struct bpf_map map;
};

struct bpf_shtab {
	struct bpf_map map;
	u32 buckets_num;
	u32 elem_size;
	atomic_t count;
};

struct bpf_queue_stack {
	struct bpf_map map;
	u32 head;
	u32 tail;
	u32 size;
};

struct bpf_ringbuf_map {
	struct bpf_map map;
};

struct bpf_local_storage_map {
	struct bpf_map map;
	u32 bucket_log;
	u16 elem_size;
};

struct bpf_cgroup_storage_map {
	struct bpf_map map;
};

struct bpf_bloom_filter {
	struct bpf_map map;
	u32 bitset_mask;
	u32 hash_seed;
	u32 nr_hash_funcs;
};

struct reuseport_array {
	struct bpf_map map;
};

/* What the kernel's own tests of kptrs point to. */

struct prog_test_member1 {
	int a;
};

struct prog_test_member {
	struct prog_test_member1 m;
	int c;
};

struct prog_test_ref_kfunc {
	int a;
	int b;
	struct prog_test_member memb;
	struct prog_test_ref_kfunc *next;
	refcount_t cnt;
};

/* At the end of an skb's head. */
struct skb_shared_info {
	__u8 flags;
	__u8 meta_len;
	__u8 nr_frags;
	__u8 tx_flags;
	unsigned short gso_size;
	unsigned short gso_segs;
	struct sk_buff *frag_list;
	unsigned int gso_type;
	u32 xdp_frags_size;
};

struct xdp_rxq_info {
	struct net_device *dev;
	u32 queue_index;
	u32 reg_state;
	u32 frag_size;
};

struct xdp_buff {
	void *data;
	void *data_end;
	void *data_meta;
	void *data_hard_start;
	struct xdp_rxq_info *rxq;
	void *txq;
	u32 frame_sz;
	u32 flags;
};

struct task_struct {
	unsigned int flags;
	int exit_code;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_time;
	u64 start_boottime;
	char comm[16];
};

#pragma clang attribute pop

#endif
