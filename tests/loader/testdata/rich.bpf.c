// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One object with everything that the loader handles. Built by three compilers; in this folder:
 *
 *   for c in clang-14 clang-19; do
 *     $c -target bpf -mcpu=v3 -O2 -g -fdebug-compilation-dir=. -c rich.bpf.c -o rich.$c.o && llvm-objcopy --strip-debug rich.$c.o
 *   done
 *   python -m ziglang cc -target bpfel-freestanding -mcpu=v3 -O2 -g -fdebug-compilation-dir=. -c rich.bpf.c -o rich.zig.o &&
 *     llvm-objcopy --strip-debug rich.zig.o
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __ulong(name, value) enum { name##__value = value } name
#define __type(name, type) typeof(type) *name
#define __array(name, type) typeof(type) *name[]
#define __ksym __attribute__((section(".ksyms")))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __noinline __attribute__((noinline))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __tag(text) __attribute__((btf_decl_tag(text)))

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_loop)(u32 count, void *callback, void *ctx, u64 flags) = (void *)181;
static long (*bpf_trace_printk)(const char *format, u32 size, ...) = (void *)6;

struct bpf_crypto_ctx {
	int type;
} __attribute__((preserve_access_index));

extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym;
extern struct bpf_crypto_ctx *bpf_crypto_ctx_acquire(struct bpf_crypto_ctx *ctx) __ksym;
extern int bpf_no_such_kfunc(int argument) __ksym __weak;

/* maps */

struct key {
	u32 id;
	u8 pad[4];
};

struct slot {
	struct bpf_crypto_ctx __kptr *ctx;
	u64 uses;
};

struct {
	__uint(type, 2); /* ARRAY */
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, 1); /* HASH */
	__uint(max_entries, 16);
	__uint(map_flags, 1 | 4); /* NO_PREALLOC | NUMA_NODE */
	__uint(numa_node, 0);
	__uint(pinning, 1);
	__type(key, struct key);
	__type(value, u64);
} pinned SEC(".maps");

struct {
	__uint(type, 30); /* BLOOM_FILTER */
	__uint(max_entries, 8);
	__uint(key_size, 0);
	__uint(value_size, 4);
	__ulong(map_extra, 0x3);
} bloom SEC(".maps");

struct inner {
	__uint(type, 2);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} inner_a SEC(".maps"), inner_b SEC(".maps");

struct {
	__uint(type, 12); /* ARRAY_OF_MAPS */
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &inner_a, [3] = &inner_b}};

int tail(void *ctx);

struct {
	__uint(type, 3); /* PROG_ARRAY */
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = {.values = {[1] = (void *)&tail}};

/* variables */

u32 counter = 5;
static u32 hits;
char label[16] = "label";
u8 key[32];
u64 zeroed;
const volatile u32 limit = 3;
static volatile const u8 table[4] = {1, 2, 3, 4};
u64 custom_data SEC(".data.custom") = 7;
u64 custom_bss SEC(".bss.custom");
const u32 custom_rodata SEC(".rodata.custom") = 9;
struct bpf_crypto_ctx __kptr *held SEC(".bss.kp");

/* functions */

static __noinline long step(u32 index, void *ctx)
{
	*(volatile u32 *)ctx += index;
	return hits++ > 100;
}

static __noinline u32 count(u32 by)
{
	static u32 calls;

	calls += by;
	return calls * counter + table[by & 3];
}

__noinline __tag("first") __tag("second") int global_sub(int x)
{
	return count(x) + limit + custom_data + custom_bss;
}

__hidden __noinline int hidden_sub(int x)
{
	return x * (int)counter + custom_rodata;
}

static __noinline int recursive_a(int x);

static __noinline int recursive_b(int x)
{
	return x > 0 ? recursive_a(x - 2) : key[1];
}

static __noinline int recursive_a(int x)
{
	return x > 0 ? recursive_b(x - 1) + 1 : 0;
}

SEC("syscall") __tag("prog one") __tag("prog two") int setup(void *ctx)
{
	struct bpf_crypto_ctx *own;
	u32 index = 1, sum = 0;
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot)
		return 1;
	own = bpf_crypto_ctx_acquire(slot->ctx);
	if (own) {
		sum = own->type;
		bpf_crypto_ctx_release(own);
	}
	if (bpf_no_such_kfunc)
		sum += bpf_no_such_kfunc(3);
	bpf_loop(4, step, &sum, 0);
	slot->uses = sum;
	return global_sub(sum) + hidden_sub(2) + (held != 0);
}

SEC("syscall") int second(void *ctx)
{
	u64 id = 1;
	void *found = bpf_map_lookup_elem(&outer, &zeroed);

	return (bpf_map_lookup_elem(&pinned, &id) != 0) + (found != 0) + count(1) + label[2];
}

static __noinline SEC("tc") int local(int x)
{
	return x + counter;
}

SEC("tc") int classify(void *skb)
{
	return local(hits) + recursive_a(hits);
}

SEC("?xdp.frags") int parse(void *ctx)
{
	bpf_trace_printk("hello", 6);
	return 2;
}

SEC("xdp") int tail(void *ctx)
{
	return hidden_sub(1);
}

SEC("tcx/egress") int egress(void *ctx)
{
	return bpf_map_lookup_elem(&bloom, &zeroed) != 0;
}

char license_text[] SEC("license") = "Dual BSD/GPL";
