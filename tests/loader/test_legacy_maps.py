"""loader.legacy_maps: maps in the section ``maps``."""

from __future__ import annotations

import struct

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType, Pinning
from bpfcrypto.errors import ElfError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import MapRef
from support.elfwriter import OBJECT, R_64_64, WRITE, ElfWriter, program

LOADS = (Insn(0x18, dst=1), Insn(0), Insn(0xB7), Insn(0x95))


def definitions(*rows: tuple[int, ...]) -> ElfWriter:
    """An object with a definition for each row, and a program that takes the address of the last one."""
    elf = program(insns=LOADS)
    data = [struct.pack(f"<{len(row)}I", *row) for row in rows]
    section = elf.section("maps", b"".join(data), flags=WRITE)
    at = 0
    for number, each in enumerate(data):
        last = elf.symbol(f"m{number}", section, value=at, size=len(each), kind=OBJECT)
        at += len(each)
    elf.reloc(1, 0, last, R_64_64)
    return elf


def test_two_maps() -> None:
    """Five numbers each; a program refers to one by where it starts."""
    spec = load_spec(definitions((1, 4, 8, 16, 1), (2, 4, 48, 2, 0)).to_bytes())
    first, second = spec.maps.values()

    assert (first.type, first.key_size, first.value_size, first.max_entries) == (MapType.HASH, 4, 8, 16)
    assert first.flags is MapFlag.NO_PREALLOC
    assert (second.name, second.type, second.value_size) == ("m1", MapType.ARRAY, 48)
    assert spec.programs["main"].refs == {0: MapRef("m1")}


def test_the_form_of_iproute2() -> None:
    """An id, which only means something to its loader, and pinning stand behind the flags."""
    spec = load_spec(definitions((2, 4, 4, 1, 0, 7, 2, 0, 0)).to_bytes())

    assert spec.maps["m0"].pinning is Pinning.BY_NAME


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((2, 4, 4, 1), "a definition of 16 bytes is too short"),
        ((99, 4, 4, 1, 0), "map type 99 is not known"),
        ((13, 4, 4, 1, 0, 0, 0, 5, 0), "inner maps"),
        ((2, 4, 4, 1, 0, 0, 0, 0, 0, 1), "what else stands behind"),
    ],
)
def test_what_is_refused(row: tuple[int, ...], message: str) -> None:
    """The message names the map and what to write instead."""
    with pytest.raises(ElfError, match=message) as caught:
        load_spec(definitions(row).to_bytes())

    assert "'m0'" in str(caught.value)
    assert "__uint()" in str(caught.value.hint)
