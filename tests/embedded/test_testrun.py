"""Refusals of test runs say what is wrong; the errnos are in the recorded rows of test_helpers_calls.py."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD, CtxLayout
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.testrun import check_syscall, make_skb, make_xdp, skb_ctx, xdp_ctx
from bpfcrypto.errors import SyscallError

FRAME = bytes(range(100))
LO = {1: 1}


def ctx(layout: CtxLayout, **values: int) -> bytes:
    raw = bytearray(layout.size)
    for name, value in values.items():
        field = layout.field(name)
        raw[field.offset : field.end] = value.to_bytes(field.size, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    ("data", "given", "errno", "text"),
    [
        (bytes(13), b"", 22, "a packet of 13 bytes"),
        (bytes(3713), b"", 22, "a packet of 3713 bytes"),
        (bytes(12) + b"\x08\0" + bytes(19), b"", 22, "ethertype 0x0800"),
        (FRAME, bytes(4097), 7, "a ctx of 4097 bytes"),
        (FRAME, ctx(SK_BUFF, ifindex=7), 19, "no interface has the index 7"),
        (FRAME, ctx(SK_BUFF, hash=7), 22, "byte 68 of struct __sk_buff"),
        (FRAME, ctx(SK_BUFF, wire_len=99), 22, "a wire_len of 99"),
        (FRAME, ctx(SK_BUFF, gso_segs=65536), 22, "a gso_segs of 65536"),
    ],
)
def test_skb_refusals(data: bytes, given: bytes, errno: int, text: str) -> None:
    """The value that is wrong is in the message."""
    with pytest.raises(SyscallError) as caught:
        make_skb(Memory(), data, given, LO)

    assert caught.value.errno == errno
    assert caught.value.command == "BPF_PROG_TEST_RUN"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("data", "given", "errno", "text"),
    [
        (bytes(13), b"", 22, "a frame of 13 bytes"),
        (FRAME, ctx(XDP_MD, data=6, data_end=100), 22, "data 6, data_end 100"),
        (FRAME, ctx(XDP_MD, data_end=101), 22, "data_end 101"),
        (bytes(3520 + 17 * 4096 + 1), b"", 12, "a frame of 73153 bytes"),
        (FRAME, ctx(XDP_MD, data_end=100, ingress_ifindex=4), 19, "the index 4"),
        (FRAME, ctx(XDP_MD, data_end=100, rx_queue_index=1), 22, "without an ingress_ifindex"),
        (FRAME, ctx(XDP_MD, data_end=100, ingress_ifindex=1, rx_queue_index=1), 22, "with 1 queues"),
    ],
)
def test_xdp_refusals(data: bytes, given: bytes, errno: int, text: str) -> None:
    """The value that is wrong is in the message."""
    with pytest.raises(SyscallError) as caught:
        make_xdp(Memory(), data, given, LO)

    assert caught.value.errno == errno
    assert text in str(caught.value)


@pytest.mark.parametrize(("data", "given", "repeat"), [(b"x", b"", 1), (b"", b"", 2), (b"", bytes(65536), 1)])
def test_syscall_refusals(data: bytes, given: bytes, repeat: int) -> None:
    """Data, repetitions and a large context are EINVAL."""
    with pytest.raises(SyscallError) as caught:
        check_syscall(data, given, repeat, 0)

    assert caught.value.errno == 22


def test_an_interface_can_be_named_if_the_engine_has_it() -> None:
    """An index and its queues come from the engine's option."""
    frame = make_xdp(Memory(), FRAME, ctx(XDP_MD, data_end=100, ingress_ifindex=5, rx_queue_index=3), {1: 1, 5: 4})

    assert (frame["ingress_ifindex"], frame["rx_queue_index"]) == (5, 3)


def test_a_ctx_comes_out_only_if_one_went_in() -> None:
    """Without a ctx there is none; with one, it is whole, however short it was given."""
    memory = Memory()

    assert skb_ctx(make_skb(memory, FRAME, b"", LO), b"") == b""
    assert len(skb_ctx(make_skb(memory, FRAME, bytes(4), LO), bytes(4))) == SK_BUFF.size
    assert xdp_ctx(make_xdp(memory, FRAME, b"", LO), b"") == b""
    assert xdp_ctx(make_xdp(memory, FRAME, bytes(4), LO), bytes(4)) == bytes(24)
