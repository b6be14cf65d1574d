"""Structures that Python and the runtime's C both know have the same members in both, and so the same layout."""

from __future__ import annotations

import ctypes
import re
from enum import IntEnum
from pathlib import Path

import pytest

from bpfcrypto.abi import ringbuf
from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD
from bpfcrypto.embedded import jit, packet_record
from bpfcrypto.embedded.jit.record import RunRecord
from bpfcrypto.embedded.map_record import MapAbility, MapKind, MapRecord
from bpfcrypto.embedded.map_ringbuf import RingPage

RUNTIME = Path(jit.__file__).parent / "runtime"
TYPES = {"u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}


def members(file: str, name: str) -> list[tuple[str, type]]:
    """The members of a structure in C, in order."""
    body = re.search(rf"struct {name} \{{(.*?)\}};", (RUNTIME / file).read_text(), re.DOTALL)
    assert body is not None
    lines = re.findall(r"(u\d+) ([\w, ]+);", body[1])
    return [(each.strip(), TYPES[kind]) for kind, names in lines for each in names.split(",")]


@pytest.mark.parametrize(
    ("file", "name", "record"),
    [
        ("map.h", "map", MapRecord),
        ("run.h", "run_record", RunRecord),
        ("ringbuf_v4.bpf.c", "ring", RingPage),
    ],
)
def test_members(file: str, name: str, record: type[ctypes.Structure]) -> None:
    """Names, types and their order."""
    assert members(file, name) == [(field[0], field[1]) for field in record._fields_]


@pytest.mark.parametrize("kind", [MapKind, MapAbility])
def test_numbers(kind: type[IntEnum]) -> None:
    """What Python calls a kind or an ability has the same number in C."""
    text = (RUNTIME / "map.h").read_text()
    numbers: dict[str, int] = {}
    for body in re.findall(r"enum \{(.*?)\};", text):
        following = 0
        for each in body.split(","):
            name, _, value = each.partition("=")
            following = int(value) if value.strip() else following
            numbers[name.strip()] = following
            following += 1
    assert {each.name: numbers[str(each.name)] for each in kind if each} == {
        each.name: each.value for each in kind if each
    }


def test_packet_words() -> None:
    """The words behind a context have the same names and order in C, and there are as many as are copied for a packet."""
    common, skb = (members("runtime.h", name) for name in ("words", "skb"))
    names = [name.upper() for name, _ in common + skb]
    assert [getattr(packet_record, name) for name in names] == list(range(len(names)))
    text = (RUNTIME / "driver.h").read_text()
    for layout, record, count in ((SK_BUFF, "SKB", len(names)), (XDP_MD, "XDP", len(common))):
        size = packet_record.record_size(layout)
        assert size == packet_record.words_offset(layout) + 8 * count
        assert f"#define {record}_RECORD {size}\n" in text


def test_ring_numbers() -> None:
    """The numbers of ring buffers in C are those of the table."""
    text = (RUNTIME / "ringbuf_v4.bpf.c").read_text()
    for name, value in (("HEADER", ringbuf.HEADER_SIZE), ("META_PAGES", ringbuf.META_PAGES)):
        assert f"#define {name} {value}\n" in text
    for name in ("BUSY", "DISCARD"):
        bit = getattr(ringbuf, name).bit_length() - 1
        assert f"#define {name} (1u << {bit})\n" in text
    assert f"NO_WAKEUP = {ringbuf.NO_WAKEUP}, FORCE_WAKEUP = {ringbuf.FORCE_WAKEUP}" in text
