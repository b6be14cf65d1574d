"""The kfuncs that packet and syscall programs can call: prototypes, flags, program types, first release.

A kfunc is called by its BTF id, so its prototype is its contract: pointer arguments are typed by the C prototype, and suffixes of
argument names say more (SUFFIXES). Prototypes and program types are those of kernel 6.18, flags and releases those of its sources.
Kfuncs that only tracing programs use are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto

from bpfcrypto.abi.helpers import ALL, CLS, PACKET, SKB, SYSCALL, XDP
from bpfcrypto.abi.progs import ProgType


class KfuncFlag(Flag):
    """enum kfunc flags (include/linux/btf.h), without the prefix KF_."""

    ACQUIRE = auto()  # r0 is a reference that the program must release
    RELEASE = auto()  # takes a reference away
    RET_NULL = auto()  # r0 may be NULL
    SLEEPABLE = auto()  # only in sleepable programs, outside RCU sections
    RCU = auto()  # pointer arguments may be RCU-protected instead of owned
    TRUSTED_ARGS = auto()  # pointer arguments must be valid kernel objects
    FASTCALL = auto()  # clobbers r0 only
    ITER_NEW = auto()
    ITER_NEXT = auto()
    ITER_DESTROY = auto()


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
        flags: how the verifier treats calls of it.
        types: program types that may call it, of those that bpfcrypto loads.
        since: the kernel release that brought it, as (major, minor).
    """

    name: str
    prototype: str
    result: str
    params: tuple[Param, ...]
    flags: KfuncFlag
    types: frozenset[ProgType]
    since: tuple[int, int]


def _param(text: str) -> Param:
    match = re.fullmatch(r"(.*?)(\w+)", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a parameter")
    name = match[2]
    # The longest suffix wins: "__szk" ends in "__k" only by its letters.
    suffix = max((known for known in SUFFIXES if name.endswith(known)), key=len, default="")
    return Param(match[1].strip(), name.removesuffix(suffix), suffix)


def _row(prototype: str, flags: KfuncFlag, types: frozenset[ProgType], since: tuple[int, int]) -> Kfunc:
    match = re.fullmatch(r"(.*?)(\w+)\((.*)\)", prototype)
    if match is None:
        raise ValueError(f"'{prototype}' is not a prototype")
    params = () if match[3] == "void" else tuple(_param(part) for part in match[3].split(","))
    return Kfunc(match[2], prototype, match[1].strip(), params, flags, types, since)


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
    _row("int bpf_dynptr_from_xdp(struct xdp_md *x, u64 flags, struct bpf_dynptr *ptr__uninit)", F(0), XDP, (6, 4)),
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
    _row("int bpf_dynptr_adjust(const struct bpf_dynptr *p, u32 start, u32 end)", F(0), ALL, (6, 5)),
    _row("bool bpf_dynptr_is_null(const struct bpf_dynptr *p)", F(0), ALL, (6, 5)),
    _row("bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p)", F(0), ALL, (6, 5)),
    _row("__u32 bpf_dynptr_size(const struct bpf_dynptr *p)", F(0), ALL, (6, 5)),
    _row("int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__uninit)", F(0), ALL, (6, 5)),
    _row(
        "int bpf_dynptr_copy(struct bpf_dynptr *dst_ptr, u32 dst_off, struct bpf_dynptr *src_ptr, u32 src_off, u32 size)",
        F(0),
        ALL,
        (6, 16),
    ),
    _row("int bpf_dynptr_memset(struct bpf_dynptr *p, u32 offset, u32 size, u8 val)", F(0), ALL, (6, 17)),
    _row("void bpf_rcu_read_lock(void)", F(0), ALL, (6, 2)),
    _row("void bpf_rcu_read_unlock(void)", F(0), ALL, (6, 2)),
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
    _row("void *bpf_cast_to_kern_ctx(void *obj)", F.FASTCALL, ALL, (6, 2)),
    _row("void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k)", F.FASTCALL, ALL, (6, 2)),
    _row("void bpf_preempt_disable(void)", F(0), ALL, (6, 10)),
    _row("void bpf_preempt_enable(void)", F(0), ALL, (6, 10)),
    _row("void bpf_local_irq_save(unsigned long *flags__irq_flag)", F(0), ALL, (6, 14)),
    _row("void bpf_local_irq_restore(unsigned long *flags__irq_flag)", F(0), ALL, (6, 14)),
    _row("int bpf_res_spin_lock(struct bpf_res_spin_lock *lock)", F.RET_NULL, ALL, (6, 15)),
    _row("void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock)", F(0), ALL, (6, 15)),
    _row(
        "int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag)",
        F.RET_NULL,
        ALL,
        (6, 15),
    ),
    _row(
        "void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag)",
        F(0),
        ALL,
        (6, 15),
    ),
    _row(
        "void *bpf_obj_new_impl(u64 local_type_id__k, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row("void bpf_obj_drop_impl(void *p__alloc, void *meta__ign)", F.RELEASE, CLS | XDP | SYSCALL, (6, 2)),
    _row(
        "void *bpf_percpu_obj_new_impl(u64 local_type_id__k, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 6),
    ),
    _row("void bpf_percpu_obj_drop_impl(void *p__alloc, void *meta__ign)", F.RELEASE, CLS | XDP | SYSCALL, (6, 6)),
    _row(
        "void *bpf_refcount_acquire_impl(void *p__refcounted_kptr, void *meta__ign)",
        F.ACQUIRE | F.RET_NULL | F.RCU,
        CLS | XDP | SYSCALL,
        (6, 4),
    ),
    _row(
        "int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta__ign, u64 off)",
        F(0),
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row(
        "int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta__ign, u64 off)",
        F(0),
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row(
        "struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head)",
        F.ACQUIRE | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row(
        "struct bpf_list_node *bpf_list_pop_back(struct bpf_list_head *head)",
        F.ACQUIRE | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row("struct bpf_list_node *bpf_list_front(struct bpf_list_head *head)", F.RET_NULL, CLS | XDP | SYSCALL, (6, 16)),
    _row("struct bpf_list_node *bpf_list_back(struct bpf_list_head *head)", F.RET_NULL, CLS | XDP | SYSCALL, (6, 16)),
    _row(
        "int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node, void *less, void *meta__ign, u64 off)",
        F(0),
        CLS | XDP | SYSCALL,
        (6, 3),
    ),
    _row("struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root)", F.RET_NULL, CLS | XDP | SYSCALL, (6, 3)),
    _row(
        "struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.ACQUIRE | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 3),
    ),
    _row("struct bpf_rb_node *bpf_rbtree_root(struct bpf_rb_root *root)", F.RET_NULL, CLS | XDP | SYSCALL, (6, 16)),
    _row(
        "struct bpf_rb_node *bpf_rbtree_left(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 16),
    ),
    _row(
        "struct bpf_rb_node *bpf_rbtree_right(struct bpf_rb_root *root, struct bpf_rb_node *node)",
        F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 16),
    ),
    _row("int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags)", F(0), ALL, (6, 10)),
    _row(
        "int bpf_wq_set_callback_impl(struct bpf_wq *wq, void *callback_fn, unsigned int flags, void *aux__prog)",
        F(0),
        ALL,
        (6, 10),
    ),
    _row("int bpf_wq_start(struct bpf_wq *wq, unsigned int flags)", F(0), ALL, (6, 10)),
    _row("void bpf_throw(u64 cookie)", F(0), CLS | XDP | SYSCALL, (6, 7)),
    _row(
        "struct task_struct *bpf_task_acquire(struct task_struct *p)",
        F.ACQUIRE | F.RCU | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row("void bpf_task_release(struct task_struct *p)", F.RELEASE, CLS | XDP | SYSCALL, (6, 2)),
    _row("struct task_struct *bpf_task_from_pid(s32 pid)", F.ACQUIRE | F.RET_NULL, CLS | XDP | SYSCALL, (6, 2)),
    _row(
        "struct cgroup *bpf_cgroup_acquire(struct cgroup *cgrp)",
        F.ACQUIRE | F.RCU | F.RET_NULL,
        CLS | XDP | SYSCALL,
        (6, 2),
    ),
    _row("void bpf_cgroup_release(struct cgroup *cgrp)", F.RELEASE, CLS | XDP | SYSCALL, (6, 2)),
    _row("int bpf_xdp_pull_data(struct xdp_md *x, u32 len)", F(0), XDP, (6, 18)),
    _row(
        "int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, u32 *hash, enum xdp_rss_hash_type *rss_type)",
        F.TRUSTED_ARGS,
        XDP,
        (6, 3),
    ),
    _row("int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, u64 *timestamp)", F.TRUSTED_ARGS, XDP, (6, 3)),
    _row(
        "int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *vlan_proto, u16 *vlan_tci)",
        F.TRUSTED_ARGS,
        XDP,
        (6, 8),
    ),
    _row("int bpf_strcmp(const char *s1__ign, const char *s2__ign)", F(0), ALL, (6, 17)),
    _row("int bpf_strcasecmp(const char *s1__ign, const char *s2__ign)", F(0), ALL, (6, 18)),
    _row("int bpf_strlen(const char *s__ign)", F(0), ALL, (6, 17)),
    _row("int bpf_strnlen(const char *s__ign, size_t count)", F(0), ALL, (6, 17)),
    _row("int bpf_strchr(const char *s__ign, char c)", F(0), ALL, (6, 17)),
    _row("int bpf_strrchr(const char *s__ign, int c)", F(0), ALL, (6, 17)),
    _row("int bpf_strchrnul(const char *s__ign, char c)", F(0), ALL, (6, 17)),
    _row("int bpf_strnchr(const char *s__ign, size_t count, char c)", F(0), ALL, (6, 17)),
    _row("int bpf_strspn(const char *s__ign, const char *accept__ign)", F(0), ALL, (6, 17)),
    _row("int bpf_strcspn(const char *s__ign, const char *reject__ign)", F(0), ALL, (6, 17)),
    _row("int bpf_strstr(const char *s1__ign, const char *s2__ign)", F(0), ALL, (6, 17)),
    _row("int bpf_strnstr(const char *s1__ign, const char *s2__ign, size_t len)", F(0), ALL, (6, 17)),
    _row("s64 bpf_map_sum_elem_count(const struct bpf_map *map)", F.TRUSTED_ARGS, ALL, (6, 6)),
    _row(
        "int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, u64 flags)",
        F.SLEEPABLE,
        ALL,
        (6, 12),
    ),
    _row("void bpf_key_put(struct bpf_key *bkey)", F.RELEASE, CLS | XDP | SYSCALL, (6, 1)),
    _row("struct bpf_key *bpf_lookup_system_key(u64 id)", F.ACQUIRE | F.RET_NULL, CLS | XDP | SYSCALL, (6, 1)),
    _row(
        "struct bpf_key *bpf_lookup_user_key(s32 serial, u64 flags)",
        F.ACQUIRE | F.RET_NULL | F.SLEEPABLE,
        CLS | XDP | SYSCALL,
        (6, 1),
    ),
)

KFUNCS: Mapping[str, Kfunc] = {kfunc.name: kfunc for kfunc in _ROWS}
