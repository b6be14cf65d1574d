"""Names of fields within a type."""

from __future__ import annotations

from bpfcrypto.btf.path import named_fields, path_of
from bpfcrypto.loader.load import load_spec

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct inner { u32 number; struct bpf_crypto_ctx __kptr *cctx; };
struct value {
	u8 first;
	struct { u16 nameless; };
	struct inner grid[2][2];
	union { u32 as_word; u8 as_bytes[4]; } either;
	struct bpf_crypto_ctx __kptr *last;
};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct value); } m SEC(".maps");
static SEC(".bss.k") struct inner spare;
SEC("tc") int use(struct __sk_buff *skb) { return spare.cctx != NULL; }
"""


def test_names(compile_bpf: object) -> None:
    """Members, array elements and variables are named as in C, special fields among them."""
    spec = load_spec(compile_bpf(SOURCE))  # type: ignore[operator]
    value = spec.maps["m"].value_type
    assert spec.btf is not None
    names: dict[str, int] = {}
    for offset in range(104):
        names.setdefault(path_of(spec.btf, value, offset), offset)

    assert {name: names[name] for name in ("first", "nameless", "grid[0][1].cctx", "either.as_word", "last")} == {
        "first": 0,
        "nameless": 2,
        "grid[0][1].cctx": 32,
        "either.as_word": 72,
        "last": 80,
    }
    assert path_of(spec.btf, value, 500) == ""
    assert list(named_fields(spec.btf, value)) == [
        "grid[0][0].cctx",
        "grid[0][1].cctx",
        "grid[1][0].cctx",
        "grid[1][1].cctx",
        "last",
    ]
    section = spec.maps[".bss.k"]
    assert {name: field.offset for name, field in named_fields(spec.btf, section.value_type).items()} == {
        "spare.cctx": 8
    }
