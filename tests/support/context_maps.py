"""An object with places for contexts in maps of every type that has them, and a program that uses them."""

from __future__ import annotations

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
char _license[] SEC("license") = "GPL";

struct pair { u32 number; struct bpf_crypto_ctx __kptr *cctx; };
struct value {
	u64 before;
	struct pair pairs[2];
	struct bpf_crypto_ctx __kptr *cctx;
	u64 behind;
};
struct long_key { u8 bytes[21]; };

#define MAP(name, map_type, key_type, entries) \\
	struct { __uint(type, map_type); __uint(max_entries, entries); __type(key, key_type); __type(value, struct value); } \\
	name SEC(".maps")

MAP(m_array, BPF_MAP_TYPE_ARRAY, u32, 2);
MAP(m_percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, u32, 2);
MAP(m_hash, BPF_MAP_TYPE_HASH, struct long_key, 2);
MAP(m_percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, u32, 2);
MAP(m_lru, BPF_MAP_TYPE_LRU_HASH, u64, 64);
MAP(m_lru_percpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, u64, 64);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} m_plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, u64);
} m_queue SEC(".maps");

private_kptr struct bpf_crypto_ctx __kptr *everywhere;

u64 missing, failed, used;

SEC("tc")
int use(struct __sk_buff *skb)
{
	struct bpf_crypto_ctx *cctx;
	struct bpf_dynptr data;
	struct value *value;
	u32 index = 1;

	value = bpf_map_lookup_elem(&m_array, &index);
	if (!value)
		return 2;
	cctx = value->cctx;
	if (!cctx) {
		__sync_fetch_and_add(&missing, 1);
		return 1;
	}
	if (bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &data) || bpf_dynptr_adjust(&data, 14, 30))
		return 2;
	if (bpf_crypto_encrypt(cctx, &data, &data, NULL) || bpf_crypto_decrypt(cctx, &data, &data, NULL))
		__sync_fetch_and_add(&failed, 1);
	__sync_fetch_and_add(&used, 1);
	return 0;
}

SEC("tc")
int global(struct __sk_buff *skb)
{
	return everywhere != NULL;
}
""".replace("private_kptr", 'static SEC(".bss.kptr")')

FRAME = bytes(14 + 16)
