"""The engine's option for skbs that are not linear: what programs find, and what the crypto kfuncs do with the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfcrypto.abi.ctx import SK_BUFF
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import SyscallError
from support.calls import CTX, Mem, Row, call, play
from support.packets import payload

CRYPTO = Path(__file__).parents[1] / "bpf" / "crypto_calls.bpf.o"
PACKET = bytes(12) + b"\x88\xb5" + payload(200)
VIEW_PACKET, VIEW_NULL = 2, 0


def linear_size(engine: EmbeddedEngine, data: bytes, *before: int) -> int:
    """data_end - data, after pulling so many bytes one after another."""
    length = SK_BUFF.field("len")
    pulls = tuple(call("bpf_skb_pull_data", CTX, size) for size in before)
    # a relative load reaches the linear part only: its last byte tells the size
    calls = (
        *pulls,
        call("load", length.offset, 4),
        *(call("bpf_skb_load_bytes_relative", CTX, at, Mem(), 1, 0) for at in range(0, len(data), 1)),
    )
    results = play(engine, Row("linear", ProgType.SCHED_CLS, calls[:60], data))["results"]
    assert isinstance(results, list)
    assert results[len(pulls)] == len(data)
    return sum(result == 0 for result in results[len(pulls) + 1 :])


@pytest.mark.parametrize(("option", "size"), [(None, 58), (0, 14), (1, 14), (14, 14), (20, 20), (57, 57), (1000, 58)])
def test_the_linear_part_has_the_size_that_was_asked_for(option: int | None, size: int) -> None:
    """At least the Ethernet header, at most the packet."""
    assert linear_size(EmbeddedEngine(skb_linear=option), PACKET[:58]) == size


def test_pulling_moves_the_border() -> None:
    """Bytes that were pulled are linear; pulling more than there is changes nothing."""
    engine = EmbeddedEngine(skb_linear=14)

    assert linear_size(engine, PACKET[:50], 30) == 30
    assert linear_size(engine, PACKET[:50], 30, 20) == 30
    assert linear_size(engine, PACKET[:50], 51) == 14


def test_a_long_packet_needs_pages() -> None:
    """With the option a packet is as long as pages allow; without it, as the kernel's test run does."""
    data = bytes(12) + b"\x88\xb5" + bytes(14 + 17 * 4096 - 14)
    row = Row("long", ProgType.SCHED_CLS, (call("bpf_skb_load_bytes", CTX, len(data) - 4, Mem(), 4),), data)
    refused = {"errno": 22}

    assert play(EmbeddedEngine(skb_linear=14), row)["results"] == [0]
    assert play(EmbeddedEngine(skb_linear=13), row)["results"] == [0]
    assert play(EmbeddedEngine(), row) == refused
    assert play(EmbeddedEngine(skb_linear=14), Row("longer", ProgType.SCHED_CLS, (), data + b"x")) == refused


@pytest.mark.parametrize(
    ("linear", "offset", "length", "expected"),
    [
        (None, 14, 160, 0),
        (200, 14, 160, 0),
        (30, 14, 16, 0),
        (30, 14, 32, -22),  # across the border
        (30, 30, 16, -22),  # right behind it
        (30, 31, 16, -22),  # the kernel would encrypt foreign memory here
        (30, 64, 16, -22),
    ],
)
def test_crypto_wants_linear_bytes(linear: int | None, offset: int, length: int, expected: int) -> None:
    """EINVAL, and an untouched packet, for whatever is not wholly in the linear part."""
    with EmbeddedEngine(skb_linear=linear).load(CRYPTO) as collection:
        variables = collection.variables
        variables["cipher"].value = "ecb(aes)"
        variables["key"].bytes = bytes(range(32)) + bytes(224)
        variables["key_len"].value = 16
        collection.programs["setup"].run()
        assert variables["status"].value == 0
        variables["src"].value = {"kind": VIEW_PACKET, "offset": offset, "length": length}
        variables["dst"].value = {"kind": VIEW_PACKET, "offset": offset, "length": length}
        variables["iv"].value = {"kind": VIEW_NULL, "offset": 0, "length": 0}
        result = collection.programs["do_encrypt"].run(PACKET)

        assert variables["ret"].value == expected
        assert (result.data == PACKET) == (expected != 0)


def test_a_short_packet_is_refused_as_ever() -> None:
    """The option makes no packet of 13 bytes."""
    with EmbeddedEngine(skb_linear=14).load(CRYPTO) as collection, pytest.raises(SyscallError):
        collection.programs["do_encrypt"].run(PACKET[:13])
