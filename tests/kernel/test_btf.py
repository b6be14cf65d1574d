"""The kernel's types, found from their bytes: the same answers as from reading the whole table."""

from __future__ import annotations

import random
import struct

import pytest

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Kind
from bpfcrypto.errors import BtfError
from bpfcrypto.kernel.btf import HEADER, KernelBtf, kernel_btf

NAMES = b"\0alpha\0beta\0alpha___new\0"
ALPHA, BETA, FLAVOUR = 1, 7, 12


def table(*records: tuple[int, ...]) -> bytes:
    words = [word for record in records for word in record]
    types = struct.pack(f"<{len(words)}I", *words)
    return HEADER.pack(0xEB9F, 1, 0, 24, 0, len(types), len(types), len(NAMES)) + types + NAMES


INT = (BETA, Kind.INT << 24, 4, 32)
PROTO = (0, Kind.FUNC_PROTO << 24 | 1, 1, ALPHA, 1)  # its argument is called alpha
SAMPLE = table(
    INT,  # 1
    (ALPHA, Kind.STRUCT << 24 | 1, 4, ALPHA, 1, 0),  # 2: struct alpha { beta alpha; }
    PROTO,  # 3
    (ALPHA, Kind.FUNC << 24, 3),  # 4
    (FLAVOUR, Kind.STRUCT << 24, 0),  # 5
    (BETA, Kind.FUNC << 24 | 1, 3),  # 6
)


def test_names_lead_to_records_only() -> None:
    """A name that is also a member's and an argument's is found where a record bears it."""
    btf = KernelBtf(SAMPLE)

    assert btf.find_all("alpha") == (2, 4)
    assert btf.find("alpha", Kind.FUNC) == 4
    assert btf.func_id("alpha") == 4
    assert btf.func_id("beta") == 6
    assert btf.func_id("gamma") is None
    assert btf.find("", Kind.FUNC) is None
    assert btf.flavours("alpha") == (2, 4, 5)


def test_same_as_the_whole_table() -> None:
    """Every record, size and length agrees with the reader's."""
    btf, whole = KernelBtf(SAMPLE), read_btf(SAMPLE)

    assert len(btf) == len(whole) == 7
    assert [btf[i] for i in range(7)] == [whole[i] for i in range(7)]
    assert btf.size_of(2) == 4
    assert btf.raw == SAMPLE
    with pytest.raises(IndexError):
        btf[7]


@pytest.mark.parametrize("name", ["beta", "alpha"])
def test_order_of_lookups_does_not_matter(name: str) -> None:
    """The search starts near the last find and still finds what lies before it."""
    btf = KernelBtf(SAMPLE)
    found = [btf.func_id(each) for each in ("beta", "alpha", name)]

    assert found == [6, 4, {"alpha": 4, "beta": 6}[name]]


def test_damage() -> None:
    """Bytes that are no table, and kinds that nobody knows, are BtfErrors."""
    with pytest.raises(BtfError):
        KernelBtf(b"not BTF at all, but long enough")
    with pytest.raises(BtfError):
        len(KernelBtf(table((ALPHA, 31 << 24, 0))))
    with pytest.raises(BtfError):
        KernelBtf(SAMPLE).string_at(10_000)


@pytest.mark.kernel
def test_running_kernel() -> None:
    """A sample of names and records of the real table, against the reader."""
    btf = kernel_btf()
    whole = read_btf(btf.raw)
    ids = random.Random(6).sample(range(len(whole)), 400)

    assert [btf[i] for i in ids] == [whole[i] for i in ids]
    for name in {whole[i].name for i in ids[:40]} - {""}:
        assert btf.find_all(name) == whole.find_all(name), name
        assert btf.func_id(name) == whole.find(name, Kind.FUNC), name
        assert btf.flavours(name) == whole.flavours(name), name


@pytest.mark.kernel
def test_kfunc_lookup_walks_no_further_than_needed() -> None:
    """Records behind a kfunc are not counted: the point of this reader is that it stops."""
    btf = KernelBtf(kernel_btf().raw)
    found = btf.func_id("bpf_crypto_encrypt")

    assert found is not None
    assert len(btf._steps) <= found // 1024 + 2
