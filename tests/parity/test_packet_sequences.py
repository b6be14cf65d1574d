"""Random sequences of helpers on packets leave the same packet, context and results on both engines.

Each sequence is a program of up to eight calls with arguments from edge values; what one call leaves behind is what the next works on.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.ctx import SK_BUFF
from bpfcrypto.abi.progs import ProgType, RunFlag
from support.call_rows import skb_ctx, xdp_ctx
from support.calls import CTX, Call, Mem, Row, Stack, call, play
from support.packets import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

SEQUENCES = 240
CHUNK = 40
PACKETS = tuple(sample().values())

Draw = random.Random

OFFSETS = (0, 1, 6, 12, 13, 14, 15, 16, 18, 20, 24, 34, 40, 53, 54, 60, 70, 0xFFFF, 0x10000)
SIZES = (1, 2, 4, 6, 13, 20, 64)
TAILS = (13, 14, 15, 30, 34, 54, 60, 61, 100, 300, 4000, 16064, 16065)
HEADS = (0, 1, 2, 14, 20, 65, 300)
ROOMS = (0, 1, 4, 8, 13, 14, 20, 24, 40, 100, 1400, 4095, 4096, -1, -4, -8, -14, -20, -24, -40, -60, -4095, -4096)
ROOM_FLAGS = (
    0,
    0,
    0,
    1,
    2,
    4,
    6,
    10,
    12,
    18,
    20,
    26,
    32,
    34,
    64 | 2 | 14 << 56,
    64 | 2,
    2 | 10 << 56,
    0x80,
    0x100,
    0x180,
    0x81,
    0xA0,
    0x200,
    1 << 40,
)
PROTOCOLS = (0x0008, 0xDD86, 0x0081, 0xA888, 0, 0x10008)
LOADS = (
    "len",
    "pkt_type",
    "protocol",
    "vlan_present",
    "vlan_tci",
    "vlan_proto",
    "hash",
    "mark",
    "tstamp",
    "tstamp_type",
    "gso_size",
    "gso_segs",
)


def _skb_calls(draw: Draw) -> Call:
    """One call on an skb."""
    pick = draw.choice
    made = pick(
        (
            lambda: call("bpf_skb_load_bytes", CTX, pick(OFFSETS), Mem(), pick(SIZES)),
            lambda: call("bpf_skb_load_bytes_relative", CTX, pick(OFFSETS), Mem(64), pick(SIZES), pick((0, 1, 1, 2))),
            lambda: call("bpf_skb_store_bytes", CTX, pick(OFFSETS), Mem(128), pick(SIZES), pick((0, 1, 1, 2, 3, 4))),
            lambda: call("bpf_skb_pull_data", CTX, pick((0, 14, 34, 60, 5000))),
            lambda: call("bpf_skb_change_tail", CTX, pick(TAILS), pick((0, 0, 0, 0, 0, 1))),
            lambda: call("bpf_skb_change_head", CTX, pick(HEADS), pick((0, 0, 0, 0, 0, 1))),
            lambda: call("bpf_skb_change_proto", CTX, pick(PROTOCOLS), pick((0, 0, 0, 0, 1))),
            lambda: call("bpf_skb_change_type", CTX, pick((0, 1, 2, 3, 4, 9))),
            lambda: call("bpf_skb_adjust_room", CTX, pick(ROOMS), pick((0, 0, 1, 1, 2)), pick(ROOM_FLAGS)),
            lambda: call("bpf_skb_adjust_room", CTX, pick(ROOMS), pick((0, 1)), 0),
            lambda: call("bpf_skb_vlan_push", CTX, pick(PROTOCOLS), pick((0, 7, 0xFFFF, 0x10005))),
            lambda: call("bpf_skb_vlan_pop", CTX),
            lambda: call("bpf_csum_update", CTX, pick((0, 1, 0xFFFF, 0xFFFFFFFF, 0x12345678))),
            lambda: call("bpf_csum_level", CTX, pick((0, 1, 1, 2, 3, 4))),
            lambda: call("bpf_set_hash", CTX, pick((0, 1, 0xFFFFFFFF, 1 << 32 | 5))),
            lambda: call("bpf_set_hash_invalid", CTX),
            lambda: call("bpf_skb_set_tstamp", CTX, pick((0, 1, 1 << 63)), pick((0, 1, 2, 3))),
            lambda: call("bpf_skb_ecn_set_ce", CTX),
            lambda: call("bpf_l3_csum_replace", CTX, pick(OFFSETS), 0, pick((0, 0x1234, 0xFFFFFFFF)), 0),
            lambda: call(
                "bpf_l4_csum_replace",
                CTX,
                pick(OFFSETS),
                pick((0, 0, 5)),
                pick((0, 0x1234, 0xFFFFFFFF)),
                pick((0, 2, 4, 0x10, 0x12, 0x14, 0x30, 0x90, 0x94, 3)),
            ),
        )
    )
    field = SK_BUFF.field(pick(LOADS))
    return made() if draw.random() < 0.8 else call("load", field.offset, field.size)


def _xdp_calls(draw: Draw) -> Call:
    """One call on an xdp frame."""
    pick = draw.choice
    made = pick(
        (
            lambda: call("bpf_xdp_adjust_head", CTX, pick((0, 1, 14, 40, 86, -1, -14, -100, -216, -217, 1 << 31))),
            lambda: call(
                "bpf_xdp_adjust_tail",
                CTX,
                pick((0, 1, 14, 100, 3000, 4096, -1, -14, -40, -60, -100, -1000, -4096, 1 << 31)),
            ),
            lambda: call("bpf_xdp_adjust_meta", CTX, pick((0, 4, 8, -4, -8, -216, -3, 256))),
            lambda: call("bpf_xdp_get_buff_len", CTX),
            lambda: call("bpf_xdp_load_bytes", CTX, pick(OFFSETS), Mem(), pick(SIZES)),
            lambda: call("bpf_xdp_store_bytes", CTX, pick(OFFSETS), Mem(128), pick(SIZES)),
            lambda: call("bpf_dynptr_from_xdp", CTX, 0, Stack(16)),
        )
    )
    return made()


def _skb_row(name: str, draw: Draw) -> Row:
    ctx = skb_ctx(mark=5, tstamp=7) if draw.random() < 0.5 else b""
    if draw.random() < 0.15:
        ctx = skb_ctx(gso_size=draw.choice((1, 500)), gso_segs=draw.choice((0, 2)))
    flags = RunFlag.CHECKSUM_COMPLETE if draw.random() < 0.3 else RunFlag.NONE
    calls = tuple(_skb_calls(draw) for _ in range(draw.randint(1, 8)))
    if flags:
        # a packet cut below its network header makes the kernel sum a negative number of bytes (BUG in skb_checksum)
        calls = tuple(one for one in calls if one.name != "bpf_skb_change_tail")
    repeat = draw.choice((1, 1, 1, 2, 3))
    return Row(
        name,
        draw.choice((ProgType.SCHED_CLS, ProgType.SCHED_ACT)),
        calls,
        draw.choice(PACKETS),
        ctx,
        repeat,
        flags=flags,
    )


def _xdp_row(name: str, draw: Draw) -> Row:
    data = draw.choice(PACKETS) * draw.choice((1, 1, 4))
    meta = draw.choice((0, 0, 0, 8, 12))
    ctx = xdp_ctx(data=meta, data_end=draw.randint(meta, len(data))) if draw.random() < 0.8 and len(data) > 40 else b""
    calls = tuple(_xdp_calls(draw) for _ in range(draw.randint(1, 8)))
    return Row(name, ProgType.XDP, calls, data, ctx, draw.choice((1, 1, 2)), frags=True)


def rows(kind: str, chunk: int) -> Sequence[Row]:
    """The sequences of one chunk; a name is the seed of its row."""
    make = _skb_row if kind == "skb" else _xdp_row
    names = [f"{kind} {number}" for number in range(CHUNK * chunk, CHUNK * (chunk + 1))]
    return [make(name, random.Random(name)) for name in names]


@pytest.mark.kernel
@pytest.mark.parametrize("chunk", range(SEQUENCES // CHUNK))
@pytest.mark.parametrize("kind", ["skb", "xdp"])
def test_sequences_do_the_same(
    embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, kind: str, chunk: int
) -> None:
    """Results, packet, context and memory are equal, sequence by sequence."""
    different = []
    for row in rows(kind, chunk):
        here, there = play(embedded_engine, row), play(kernel_engine, row)
        if here != there:
            different.append((row, here, there))

    assert different == []
