/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Objects that a program allocates: alone, in kptrs, holding kptrs themselves, shared, one for each CPU. */
#include "test.h"
#include "bpf_experimental.h"

LICENSE_GPL;

struct plain {
	u64 key;
	u32 data[5];
};

struct holder {
	u64 key;
	struct plain __kptr *inner;
	struct bpf_crypto_ctx __kptr *cctx;
};

struct shared {
	u64 key;
	struct bpf_refcount ref;
};

struct counters {
	u64 packets;
	u32 bytes;
};

struct large {
	u8 bytes[4088];
};

struct too_large {
	u8 bytes[4089];
};

struct value {
	struct plain __kptr *plain;
	struct holder __kptr *holder;
	struct shared __kptr *shared;
	struct counters __percpu_kptr *counters;
	u64 other;
};

TEST_MAP(slots, BPF_MAP_TYPE_ARRAY, 4, struct value, 0);
TEST_MAP(table, BPF_MAP_TYPE_HASH, 4, struct value, 0);

u32 op;
u32 slot;
u64 given;
u64 seen[8];
s64 ret;
struct bpf_crypto_params params = {.type = "skcipher", .algo = "cbc(aes)", .key_len = 16};
int err;

static __always_inline struct value *look_up(void)
{
	u32 index = slot & 3;

	return bpf_map_lookup_elem(&slots, &index);
}

SEC("tc")
__success __retval(0) __description("made, written, read, dropped")
int make(struct __sk_buff *skb)
{
	struct plain *made = bpf_obj_new(typeof(*made));
	int i;

	if (!made)
		return 1;
	made->key = given;
	for (i = 0; i < 5; i++)
		made->data[i] = given + i;
	seen[0] = made->key;
	seen[1] = made->data[4];
	bpf_obj_drop(made);
	return 0;
}

SEC("xdp")
__success __retval(1) __description("what the allocator gives at most, and a byte more")
int sizes(struct xdp_md *xdp)
{
	struct too_large *more = bpf_obj_new(typeof(*more));
	struct large *most = bpf_obj_new(typeof(*most));

	seen[0] = !!most;
	seen[1] = !!more;
	if (most)
		bpf_obj_drop(most);
	if (more)
		bpf_obj_drop(more);
	return seen[0];
}

SEC("syscall")
__success __description("kept in a map, read there, taken out again")
int keep(void *args)
{
	struct value *value = look_up();
	struct plain *made, *old, *there;

	seen[0] = seen[1] = 0;
	if (!value)
		return 1;
	bpf_rcu_read_lock();
	there = value->plain;
	if (there)
		seen[0] = there->key;
	bpf_rcu_read_unlock();
	made = NULL;
	if (op & 1) {
		made = bpf_obj_new(typeof(*made));
		if (!made)
			return 2;
		made->key = given;
	}
	old = bpf_kptr_xchg(&value->plain, made);
	if (old) {
		seen[1] = old->key;
		bpf_obj_drop(old);
	}
	return 0;
}

SEC("tc")
__success __description("an object in an object in a map")
int nest(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct holder *outer;
	struct plain *inner;

	if (!value)
		return 1;
	outer = bpf_obj_new(typeof(*outer));
	if (!outer)
		return 2;
	outer->key = given;
	inner = bpf_obj_new(typeof(*inner));
	if (inner) {
		inner->key = given + 1;
		inner = bpf_kptr_xchg(&outer->inner, inner);
		if (inner)
			bpf_obj_drop(inner);
	}
	outer = bpf_kptr_xchg(&value->holder, outer);
	if (!outer)
		return 3;
	seen[0] = outer->key;
	inner = bpf_kptr_xchg(&outer->inner, NULL);
	if (inner) {
		seen[1] = inner->key;
		bpf_obj_drop(inner);
	}
	bpf_obj_drop(outer);
	return 0;
}

SEC("tc")
__success __description("what an object holds goes with it")
int drop_whole(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct holder *outer;

	if (!value)
		return 1;
	outer = bpf_kptr_xchg(&value->holder, NULL);
	seen[0] = !!outer;
	if (outer)
		bpf_obj_drop(outer);
	return 0;
}

SEC("syscall")
__success __description("a crypto context in an object in a map")
int keep_context(void *args)
{
	struct value *value = look_up();
	struct bpf_crypto_ctx *cctx;
	struct holder *outer;

	if (!value)
		return 1;
	outer = bpf_obj_new(typeof(*outer));
	if (!outer)
		return 2;
	outer->key = given;
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (cctx) {
		cctx = bpf_kptr_xchg(&outer->cctx, cctx);
		if (cctx)
			bpf_crypto_ctx_release(cctx);
	}
	outer = bpf_kptr_xchg(&value->holder, outer);
	seen[0] = !!outer;
	if (outer) {
		cctx = bpf_kptr_xchg(&outer->cctx, NULL);
		seen[1] = !!cctx;
		if (cctx) {
			seen[2] = cctx->siv_len;
			bpf_crypto_ctx_release(cctx);
		}
		bpf_obj_drop(outer);
	}
	return 0;
}

SEC("tc")
__success __description("two holders of one object")
int share(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct shared *made, *second;

	if (!value)
		return 1;
	made = bpf_obj_new(typeof(*made));
	if (!made)
		return 2;
	made->key = given;
	second = bpf_refcount_acquire(made);
	seen[0] = second == made;
	made = bpf_kptr_xchg(&value->shared, made);
	if (made) {
		seen[1] = made->key;
		bpf_obj_drop(made);
	}
	if (second) {
		second->key += 5;
		bpf_obj_drop(second);
	}
	return 0;
}

SEC("tc")
__success __description("a holder more, of an object found in a map")
int borrow(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct shared *found, *mine;

	if (!value)
		return 1;
	bpf_rcu_read_lock();
	found = value->shared;
	mine = found ? bpf_refcount_acquire(found) : NULL;
	bpf_rcu_read_unlock();
	seen[0] = !!mine;
	if (mine) {
		seen[1] = mine->key;
		bpf_obj_drop(mine);
	}
	return 0;
}

SEC("tc")
__success __description("an object for each CPU")
int count(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct counters __percpu_kptr *made;
	struct counters *mine, *other;

	seen[0] = seen[1] = seen[2] = seen[3] = 0;
	if (!value)
		return 1;
	bpf_rcu_read_lock();
	made = value->counters;
	if (made) {
		mine = bpf_this_cpu_ptr(made);
		mine->packets++;
		mine->bytes += skb->len;
		seen[0] = mine->packets;
		seen[1] = mine->bytes;
		other = bpf_per_cpu_ptr(made, 0);
		seen[2] = other ? other->packets : 77;
		other = bpf_per_cpu_ptr(made, 0x7fffffff);
		seen[3] = other ? 1 : 78;
	}
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tc")
__success __description("a new one, or none, in place of the old")
int count_anew(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct counters __percpu_kptr *made = NULL;
	struct counters *mine;

	if (!value)
		return 1;
	if (op & 1) {
		made = bpf_percpu_obj_new(struct counters);
		if (!made)
			return 2;
	}
	made = bpf_kptr_xchg(&value->counters, made);
	seen[0] = !!made;
	if (made)
		bpf_percpu_obj_drop(made);
	bpf_rcu_read_lock();
	made = value->counters;
	if (made) {
		mine = bpf_this_cpu_ptr(made);
		mine->packets = given;
		mine->bytes = 0;
	}
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tc")
__success __description("map updates and deletions release what was there")
int fill_table(struct __sk_buff *skb)
{
	struct value *value, empty = {};
	struct plain *made;
	u32 key = slot & 3;

	value = bpf_map_lookup_elem(&table, &key);
	seen[0] = value ? !!value->plain : 2;
	if (op & 1)
		ret = bpf_map_update_elem(&table, &key, &empty, 0);
	if (op & 2)
		ret = bpf_map_delete_elem(&table, &key);
	value = bpf_map_lookup_elem(&table, &key);
	seen[1] = value ? !!value->plain : 2;
	made = bpf_obj_new(typeof(*made));
	if (!made)
		return 1;
	if (value)
		made = bpf_kptr_xchg(&value->plain, made);
	if (made)
		bpf_obj_drop(made);
	return 0;
}

/* --- what the verifier refuses --- */

SEC("?tc")
__failure __msg("Unreleased reference")
int leak(struct __sk_buff *skb)
{
	return bpf_obj_new(struct plain) != NULL;
}

SEC("?tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
int drop_unchecked(struct __sk_buff *skb)
{
	bpf_obj_drop(bpf_obj_new(struct plain));
	return 0;
}

SEC("?tc")
__failure __msg("R1 must be referenced or trusted")
int drop_map_value(struct __sk_buff *skb)
{
	struct value *value = look_up();

	if (value)
		bpf_obj_drop(value);
	return 0;
}

SEC("?tc")
__failure __msg("R1 must have zero offset when passed to release func")
int drop_inside(struct __sk_buff *skb)
{
	struct plain *made = bpf_obj_new(typeof(*made));

	if (made)
		bpf_obj_drop(&made->data);
	return 0;
}

SEC("?tc")
__failure __msg("invalid kptr access, R2 type=ptr_shared expected=ptr_plain")
int keep_wrong_type(struct __sk_buff *skb)
{
	struct value *value = look_up();
	struct shared *made;
	void *old;

	if (!value)
		return 0;
	made = bpf_obj_new(typeof(*made));
	if (!made)
		return 0;
	old = bpf_kptr_xchg(&value->plain, (void *)made);
	if (old)
		bpf_obj_drop(old);
	return 0;
}

SEC("?tc")
__failure __msg("struct plain doesn't have field at offset 28")
int read_beyond(struct __sk_buff *skb)
{
	struct plain *made = bpf_obj_new(typeof(*made));
	u32 found;

	if (!made)
		return 0;
	found = *(volatile u32 *)((void *)made + 28);
	bpf_obj_drop(made);
	return found;
}

SEC("?tc")
__failure __msg("arg#0 doesn't point to a type with bpf_refcount field")
int share_without_count(struct __sk_buff *skb)
{
	struct holder *made = bpf_obj_new(typeof(*made)), *second;

	if (!made)
		return 0;
	second = bpf_refcount_acquire(made);
	if (second)
		bpf_obj_drop(second);
	bpf_obj_drop(made);
	return 0;
}
