"""btf.record against a kernel: a lookup shows where the special fields are, because it does not show what was stored there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.btf.record import FieldKind, special_fields
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.features import load_btf
from bpfcrypto.kernel.objbtf import ObjectBtf
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import MapSpec

PRELUDE = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(n) __attribute__((section(n), used))
#define TAG(x) __attribute__((btf_type_tag(#x)))
struct bpf_crypto_ctx { int a; } G1; struct mine { int a; } G2; union some { int a; } G3; struct declared;
struct bpf_spin_lock { u32 val; };
struct bpf_timer { u64 o[2]; } __attribute__((aligned(8)));
struct bpf_wq { u64 o[2]; } __attribute__((aligned(8)));
struct bpf_refcount { u32 o[1]; };
typedef struct bpf_spin_lock lock_t;
typedef struct bpf_crypto_ctx TAG(kptr) *kptr_t;
struct bpf_list_head { u64 o[2]; } __attribute__((aligned(8)));
struct bpf_list_node { u64 o[3]; } __attribute__((aligned(8)));
struct bpf_rb_node { u64 o[4]; } __attribute__((aligned(8)));
struct item { u64 n; struct bpf_list_node l; } G4; struct leaf { u64 n; struct bpf_rb_node r; } G5;
#define HOLDS(s, m) __attribute__((btf_decl_tag("contains:" #s ":" #m)))
struct inner { u64 n; struct bpf_crypto_ctx TAG(kptr) *c; };
struct locked { u64 n; struct bpf_spin_lock l; };
typedef struct inner inner_t;
#define K struct bpf_crypto_ctx TAG(kptr) *
"""

# Members of a map value, all of which BTF_LOAD accepts.
VALUES = {
    "one": "u64 a; K c; u64 b;",
    "two": "K c; u64 a; K d;",
    "untrusted": "struct bpf_crypto_ctx TAG(kptr_untrusted) *c; u64 a;",
    "percpu": "struct mine TAG(percpu_kptr) *c; u64 a;",
    "own_struct": "struct mine TAG(kptr) *c;",
    "unknown_tag": "struct bpf_crypto_ctx TAG(kptr_ref) *c;",
    "two_tags": "struct bpf_crypto_ctx TAG(kptr) TAG(other) *c;",
    "declared": "struct declared TAG(kptr) *c;",
    "union_target": "union some TAG(kptr) *c;",
    "int_target": "int TAG(kptr) *c;",
    "const_target": "const struct bpf_crypto_ctx TAG(kptr) *c;",
    "volatile_pointer": "struct bpf_crypto_ctx TAG(kptr) * volatile c;",
    "const_pointer": "struct bpf_crypto_ctx TAG(kptr) * const c;",
    "typedef_pointer": "kptr_t c; u64 a;",
    "nested": "struct inner a; u64 b;",
    "typedef_nested": "inner_t a;",
    "anonymous": "u64 q; struct { u64 a; K c; };",
    "in_union": "union { u64 a; K c; };",
    "array_11": "K c[11];",
    "array_12": "K c[12];",
    "grid": "K c[2][3];",
    "array_of_structs": "struct inner a[3];",
    "too_many_structs": "struct inner a[12];",
    "six_and_six": "K c[6]; K d[6];",
    "lock": "struct bpf_spin_lock l; u32 a;",
    "typedef_lock": "lock_t l; u32 a;",
    "lock_and_kptr": "struct bpf_spin_lock l; K c;",
    "lock_array": "struct bpf_spin_lock l[2];",
    "nested_locks": "struct locked a; struct bpf_spin_lock l; u32 b;",
    "locked_array": "struct locked a[2];",
    "timer": "u64 a; struct bpf_timer t;",
    "two_timers": "struct bpf_timer t, u;",
    "workqueue": "struct bpf_wq w; u64 a;",
    "refcount": "struct bpf_refcount r; K c;",
    "plain": "u64 a; struct bpf_crypto_ctx *c;",
}

# Variables of a data section, which BTF_LOAD does not look into.
SECTIONS = {
    "global": "K g DATA;",
    "volatile_static": "static K volatile g DATA; void *use(void) { return g; }",
    "bad_neighbour": "K g DATA; struct bpf_crypto_ctx TAG(other) *h DATA;",
    "struct": "struct inner s DATA; u64 n DATA;",
    "structs": "struct inner s[2] DATA; u64 n[3] DATA;",
    "two_locks": "struct bpf_spin_lock l DATA, m DATA; u64 n DATA;",
    "thirteen": "K g[12] DATA; K h DATA;",
    "list": "struct bpf_spin_lock l DATA; struct bpf_list_head h DATA HOLDS(item, l);",
    "lists": "struct bpf_spin_lock l DATA; struct bpf_list_head h[2] DATA HOLDS(item, l);",
    "list_without_a_lock": "struct bpf_list_head h DATA HOLDS(item, l); u64 n DATA;",
    "list_of_tree_nodes": "struct bpf_spin_lock l DATA; struct bpf_list_head h DATA HOLDS(leaf, r);",
    "list_of_numbers": "struct bpf_spin_lock l DATA; struct bpf_list_head h DATA HOLDS(item, n);",
    "list_of_nothing": "struct bpf_spin_lock l DATA; struct bpf_list_head h DATA HOLDS(item, none);",
    "list_of_two_kinds": "struct bpf_spin_lock l DATA; struct bpf_list_head h DATA HOLDS(item, l) HOLDS(leaf, r);",
}


def shown(spec: MapSpec, raw: bytes) -> bytes:
    """What a lookup gives after all ones were stored."""
    with (
        load_btf(ObjectBtf(raw)) as types,
        bpf.map_create(
            spec.type,
            spec.key_size,
            spec.value_size,
            1,
            btf_fd=types.fileno(),
            btf_key_type_id=spec.key_type,
            btf_value_type_id=spec.value_type,
        ) as made,
    ):
        bpf.map_update(made, bytes(4), b"\xff" * spec.value_size)
        return bpf.map_lookup(made, bytes(4), spec.value_size)


def expected(data: bytes, map_name: str) -> tuple[bytes, MapSpec, bytes]:
    """What a lookup should give by our own reading of the types."""
    spec = load_spec(data)
    assert spec.btf is not None
    value = bytearray(b"\xff" * spec.maps[map_name].value_size)
    for field in special_fields(spec.btf, spec.maps[map_name].value_type):
        initial = 1 if field.kind is FieldKind.REFCOUNT else 0
        value[field.offset : field.offset + field.size] = initial.to_bytes(field.size, "little")
    return bytes(value), spec.maps[map_name], spec.btf.raw


@pytest.fixture(scope="module")
def values(compile_bpf: Callable[..., bytes]) -> bytes:
    """One object with a map for each of VALUES."""
    maps = [
        f"struct v_{name} {{ {members} }}; struct {{ int (*type)[2]; int (*max_entries)[1]; u32 *key; struct v_{name} *value; }}"
        f' {name} SEC(".maps");'
        for name, members in VALUES.items()
    ]
    return compile_bpf(PRELUDE + "\n".join(maps))


@pytest.mark.kernel
@pytest.mark.parametrize("case", VALUES)
def test_map_values(case: str, values: bytes) -> None:
    """The kernel hides exactly the bytes that we call special."""
    wanted, spec, raw = expected(values, case)

    assert shown(spec, raw) == wanted


@pytest.mark.kernel
@pytest.mark.parametrize("case", SECTIONS)
def test_data_sections(case: str, compile_bpf: Callable[..., bytes]) -> None:
    """The same for global variables."""
    data = compile_bpf(PRELUDE + '#define DATA SEC(".bss.k")\n' + SECTIONS[case])
    wanted, spec, raw = expected(data, ".bss.k")
    found = bytearray(shown(spec, raw))
    for at in heads(data):
        if found[at : at + 16] != b"\xff" * 16:
            found[at : at + 16] = bytes(16)

    assert found == wanted


def heads(data: bytes) -> list[int]:
    """Where the section has list heads: a lookup shows where their elements are in the kernel's memory."""
    spec = load_spec(data)
    assert spec.btf is not None
    record = special_fields(spec.btf, spec.maps[".bss.k"].value_type)
    return [field.offset for field in record if field.kind is FieldKind.LIST_HEAD]
