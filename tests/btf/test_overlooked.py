"""btf.overlooked: what looks special and is plain bytes to the kernel, for every layout that the rules are compared on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfcrypto.btf.overlooked import overlooked
from bpfcrypto.btf.record import special_fields
from bpfcrypto.engine import Engine
from bpfcrypto.loader.doubts import doubts
from bpfcrypto.loader.load import load_spec

PRELUDE = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(n) __attribute__((section(n), used))
#define TAG(x) __attribute__((btf_type_tag(#x)))
struct bpf_crypto_ctx { int a; } G1; union some { int a; } G3; struct declared;
struct bpf_spin_lock { u32 val; };
struct bpf_timer { u64 o[2]; } __attribute__((aligned(8)));
typedef struct bpf_spin_lock lock_t;
typedef struct bpf_crypto_ctx TAG(kptr) *kptr_t;
struct inner { u64 n; struct bpf_crypto_ctx TAG(kptr) *c; };
typedef struct inner inner_t;
#define K struct bpf_crypto_ctx TAG(kptr) *
"""

# Members of a value -> path, offset and a word of the reason for each field that is overlooked.
VALUES: dict[str, list[tuple[str, int, str]]] = {
    "u64 a; K c;": [],
    "K c[11];": [],
    "struct bpf_spin_lock l; K c; u32 b;": [],
    "struct bpf_crypto_ctx TAG(kptr) * volatile c;": [],
    "const struct bpf_crypto_ctx TAG(kptr) *c;": [],
    "struct bpf_crypto_ctx *c; char TAG(user) *d;": [],
    "u64 a; struct bpf_crypto_ctx TAG(kptr_ref) *c;": [("c", 8, "no tag 'kptr_ref'")],
    "struct bpf_crypto_ctx TAG(kptr) TAG(other) *c;": [("c", 0, "two tags")],
    "struct bpf_crypto_ctx TAG(other) TAG(kptr) *c;": [("c", 0, "two tags")],
    "struct declared TAG(kptr) *c; K d;": [("c", 0, "'declared' is declared and not defined"), ("d", 8, "another field")],
    "union some TAG(kptr) *c;": [("c", 0, "not point to a struct")],
    "int TAG(kptr) *c;": [("c", 0, "not point to a struct")],
    "void TAG(kptr) *c;": [("c", 0, "not point to a struct")],
    "struct bpf_crypto_ctx TAG(kptr) * const c;": [("c", 0, "behind a const")],
    "kptr_t c; u64 a;": [("c", 0, "behind a typedef")],
    "inner_t a;": [("a.c", 8, "behind a typedef")],
    "u64 q; struct { u64 a; K c; };": [],
    "u64 q; union { u64 a; K c; };": [("c", 8, "in a union")],
    "K c[12];": [(f"c[{n}]", 8 * n, "more than 11 elements") for n in range(12)],
    "K c[6]; K d[6];": [(f"{'c' if n < 6 else 'd'}[{n % 6}]", 8 * n, "more than 11") for n in range(12)],
    "struct inner a[12];": [(f"a[{n}].c", 16 * n + 8, "more than 11 elements") for n in range(12)],
    "lock_t l; u32 a;": [("l", 0, "behind a typedef")],
    "struct bpf_spin_lock l[2]; K c;": [("l[0]", 0, "another field"), ("l[1]", 4, "another field"), ("c", 8, "another field")],
    "struct bpf_timer t, u;": [("t", 0, "another field"), ("u", 16, "another field")],
}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(compile_bpf: Callable[..., bytes]) -> bytes:
    """One object with a map for each of VALUES."""
    maps = [
        f"struct v{n} {{ {members} }}; struct {{ int (*type)[2]; int (*max_entries)[1]; u32 *key; struct v{n} *value; }}"
        f' m{n} SEC(".maps");'
        for n, members in enumerate(VALUES)
    ]
    return compile_bpf(PRELUDE + "\n".join(maps))


@pytest.mark.parametrize("members", VALUES)
def test_values(compiled: bytes, members: str) -> None:
    """Path, offset and reason of each field that is overlooked, and of no other."""
    spec = load_spec(compiled)
    assert spec.btf is not None
    value = spec.maps[f"m{list(VALUES).index(members)}"].value_type
    found = overlooked(spec.btf, value)

    assert [(each.path, each.offset) for each in found] == [(path, offset) for path, offset, _ in VALUES[members]]
    for each, (_, _, reason) in zip(found, VALUES[members], strict=True):
        assert reason in each.reason
    assert not {each.offset for each in found} & {field.offset for field in special_fields(spec.btf, value)}


OBJECT = (
    PRELUDE
    + """
struct value { u64 a; struct bpf_crypto_ctx TAG(kptr_ref) *c; };
struct good { K c; };
struct {
	int (*type)[13]; int (*max_entries)[1]; u32 *key;
	struct { int (*type)[1]; int (*max_entries)[1]; u32 *key; struct value *value; } *values[];
} outer SEC(".maps");
struct { int (*type)[25]; int (*max_entries)[1]; u32 *key; struct good *value; } devices SEC(".maps");
struct bpf_crypto_ctx TAG(kptr_ref) *global SEC(".bss.g");
"""
)


def test_warnings(engine: Engine, compile_bpf: Callable[..., bytes]) -> None:
    """A collection tells of inner maps, data sections, and map types that have no types; the object is loaded all the same."""
    with engine.load(compile_bpf(OBJECT)) as collection:
        inner, devices, section = collection.warnings

        assert inner == (
            "map 'outer.inner': 'kptr_ref' pointer 'c' at offset 8 of the value is plain bytes to the kernel: "
            "the kernel knows no tag 'kptr_ref'"
        )
        assert "'devices': 'kptr' at offset 0" in devices
        assert "DEVMAP_HASH has no types" in devices
        assert "'.bss.g': 'kptr_ref' pointer 'global'" in section
        assert collection.warnings == doubts(collection.spec)


def test_an_object_without_doubts(engine: Engine, compile_bpf: Callable[..., bytes]) -> None:
    """Nothing to say of what is as the kernel takes it, nor of an object without types."""
    data = compile_bpf(
        PRELUDE
        + 'struct v { K c; }; struct { int (*type)[1]; int (*max_entries)[1]; u32 *key; struct v *value; } m SEC(".maps");'
    )
    with engine.load(data) as collection:
        assert collection.warnings == ()
