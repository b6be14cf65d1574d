/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What global functions may be given: each is proved on its own for all that its prototype and its tags allow. */
#include "test.h"

LICENSE_GPL;

#define TAG(name) __attribute__((btf_decl_tag("arg:" name)))
#define REJECTED(name) __failure __msg("Caller passes invalid args into func#1 ('" name "')")

struct pair {
	u64 left;
	u64 right;
};

/* Keeps the compiler from seeing what a function returns, and so from leaving the call out. */
u64 unknown;

/* --- the context --- */

__noinline int of_context(struct __sk_buff *skb TAG("ctx"))
{
	return skb->len;
}

__noinline int of_any_context(void *skb TAG("ctx"))
{
	return ((struct __sk_buff *)skb)->len;
}

__noinline int of_no_context(struct pair *skb TAG("ctx"))
{
	return unknown;
}

SEC("?tc")
__success
int context(struct __sk_buff *skb)
{
	return of_context(skb);
}

SEC("?tc")
__success
int any_context(struct __sk_buff *skb)
{
	return of_any_context(skb);
}

SEC("?tc")
REJECTED("of_no_context")
int no_context(struct __sk_buff *skb)
{
	return of_no_context((void *)skb);
}

SEC("?syscall")
__success
int any_struct_of_a_syscall(struct pair *args)
{
	return of_no_context(args);
}

SEC("?xdp")
REJECTED("of_context")
int other_context(struct xdp_md *xdp)
{
	return of_context((void *)xdp);
}

SEC("?tc")
REJECTED("of_context")
int number_as_context(struct __sk_buff *skb)
{
	u64 number = skb->len;

	return of_context((void *)number);
}

SEC("?tc")
REJECTED("of_context")
int moved_context(struct __sk_buff *skb)
{
	void *moved = skb;

	asm volatile("%0 += 8" : "+r"(moved));
	return of_context(moved);
}

/* --- memory --- */

__noinline int of_pair(struct pair *pair TAG("nonnull"))
{
	return pair->left;
}

__noinline int of_nullable(struct pair *pair TAG("nullable"))
{
	return pair ? pair->left : 0;
}

__noinline int of_unchecked(struct pair *pair)
{
	return pair->left;
}

__noinline int of_void(void *anything)
{
	return anything ? unknown : 0;
}

__noinline int of_array(int (*array)[4])
{
	return array ? (*array)[1] : 0;
}

SEC("?tc")
__success
int memory(struct __sk_buff *skb)
{
	struct pair pair = {1, skb->len};

	return of_pair(&pair);
}

SEC("?tc")
__success
int memory_of_a_map(struct __sk_buff *skb)
{
	static struct pair kept;

	kept.left = skb->len;
	return of_pair(&kept);
}

SEC("?tc")
__success
int memory_of_a_packet(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return data + sizeof(struct pair) > end ? 0 : of_pair(data);
}

SEC("?syscall")
__success
int memory_of_a_context(struct pair *args)
{
	return of_pair(args);
}

SEC("?tc")
REJECTED("of_pair")
int too_little_memory(struct __sk_buff *skb)
{
	u64 half = skb->len;

	return of_pair((void *)&half);
}

SEC("?tc")
__failure __msg("R1 invalid mem access 'mem_or_null'")
int unchecked(struct __sk_buff *skb)
{
	struct pair pair = {1, skb->len};

	return of_unchecked(&pair);
}

SEC("?tc")
REJECTED("of_nullable")
int tag_without_meaning(struct __sk_buff *skb)
{
	return of_nullable(NULL);
}

SEC("?tc")
REJECTED("of_void")
int no_type(struct __sk_buff *skb)
{
	return of_void(skb);
}

SEC("?tc")
__success
int array(struct __sk_buff *skb)
{
	int numbers[4] = {1, 2, 3, skb->len};

	return of_array(&numbers);
}

/* --- kernel objects --- */

__noinline int of_task(struct task_struct *task TAG("trusted"))
{
	return task->pid;
}

__noinline int of_task_or_null(struct task_struct *task TAG("trusted") TAG("nullable"))
{
	return task ? task->pid : 0;
}

__noinline int of_untrusted_task(struct task_struct *task TAG("untrusted"))
{
	return task->pid;
}

__noinline int of_untrusted_memory(u64 *memory TAG("untrusted"))
{
	return *memory;
}

SEC("?tc")
__success
int task(struct __sk_buff *skb)
{
	return of_task(bpf_get_current_task_btf());
}

SEC("?tc")
__success
int task_or_null(struct __sk_buff *skb)
{
	return of_task_or_null(NULL) + of_task_or_null(bpf_get_current_task_btf());
}

SEC("?tc")
REJECTED("of_task")
int no_task(struct __sk_buff *skb)
{
	return of_task(NULL);
}

SEC("?tc")
REJECTED("of_task")
int context_as_task(struct __sk_buff *skb)
{
	return of_task((void *)skb);
}

SEC("?tc")
REJECTED("of_task")
int moved_task(struct __sk_buff *skb)
{
	void *moved = bpf_get_current_task_btf();

	asm volatile("%0 += 8" : "+r"(moved));
	return of_task(moved);
}

SEC("?tc")
__success
int untrusted_task(struct __sk_buff *skb)
{
	return of_untrusted_task((void *)skb);
}

SEC("?tc")
__success
int untrusted_memory(struct __sk_buff *skb)
{
	return of_untrusted_memory((void *)5);
}

/* --- dynptrs, numbers, results --- */

__noinline int of_dynptr(const struct bpf_dynptr *data)
{
	return bpf_dynptr_size(data);
}

__noinline int of_tagged_number(int number TAG("nonnull"))
{
	return number + unknown;
}

enum choice { FIRST, SECOND };

__noinline int of_enum(enum choice which)
{
	return which + unknown;
}

__noinline void of_nothing(int number)
{
	unknown = number;
}

__noinline u64 of_its_context(struct __sk_buff *skb)
{
	return (u64)(long)skb;
}

__noinline int of_bad_address(u64 address)
{
	return *(u64 *)(long)address;
}

__noinline int of_itself(int depth)
{
	return depth > 0 ? of_itself(depth - 1) * 2 : unknown;
}

SEC("?tc")
__success
int dynptr(struct __sk_buff *skb)
{
	struct bpf_dynptr data;

	bpf_dynptr_from_skb((void *)skb, 0, &data);
	return of_dynptr(&data);
}

SEC("?tc")
REJECTED("of_dynptr")
int no_dynptr(struct __sk_buff *skb)
{
	struct bpf_dynptr data = {};

	return of_dynptr(&data);
}

SEC("?tc")
REJECTED("of_tagged_number")
int tag_on_a_number(struct __sk_buff *skb)
{
	return of_tagged_number(3);
}

SEC("?tc")
__success
int enumerator(struct __sk_buff *skb)
{
	return of_enum(skb->len);
}

SEC("?tc")
REJECTED("of_enum")
int pointer_as_number(struct __sk_buff *skb)
{
	return of_enum((u64)(long)skb);
}

SEC("?tc")
REJECTED("of_nothing")
int no_result(struct __sk_buff *skb)
{
	of_nothing(3);
	return 0;
}

SEC("?tc")
__failure __msg("At subprogram exit the register R0 is not a scalar value (ctx)")
int pointer_as_result(struct __sk_buff *skb)
{
	return of_its_context(skb);
}

SEC("?tc")
__failure __msg("R1 invalid mem access 'scalar'")
int proved_for_any_number(struct __sk_buff *skb)
{
	return of_bad_address(4);
}

SEC("?tc")
__failure __msg("the call stack of 8 frames is too deep !")
int recursion(struct __sk_buff *skb)
{
	return of_itself(3);
}

/* --- effects --- */

__noinline int may_sleep(u64 address)
{
	u64 there;

	return bpf_copy_from_user(&there, sizeof(there), (void *)address) + address;
}

__noinline int change_packet(struct __sk_buff *skb)
{
	return bpf_skb_pull_data(skb, 0);
}

SEC("?syscall")
__success
int sleeping(void *args)
{
	return may_sleep(4);
}

SEC("?syscall")
__failure __msg("a non-sleepable BPF program context")
int sleeping_under_rcu(void *args)
{
	int result;

	bpf_rcu_read_lock();
	result = may_sleep(4);
	bpf_rcu_read_unlock();
	return result;
}

SEC("?tc")
__failure __msg("invalid mem access 'scalar'")
int stale_packet(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + 16 > end)
		return 0;
	change_packet(skb);
	return *data;
}
