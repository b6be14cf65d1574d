"""bpf_get_hash_recalc: the numbers differ between engines and boots, but the same packets share one."""

from __future__ import annotations

import random
import struct
from itertools import product
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.progs import ProgType
from support.calls import CTX, Call, Row, call, spec
from support.packets import ethernet, ipv4, ipv6, payload, sample, tcp, udp

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Engine
    from bpfcrypto.kernel.engine import KernelEngine

HASH = call("bpf_get_hash_recalc", CTX)
PUSH = call("bpf_skb_vlan_push", CTX, 0x0081, 7)
PROGRAMS: dict[str, tuple[Call, ...]] = {
    "plain": (HASH,),
    "tag-beside": (PUSH, HASH),
    "tag-pushed-in": (PUSH, PUSH, HASH),
    "tag-popped": (call("bpf_skb_vlan_pop", CTX), HASH),
    "moved": (call("bpf_skb_change_head", CTX, 20, 0), HASH),
    "cut": (call("bpf_skb_change_tail", CTX, 36, 0), HASH),
    "other-protocol": (call("bpf_skb_change_proto", CTX, 0xDD86, 0), HASH),
}


def swapped(frame: bytes, at: int, size: int) -> bytes:
    """The frame with two neighbouring fields exchanged."""
    return frame[:at] + frame[at + size : at + 2 * size] + frame[at : at + size] + frame[at + 2 * size :]


def changed(frame: bytes, at: int, value: bytes) -> bytes:
    """The frame with other bytes at an offset."""
    return frame[:at] + value + frame[at + len(value) :]


def frames() -> list[bytes]:
    """Packets of a few flows: equal but for what counts, and for what does not."""
    made = list(sample().values())
    one, two = ipv4(udp(payload(40)), 17), ipv6(udp(payload(40)), 17)
    segment = ipv6(tcp(payload(20)), 6)
    for base, addresses, size, ports in ((one, 26, 4, 34), (two, 22, 16, 54), (segment, 22, 16, 54)):
        for frame in (
            base,
            swapped(base, addresses, size),
            swapped(base, ports, 2),
            swapped(swapped(base, addresses, size), ports, 2),
        ):
            made += [frame, changed(frame, 0, bytes(6)), changed(frame, ports + 4, b"\xff\xff")]
        made += [changed(base, addresses, b"\x0b"), changed(base, ports, b"\x11"), base[: ports + 3], base[: ports + 4]]
    for label in (0, 1, 0xFFFFF):
        made += [changed(frame, 15, label.to_bytes(3, "big")) for frame in (two, segment, swapped(two, 54, 2))]
        made += [changed(two, 14, bytes([0x6F, 0xF0]))]
    for protocol in (0, 1, 4, 6, 17, 33, 41, 47, 50, 51, 58, 132, 136, 255):
        made += [ipv4(payload(60), protocol), ipv6(payload(60), protocol), ipv4(payload(60)[::-1], protocol)]
    inner = one[14:], two[14:]
    made += [wrap(packet, 4 if packet is inner[0] else 41) for packet in inner for wrap in (ipv4, ipv6)]
    made += [ipv4(udp(payload(9)), 17, frag=frag) for frag in (0, 0x2000, 0x4000, 1, 0x2001)]
    for following, kind in ((17, 0), (17, 43), (17, 60), (6, 0), (44, 0), (17, 44), (0, 60)):
        extension = struct.pack("!BBHI", following, 0, 0x0104, 0) + udp(payload(24))
        made.append(ipv6(extension, kind))
    made += [ethernet(one[14:], 0x0800, vlans=vlans) for vlans in ((1,), (2,), (1, 2), (2, 1), (0x2001,))]
    made += [ethernet(payload(50), kind) for kind in (0x0806, 0x8847, 0x88E5, 0x0600, 0x05DC, 0)]
    for flags, kind in product((0, 0x8000, 0x2000, 0x1000, 0xB000, 0x4000, 1, 2), (0x0800, 0x86DD, 0x6558, 0x880B)):
        room = b"\1\2\3\4" * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000))
        for packet in (one, two):
            made.append(ipv4(struct.pack("!HH", flags, kind) + room + (packet if kind == 0x6558 else packet[14:]), 47))
    draw = random.Random(3)
    for base in (one, two, segment):
        made += [base[: draw.randrange(14, len(base))].ljust(54, b"\0") for _ in range(10)]
    return made


def hashes(engine: Engine, calls: tuple[Call, ...]) -> list[int]:
    """The hash of every frame."""
    with engine.load(spec(Row("hash", ProgType.SCHED_CLS, calls))) as collection:
        found = []
        for frame in frames():
            collection.programs["row"].run(frame)
            memory = collection.maps[".bss"].lookup(bytes(4))
            at = 8 * (len(calls) - 1)
            found.append(int.from_bytes(memory[at : at + 8], "little"))
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("calls", PROGRAMS.values(), ids=PROGRAMS)
def test_the_same_packets_share_a_hash(
    embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, calls: tuple[Call, ...]
) -> None:
    """For every packet, the first one with its hash is the same on both engines."""
    here, there = hashes(embedded_engine, calls), hashes(kernel_engine, calls)
    firsts = [[found.index(value) for value in found] for found in (here, there)]
    different = [(at, *pair) for at, pair in enumerate(zip(*firsts, strict=True)) if pair[0] != pair[1]]

    assert 0 not in there
    assert 0 not in here
    assert different == []
