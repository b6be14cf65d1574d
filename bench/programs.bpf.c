// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What programs do all day, for measuring: arithmetic, memory, packets, maps, calls. Every one is an XDP program on a UDP frame. */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bpf_kfuncs.h"
#include "bpf_misc.h"

#define BYTES 4096

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u8[BYTES]);
} buffer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

struct flow {
	u32 source;
	u32 target;
	u16 ports[2];
	u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, u64);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

u64 result;

SEC("xdp")
int primes(struct xdp_md *xdp)
{
	u32 found = 0;

	for (u32 n = 2; n < 500; n++) {
		u32 prime = 1;

		for (u32 d = 2; d * d <= n && d < 32; d++)
			if (n % d == 0) {
				prime = 0;
				break;
			}
		found += prime;
	}
	result = found;
	return XDP_PASS;
}

static __always_inline u8 *whole_buffer(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&buffer, &zero);
}

SEC("xdp")
int checksum(struct xdp_md *xdp)
{
	u16 *words = (u16 *)whole_buffer();
	u64 sum = 0;

	if (!words)
		return XDP_ABORTED;
	for (u32 n = 0; n < BYTES / 2; n++)
		sum += words[n];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	result = (u16)~sum;
	return XDP_PASS;
}

SEC("xdp")
int fnv(struct xdp_md *xdp)
{
	u8 *bytes = whole_buffer();
	u64 hash = 0xcbf29ce484222325;

	if (!bytes)
		return XDP_ABORTED;
	for (u32 n = 0; n < BYTES; n++)
		hash = (hash ^ bytes[n]) * 0x100000001b3;
	result = hash;
	return XDP_PASS;
}

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

static __always_inline struct headers *parsed(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct headers *h = data;

	if ((void *)(h + 1) > end || h->eth.h_proto != bpf_htons(0x0800) || h->ip.protocol != 17)
		return NULL;
	return h;
}

SEC("xdp")
int parse(struct xdp_md *xdp)
{
	struct headers *h = parsed(xdp);
	u32 key;
	u64 *count;

	if (!h)
		return XDP_DROP;
	key = h->udp.dest & 255;
	count = bpf_map_lookup_elem(&counters, &key);
	if (count)
		*count += 1;
	return XDP_PASS;
}

SEC("xdp")
int dynptr(struct xdp_md *xdp)
{
	struct headers *h = parsed(xdp);
	struct bpf_dynptr packet;
	u32 key;
	u64 *count;

	if (!h || bpf_dynptr_from_xdp((void *)xdp, 0, &packet) || bpf_dynptr_adjust(&packet, 14, 42))
		return XDP_DROP;
	key = bpf_dynptr_size(&packet) & 255;
	count = bpf_map_lookup_elem(&counters, &key);
	if (count)
		*count += 1;
	return XDP_PASS;
}

/* Sixteen flows: found, or made anew after they were taken out, which every fourth run does. */
SEC("xdp")
int hash_map(struct xdp_md *xdp)
{
	struct headers *h = parsed(xdp);
	struct flow flow = {};
	u64 one = 1, *count;

	if (!h)
		return XDP_DROP;
	flow.source = h->ip.saddr;
	flow.target = h->ip.daddr;
	flow.ports[0] = h->udp.source;
	flow.ports[1] = h->udp.dest;
	flow.protocol = 17;
	for (u32 n = 0; n < 16; n++) {
		flow.source += n;
		count = bpf_map_lookup_elem(&flows, &flow);
		if (count)
			__sync_fetch_and_add(count, 1);
		else
			bpf_map_update_elem(&flows, &flow, &one, BPF_ANY);
		if (count && (*count & 3) == 0)
			bpf_map_delete_elem(&flows, &flow);
	}
	return XDP_PASS;
}

static __noinline u64 leaf(u64 a, u64 b)
{
	return (a ^ b) * 0x9e3779b97f4a7c15 + (b >> 7);
}

static __noinline u64 middle(u64 a, u64 b)
{
	return leaf(a, b) + leaf(b, a + 1);
}

SEC("xdp")
int calls(struct xdp_md *xdp)
{
	u64 sum = xdp->data_end - xdp->data;

	for (u32 n = 0; n < 500; n++)
		sum = middle(sum, n);
	result = sum;
	return XDP_PASS;
}

SEC("xdp")
int ring(struct xdp_md *xdp)
{
	u64 *event = bpf_ringbuf_reserve(&events, 32, 0);

	if (!event)
		return XDP_DROP;
	event[0] = xdp->data_end - xdp->data;
	bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	return XDP_PASS;
}

/* Branchy code of a given length: each step looks at a byte of the packet and goes one of three ways. */
#define BYTE(n) (*(volatile u8 *)(p + (n)))
#define STEP(n) \
	if (BYTE((n) % 40) > (n) * 7 % 251) \
		sum += (n) * 3; \
	else if (BYTE((n) % 37) & 1) \
		sum ^= (n) << 4; \
	else \
		sum = sum * 5 + (n);
#define STEP4(n) STEP(n) STEP(n + 1) STEP(n + 2) STEP(n + 3)
#define STEP16(n) STEP4(n) STEP4(n + 4) STEP4(n + 8) STEP4(n + 12)
#define STEP64(n) STEP16(n) STEP16(n + 16) STEP16(n + 32) STEP16(n + 48)

static __always_inline u8 *bytes_of(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data;

	return data + 42 > (void *)(long)xdp->data_end ? NULL : data;
}

SEC("xdp")
int branchy_500(struct xdp_md *xdp)
{
	u8 *p = bytes_of(xdp);
	u64 sum = 1;

	if (!p)
		return XDP_DROP;
	STEP16(0)
	STEP16(16)
	STEP16(32)
	result = sum;
	return XDP_PASS;
}

SEC("xdp")
int branchy_5000(struct xdp_md *xdp)
{
	u8 *p = bytes_of(xdp);
	u64 sum = 1;

	if (!p)
		return XDP_DROP;
	STEP64(0)
	STEP64(64)
	STEP64(128)
	STEP64(192)
	STEP64(256)
	STEP64(320)
	STEP16(384)
	STEP16(400)
	result = sum;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
