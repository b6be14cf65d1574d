"""An object's types on their way into the kernel: what is rewritten, and that every id stays."""

from __future__ import annotations

from itertools import combinations

import pytest

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Composite, DataSec, DeclTag, Kind, Ref
from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel import bpf, features
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.features import PROBES, load_btf, table
from bpfcrypto.kernel.objbtf import Feature, ObjectBtf, Record
from bpfcrypto.loader.load import load_spec


@pytest.fixture
def raw(cipher_object: bytes) -> bytes:
    btf = load_spec(cipher_object).btf
    assert btf is not None
    return btf.raw


def test_untouched_types_survive(raw: bytes) -> None:
    """Taking a table apart and putting it together changes nothing."""
    again = read_btf(ObjectBtf(raw).to_bytes())
    before = read_btf(raw)

    assert [again[i] for i in range(len(again))] == [before[i] for i in range(len(before))]


def test_externs_become_typedefs(raw: bytes) -> None:
    """Kfunc declarations keep their ids and names and are functions no more; .ksyms is empty."""
    types = ObjectBtf(raw)
    types.drop_externs()
    before, after = read_btf(raw), read_btf(types.to_bytes())
    kfunc = before.find("bpf_crypto_encrypt", Kind.FUNC)
    section = before.find(".ksyms", Kind.DATASEC)
    assert kfunc is not None
    assert section is not None

    assert len(after) == len(before)
    assert after[kfunc] == Ref(Kind.TYPEDEF, before[kfunc].type_id, "bpf_crypto_encrypt")  # type: ignore[union-attr]
    assert after[section] == Composite(Kind.STRUCT, "", 0, ())
    assert isinstance(after[after.find(".bss", Kind.DATASEC) or 0], DataSec)


def test_tags_on_arguments_of_externs() -> None:
    """A typedef has no arguments, so their tags move to the typedef as a whole."""
    extern = PROBES[Feature.FUNC_LINKAGE]
    records = (*extern[:2], Record(Kind.FUNC, 2, name=1, extra=2))
    tag = Record(Kind.DECL_TAG, name=1, extra=3, rest=(0,))
    types = ObjectBtf(table((*records, tag)))
    types.drop_externs()

    found = read_btf(types.to_bytes())[4]
    assert found == DeclTag("a", 3, -1)


def test_strings() -> None:
    """A string that is there is found, a new one is appended, and old offsets stay."""
    types = ObjectBtf(table(PROBES[Feature.FLOAT]))

    assert types.string("") == 0
    assert types.string("a") == 1
    offset = types.string("new")
    assert types.string("new") == offset == 3
    assert read_btf(types.to_bytes()).string_at(offset) == "new"


@pytest.mark.kernel
def test_probes_are_valid_tables() -> None:
    """This kernel is newer than every feature in the list, so it takes each probe."""
    assert features.missing_features() == frozenset()


@pytest.mark.kernel
@pytest.mark.parametrize("count", [0, 1, 2, len(Feature)])
def test_rewritten_types_load(raw: bytes, count: int) -> None:
    """What is left without some features is still a table that a kernel takes."""
    types = ObjectBtf(raw)
    types.drop_externs()
    for missing in combinations(Feature, count):
        older = types.without(missing)
        bpf.btf_load(older.to_bytes()).close()
        assert len(read_btf(older.to_bytes())) == len(read_btf(raw))


@pytest.mark.parametrize("feature", Feature)
def test_features_are_rewritten_away(feature: Feature) -> None:
    """After the rewriting, nothing is left of the probe that a kernel without the feature refuses."""
    before = PROBES[feature]
    after = ObjectBtf(table(before)).without([feature])._records

    assert len(after) == len(before)
    assert tuple(after) != before


@pytest.mark.kernel
def test_older_kernel_gets_older_types(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a kernel refuses the types and lacks a feature, they are loaded once more without it."""
    attempts: list[bytes] = []
    real = bpf.btf_load

    def refuse_type_tags(data: bytes) -> Fd:
        attempts.append(data)
        if any(record.kind is Kind.TYPE_TAG for record in ObjectBtf(data)._records):
            raise SyscallError("BPF_BTF_LOAD", 22)
        return real(data)

    monkeypatch.setattr(bpf, "btf_load", refuse_type_tags)
    features.missing_features.cache_clear()
    types = ObjectBtf(raw)
    types.drop_externs()
    try:
        load_btf(types).close()
        assert features.missing_features() == {Feature.TYPE_TAG, Feature.TAG_ATTRIBUTES}
    finally:
        features.missing_features.cache_clear()
    assert attempts[0] == types.to_bytes()
