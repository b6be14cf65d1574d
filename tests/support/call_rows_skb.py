"""Rows of calls about skbs: headers, tags, room, hash, time stamps, and checksums that are known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from bpfcrypto.abi.ctx import SK_BUFF
from bpfcrypto.abi.progs import RunFlag
from support.call_rows import ACT, CTX, FRAME, SYSCALL, TC, U32, XDP, skb_ctx
from support.calls import Call, Keep, Mem, Row, Stack, call
from support.packets import ipv4, ipv6, payload, udp

IP = ipv4(udp(payload(40)), 17)
IP6 = ipv6(udp(payload(40)), 17)
TAGGED = ipv4(udp(payload(40)), 17, vlans=(7,))
TWICE = ipv4(udp(payload(40)), 17, vlans=(7, 8))
KNOWN = RunFlag.CHECKSUM_COMPLETE

QUERY = call("bpf_csum_update", CTX, 0)  # with 0 it changes nothing


def _load(name: str) -> Call:
    field = SK_BUFF.field(name)
    return call("load", field.offset, field.size)


LOOK = tuple(_load(name) for name in ("len", "pkt_type", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "hash"))
HEADERS = (
    call("bpf_skb_load_bytes_relative", CTX, 0, Mem(200), 4, 0),
    call("bpf_skb_load_bytes_relative", CTX, 0, Mem(208), 4, 1),
)


def relative() -> Iterator[Row]:
    """bpf_skb_load_bytes_relative: both starts, and the ends of the packet."""
    offsets = (0, 1, 14, 67, 68, 69, 81, 82, 83, 0xFFFF, 0x10000, U32)
    for start in (0, 1, 2, U32, 1 << 32):
        calls = tuple(
            call("bpf_skb_load_bytes_relative", CTX, offset, Mem(8 * at), 1 + at % 4, start)
            for at, offset in enumerate(offsets)
        )
        yield Row(f"relative-{start}", TC, calls, IP)
        yield Row(f"relative-moved-{start}", ACT, (call("bpf_skb_change_head", CTX, 20, 0), *calls), TAGGED)


def kinds() -> Iterator[Row]:
    """Types of packets, clocks of time stamps, hashes, ECN, and what every skb of a test run has alike."""
    for kind in (0, 1, 2, 3, 4, 7, 255, U32, 1 << 32):
        yield Row(f"skb-type-to-{kind}", TC, (call("bpf_skb_change_type", CTX, kind), *LOOK), IP)
    stamp = (call("load", 152, 8), call("load", 180, 1))
    for clock, time in product((0, 1, 2, 3, 1 << 32), (0, 1, 1 << 63)):
        yield Row(
            f"tstamp-{clock}-{time}", TC, (call("bpf_skb_set_tstamp", CTX, time, clock), *stamp), (IP, IP6)[clock % 2]
        )
    yield Row("tstamp-tagged", TC, (call("bpf_skb_set_tstamp", CTX, 5, 1), *stamp), TAGGED)
    yield Row("tstamp-ctx", TC, (call("bpf_skb_set_tstamp", CTX, 5, 2), *stamp), IP, skb_ctx(tstamp=99))
    look, again = _load("hash"), call("bpf_get_hash_recalc", CTX)
    for value in (0, 1, U32, 1 << 32 | 7):
        yield Row(f"hash-{value}", TC, (call("bpf_set_hash", CTX, value), look, again, look), IP)
    known = call("bpf_set_hash", CTX, 77)
    changes = {
        "invalid": call("bpf_set_hash_invalid", CTX),
        "store": call("bpf_skb_store_bytes", CTX, 20, Mem(), 2, 0),
        "store-invalidate": call("bpf_skb_store_bytes", CTX, 20, Mem(), 2, 2),
        "store-invalidate-failed": call("bpf_skb_store_bytes", CTX, 200, Mem(), 2, 2),
        "proto": call("bpf_skb_change_proto", CTX, 0xDD86, 0),
        "proto-failed": call("bpf_skb_change_proto", CTX, 8, 0),
        "tail": call("bpf_skb_change_tail", CTX, 60, 0),
        "room": call("bpf_skb_adjust_room", CTX, 8, 0, 0),
        "vlan": call("bpf_skb_vlan_push", CTX, 0x81, 1),
    }
    for name, change in changes.items():
        yield Row(f"hash-after-{name}", TC, (known, change, look), IP)
    through = (
        call("bpf_dynptr_from_skb", CTX, 0, Stack(16)),
        call("bpf_dynptr_write", Stack(16), 20, Mem(), 2, 2),
        look,
    )
    yield Row("hash-after-dynptr", TC, (known, *through), IP)
    fixed = ("skb_cgroup_id", "skb_cgroup_classid", "get_cgroup_classid", "get_route_realm", "get_socket_uid")
    ancestors = tuple(call("bpf_skb_ancestor_cgroup_id", CTX, level) for level in (0, 1, U32))
    yield Row("skb-fixed", TC, (*(call(f"bpf_{name}", CTX) for name in fixed), *ancestors), IP)
    for kind, name in ((TC, "tc"), (XDP, "xdp"), (SYSCALL, "syscall")):
        yield Row(f"numa-{name}", kind, (call("bpf_get_numa_node_id"),), b"" if kind is SYSCALL else IP)
    for at, (data, byte) in enumerate(product((IP, IP6, TAGGED), range(0, 256, 17))):
        marked = data[:15] + bytes([byte]) + data[16:]
        for flags in (RunFlag.NONE, KNOWN):
            yield Row(f"ecn-{at}-{int(flags)}", TC, (call("bpf_skb_ecn_set_ce", CTX),), marked, flags=flags)


def levels() -> Iterator[Row]:
    """bpf_csum_level in every order that matters, and what else resets it."""
    for at, order in enumerate(
        ((0,), (1,), (1, 1), (1, 1, 1, 1, 1), (2,), (3,), (1, 2), (1, 1, 2), (1, 2, 2), (1, 1, 3), (4,), (1 << 32,))
    ):
        calls = [one for level in order for one in (call("bpf_csum_level", CTX, level), call("bpf_csum_level", CTX, 0))]
        yield Row(f"level-{at}", TC, tuple(calls), IP)
        yield Row(f"level-known-{at}", TC, (*calls, QUERY), IP, flags=KNOWN)
    up, ask = call("bpf_csum_level", CTX, 1), call("bpf_csum_level", CTX, 0)
    for flags in (0, 0x20):
        for delta in (8, -8):
            yield Row(
                f"level-room-{delta}-{flags}", TC, (up, up, call("bpf_skb_adjust_room", CTX, delta, 0, flags), ask), IP
            )


def known_sums() -> Iterator[Row]:
    """Every helper that changes bytes, on an skb whose sum is known: the sum afterwards, and whether the packet has it."""
    store = lambda offset, size, flags: call("bpf_skb_store_bytes", CTX, offset, Mem(), size, flags)  # noqa: E731
    l4 = lambda old, new, flags: call("bpf_l4_csum_replace", CTX, 40, old, new, flags)  # noqa: E731
    changes: dict[str, tuple[Call, ...]] = {
        "nothing": (),
        "update": (call("bpf_csum_update", CTX, 5),),
        "update-and-back": (call("bpf_csum_update", CTX, 5), call("bpf_csum_update", CTX, U32 - 5)),
        "update-zero": (call("bpf_csum_update", CTX, U32),),
        "pull": (call("bpf_skb_pull_data", CTX, 0),),
        "tail-same": (call("bpf_skb_change_tail", CTX, len(IP), 0),),
        "tail-cut": (call("bpf_skb_change_tail", CTX, len(IP) - 2, 0), call("bpf_csum_level", CTX, 0)),
        "tail-grown": (call("bpf_skb_change_tail", CTX, len(IP) + 10, 0),),
        "head": (call("bpf_skb_change_head", CTX, 16, 0),),
        "head-odd": (call("bpf_skb_change_head", CTX, 15, 0),),
        "proto": (call("bpf_skb_change_proto", CTX, 0xDD86, 0),),
        "room": (call("bpf_skb_adjust_room", CTX, 8, 0, 0),),
        "room-odd": (call("bpf_skb_adjust_room", CTX, 7, 1, 0),),
        "room-encap": (call("bpf_skb_adjust_room", CTX, 20, 1, 2),),
        "room-shrink": (call("bpf_skb_adjust_room", CTX, -8, 0, 0),),
        "room-shrink-mac": (call("bpf_skb_adjust_room", CTX, -20, 1, 0),),
        "push": (call("bpf_skb_vlan_push", CTX, 0x81, 5),),
        "push-push": (call("bpf_skb_vlan_push", CTX, 0x81, 5), call("bpf_skb_vlan_push", CTX, 0x81, 6)),
        "push-push-pop": (call("bpf_skb_vlan_push", CTX, 0x81, 5), call("bpf_skb_vlan_push", CTX, 0x81, 6), call("bpf_skb_vlan_pop", CTX)),
        "pop": (call("bpf_skb_vlan_pop", CTX),),
        "l3": (call("bpf_l3_csum_replace", CTX, 24, 1, 2, 2),),
        "dynptr": (call("bpf_dynptr_from_skb", CTX, 0, Stack(16)), call("bpf_dynptr_write", Stack(16), 21, Mem(), 5, 0)),
        "dynptr-recompute": (call("bpf_dynptr_from_skb", CTX, 0, Stack(16)), call("bpf_dynptr_write", Stack(16), 21, Mem(), 5, 1)),
    }  # fmt: skip
    changes |= {
        f"store-{offset}-{size}-{flags}": (store(offset, size, flags),)
        for offset, size, flags in product((0, 20, 21, 40), (1, 4, 7), (0, 1))
    }
    changes |= {
        f"l4-{old:x}-{new:x}-{flags:x}": (l4(old, new, flags),)
        for (old, new), flags in product(
            ((0, 0x1234), (0x12345678, 0x9ABCDEF0), (U32, 1), (0xFFFF, 0)),
            (0, 2, 4, 0x10, 0x12, 0x14, 0x80, 0x90, 0x92, 0x94, 0x32, 0x72),
        )
    }
    for name, calls in changes.items():
        yield Row(f"known-{name}", TC, (*calls, QUERY), IP, flags=KNOWN)
        if name.startswith(("push", "pop", "nothing", "head", "room")):
            yield Row(f"known-{name}-tagged", TC, (*calls, QUERY, *HEADERS), TAGGED, flags=KNOWN)
    yield Row("known-proto-6", TC, (call("bpf_skb_change_proto", CTX, 8, 0), QUERY), IP6, flags=KNOWN)
    yield Row("known-short", TC, (QUERY,), bytes(14), flags=KNOWN)
    yield Row("known-odd", TC, (QUERY,), FRAME[:63], flags=KNOWN)
    yield Row("known-repeat", TC, (store(20, 4, 1), QUERY), IP, repeat=3, flags=KNOWN)
    for flags in (1, 2, 8, 5, 1 << 31):
        yield Row(f"flags-skb-{flags}", ACT, (), IP, flags=RunFlag(flags))
    for flags in (1, 4, 8):
        yield Row(f"flags-xdp-{flags}", XDP, (), IP, flags=RunFlag(flags))
    for flags in (1, 2, 4):
        yield Row(f"flags-syscall-{flags}", SYSCALL, (), flags=RunFlag(flags))


def protocols() -> Iterator[Row]:
    """bpf_skb_change_proto: pairs, flags, packets that are too short."""
    for name, data in {"4": IP, "6": IP6, "tagged": TAGGED, "short": IP[:34], "short-6": IP6[:54]}.items():
        for proto in (0x0008, 0xDD86, 0x10008, 0x0081, 1):
            yield Row(
                f"proto-{name}-{proto:x}", TC, (call("bpf_skb_change_proto", CTX, proto, 0), *LOOK, *HEADERS), data
            )
    yield Row("proto-flags", TC, (call("bpf_skb_change_proto", CTX, 0xDD86, 1), *LOOK), IP)
    back = (call("bpf_skb_change_proto", CTX, 0xDD86, 0), call("bpf_skb_change_proto", CTX, 8, 0))
    yield Row("proto-and-back", TC, (*back, *LOOK), IP)
    yield Row("proto-repeat", TC, (*back, *LOOK), IP, repeat=3)
    cut = (call("bpf_skb_change_tail", CTX, 33, 0), call("bpf_skb_change_proto", CTX, 8, 0))
    yield Row("proto-cut", TC, (*cut, *LOOK), IP6)
    yield Row("proto-gso", TC, (back[0], *LOOK, _load("gso_size")), IP, skb_ctx(gso_size=9))


def room() -> Iterator[Row]:
    """bpf_skb_adjust_room: every mode with every flag, and the limits of sizes."""
    deltas = (0, 1, 8, 14, 20, 4095, 4096, -1, -8, -20, -48, -49, -67, -68, -4095, -4096, 1 << 31)
    for (name, data), mode, delta in product({"4": IP, "6": IP6}.items(), (0, 1, 2, 1 << 32), deltas):
        yield Row(
            f"room-{name}-{mode}-{delta}", TC, (call("bpf_skb_adjust_room", CTX, delta, mode, 0), *LOOK, *HEADERS), data
        )
    masks = [0, *(1 << bit for bit in range(10)), 1 << 40, 6, 24, 10, 18, 12, 20, 0x180, 0x82, 0x84, 0x102]
    masks += [inner << 56 | more for inner in (1, 13, 14, 20, 21, 255) for more in (0, 2, 0x42, 0x40)]
    for (name, data), mask, delta in product({"4": IP, "6": IP6}.items(), masks, (20, -20)):
        calls = (call("bpf_skb_adjust_room", CTX, delta, 1, mask), *LOOK, *HEADERS)
        yield Row(f"room-flags-{name}-{mask:x}-{delta}", ACT, calls, data)
    grow = call("bpf_skb_adjust_room", CTX, 28, 1, 2 | 16)
    look = (*LOOK, *HEADERS)
    chains: dict[str, tuple[Call, ...]] = {
        "encap-twice": (grow, grow),
        "encap-then-plain": (grow, call("bpf_skb_adjust_room", CTX, 4, 0, 0)),
        "encap-then-tail": (grow, call("bpf_skb_change_tail", CTX, 200, 0), call("bpf_skb_change_tail", CTX, 20, 0)),
        "encap-then-decap": (grow, call("bpf_skb_adjust_room", CTX, -28, 1, 0)),
        "far": (call("bpf_skb_adjust_room", CTX, 4000, 1, 0), call("bpf_skb_adjust_room", CTX, -4000, 1, 0)),
        "most": tuple(call("bpf_skb_adjust_room", CTX, 4095, 1, 0) for _ in range(4)),
        "after-head": (call("bpf_skb_change_head", CTX, 20, 0), call("bpf_skb_adjust_room", CTX, 8, 1, 0)),
        "after-head-shrink": (call("bpf_skb_change_head", CTX, 20, 0), call("bpf_skb_adjust_room", CTX, -8, 0, 0)),
        "after-cut": (call("bpf_skb_change_tail", CTX, 34, 0), call("bpf_skb_adjust_room", CTX, -1, 1, 0), call("bpf_skb_adjust_room", CTX, 3, 0, 0)),
        "decap-6": (call("bpf_skb_adjust_room", CTX, -20, 1, 0x100), call("bpf_skb_adjust_room", CTX, -1, 1, 0x100)),
    }  # fmt: skip
    for name, calls in chains.items():
        yield Row(f"room-{name}", TC, (*calls, *look), IP)
        yield Row(f"room-{name}-6", TC, (*calls, *look), IP6)
        yield Row(f"room-{name}-repeat", TC, (*calls, *look), IP, repeat=2)
    yield Row("room-tagged", TC, (call("bpf_skb_adjust_room", CTX, 8, 0, 0), *look), TAGGED)
    for delta in (8, -8):
        yield Row(
            f"room-gso-{delta}", TC, (call("bpf_skb_adjust_room", CTX, delta, 0, 1), *look), IP, skb_ctx(gso_size=9)
        )


def tags() -> Iterator[Row]:
    """bpf_skb_vlan_push and bpf_skb_vlan_pop in turn, on packets with none, one and two tags."""
    push = lambda kind, tci: call("bpf_skb_vlan_push", CTX, kind, tci)  # noqa: E731
    pop = call("bpf_skb_vlan_pop", CTX)
    chains: dict[str, tuple[Call, ...]] = {
        "push": (push(0x81, 5),),
        "push-ad": (push(0xA888, 0x1FFF),),
        "push-zero": (push(0x81, 0),),
        "push-other": (push(0x1234, 5), push(0, 6), push(0x10081, 0x10007)),
        "push-twice": (push(0x81, 5), push(0xA888, 6)),
        "push-thrice": (push(0x81, 5), push(0xA888, 6), push(0x81, 7)),
        "pop": (pop,),
        "pop-twice": (pop, pop),
        "pop-thrice": (pop, pop, pop),
        "push-pop": (push(0x81, 5), pop),
        "pop-push": (pop, push(0x81, 5)),
        "push-push-pop-pop": (push(0x81, 5), push(0x81, 6), pop, pop),
        "push-cut": (push(0x81, 5), call("bpf_skb_change_tail", CTX, 14, 0), push(0x81, 6), pop, pop),
        "cut-pop": (call("bpf_skb_change_tail", CTX, 17, 0), pop),
        "cut-longer-pop": (call("bpf_skb_change_tail", CTX, 18, 0), pop),
        "head-pop": (call("bpf_skb_change_head", CTX, 4, 0), pop, pop),
        "push-proto": (push(0x81, 5), call("bpf_skb_change_proto", CTX, 0xDD86, 0), push(0x81, 6), pop),
    }
    for (name, calls), (kind, data) in product(chains.items(), {"none": IP, "one": TAGGED, "two": TWICE}.items()):
        each = tuple(part for one in calls for part in (one, *LOOK[2:6]))
        yield Row(f"vlan-{name}-{kind}", TC, (*each, *LOOK, *HEADERS), data)
    length = bytes(12) + b"\x81\0\0\7\0\x20"
    yield Row("vlan-length", TC, (pop, *LOOK), length + bytes(60))
    yield Row("vlan-length-novell", TC, (pop, *LOOK), length + b"\xff\xff" + bytes(60))
    yield Row("vlan-shortest", TC, (pop, *LOOK), length)


def cuts() -> Iterator[Row]:
    """bpf_skb_change_tail after the buffer has grown at its front: the mark of an unset header has become an offset."""
    for room_, size in product(
        (50, 64, 65, 66, 78, 79, 80, 100, 128, 129, 300, 3000), (13, 14, 15, 70, 79, 100, 200, 315, 2000, 3100)
    ):
        calls = (call("bpf_skb_change_head", CTX, room_, 0), call("bpf_skb_change_tail", CTX, size, 0), _load("len"))
        yield Row(f"cut-head-{room_}-{size}", TC, calls, IP)
    for delta, size in product((64, 65, 79, 80, 500), (13, 14, 15, 100, 400)):
        calls = (call("bpf_skb_adjust_room", CTX, delta, 1, 0), call("bpf_skb_change_tail", CTX, size, 0), _load("len"))
        yield Row(f"cut-room-{delta}-{size}", TC, calls, IP)


def flow_hashes() -> Iterator[Row]:
    """That there is a hash, which stays, and that it is the context's."""
    there = call("bpf_get_hash_recalc", CTX, keep=Keep.PRESENCE)
    for at, data in enumerate((IP, IP6, TAGGED, FRAME, bytes(14))):
        yield Row(f"flow-hash-{at}", TC, (_load("hash"), there, call("bpf_set_hash_invalid", CTX), _load("hash")), data)


SOURCES = (relative, kinds, levels, known_sums, protocols, room, tags, cuts, flow_hashes)
