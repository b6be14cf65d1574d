/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the annotated programs refer to: maps, types, variables, and prototypes of functions.
 *
 * The programs are assembly text; an instruction names a map or a section (map[array], map[.bss.a]), a call names a label. A label
 * that is a function below has its prototype and linkage.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_kfuncs.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

#define MAP(name, kind, entries, key_type, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

struct plain {
	u64 a; /* 0 */
	u64 b; /* 8 */
	u32 c; /* 16 */
	u16 d; /* 20 */
	u8 e[26]; /* 22..48 */
};

struct item {
	u64 key; /* 0 */
	struct bpf_list_node link; /* 8..32 */
	u64 other; /* 32 */
};

struct leaf {
	u64 key; /* 0 */
	struct bpf_rb_node node; /* 8..40 */
	u64 other; /* 40 */
};

struct shared {
	u64 key; /* 0 */
	struct bpf_refcount ref; /* 8 */
	struct bpf_list_node link; /* 16..40 */
	struct bpf_rb_node node; /* 40..72 */
};

struct box {
	u64 value; /* 0 */
	u64 other; /* 8 */
};

struct owner {
	u64 before; /* 0 */
	struct bpf_crypto_ctx __kptr *ctx; /* 8 */
	struct bpf_cpumask __kptr *mask; /* 16 */
	struct bpf_crypto_ctx __kptr_untrusted *loose; /* 24 */
	struct box __kptr *box; /* 32 */
	struct task_struct __kptr *task; /* 40 */
	u64 after; /* 48..56 */
};

struct locked {
	u64 before; /* 0 */
	struct bpf_spin_lock lock; /* 8 */
	u32 number; /* 12 */
	u64 after; /* 16..24 */
};

struct resilient {
	u64 before; /* 0 */
	struct bpf_res_spin_lock lock; /* 8..16 */
	u64 after; /* 16..24 */
};

struct alarm {
	u64 before; /* 0 */
	struct bpf_timer timer; /* 8..24 */
	u64 after; /* 24..32 */
};

struct job {
	u64 before; /* 0 */
	struct bpf_wq work; /* 8..24 */
	u64 after; /* 24..32 */
};

MAP(array, ARRAY, 4, u32, struct plain);
MAP(array1, ARRAY, 1, u32, u64);
MAP(hash, HASH, 4, u64, struct plain);
MAP(lru, LRU_HASH, 4, u32, u64);
MAP(percpu, PERCPU_ARRAY, 4, u32, struct plain);
MAP(percpu_hash, PERCPU_HASH, 4, u32, u64);
MAP(owners, ARRAY, 4, u32, struct owner);
MAP(owners_hash, HASH, 4, u32, struct owner);
MAP(locks, ARRAY, 4, u32, struct locked);
MAP(resilients, ARRAY, 4, u32, struct resilient);
MAP(alarms, ARRAY, 4, u32, struct alarm);
MAP(jobs, ARRAY, 4, u32, struct job);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, u32);
	__type(value, struct plain);
} readable SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_WRONLY_PROG);
	__type(key, u32);
	__type(value, struct plain);
} writable SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} jumps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, u32);
	__type(value, u32);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4);
	__type(value, u64);
} bloom SEC(".maps");

struct route {
	u32 bits;
	u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route);
	__type(value, u64);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} cpus SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct inner);
} nested SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct inner);
} nested_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} sockets_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct plain);
} of_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct plain);
} of_tasks SEC(".maps");

/* .bss.a: a list under a lock; .bss.b: a tree under a lock; .bss.c: a list and a tree of shared objects. */
private(a) struct bpf_spin_lock list_lock; /* 0 */
private(a) struct bpf_list_head list __contains(item, link); /* 8..24 */
private(b) struct bpf_spin_lock tree_lock; /* 0 */
private(b) struct bpf_rb_root tree __contains(leaf, node); /* 8..24 */
private(c) struct bpf_spin_lock shared_lock; /* 0 */
private(c) struct bpf_list_head shared_list __contains(shared, link); /* 8..24 */
private(c) struct bpf_rb_root shared_tree __contains(shared, node); /* 24..40 */
private(d) struct bpf_crypto_ctx __kptr *kept; /* 0 */

u64 counter; /* .bss 0 */
u32 bytes[6]; /* .bss 8..32 */
const u64 limit = 7; /* .rodata 0 */
const char text[8] = "one %d\n"; /* .rodata 8 */

#define __weak_global __noinline __attribute__((weak))
__weak_global int handler(u64 cookie) { return cookie; }

/* Entries: the name says which program type they are for. */
SEC("tc") int entry_tc(struct __sk_buff *skb) { return 0; }
SEC("xdp") int entry_xdp(struct xdp_md *xdp) { return 0; }
SEC("syscall") int entry_syscall(void *ctx) { return 0; }
SEC("tc") __exception_cb(handler) int entry_tc_handled(struct __sk_buff *skb) { return 0; }

/* Static functions: a subprogram, and callbacks. */
static __noinline u64 sub(u64 x) { return x + counter; }
static __noinline u64 sub2(u64 x) { return x - counter; }
static __noinline u64 sub3(u64 x) { return x * counter; }
static __noinline void sub_void(u64 x) { counter = x; }
static __noinline int step(u64 index, void *context) { return counter; }
static __noinline int step2(u64 index, void *context) { return counter + 1; }
static __noinline long each(struct bpf_map *map, void *key, void *value, void *context) { return counter; }
static __noinline int alarm_fires(void *map, int *key, struct alarm *value) { return 0; }
static __noinline int job_runs(void *map, int *key, void *value) { return 0; }
static __noinline bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b) { return false; }
static __noinline long drain(struct bpf_dynptr *dynptr, void *context) { return 0; }

/* Global functions. */
__weak_global int global0(void) { return 0; }
__weak_global int global1(int x) { return x; }
__weak_global int global2(u64 x, u64 y) { return x + y; }
__weak_global long global_long(u64 x) { return x; }
__weak_global void global_void(u64 x) { counter = x; }
__weak_global int global_mem(struct box *p) { return p ? p->value : 0; }
__weak_global int global_mem_nonnull(struct box *p __arg_nonnull) { return p->value; }
__weak_global int global_skb(struct __sk_buff *skb) { return skb->len; }
__weak_global int global_xdp(struct xdp_md *xdp) { return xdp->data_end; }
__weak_global int global_ctx(void *ctx __arg_ctx) { return ctx != NULL; }
__weak_global int global_dynptr(const struct bpf_dynptr *p) { return p != NULL; }
__weak_global int global_task(struct task_struct *task __arg_trusted) { return task != NULL; }
__weak_global int global_task_null(struct task_struct *task __arg_trusted __arg_nullable) { return task != NULL; }
__weak_global int global_untrusted(struct task_struct *task __arg_untrusted) { return task->pid; }
__weak_global int global_pointer(int *p) { return p ? *p : 0; }
__weak_global int global_five(int a, int b, int c, int d, int e) { return a + b + c + d + e; }
__weak_global int global_char(u8 x) { return x; }
__weak_global struct box *global_box(u64 x) { return (void *)x; }
__weak_global int global_double(struct box **p) { return p != NULL; }

/* Everything that would be dropped otherwise. */
SEC("tc")
int keeper(struct __sk_buff *skb)
{
	struct item *item = bpf_obj_new(struct item);
	struct leaf *leaf = bpf_obj_new(struct leaf);
	struct shared *shared = bpf_obj_new(struct shared);
	struct box *box = bpf_obj_new(struct box);
	long total = limit + text[0] + bytes[0];

	total += sub(1) + sub2(2) + sub3(3) + (long)item + (long)leaf + (long)shared + (long)box;
	sub_void(total);
	bpf_spin_lock(&list_lock);
	bpf_spin_unlock(&list_lock);
	bpf_spin_lock(&tree_lock);
	bpf_spin_unlock(&tree_lock);
	bpf_spin_lock(&shared_lock);
	bpf_spin_unlock(&shared_lock);
	bpf_list_pop_front(&list);
	bpf_list_pop_front(&shared_list);
	bpf_rbtree_first(&tree);
	bpf_rbtree_first(&shared_tree);
	total += kept != NULL;
	bpf_loop(1, step, NULL, 0);
	bpf_loop(1, step2, NULL, 0);
	bpf_for_each_map_elem(&array, each, NULL, 0);
	bpf_timer_set_callback((void *)total, alarm_fires);
	bpf_timer_set_callback((void *)total, job_runs);
	bpf_user_ringbuf_drain(&ring, drain, NULL, 0);
	bpf_rbtree_add_impl(&tree, (void *)total, less, NULL, 0);
	return total;
}
