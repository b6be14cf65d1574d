"""What kptrs of elements hold, as the maps of the embedded engine tell it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import HeldKptr, Inspectable
from bpfcrypto.errors import MapTypeError
from support.packets import sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.engine import Collection

BPF = Path(__file__).parents[1] / "bpf"
FRAME = sample()["udp4-64"]
KINDS = ("array", "percpu_array", "hash", "hash_lazy", "percpu_hash", "lru_hash", "lru_percpu_hash")
KEY = (1).to_bytes(4, "little")


@pytest.fixture
def collection() -> Iterator[Collection]:
    """Maps of every kind that holds kptrs, on two CPUs."""
    with EmbeddedEngine(cpus=2).load(BPF / "maps_kptr.bpf.o") as loaded:
        loaded.variables["key"].value = 1
        loaded.variables["cipher_key"].value = bytes(range(16))
        yield loaded


def kptrs(collection: Collection, kind: str, key: bytes = KEY) -> tuple[HeldKptr, ...]:
    target = collection.maps[f"m_{kind}"]
    assert isinstance(target, Inspectable)
    return target.kptrs(key)


@pytest.mark.parametrize("kind", KINDS)
def test_an_element_tells_what_it_holds(collection: Collection, kind: str) -> None:
    """Nothing before, the context of the CPU that put it there, and nothing after it was taken out."""
    collection.programs[f"update_{kind}"].run(FRAME)
    before = kptrs(collection, kind)
    assert collection.programs[f"fill_{kind}"].run(cpu=1).retval == 0
    assert collection.variables["found"].value

    [held] = kptrs(collection, kind)
    assert held == HeldKptr(8, 1 if "percpu" in kind else 0, "bpf_crypto_ctx", "ecb(aes)", 1)
    assert bytes(range(16)).hex() not in repr(held)
    collection.programs[f"take_{kind}"].run(cpu=1)
    assert before == kptrs(collection, kind) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_elements_and_wrong_keys(collection: Collection, kind: str) -> None:
    """An element that is not there holds nothing; a key of the wrong length is an error."""
    assert kptrs(collection, kind, (77).to_bytes(4, "little")) == ()
    with pytest.raises(MapTypeError, match="a key has 4 bytes, not 3"):
        kptrs(collection, kind, b"abc")


def test_maps_without_kptrs() -> None:
    """They hold none, whatever their kind."""
    with EmbeddedEngine(cpus=os.cpu_count()).load(BPF / "maps_keyless.bpf.o", programs=[]) as loaded:
        for each in loaded.maps.values():
            assert isinstance(each, Inspectable)
            assert each.kptrs(bytes(each.spec.key_size)) == ()


def test_looking_is_no_use(collection: Collection) -> None:
    """In an LRU map an element that is looked at in this way goes as if it had not been: it stays the oldest."""
    full = collection.maps["m_lru_hash"]

    def survivors(look: bool) -> set[int]:
        for key in list(full.keys()):
            full.delete(key)
        for number in range(4):
            full.update(number.to_bytes(4, "little"), bytes(24))
        if look:
            assert kptrs(collection, "lru_hash", bytes(4)) == ()
        full.update((9).to_bytes(4, "little"), bytes(24))
        return {int.from_bytes(key, "little") for key, _ in full.items()}

    assert survivors(look=True) == survivors(look=False)
