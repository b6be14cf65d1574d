"""Rows about BPF_PROG_TEST_RUN: what goes in, in every combination that the kernel looks at in turn, and what comes out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD, CtxLayout
from bpfcrypto.abi.progs import RunFlag
from support.call_rows import ACT, CTX, FRAME, PACKET, SYSCALL, TC, U32, XDP, accesses, skb_ctx, xdp_ctx
from support.calls import Call, Keep, Mem, Row, Stack, call
from support.packets import sample

SKB_FIELDS = (
    "len",
    "pkt_type",
    "mark",
    "protocol",
    "priority",
    "ingress_ifindex",
    "ifindex",
    "cb",
    "tstamp",
    "wire_len",
    "gso_segs",
    "gso_size",
    "hwtstamp",
)


def _skb_look() -> tuple[Call, ...]:
    fields = (SK_BUFF.field(name) for name in SKB_FIELDS)
    return tuple(call("load", field.offset, min(field.size, 8)) for field in fields)


def _xdp_look() -> tuple[Call, ...]:
    return (call("bpf_xdp_get_buff_len", CTX), *(call("load", at, 4) for at in accesses(XDP_MD, 4)))


def skb_values() -> Iterator[Row]:
    """Every settable field of a struct __sk_buff with edge values, and every other field, alone and beside a good one."""
    look = _skb_look()
    edges = {
        4: (1, 0xFFFF, 0x10000, 0x7FFFFFFF, U32),
        8: (1, U32, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
        20: (1, 1 << 31, 1 << 64, 1 << 159, (1 << 160) - 1),
    }
    for field in SK_BUFF.fields:
        for value in edges.get(field.size, (1, 255)):
            yield Row(f"run-skb-{field.name}-{value:x}", TC, look, FRAME, skb_ctx(**{field.name: value}))
            both = skb_ctx(**{"mark": 7, field.name: value})
            yield Row(f"run-skb-{field.name}-{value:x}-twice", ACT, look, FRAME, both, repeat=2)
    for ifindex, ingress in product((0, 1, 99999, U32), (0, 1, 99999, U32)):
        yield Row(
            f"run-skb-ifindex-{ifindex}-{ingress}", TC, look, FRAME, skb_ctx(ifindex=ifindex, ingress_ifindex=ingress)
        )
    for segments, size, wire in product((0, 1, 65535, 65536), (0, 1, 65535, 65536), (0, 99, 100, 65536)):
        ctx = skb_ctx(gso_segs=segments, gso_size=size, wire_len=wire)
        yield Row(f"run-skb-gso-{segments}-{size}-{wire}", TC, look, FRAME, ctx)


def skb_kept() -> Iterator[Row]:
    """What a program writes to the context comes out of it, and goes into the next repetition."""
    stores = {
        "mark": call("store", 8, 4, 0x01020304),
        "priority": call("store", 32, 4, 0x05060708),
        "tstamp": call("store", 152, 8, 0x1122334455667788),
        "cb": call("store", 60, 4, 0xA1A2A3A4),
        "tc_index": call("store", 44, 4, 3),
        "tc_classid": call("store", 72, 4, 4),
        "queue_mapping": call("store", 12, 4, 5),
        "type": call("bpf_skb_change_type", CTX, 1),
        "tail": call("bpf_skb_change_tail", CTX, 60, 0),
        "hash": call("bpf_set_hash", CTX, 9),
        "vlan": call("bpf_skb_vlan_push", CTX, 0x81, 3),
    }
    for (name, store), repeat, length in product(stores.items(), (1, 3), (0, 4, 100, 192)):
        calls = (*_skb_look(), store)
        yield Row(
            f"run-skb-kept-{name}-{repeat}-{length}",
            TC,
            calls,
            FRAME,
            skb_ctx(mark=1, priority=2, tstamp=3)[:length],
            repeat,
        )


def skb_sizes() -> Iterator[Row]:
    """Packets of every kind cut short: with a context and without, with a known sum and without."""
    look = _skb_look()
    for (name, data), size in product(sample().items(), (13, 14, 33, 34, 53, 54)):
        if size <= len(data):
            yield Row(f"run-skb-cut-{name}-{size}", TC, look, data[:size], skb_ctx(mark=1) if size % 2 else b"")
            yield Row(f"run-skb-cut-known-{name}-{size}", TC, look, data[:size], flags=RunFlag.CHECKSUM_COMPLETE)
    for size, length in product((0, 13, 3712, 3713), (0, 4, 200, 4097)):
        ctx = bytes(length - 1) + b"\1" if length else b""
        yield Row(f"run-skb-bad-{size}-{length}", TC, look, PACKET[:size], ctx)
        yield Row(f"run-skb-bad-flag-{size}-{length}", TC, look, PACKET[:size], ctx, flags=RunFlag(8))


def xdp_borders() -> Iterator[Row]:
    """Metadata, linear size and total size together, and the room that is left around them."""
    look = _xdp_look()
    for size, meta, linear in product(
        (14, 26, 64, 300, 3600), (0, 4, 12, 216), (0, 4, 12, 13, 14, 20, 64, 216, 230, 300, 3520, 3600)
    ):
        yield Row(
            f"run-xdp-{size}-{meta}-{linear}",
            XDP,
            look,
            PACKET[:size],
            xdp_ctx(data=meta, data_end=linear),
            frags=True,
        )
    for meta, linear, delta in product((0, 8, 216), (60, 100), (-216, -208, -1, 1, 40, 86)):
        if meta < linear or meta == 0:
            ctx = xdp_ctx(data=meta, data_end=max(linear, meta))
            calls = (call("bpf_xdp_adjust_head", CTX, delta), *look[:1], call("bpf_xdp_load_bytes", CTX, 0, Mem(), 4))
            yield Row(f"run-xdp-head-{meta}-{linear}-{delta}", XDP, calls, PACKET[:300], ctx, frags=True)
    for meta, delta in product((0, 4, 8, 216), (-220, -216, -212, -8, -4, -1, 0, 1, 3, 4, 8, 216)):
        calls = (call("bpf_xdp_adjust_meta", CTX, delta), call("bpf_xdp_adjust_head", CTX, 4), *look[:1])
        yield Row(
            f"run-xdp-meta-{meta}-{delta}", XDP, calls, PACKET[:300], xdp_ctx(data=meta, data_end=300), frags=True
        )
    for repeat in (0, 1, 2, 3):
        calls = (call("bpf_xdp_adjust_head", CTX, -8), call("bpf_xdp_adjust_tail", CTX, -5), *look)
        yield Row(
            f"run-xdp-repeat-{repeat}", XDP, calls, PACKET[:300], xdp_ctx(data=4, data_end=100), repeat, frags=True
        )


def xdp_fragments() -> Iterator[Row]:
    """Frames in pieces: read, written, cut and grown at their end, through helpers and dynptrs."""
    length = call("bpf_xdp_get_buff_len", CTX)
    size = 6000
    over = (call("bpf_dynptr_from_xdp", CTX, 0, Stack(16)), call("bpf_dynptr_size", Stack(16)))
    for linear, delta in product(
        (0, 14, 100, 1000, 3520),
        (
            0,
            1,
            100,
            1096,
            1097,
            2192,
            2616,
            3092,
            4096,
            -1,
            -1000,
            -1904,
            -1905,
            -2480,
            -2481,
            -4096,
            -5000,
            -5986,
            -5987,
            -6000,
        ),
    ):
        calls = (
            call("bpf_xdp_adjust_tail", CTX, delta),
            length,
            *over,
            call("bpf_xdp_load_bytes", CTX, 0, Mem(), 14),
            call("load", 4, 4, keep=Keep.PRESENCE),
        )
        yield Row(f"run-frags-tail-{linear}-{delta}", XDP, calls, PACKET[:size], xdp_ctx(data_end=linear), frags=True)
    for linear, at, count in product(
        (14, 100, 1000, 3520), (0, 13, 14, 90, 99, 100, 995, 1000, 3515, 3520, 4190, 5095, 5990, 5999), (1, 8, 200)
    ):
        calls = (
            call("bpf_xdp_load_bytes", CTX, at, Mem(), count),
            call("bpf_xdp_store_bytes", CTX, at, Mem(256), count),
            call("bpf_xdp_load_bytes", CTX, at, Mem(512), count),
        )
        yield Row(
            f"run-frags-bytes-{linear}-{at}-{count}", XDP, calls, PACKET[:size], xdp_ctx(data_end=linear), frags=True
        )
    chains = ((-3000, 500, -500), (-5900, 100, 4000), (-1, 1, -1), (100, 100, -200), (-5986, 10, 3496), (-2480, 576, 1))
    for linear, deltas in product((14, 1000, 3520), chains):
        calls = tuple(one for delta in deltas for one in (call("bpf_xdp_adjust_tail", CTX, delta), length))
        yield Row(
            f"run-frags-chain-{linear}-{'-'.join(map(str, deltas))}",
            XDP,
            calls,
            PACKET[:size],
            xdp_ctx(data_end=linear),
            frags=True,
        )


def random_contexts() -> Iterator[Row]:
    """Contexts with random fields set, short and long ones, for skbs and frames."""
    for number in range(150):
        draw = random.Random(number)
        for name, layout, kind in (("skb", SK_BUFF, TC), ("xdp", XDP_MD, XDP)):
            ctx = _random(draw, layout)
            look = _skb_look() if kind is TC else _xdp_look()
            data = PACKET[: draw.choice((14, 60, 100, 200, 3000, 5000))]
            yield Row(f"run-random-{name}-{number}", kind, look, data, ctx, draw.choice((0, 1, 2)), frags=kind is XDP)


def _random(draw: random.Random, layout: CtxLayout) -> bytes:
    settable = [field for field in layout.fields if field.settable]
    raw = bytearray(layout.size)
    for field in draw.sample(settable, draw.randint(0, min(4, len(settable)))):
        some = (0, 1, 99999) if field.name in ("ifindex", "ingress_ifindex") else (0, 1, 4, 8, 60, 100, 200)
        value = draw.choice((*some, draw.getrandbits(8 * field.size) | 1 << 8 * field.size - 1))
        raw[field.offset : field.end] = value.to_bytes(field.size, "little")
    if draw.random() < 0.1:
        raw[draw.randrange(layout.size)] ^= 1
    length = draw.choice((layout.size, layout.size, draw.randrange(1, layout.size), layout.size + 9))
    return bytes(raw[:length]).ljust(length, draw.choice((b"\0", b"\0", b"\1")))


def syscalls() -> Iterator[Row]:
    """The context of a syscall program: what it reads and writes. (Reading behind its end is for the verifier to find.)"""
    for length, at, size in product((1, 4, 8, 9, 16, 100), (0, 3, 4, 8, 12, 92), (1, 4, 8)):
        if at % size == 0 and at + size <= length:
            calls = (call("load", at, size), call("store", at, size, 0x1122334455667788), call("load", at, size))
            yield Row(f"run-syscall-{length}-{at}-{size}", SYSCALL, calls, ctx=PACKET[:length])
    for repeat in (0, 1, 2, 100):
        for data in (b"", b"x"):
            yield Row(
                f"run-syscall-repeat-{repeat}-{len(data)}", SYSCALL, (call("load", 0, 1),), data, PACKET[:8], repeat
            )


SOURCES = (skb_values, skb_kept, skb_sizes, xdp_borders, xdp_fragments, random_contexts, syscalls)
