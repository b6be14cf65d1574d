"""The kfuncs that packet and syscall programs can call: prototypes, flags, program types, first release.

A kfunc is called by its BTF id, so its prototype is its contract: pointer arguments are typed by the C prototype, and suffixes of
argument names say more (SUFFIXES). Prototypes and program types are those of kernel 6.18, flags and releases those of its sources.
Every kfunc is here that kernel 6.18 lets one of the types call, and what has changed its name since 6.10; those that only other types
can call (tracing, LSM, struct_ops) are left out. Some the embedded engine refuses, each for a reason that its row gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bpfcrypto.abi.helpers import ALL, CLS, PACKET, SKB, SYSCALL, XDP
from bpfcrypto.abi.progs import ProgType


class KfuncFlag:
    """enum kfunc flags (include/linux/btf.h), without the prefix KF_. Plain integers: every call of a kfunc asks for several."""

    ACQUIRE: Final = 1 << 0  # r0 is a reference that the program must release
    RELEASE: Final = 1 << 1  # takes a reference away
    RET_NULL: Final = 1 << 2  # r0 may be NULL
    SLEEPABLE: Final = 1 << 3  # only in sleepable programs, outside RCU sections
    RCU: Final = 1 << 4  # pointer arguments may be RCU-protected instead of owned
    RCU_PROTECTED: Final = 1 << 5  # only inside an RCU section
    TRUSTED_ARGS: Final = 1 << 6  # pointer arguments must be valid kernel objects
    FASTCALL: Final = 1 << 7  # clobbers r0 only
    ITER_NEW: Final = 1 << 8
    ITER_NEXT: Final = 1 << 9
    ITER_DESTROY: Final = 1 << 10


F = KfuncFlag

SUFFIXES: Mapping[str, str] = {
    "__sz": "size in bytes of the memory in the argument before",
    "__szk": "constant size in bytes of the memory in the argument before, which is also the size of the result",
    "__k": "a constant known at load time",
    "__opt": "a buffer that may be NULL; its size argument still bounds the result",
    "__uninit": "a stack slot that the call initialises",
    "__nullable": "NULL is accepted",
    "__ign": "not checked by the verifier",
    "__alloc": "a pointer to an object that bpf_obj_new gave",
    "__refcounted_kptr": "an object with a bpf_refcount field",
    "__map": "a map",
    "__str": "NUL-terminated text in a read-only map",
    "__irq_flag": "a stack slot that keeps the interrupt flags",
    "__prog": "filled in by the verifier",
}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a kfunc: C type, name without suffix, suffix or ""."""

    type: str
    name: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Kfunc:
    """One kfunc.

    Attributes:
        name: its symbol.
        prototype: C text, with the kernel's argument names.
        result: C type of r0.
        params: the parameters, taken apart.
        flags: bits of KfuncFlag: how the verifier treats calls of it.
        types: program types that may call it, of those that bpfcrypto loads.
        since: the kernel release that brought it, as (major, minor).
        until: the first release without it, where its name is gone again.
        reason: why the embedded engine refuses it; "" where it does not.
    """

    name: str
    prototype: str
    result: str
    params: tuple[Param, ...]
    flags: int
    types: frozenset[ProgType]
    since: tuple[int, int]
    until: tuple[int, int] | None = None
    reason: str = ""

    @property
    def callers(self) -> frozenset[ProgType]:
        """The types whose programs can make a call: one that may sleep is for syscall programs, which can."""
        return self.types & SYSCALL if self.flags & KfuncFlag.SLEEPABLE else self.types


def _param(text: str) -> Param:
    match = re.fullmatch(r"(.*?)(\w+)", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a parameter")
    name = match[2]
    # The longest suffix wins: "__szk" ends in "__k" only by its letters.
    suffix = max((known for known in SUFFIXES if name.endswith(known)), key=len, default="")
    return Param(match[1].strip(), name.removesuffix(suffix), suffix)


def _row(
    prototype: str,
    flags: int,
    types: frozenset[ProgType],
    since: tuple[int, int],
    *,
    until: tuple[int, int] | None = None,
) -> Kfunc:
    match = re.fullmatch(r"(.*?)(\w+)\((.*)\)", prototype)
    if match is None:
        raise ValueError(f"'{prototype}' is not a prototype")
    params = () if match[3] == "void" else tuple(_param(part) for part in match[3].split(","))
    return Kfunc(match[2], prototype, match[1].strip(), params, flags, types, since, until)


def _refused(reason: str, *rows: Kfunc) -> tuple[Kfunc, ...]:
    """Rows that the embedded engine does not have, for one reason."""
    return tuple(replace(row, reason=reason) for row in rows)


GENERIC = CLS | XDP | SYSCALL

_ROWS = (
    _row(
        "struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, u32 params__sz, int *err)",
        F.ACQUIRE | F.RET_NULL | F.SLEEPABLE,
        SYSCALL,
        (6, 10),
    ),
    _row(
        "struct bpf_crypto_ctx *bpf_crypto_ctx_acquire(struct bpf_crypto_ctx *ctx)",
        F.ACQUIRE | F.RCU | F.RET_NULL,
        SYSCALL,
        (6, 10),
    ),
    _row("void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx)", F.RELEASE, SYSCALL, (6, 10)),
    _row(
        "int bpf_crypto_encrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *src, const struct bpf_dynptr *dst, const struct bpf_dynptr *siv__nullable)",
        F.RCU,
        PACKET,
        (6, 10),
    ),
    _row(
        "int bpf_crypto_decrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *src, const struct bpf_dynptr *dst, const struct bpf_dynptr *siv__nullable)",
        F.RCU,
        PACKET,
        (6, 10),
    ),
    _row(
        "int bpf_dynptr_from_skb(struct __sk_buff *s, u64 flags, struct bpf_dynptr *ptr__uninit)",
        F.TRUSTED_ARGS,
        SKB,
        (6, 4),
    ),
    _row(
        "int bpf_dynptr_from_skb_meta(struct __sk_buff *skb_, u64 flags, struct bpf_dynptr *ptr__uninit)",
        F.TRUSTED_ARGS,
        SKB,
        (6, 18),
    ),
    _row("int bpf_dynptr_from_xdp(struct xdp_md *x, u64 flags, struct bpf_dynptr *ptr__uninit)", 0, XDP, (6, 4)),
    _row(
        "void *bpf_dynptr_slice(const struct bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk)",
        F.RET_NULL,
        ALL,
        (6, 4),
    ),
    _row(
        "void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *p, u32 offset, void *buffer__opt, u32 buffer__szk)",
        F.RET_NULL,
        ALL,
        (6, 4),
    ),
    _row("int bpf_dynptr_adjust(const struct bpf_dynptr *p, u32 start, u32 end)", 0, ALL, (6, 5)),
    _row("bool bpf_dynptr_is_null(const struct bpf_dynptr *p)", 0, ALL, (6, 5)),
    _row("bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p)", 0, ALL, (6, 5)),
    _row("__u32 bpf_dynptr_size(const struct bpf_dynptr *p)", 0, ALL, (6, 5)),
    _row("int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__uninit)", 0, ALL, (6, 5)),
    _row(
        "int bpf_dynptr_copy(struct bpf_dynptr *dst_ptr, u32 dst_off, struct bpf_dynptr *src_ptr, u32 src_off, u32 size)",
        0,
        ALL,
        (6, 16),
    ),
    _row("int bpf_dynptr_memset(struct bpf_dynptr *p, u32 offset, u32 size, u8 val)", 0, ALL, (6, 17)),
    _row("void bpf_rcu_read_lock(void)", 0, ALL, (6, 2)),
    _row("void bpf_rcu_read_unlock(void)", 0, ALL, (6, 2)),
    _row("int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end)", F.ITER_NEW, ALL, (6, 4)),
    _row("int *bpf_iter_num_next(struct bpf_iter_num *it)", F.ITER_NEXT | F.RET_NULL, ALL, (6, 4)),
    _row("void bpf_iter_num_destroy(struct bpf_iter_num *it)", F.ITER_DESTROY, ALL, (6, 4)),
    _row(
        "int bpf_iter_bits_new(struct bpf_iter_bits *it, const u64 *unsafe_ptr__ign, u32 nr_words)",
        F.ITER_NEW,
        ALL,
        (6, 11),
    ),
    _row("int *bpf_iter_bits_next(struct bpf_iter_bits *it)", F.ITER_NEXT | F.RET_NULL, ALL, (6, 11)),
    _row("void bpf_iter_bits_destroy(struct bpf_iter_bits *it)", F.ITER_DESTROY, ALL, (6, 11)),
    _row("void *bpf_cast_to_kern_ctx(void *obj)", F.FASTCALL, PACKET, (6, 2)),
    _row("void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k)", F.FASTCALL, ALL, (6, 2)),
    _row("void bpf_preempt_disable(void)", 0, ALL, (6, 10)),
    _row("void bpf_preempt_enable(void)", 0, ALL, (6, 10)),
    _row("void bpf_local_irq_save(unsigned long *flags__irq_flag)", 0, ALL, (6, 14)),
    _row("void bpf_local_irq_restore(unsigned long *flags__irq_flag)", 0, ALL, (6, 14)),
    _row("int bpf_res_spin_lock(struct bpf_res_spin_lock *lock)", F.RET_NULL, ALL, (6, 15)),
    _row("void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock)", 0, ALL, (6, 15)),
    _row(
        "int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag)",
        F.RET_NULL,
        ALL,
        (6, 15),
    ),
    _row(
        "void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag)",
        0,
        ALL,
        (6, 15),
    ),
    _row(
        "void *bpf_obj_new_impl(u64 local_type_id__k, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL,
        GENERIC,
        (6, 2),
    ),
    _row("void bpf_obj_drop_impl(void *p__alloc, void *meta__ign)", F.RELEASE, GENERIC, (6, 2)),
    _row(
        "void *bpf_percpu_obj_new_impl(u64 local_type_id__k, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL,
        GENERIC,
        (6, 6),
    ),
    _row("void bpf_percpu_obj_drop_impl(void *p__alloc, void *meta__ign)", F.RELEASE, GENERIC, (6, 6)),
    _row(
        "void *bpf_refcount_acquire_impl(void *p__refcounted_kptr, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL | F.RCU,
        GENERIC,
        (6, 4),
    ),
    _row(
        "int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta__ign, u64 off)",
        0,
        GENERIC,
        (6, 2),
    ),
    _row(
        "int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta__ign, u64 off)",
        0,
        GENERIC,
        (6, 2),
    ),
    _row(
        "struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head)",
        F.ACQUIRE | F.RET_NULL,
        GENERIC,
        (6, 2),
    ),
    _row(
        "struct bpf_list_node *bpf_list_pop_back(struct bpf_list_head *head)",
        F.ACQUIRE | F.RET_NULL,
        GENERIC,
        (6, 2),
    ),
    _row("struct bpf_list_node *bpf_list_front(struct bpf_list_head *head)", F.RET_NULL, GENERIC, (6, 16)),
    _row("struct bpf_list_node *bpf_list_back(struct bpf_list_head *head)", F.RET_NULL, GENERIC, (6, 16)),
    _row(
        "int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node, void *less, void *meta__ign, u64 off)",
        0,
        GENERIC,
        (6, 3),
    ),
    _row("struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root)", F.RET_NULL, GENERIC, (6, 3)),
    _row(
        "struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.ACQUIRE | F.RET_NULL,
        GENERIC,
        (6, 3),
    ),
    _row("struct bpf_rb_node *bpf_rbtree_root(struct bpf_rb_root *root)", F.RET_NULL, GENERIC, (6, 16)),
    _row(
        "struct bpf_rb_node *bpf_rbtree_left(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.RET_NULL,
        GENERIC,
        (6, 16),
    ),
    _row(
        "struct bpf_rb_node *bpf_rbtree_right(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.RET_NULL,
        GENERIC,
        (6, 16),
    ),
    _row("void bpf_throw(u64 cookie)", 0, GENERIC, (6, 7)),
    _row("int bpf_xdp_pull_data(struct xdp_md *x, u32 len)", 0, XDP, (6, 18)),
    _row("int bpf_strcmp(const char *s1__ign, const char *s2__ign)", 0, ALL, (6, 17)),
    _row("int bpf_strcasecmp(const char *s1__ign, const char *s2__ign)", 0, ALL, (6, 18)),
    _row("int bpf_strlen(const char *s__ign)", 0, ALL, (6, 17)),
    _row("int bpf_strnlen(const char *s__ign, size_t count)", 0, ALL, (6, 17)),
    _row("int bpf_strchr(const char *s__ign, char c)", 0, ALL, (6, 17)),
    _row("int bpf_strrchr(const char *s__ign, int c)", 0, ALL, (6, 17)),
    _row("int bpf_strchrnul(const char *s__ign, char c)", 0, ALL, (6, 17)),
    _row("int bpf_strnchr(const char *s__ign, size_t count, char c)", 0, ALL, (6, 17)),
    _row("int bpf_strspn(const char *s__ign, const char *accept__ign)", 0, ALL, (6, 17)),
    _row("int bpf_strcspn(const char *s__ign, const char *reject__ign)", 0, ALL, (6, 17)),
    _row("int bpf_strstr(const char *s1__ign, const char *s2__ign)", 0, ALL, (6, 17)),
    _row("int bpf_strnstr(const char *s1__ign, const char *s2__ign, size_t len)", 0, ALL, (6, 17)),
    _row("s64 bpf_map_sum_elem_count(const struct bpf_map *map)", F.TRUSTED_ARGS, ALL, (6, 6)),
    _row("void __bpf_trap(void)", 0, ALL, (6, 16)),
    _row(
        "int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        0,
        ALL,
        (6, 16),
    ),
    _row(
        "int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        0,
        ALL,
        (6, 16),
    ),
    _row("struct bpf_cpumask *bpf_cpumask_create(void)", F.ACQUIRE | F.RET_NULL, SYSCALL, (6, 3)),
    _row(
        "struct bpf_cpumask *bpf_cpumask_acquire(struct bpf_cpumask *cpumask)",
        F.ACQUIRE | F.TRUSTED_ARGS,
        SYSCALL,
        (6, 3),
    ),
    _row("void bpf_cpumask_release(struct bpf_cpumask *cpumask)", F.RELEASE, SYSCALL, (6, 3)),
    _row("u32 bpf_cpumask_first(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("u32 bpf_cpumask_first_zero(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("u32 bpf_cpumask_first_and(const struct cpumask *src1, const struct cpumask *src2)", F.RCU, SYSCALL, (6, 5)),
    _row("void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("void bpf_cpumask_clear_cpu(u32 cpu, struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_test_and_set_cpu(u32 cpu, struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_test_and_clear_cpu(u32 cpu, struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("void bpf_cpumask_setall(struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("void bpf_cpumask_clear(struct bpf_cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row(
        "bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *src1, const struct cpumask *src2)",
        F.RCU,
        SYSCALL,
        (6, 3),
    ),
    _row(
        "void bpf_cpumask_or(struct bpf_cpumask *dst, const struct cpumask *src1, const struct cpumask *src2)",
        F.RCU,
        SYSCALL,
        (6, 3),
    ),
    _row(
        "void bpf_cpumask_xor(struct bpf_cpumask *dst, const struct cpumask *src1, const struct cpumask *src2)",
        F.RCU,
        SYSCALL,
        (6, 3),
    ),
    _row("bool bpf_cpumask_equal(const struct cpumask *src1, const struct cpumask *src2)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_intersects(const struct cpumask *src1, const struct cpumask *src2)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_subset(const struct cpumask *src1, const struct cpumask *src2)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_empty(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("bool bpf_cpumask_full(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 3)),
    _row("void bpf_cpumask_copy(struct bpf_cpumask *dst, const struct cpumask *src)", F.RCU, SYSCALL, (6, 3)),
    _row("u32 bpf_cpumask_any_distribute(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 5)),
    _row(
        "u32 bpf_cpumask_any_and_distribute(const struct cpumask *src1, const struct cpumask *src2)",
        F.RCU,
        SYSCALL,
        (6, 5),
    ),
    _row("u32 bpf_cpumask_weight(const struct cpumask *cpumask)", F.RCU, SYSCALL, (6, 8)),
    _row("int bpf_cpumask_populate(struct cpumask *cpumask, void *src, size_t src__sz)", F.RCU, SYSCALL, (6, 15)),
    _row(
        "int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, u64 flags)",
        F.SLEEPABLE,
        ALL,
        (6, 12),
    ),
    _row(
        "int bpf_copy_from_user_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        F.SLEEPABLE,
        ALL,
        (6, 16),
    ),
    _row(
        "int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        F.SLEEPABLE,
        ALL,
        (6, 16),
    ),
    _row(
        "int bpf_probe_read_user_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        0,
        ALL,
        (6, 16),
    ),
    _row(
        "int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign)",
        0,
        ALL,
        (6, 16),
    ),
    *_refused(
        "it has no tasks",
        _row(
            "struct task_struct *bpf_task_acquire(struct task_struct *p)",
            F.ACQUIRE | F.RCU | F.RET_NULL,
            GENERIC,
            (6, 2),
        ),
        _row("void bpf_task_release(struct task_struct *p)", F.RELEASE, GENERIC, (6, 2)),
        _row("struct task_struct *bpf_task_from_pid(s32 pid)", F.ACQUIRE | F.RET_NULL, GENERIC, (6, 2)),
        _row("struct task_struct *bpf_task_from_vpid(s32 vpid)", F.ACQUIRE | F.RET_NULL, GENERIC, (6, 14)),
        _row(
            "int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type, u64 value)",
            F.TRUSTED_ARGS,
            GENERIC,
            (6, 13),
        ),
        _row(
            "int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task__nullable, unsigned int flags)",
            F.ITER_NEW | F.TRUSTED_ARGS | F.RCU_PROTECTED,
            ALL,
            (6, 7),
        ),
        _row("struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it)", F.ITER_NEXT | F.RET_NULL, ALL, (6, 7)),
        _row("void bpf_iter_task_destroy(struct bpf_iter_task *it)", F.ITER_DESTROY, ALL, (6, 7)),
        _row(
            "int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task, u64 addr)",
            F.ITER_NEW | F.RCU,
            ALL,
            (6, 7),
        ),
        _row(
            "struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it)",
            F.ITER_NEXT | F.RET_NULL,
            ALL,
            (6, 7),
        ),
        _row("void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it)", F.ITER_DESTROY, ALL, (6, 7)),
        _row(
            "int bpf_copy_from_user_task_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, struct task_struct *tsk, u64 flags)",
            F.SLEEPABLE,
            ALL,
            (6, 15),
        ),
        _row(
            "int bpf_copy_from_user_task_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign, struct task_struct *tsk)",
            F.SLEEPABLE | F.TRUSTED_ARGS,
            ALL,
            (6, 16),
        ),
        _row(
            "int bpf_copy_from_user_task_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, const void *unsafe_ptr__ign, struct task_struct *tsk)",
            F.SLEEPABLE | F.TRUSTED_ARGS,
            ALL,
            (6, 16),
        ),
        _row(
            "int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map, void *callback, void *aux__prog)",
            F.TRUSTED_ARGS,
            ALL,
            (6, 18),
        ),
        _row(
            "int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map, void *callback, void *aux__prog)",
            F.TRUSTED_ARGS,
            ALL,
            (6, 18),
        ),
    ),
    *_refused(
        "it has no control groups",
        _row("struct cgroup *bpf_cgroup_acquire(struct cgroup *cgrp)", F.ACQUIRE | F.RCU | F.RET_NULL, GENERIC, (6, 2)),
        _row("void bpf_cgroup_release(struct cgroup *cgrp)", F.RELEASE, GENERIC, (6, 2)),
        _row(
            "struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level)",
            F.ACQUIRE | F.RCU | F.RET_NULL,
            GENERIC,
            (6, 2),
        ),
        _row("struct cgroup *bpf_cgroup_from_id(u64 cgid)", F.ACQUIRE | F.RET_NULL, GENERIC, (6, 4)),
        _row(
            "int bpf_cgroup_read_xattr(struct cgroup *cgroup, const char *name__str, struct bpf_dynptr *value_p)",
            F.RCU,
            ALL,
            (6, 17),
        ),
        _row("long bpf_task_under_cgroup(struct task_struct *task, struct cgroup *ancestor)", F.RCU, GENERIC, (6, 5)),
        _row(
            "struct cgroup *bpf_task_get_cgroup1(struct task_struct *task, int hierarchy_id)",
            F.ACQUIRE | F.RCU | F.RET_NULL,
            GENERIC,
            (6, 8),
        ),
        _row(
            "int bpf_iter_css_new(struct bpf_iter_css *it, struct cgroup_subsys_state *start, unsigned int flags)",
            F.ITER_NEW | F.TRUSTED_ARGS | F.RCU_PROTECTED,
            ALL,
            (6, 7),
        ),
        _row(
            "struct cgroup_subsys_state *bpf_iter_css_next(struct bpf_iter_css *it)",
            F.ITER_NEXT | F.RET_NULL,
            ALL,
            (6, 7),
        ),
        _row("void bpf_iter_css_destroy(struct bpf_iter_css *it)", F.ITER_DESTROY, ALL, (6, 7)),
        _row(
            "int bpf_iter_css_task_new(struct bpf_iter_css_task *it, struct cgroup_subsys_state *css, unsigned int flags)",
            F.ITER_NEW | F.TRUSTED_ARGS,
            SYSCALL,
            (6, 7),
        ),
        _row(
            "struct task_struct *bpf_iter_css_task_next(struct bpf_iter_css_task *it)",
            F.ITER_NEXT | F.RET_NULL,
            ALL,
            (6, 7),
        ),
        _row("void bpf_iter_css_task_destroy(struct bpf_iter_css_task *it)", F.ITER_DESTROY, ALL, (6, 7)),
    ),
    *_refused(
        "it has no kernel memory to look into",
        _row("struct kmem_cache *bpf_get_kmem_cache(u64 addr)", F.RET_NULL, ALL, (6, 13)),
        _row("int bpf_iter_kmem_cache_new(struct bpf_iter_kmem_cache *it)", F.ITER_NEW | F.SLEEPABLE, ALL, (6, 13)),
        _row(
            "struct kmem_cache *bpf_iter_kmem_cache_next(struct bpf_iter_kmem_cache *it)",
            F.ITER_NEXT | F.RET_NULL | F.SLEEPABLE,
            ALL,
            (6, 13),
        ),
        _row(
            "void bpf_iter_kmem_cache_destroy(struct bpf_iter_kmem_cache *it)",
            F.ITER_DESTROY | F.SLEEPABLE,
            ALL,
            (6, 13),
        ),
        _row("int bpf_iter_dmabuf_new(struct bpf_iter_dmabuf *it)", F.ITER_NEW | F.SLEEPABLE, ALL, (6, 16)),
        _row(
            "struct dma_buf *bpf_iter_dmabuf_next(struct bpf_iter_dmabuf *it)",
            F.ITER_NEXT | F.RET_NULL | F.SLEEPABLE,
            ALL,
            (6, 16),
        ),
        _row("void bpf_iter_dmabuf_destroy(struct bpf_iter_dmabuf *it)", F.ITER_DESTROY | F.SLEEPABLE, ALL, (6, 16)),
    ),
    *_refused(
        "it runs nothing after a program has returned",
        _row("int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags)", 0, ALL, (6, 10)),
        _row(
            "int bpf_wq_set_callback_impl(struct bpf_wq *wq, void *callback_fn, unsigned int flags, void *aux__prog)",
            0,
            ALL,
            (6, 10),
        ),
        _row("int bpf_wq_start(struct bpf_wq *wq, unsigned int flags)", 0, ALL, (6, 10)),
    ),
    *_refused(
        "it has no arena maps",
        _row(
            "void *bpf_arena_alloc_pages(void *p__map, void *addr__ign, u32 page_cnt, int node_id, u64 flags)",
            F.TRUSTED_ARGS | F.SLEEPABLE,
            ALL,
            (6, 9),
        ),
        _row(
            "void bpf_arena_free_pages(void *p__map, void *ptr__ign, u32 page_cnt)",
            F.TRUSTED_ARGS | F.SLEEPABLE,
            ALL,
            (6, 9),
        ),
        _row(
            "int bpf_arena_reserve_pages(void *p__map, void *ptr__ign, u32 page_cnt)",
            F.TRUSTED_ARGS | F.SLEEPABLE,
            ALL,
            (6, 17),
        ),
    ),
    *_refused(
        "it has no keyrings",
        _row(
            "struct bpf_key *bpf_lookup_user_key(s32 serial, u64 flags)",
            F.ACQUIRE | F.RET_NULL | F.SLEEPABLE,
            GENERIC,
            (6, 1),
        ),
        _row("struct bpf_key *bpf_lookup_system_key(u64 id)", F.ACQUIRE | F.RET_NULL, GENERIC, (6, 1)),
        _row("void bpf_key_put(struct bpf_key *bkey)", F.RELEASE, GENERIC, (6, 1)),
    ),
    *_refused(
        "it tracks no connections",
        _row(
            "struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb_ctx, struct bpf_sock_tuple *bpf_tuple, u32 tuple__sz, struct bpf_ct_opts *opts, u32 opts__sz)",
            F.ACQUIRE | F.RET_NULL,
            CLS | XDP,
            (5, 18),
        ),
        _row(
            "struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *xdp_ctx, struct bpf_sock_tuple *bpf_tuple, u32 tuple__sz, struct bpf_ct_opts *opts, u32 opts__sz)",
            F.ACQUIRE | F.RET_NULL,
            CLS | XDP,
            (5, 18),
        ),
        _row(
            "struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb_ctx, struct bpf_sock_tuple *bpf_tuple, u32 tuple__sz, struct bpf_ct_opts *opts, u32 opts__sz)",
            F.ACQUIRE | F.RET_NULL,
            CLS | XDP,
            (6, 0),
        ),
        _row(
            "struct nf_conn___init *bpf_xdp_ct_alloc(struct xdp_md *xdp_ctx, struct bpf_sock_tuple *bpf_tuple, u32 tuple__sz, struct bpf_ct_opts *opts, u32 opts__sz)",
            F.ACQUIRE | F.RET_NULL,
            CLS | XDP,
            (6, 0),
        ),
        _row(
            "struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *nfct_i)",
            F.ACQUIRE | F.RET_NULL | F.RELEASE,
            CLS | XDP,
            (6, 0),
        ),
        _row("void bpf_ct_release(struct nf_conn *nfct)", F.RELEASE, CLS | XDP, (5, 18)),
        _row("void bpf_ct_set_timeout(struct nf_conn___init *nfct, u32 timeout)", F.TRUSTED_ARGS, CLS | XDP, (6, 0)),
        _row("int bpf_ct_change_timeout(struct nf_conn *nfct, u32 timeout)", F.TRUSTED_ARGS, CLS | XDP, (6, 0)),
        _row("int bpf_ct_set_status(const struct nf_conn___init *nfct, u32 status)", F.TRUSTED_ARGS, CLS | XDP, (6, 0)),
        _row("int bpf_ct_change_status(struct nf_conn *nfct, u32 status)", F.TRUSTED_ARGS, CLS | XDP, (6, 0)),
        _row(
            "int bpf_ct_set_nat_info(struct nf_conn___init *nfct, union nf_inet_addr *addr, int port, enum nf_nat_manip_type manip)",
            F.TRUSTED_ARGS,
            CLS | XDP,
            (6, 1),
        ),
    ),
    *_refused(
        "it has no IPsec states",
        _row(
            "struct xfrm_state *bpf_xdp_get_xfrm_state(struct xdp_md *ctx, struct bpf_xfrm_state_opts *opts, u32 opts__sz)",
            F.ACQUIRE | F.RET_NULL,
            XDP,
            (6, 8),
        ),
        _row("void bpf_xdp_xfrm_state_release(struct xfrm_state *x)", F.RELEASE, XDP, (6, 8)),
    ),
    *_refused(
        "it has no sockets",
        _row(
            "int bpf_sk_assign_tcp_reqsk(struct __sk_buff *s, struct sock *sk, struct bpf_tcp_req_attrs *attrs, int attrs__sz)",
            F.TRUSTED_ARGS,
            CLS,
            (6, 9),
        ),
    ),
    *_refused(
        "it binds no programs to devices",
        _row(
            "int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, u64 *timestamp)", F.TRUSTED_ARGS, XDP, (6, 3)
        ),
        _row(
            "int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, u32 *hash, enum xdp_rss_hash_type *rss_type)",
            F.TRUSTED_ARGS,
            XDP,
            (6, 3),
        ),
        _row(
            "int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *vlan_proto, u16 *vlan_tci)",
            F.TRUSTED_ARGS,
            XDP,
            (6, 8),
        ),
    ),
    *_refused(
        "its programs have no streams; use bpf_trace_printk",
        _row(
            "int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, u32 len__sz, void *aux__prog)",
            F.TRUSTED_ARGS,
            ALL,
            (6, 18),
        ),
        _row(
            "int bpf_stream_vprintk(int stream_id, const char *fmt__str, const void *args, u32 len__sz, void *aux__prog)",
            F.TRUSTED_ARGS,
            ALL,
            (6, 17),
            until=(6, 18),
        ),
    ),
    *_refused(
        "it is for the kernel's own tests",
        _row("void bpf_kfunc_call_test_release(struct prog_test_ref_kfunc *p)", F.RELEASE, CLS | SYSCALL, (5, 18)),
        _row("void bpf_kfunc_call_memb_release(struct prog_test_member *p)", F.RELEASE, CLS | SYSCALL, (5, 19)),
        _row("int bpf_modify_return_test_tp(int nonce)", 0, ALL, (6, 10)),
    ),
)

KFUNCS: Mapping[str, Kfunc] = {kfunc.name: kfunc for kfunc in _ROWS}

CURRENT: Mapping[str, Kfunc] = {kfunc.name: kfunc for kfunc in _ROWS if kfunc.until is None or kfunc.until > (6, 18)}
"""Those that kernel 6.18 has, by whose rules programs are verified."""
