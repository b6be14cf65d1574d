"""loader.core against a kernel: the kernel relocates the same program by itself, and both must give the same results."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

import pytest

from bpfcrypto.isa.codec import encode
from bpfcrypto.kernel import attr, bpf, syscall
from bpfcrypto.kernel.attr import Command
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.features import load_btf
from bpfcrypto.kernel.objbtf import ObjectBtf
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, CoreKind

RESULTS = 96

SOURCE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(n) __attribute__((section(n), used))
#define KERNEL __attribute__((preserve_access_index))
struct list_head { struct list_head *next, *prev; } KERNEL;
struct sk_buff {
    u32 len; u32 mark; unsigned char *data; u8 cloned:1; u8 pkt_type:3; int no_such_member; u8 ip_summed:2;
} KERNEL;
struct sk_buff___old { u32 length_old; } KERNEL;
struct task_struct {
    int pid; u64 flags; struct list_head tasks; char comm[4]; struct task_struct *real_parent; u8 sched_reset_on_fork:1;
} KERNEL;
struct iphdr { u8 ihl:4, version:4; u16 tot_len; u32 saddr; u32 daddr; } KERNEL;
struct no_such_struct { int a; } KERNEL;
struct bpf_crypto_ctx { u32 siv_len; struct { int refs; } usage; } KERNEL;
struct bpf_crypto_params { char algo[128]; u8 key[256]; u32 key_len; } KERNEL;
struct net_device { int ifindex; u32 mtu; u64 features; } KERNEL;
struct bpf_dynptr_kern { void *data; u32 size; u32 offset; };
struct bpf_dynptr_kern___bad { void *data; u64 size; };
enum bpf_map_type { BPF_MAP_TYPE_HASH = 77, BPF_MAP_TYPE_RINGBUF = 78, BPF_MAP_TYPE_NOPE = 99 };
enum bpf_prog_type___x { BPF_PROG_TYPE_XDP___q = 3 };
enum init_ns_ino { PID_NS_INIT_INO = 5 };

#define FIELD(x, kind) __builtin_preserve_field_info(x, kind)
#define TYPE(t, kind) __builtin_preserve_type_info(*(typeof(t) *)0, kind)
#define TYPE_ID(t, kind) __builtin_btf_type_id(*(typeof(t) *)0, kind)
#define VALUE(t, name, kind) __builtin_preserve_enum_value(*(typeof(t) *)name, kind)
#define P(x) out->v[i++] = (u64)(x)
#define ALL(x) P(FIELD(x, 0)); P(FIELD(x, 1)); P(FIELD(x, 2)); P(FIELD(x, 3)); P(FIELD(x, 4)); P(FIELD(x, 5))

static struct task_struct *(*current)(void) = (void *)158;
struct out { u64 v[96]; };

SEC("syscall") int core(struct out *out)
{
    int i = 0;
    struct sk_buff *s = 0; struct task_struct *t = 0; struct iphdr *h = 0; struct net_device *n = 0;
    struct bpf_crypto_ctx *c = 0; struct bpf_crypto_params *p = 0; struct no_such_struct *q = 0;

    ALL(s->len); ALL(s->pkt_type); ALL(h->version); ALL(h->ihl); ALL(t->pid); ALL(s->ip_summed); ALL(t->sched_reset_on_fork);
    P(FIELD(s->data, 0)); P(FIELD(s->data, 1)); P(FIELD(s->data, 2)); P(FIELD(s->no_such_member, 2)); P(FIELD(q->a, 2));
    P(FIELD(t->comm, 0)); P(FIELD(t->comm[3], 0)); P(FIELD(t->comm, 1)); P(FIELD(s[2].len, 0)); P(FIELD(t->tasks.prev, 0));
    P(FIELD(n->ifindex, 0)); P(FIELD(n->features, 0)); P(FIELD(c->siv_len, 0)); P(FIELD(c->usage, 1));
    P(FIELD(p->key[255], 0)); P(FIELD(p->key_len, 0));
    P(TYPE(struct task_struct, 0)); P(TYPE(struct task_struct, 1)); P(TYPE(struct no_such_struct, 0));
    P(TYPE(struct no_such_struct, 1)); P(TYPE(struct iphdr, 2)); P(TYPE(struct bpf_dynptr_kern, 2));
    P(TYPE(struct bpf_dynptr_kern___bad, 2)); P(TYPE(struct sk_buff___old, 0)); P(TYPE(struct sk_buff___old, 1));
    P(TYPE_ID(struct task_struct, 1)); P(TYPE_ID(struct sk_buff, 1)); P(TYPE_ID(struct no_such_struct, 1));
    P(TYPE_ID(struct sk_buff, 0));
    P(VALUE(enum bpf_map_type, BPF_MAP_TYPE_HASH, 1)); P(VALUE(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF, 1));
    P(VALUE(enum bpf_map_type, BPF_MAP_TYPE_NOPE, 0)); P(VALUE(enum bpf_map_type, BPF_MAP_TYPE_HASH, 0));
    P(VALUE(enum bpf_prog_type___x, BPF_PROG_TYPE_XDP___q, 1));
    t = current();
    P(t->pid); P(t->flags & 0x200000); P(t->comm[0]); P(t->comm[1]); P(t->real_parent != 0);
    if (FIELD(s->no_such_member, 2))
        P(FIELD(s->no_such_member, 0));
    return i;
}

char text[] SEC("license") = "GPL";
"""


def load_unrelocated(spec: CollectionSpec, types: ObjectBtf, btf: Fd) -> Fd:
    """Load the program as compiled, with its relocations for the kernel to apply."""
    program = spec.programs["core"]
    code = encode(program.insns)
    relocs = b"".join(
        struct.pack("<IIII", reloc.index * 8, reloc.type_id, types.string(reloc.access), reloc.kind)
        for reloc in program.core
    )
    funcs = struct.pack("<II", 0, program.funcs[0].type_id)
    log = ctypes.create_string_buffer(1 << 20)
    argument = attr.PROG_LOAD.buffer(
        {
            "prog_type": program.type,
            "prog_flags": program.flags,
            "insn_cnt": len(program.insns),
            "insns": bpf.address_of(code),
            "license": bpf.address_of(b"GPL\0"),
            "prog_btf_fd": btf.fileno(),
            "func_info": bpf.address_of(funcs),
            "func_info_cnt": 1,
            "func_info_rec_size": 8,
            "core_relos": bpf.address_of(relocs),
            "core_relo_cnt": len(program.core),
            "core_relo_rec_size": 16,
            "log_level": 1,
            "log_size": len(log),
            "log_buf": ctypes.addressof(log),
        }
    )
    result = syscall.bpf(Command.PROG_LOAD, argument)
    assert result >= 0, log.value.decode()[-2000:]
    return Fd(result)


@pytest.mark.kernel
def test_the_kernel_agrees(compile_bpf: Callable[..., bytes]) -> None:
    """All thirteen kinds, on a kernel's own types: constants, loads that change their width, and a branch that is dead."""
    data = compile_bpf(SOURCE)
    spec = load_spec(data)
    assert spec.btf is not None
    assert {reloc.kind for reloc in spec.programs["core"].core} == set(CoreKind)
    types = ObjectBtf(spec.btf.raw)
    for reloc in spec.programs["core"].core:
        types.string(reloc.access)

    with load_btf(types) as btf, load_unrelocated(spec, types, btf) as program:
        theirs = bpf.prog_test_run(program, ctx=bytes(8 * RESULTS))
    with KernelEngine() as engine, engine.load(data) as collection:
        ours = collection.programs["core"].run(ctx=bytes(8 * RESULTS))

    count = ours.retval
    assert count == theirs.retval
    assert struct.unpack_from(f"<{count}Q", ours.ctx) == struct.unpack_from(f"<{count}Q", theirs.ctx_in)
