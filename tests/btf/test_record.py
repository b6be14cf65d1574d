"""btf.record: special fields by the kernel's rules."""

from __future__ import annotations

import pytest

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.record import FieldKind, SpecialField, special_fields
from bpfcrypto.btf.types import Composite, DeclTag, Fwd, Kind, Member, Ref
from support.elfwriter import TypeBuilder


class Types(TypeBuilder):
    """Kernel structs and pointers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.ctx = self.struct("bpf_crypto_ctx", ("usage", self.u32, 0), size=4)
        self.kptr = self.tagged("kptr")
        self.lock = self.struct("bpf_spin_lock", ("val", self.u32, 0), size=4)
        self.timer = self.struct("bpf_timer", ("opaque", self.array(self.u64, 2), 0), size=16)
        self.root = self.struct("bpf_rb_root", ("opaque", self.array(self.u64, 2), 0), size=16)

    def tagged(self, *tags: str, target: int | None = None) -> int:
        """A pointer with tags, the first one next to the star."""
        inner = self.ctx if target is None else target
        for tag in reversed(tags):
            inner = self.add(Ref(Kind.TYPE_TAG, inner, tag))
        return self.pointer(inner)

    def name(self, kind: Kind, target: int) -> int:
        return self.add(Ref(kind, target, "alias" if kind is Kind.TYPEDEF else ""))


def fields(types: Types, *members: tuple[int, int], size: int = 256) -> list[tuple[FieldKind, int]]:
    """Kinds and offsets in a struct of (type, offset) members."""
    struct = types.struct("value", *((f"m{i}", t, at) for i, (t, at) in enumerate(members)), size=size)
    return [(field.kind, field.offset) for field in special_fields(read_btf(types.to_bytes()), struct)]


def test_a_kptr_says_what_it_points_to() -> None:
    """Offset, size, kind and the name of the target come with the field."""
    types = Types()
    struct = types.struct("value", ("n", types.u64, 0), ("ctx", types.kptr, 8), size=16)

    found = special_fields(read_btf(types.to_bytes()), struct)

    assert found == (SpecialField(FieldKind.KPTR, 8, 8, "bpf_crypto_ctx", types.ctx),)
    assert found[0].is_kptr


def test_each_tag_and_struct() -> None:
    """All three kptr tags, locks and timers are found, in the order of their offsets."""
    types = Types()
    members = [
        (types.tagged("percpu_kptr"), 32),
        (types.lock, 0),
        (types.tagged("kptr_untrusted"), 8),
        (types.kptr, 24),
        (types.timer, 40),
    ]

    assert fields(types, *members) == [
        (FieldKind.SPIN_LOCK, 0),
        (FieldKind.KPTR_UNTRUSTED, 8),
        (FieldKind.KPTR, 24),
        (FieldKind.KPTR_PERCPU, 32),
        (FieldKind.TIMER, 40),
    ]


K = FieldKind.KPTR


def nested(types: Types) -> int:
    return types.struct("inner", ("n", types.u64, 0), ("ctx", types.kptr, 8), size=16)


# What the kernel recognises; checked against one by test_record_kernel.py.
RECOGNISED = {
    "const target": (lambda t: t.tagged("kptr", target=t.name(Kind.CONST, t.ctx)), [0]),
    "typedef of the target": (lambda t: t.tagged("kptr", target=t.name(Kind.TYPEDEF, t.ctx)), [0]),
    "volatile pointer": (lambda t: t.name(Kind.VOLATILE, t.kptr), [0]),
    "array of 11": (lambda t: t.array(t.kptr, 11), list(range(0, 88, 8))),
    "two dimensions": (lambda t: t.array(t.array(t.kptr, 3), 2), list(range(0, 48, 8))),
    "nested struct": (nested, [8]),
    "array of structs": (lambda t: t.array(nested(t), 3), [8, 24, 40]),
    # and what it takes for plain bytes
    "const pointer": (lambda t: t.name(Kind.CONST, t.kptr), []),
    "typedef of the pointer": (lambda t: t.name(Kind.TYPEDEF, t.kptr), []),
    "typedef of a struct": (lambda t: t.name(Kind.TYPEDEF, nested(t)), []),
    "union": (lambda t: t.add(Composite(Kind.UNION, "u", 8, (Member("c", t.kptr, 0),))), []),
    "no tag": (lambda t: t.pointer(t.ctx), []),
    "array of 12": (lambda t: t.array(t.kptr, 12), []),
    "array of none": (lambda t: t.array(t.kptr, 0), []),
    "typedef of a lock": (lambda t: t.name(Kind.TYPEDEF, t.lock), []),
    "volatile lock": (lambda t: t.name(Kind.VOLATILE, t.lock), []),
    "two locks": (lambda t: t.array(t.lock, 2), []),
    # and where it gives up on the whole value
    "unknown tag": (lambda t: t.tagged("kptr_ref"), None),
    "two tags": (lambda t: t.tagged("kptr", "other"), None),
    "declared target": (lambda t: t.tagged("kptr", target=t.add(Fwd("bpf_crypto_ctx"))), None),
    "union target": (lambda t: t.tagged("kptr", target=t.add(Composite(Kind.UNION, "u", 8, ()))), None),
    "int target": (lambda t: t.tagged("kptr", target=t.int), None),
    "void target": (lambda t: t.tagged("kptr", target=0), None),
    "root without content": (lambda t: t.root, None),
}


@pytest.mark.parametrize("case", RECOGNISED)
def test_recognition(case: str) -> None:
    """Alone, and before a good kptr: what is plain leaves the kptr alone, what is wrong takes it along."""
    make, offsets = RECOGNISED[case]
    alone = fields(types := Types(), (make(types), 0))
    beside = fields(types := Types(), (make(types), 0), (types.kptr, 128))

    assert [offset for _, offset in alone] == (offsets or [])
    if offsets is None or len(offsets) == 11 or case.endswith("of 12") or case == "two locks":
        assert beside == []
    else:
        assert beside == [(K, offset) for offset in offsets] + [(K, 128)]


def test_locks_of_nested_structs_do_not_count_together() -> None:
    """Two locks in one struct are one too many; one in each of two levels are not."""
    types = Types()
    inner = types.struct("inner", ("n", types.u64, 0), ("lock", types.lock, 8), size=16)

    assert fields(types, (inner, 0), (types.lock, 16)) == [(FieldKind.SPIN_LOCK, 8), (FieldKind.SPIN_LOCK, 16)]
    types = Types()
    assert fields(types, (types.lock, 0), (types.lock, 4)) == []


def test_a_root_needs_its_content_and_a_lock() -> None:
    """An rbtree root counts if a tag says what it holds and a lock stands beside it."""
    for with_lock in (True, False):
        types = Types()
        link = types.struct("bpf_rb_node", ("opaque", types.array(types.u64, 4), 0), size=32)
        types.struct("node", ("n", link, 0), size=32)
        members = [("root", types.root, 0), *([("lock", types.lock, 16)] if with_lock else [])]
        struct = types.struct("value", *members, size=24)
        types.add(DeclTag("contains:node:n", struct, 0))

        found = [field.kind for field in special_fields(read_btf(types.to_bytes()), struct)]

        assert found == ([FieldKind.RB_ROOT, FieldKind.SPIN_LOCK] if with_lock else [])


def test_bit_fields_beside_a_kptr() -> None:
    """A member that does not start on a byte makes the kernel give up."""
    types = Types()
    members = (Member("a", types.u32, 0, 3), Member("b", types.u32, 3, 5), Member("ctx", types.kptr, 64))
    struct = types.add(Composite(Kind.STRUCT, "value", 16, members))

    assert special_fields(read_btf(types.to_bytes()), struct) == ()


def test_global_variables() -> None:
    """A kptr in a data section is found where the section puts it, if the size of the variable is the type's."""
    types = Types()
    good, short = types.variable("g", types.kptr), types.variable("h", types.kptr)
    section = types.section(".bss.kp", (good, 16, 8), (short, 24, 4), size=28)

    found = special_fields(read_btf(types.to_bytes()), section)

    assert [(field.kind, field.offset) for field in found] == [(K, 16)]


def test_other_values_have_none() -> None:
    """An integer or an array as value type has no special fields, even an array of kptrs."""
    types = Types()
    array = types.array(types.kptr, 2)
    btf = read_btf(types.to_bytes())

    assert special_fields(btf, types.u64) == ()
    assert special_fields(btf, array) == ()


def test_structs_within_structs_end() -> None:
    """A struct that contains itself gives nothing, and the search ends."""
    types = Types()
    loop = types.add(Fwd("loop"))
    types.replace(loop, Composite(Kind.STRUCT, "loop", 8, (Member("a", loop, 0), Member("b", loop, 0))))

    assert special_fields(read_btf(types.to_bytes()), loop) == ()
