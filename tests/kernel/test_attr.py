"""Argument layouts: packing, and agreement with the running kernel's own structures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpfcrypto.btf.types import Btf, Composite, Kind
from bpfcrypto.kernel import attr
from bpfcrypto.kernel.attr import Command, Layout
from bpfcrypto.kernel.btf import kernel_btf


def test_fields_that_are_not_given_are_zero() -> None:
    """Only what is named is set, at its natural alignment."""
    layout = Layout("first:I second:Q name:4s last:I")

    packed = layout.pack({"second": 0x1122, "name": b"ab"})

    assert packed == bytes(8) + (0x1122).to_bytes(8, "little") + b"ab\0\0" + bytes(4)
    assert layout.offsets() == {"first": 0, "second": 8, "name": 16, "last": 20}


def test_short_answers_read_as_zero() -> None:
    """An older kernel fills fewer bytes; the rest of the fields are 0."""
    layout = Layout("first:I second:Q")

    assert layout.unpack(b"\x05\0\0\0") == {"first": 5, "second": 0}


def _members(btf: Btf, struct: Composite, base: int = 0) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of every member, anonymous ones opened up."""
    for member in struct.members:
        record = btf[btf.resolve(member.type_id)]
        offset = base + member.bit_offset // 8
        if isinstance(record, Composite) and not member.name:
            yield from _members(btf, record, offset)
        elif not member.bit_size:
            yield member.name, offset, btf.size_of(member.type_id)
            if isinstance(record, Composite):
                yield from _members(btf, record, offset)


# Our names for fields of unions and bit fields.
RENAMED = {
    ("GET_ID", "id"): "btf_id",
    ("PROG_INFO", "bits"): None,
    ("MAP_BATCH", "map_fd"): None,
    ("LINK_INFO", "unused"): None,
}
STRUCTS = {
    "PROG_INFO": "bpf_prog_info",
    "MAP_INFO": "bpf_map_info",
    "BTF_INFO": "bpf_btf_info",
    "LINK_INFO": "bpf_link_info",
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name, value in vars(attr).items() if isinstance(value, Layout)])
def test_layouts_are_the_kernels(name: str) -> None:
    """Every field is where the running kernel has one of that name and size."""
    btf, layout = kernel_btf(), getattr(attr, name)
    kind = Kind.STRUCT if name in STRUCTS else Kind.UNION
    found = btf.find(STRUCTS.get(name, "bpf_attr"), kind)
    assert found is not None
    root = btf[found]
    assert isinstance(root, Composite)
    known = set(_members(btf, root))

    for field, offset in layout.offsets().items():
        theirs = RENAMED.get((name, field), field)
        sizes = {"I": 4, "i": 4, "Q": 8}
        if theirs is not None:
            size = sizes.get(layout.codes[field]) or int(layout.codes[field][:-1])
            assert (theirs, offset, size) in known, field


@pytest.mark.kernel
def test_commands_are_the_kernels() -> None:
    """Command numbers agree with enum bpf_cmd."""
    btf = kernel_btf()
    found = btf.find("bpf_cmd", Kind.ENUM)
    assert found is not None
    values = {entry.name: entry.value for entry in btf[found].values}  # type: ignore[union-attr]

    assert {f"BPF_{command.name}": int(command) for command in Command}.items() <= values.items()


def test_arrays_are_sized() -> None:
    """A byte-array field comes back as bytes."""
    layout = Layout("name:16s id:I")

    assert layout.unpack_bytes(layout.pack({"name": b"abc", "id": 1}), "name") == b"abc" + bytes(13)
