"""Rows of calls, by concern: each names a rule of the kernel that could be got wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD
from bpfcrypto.abi.progs import ProgType
from support.calls import CTX, Call, Keep, Mem, Row, Stack, call

if TYPE_CHECKING:
    from bpfcrypto.abi.ctx import CtxLayout

TC, ACT, XDP, SYSCALL = ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.SYSCALL
PACKET = bytes((7 * i + 3) & 0xFF for i in range(6000))
FRAME = PACKET[:100]
U32 = 0xFFFFFFFF
D, E, IT = Stack(16), Stack(32), Stack(40)  # two dynptrs, an iterator


def rows() -> dict[str, Row]:
    """Every row by its name."""
    from support import call_rows_skb, call_rows_testrun, call_rows_text  # they use this module's words

    made: dict[str, Row] = {}
    for source in (
        skb_bytes, skb_geometry, checksums, sums, trace, maps_of_memory, dynptr_mem, dynptr_skb, dynptr_xdp, slices,
        iterators, xdp_geometry, xdp_fragments, ctx_fields, skb_arguments, xdp_arguments, syscall_arguments,
        *call_rows_text.SOURCES, *call_rows_skb.SOURCES, *call_rows_testrun.SOURCES,
    ):  # fmt: skip
        for row in source():
            assert row.name not in made, row.name
            made[row.name] = row
    return made


def _rows(kind: ProgType, data: bytes, named: dict[str, tuple[Call, ...]], **more: object) -> Iterator[Row]:
    for name, calls in named.items():
        yield Row(name, kind, calls, data, **more)  # type: ignore[arg-type]


def skb_bytes() -> Iterator[Row]:
    """bpf_skb_load_bytes and bpf_skb_store_bytes at their borders."""
    for offset, size in (
        (0, 1),
        (0, 14),
        (84, 16),
        (85, 16),
        (99, 1),
        (100, 1),
        (0, 100),
        (0, 101),
        (U32, 1),
        (1 << 31, 4),
        ((1 << 31) - 1, 4),
    ):
        yield Row(f"skb-load-{offset}-{size}", TC, (call("bpf_skb_load_bytes", CTX, offset, Mem(), size),), FRAME)
        yield Row(f"skb-store-{offset}-{size}", ACT, (call("bpf_skb_store_bytes", CTX, offset, Mem(), size, 0),), FRAME)
    for flags in (0, 1, 2, 3, 4, 0x10, 1 << 32, 1 << 63):
        yield Row(f"skb-store-flags-{flags:x}", TC, (call("bpf_skb_store_bytes", CTX, 20, Mem(), 6, flags),), FRAME)


def skb_geometry() -> Iterator[Row]:
    """Pulling, cutting and growing an skb."""
    tail = lambda size, flags=0: call("bpf_skb_change_tail", CTX, size, flags)  # noqa: E731
    head = lambda room, flags=0: call("bpf_skb_change_head", CTX, room, flags)  # noqa: E731
    length = call("load", 0, 4)
    for size in (0, 1, 14, 99, 100, 101, 4000, U32):
        yield Row(f"skb-pull-{size}", TC, (call("bpf_skb_pull_data", CTX, size), length), FRAME)
    for size in (0, 13, 14, 15, 99, 100, 101, 128, 129, 1000, 4000, 16064, 16065, 65535, U32):
        yield Row(f"skb-tail-{size}", TC, (tail(size), length), FRAME)
    for room in (0, 1, 14, 50, 64, 65, 1000, 15964, 15965, 1 << 31, U32):
        yield Row(f"skb-head-{room}", TC, (head(room), length), FRAME)
    yield from _rows(TC, FRAME, {
        "skb-tail-flags": (tail(50, 1), length),
        "skb-head-flags": (head(16, 1), length),
        "skb-cut-and-grow": (tail(40), tail(100), length),
        "skb-cut-and-grow-far": (tail(40), tail(3000), tail(60), tail(200), length),
        "skb-head-twice": (head(60), head(60), length),
        "skb-head-moves-minimum": (head(16), tail(29), tail(30), length),
        "skb-head-then-bytes": (head(20), call("bpf_skb_load_bytes", CTX, 0, Mem(), 40), call("bpf_skb_store_bytes", CTX, 2, Mem(100), 8, 0)),
        "skb-tail-then-load": (tail(40), call("bpf_skb_load_bytes", CTX, 39, Mem(), 1), call("bpf_skb_load_bytes", CTX, 40, Mem(8), 1)),
    })  # fmt: skip
    gso = skb_ctx(gso_size=50, gso_segs=3)
    yield Row("skb-tail-resets-gso", TC, (tail(60), call("load", 164, 4), call("load", 176, 4)), FRAME, gso)
    yield Row("skb-head-of-gso-has-no-limit", TC, (head(17000), length), FRAME, gso)


def checksums() -> Iterator[Row]:
    """bpf_l3_csum_replace and bpf_l4_csum_replace: flags, sizes, offsets, and a checksum of zero."""
    zero = FRAME[:20] + bytes(2) + FRAME[22:]
    ones = FRAME[:20] + b"\xff\xff" + FRAME[22:]
    for which, (old, new), flags in product(
        ("l3", "l4"),
        ((0, 0), (0, 0x1234), (0x1234, 0xABCD), (0x12345678, 0x9ABCDEF0), (U32, 0), (1 << 32 | 1, 1 << 40 | 2)),
        (0, 2, 4),
    ):
        yield Row(
            f"{which}-{old:x}-{new:x}-{flags}",
            TC,
            (call(f"bpf_{which}_csum_replace", CTX, 20, old, new, flags),),
            FRAME,
        )
    for which, flags in product(
        ("l3", "l4"), (1, 3, 5, 8, 0xF, 0x10, 0x12, 0x14, 0x22, 0x32, 0x42, 0x62, 0x82, 0xF2, 0x102, 1 << 32 | 2)
    ):
        for name, data in (("", FRAME), ("-zero", zero), ("-ones", ones)):
            row = (call(f"bpf_{which}_csum_replace", CTX, 20, 0x1234, 0x1234 if name == "-ones" else 0x4321, flags),)
            yield Row(f"{which}-flags-{flags:x}{name}", TC, row, data)
    for which, offset in product(("l3", "l4"), (0, 1, 97, 98, 99, 100, 0xFFFE, 0x10000, U32)):
        yield Row(f"{which}-at-{offset}", TC, (call(f"bpf_{which}_csum_replace", CTX, offset, 1, 2, 2),), FRAME)
    mangled = (
        call("bpf_l4_csum_replace", CTX, 20, 0xFFFF, 0, 0x22),
        call("bpf_l4_csum_replace", CTX, 20, 0, 0xFFFF, 0x62),
    )
    yield Row("l4-mangled-zero", TC, mangled, ones)


def sums() -> Iterator[Row]:
    """bpf_csum_diff: sizes, seeds, and the two ways in which a sum can be zero."""
    for old, new, seed in product((0, 4, 20), (0, 4, 24), (0, 1, 0xFFFF, 0x10000, U32)):
        args = (Mem(0) if old else 0, old, Mem(64) if new else 0, new, seed)
        yield Row(f"csum-diff-{old}-{new}-{seed:x}", TC, (call("bpf_csum_diff", *args),), FRAME)
    for size in (1, 2, 3, 5, 510):
        yield Row(
            f"csum-diff-ragged-{size}",
            XDP,
            (call("bpf_csum_diff", Mem(), size, 0, 0, 0), call("bpf_csum_diff", 0, 0, Mem(), size, 0)),
            FRAME,
        )
    yield Row("csum-diff-same", XDP, (call("bpf_csum_diff", Mem(), 16, Mem(), 16, 0),), FRAME)
    yield Row(
        "csum-diff-zeros",
        XDP,
        (call("bpf_csum_diff", 0, 0, Stack(64), 16, 0), call("bpf_csum_diff", Stack(64), 16, 0, 0, 0)),
        FRAME,
    )


def trace() -> Iterator[Row]:
    """bpf_trace_printk: what it accepts and how long the text is."""
    for at, (text, args) in enumerate(TRACE_LINES):
        raw = text.encode("latin-1")
        calls = [call("bpf_skb_load_bytes", CTX, 14, Mem(), len(raw)), call("bpf_trace_printk", Mem(), len(raw), *args)]
        yield Row(f"trace-{at}", TC, tuple(calls), FRAME[:12] + b"\x88\xb5" + raw + bytes(20))


TRACE_LINES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("plain\0", ()), ("no end", ()), ("\0", ()), ("100%%\0", ()), ("%d\0", (5,)), ("%d\0", (-5,)), ("%u\0", (-1,)), ("%x\0", (255,)),
    ("%X|\0", (255,)), ("%i\0", (7,)), ("%ld\0", (-1,)), ("%lld\0", (1 << 40,)), ("%lu\0", (-1,)), ("%llx\0", (-1,)), ("%d\0", (1 << 32 | 9,)),
    ("%5d|\0", (42,)), ("%-5d|\0", (42,)), ("%05d\0", (-42,)), ("%+d\0", (3,)), ("% d\0", (3,)), ("%-05d|\0", (42,)), ("%012llx\0", (0xABC,)),
    ("%d %d %d\0", (1, 2, 3)), ("%d %d %d %d\0", (1, 2, 3)), ("%\0", (1,)), ("%y\0", (1,)), ("%ly\0", (1,)), ("%llld\0", (1,)), ("%f\0", (1,)),
    ("%.5d\0", (1,)), ("%*d\0", (1,)), ("%#x\0", (1,)), ("%c%c\0", (65, 66)), ("%s\0", (0,)), ("%sx\0", (0,)), ("%s,\0", (0,)), ("%p\0", (0,)),
    ("%px\0", (4096,)), ("%pK \0", (4096,)), ("%pz\0", (0,)), ("%pi4\0", (0,)), ("%pI4 \0", (0,)), ("%pi6\0", (0,)), ("%pI6\0", (0,)), ("%pI5\0", (0,)),
    ("tab\tand\nnewline\n\0", ()), ("bell\x07\0", ()), ("high\xe9\0", ()), ("cut\0behind %y", ()), ("%hd\0", (1,)), ("%zd\0", (1,)), ("%5s|\0", (0,)),
    ("%pks\0", (0,)), ("%pus \0", (0,)), ("%pksx\0", (0,)), ("%-8c|\0", (65,)),
)  # fmt: skip


def maps_of_memory() -> Iterator[Row]:
    """Helpers without packets, in syscall programs."""
    yield Row(
        "syscall-cpu-and-sums", SYSCALL, (call("bpf_dynptr_from_mem", Mem(), 64, 0, D), call("bpf_dynptr_size", D))
    )


def dynptr_mem() -> Iterator[Row]:
    """Dynptrs over memory: flags, sizes, ranges, and the order of checks."""
    for kind, name in ((TC, "tc"), (XDP, "xdp"), (SYSCALL, "syscall")):
        data = b"" if kind is SYSCALL else FRAME
        # slices for writing are for packet programs only
        made = {key: calls for key, calls in _mem_calls().items() if kind is not SYSCALL or key != "mem-slice-value"}
        yield from _rows(kind, data, {f"{name}-{key}": calls for key, calls in made.items()})


def _mem_calls() -> dict[str, tuple[Call, ...]]:
    over = call("bpf_dynptr_from_mem", Mem(), 64, 0, D)
    read = lambda offset, size, flags=0: call("bpf_dynptr_read", Mem(200), size, D, offset, flags)  # noqa: E731
    write = lambda offset, size, flags=0: call("bpf_dynptr_write", D, offset, Mem(300), size, flags)  # noqa: E731
    ask = (call("bpf_dynptr_is_null", D), call("bpf_dynptr_is_rdonly", D), call("bpf_dynptr_size", D))
    return {
        "mem-ask": (over, *ask),
        "mem-size-0": (call("bpf_dynptr_from_mem", Mem(), 0, 0, D), *ask, read(0, 0), read(0, 1), write(0, 0), write(0, 1)),
        "mem-flags": (call("bpf_dynptr_from_mem", Mem(), 64, 1, D), *ask, read(0, 4), write(0, 4), call("bpf_dynptr_adjust", D, 0, 0)),
        "mem-high-flags": (call("bpf_dynptr_from_mem", Mem(), 64, 1 << 40, D), *ask),
        "mem-read": (over, read(0, 8), read(60, 4), read(60, 5), read(64, 0), read(64, 1), read(65, 0), read(U32, 2), read(0, 65), read(0, 0)),
        "mem-read-flags": (over, read(0, 4, 1), read(0, 65, 1)),
        "mem-write": (over, write(0, 8), write(60, 4), write(60, 5), write(64, 0), write(64, 1), write(U32, 2), write(0, 65), write(7, 0)),
        "mem-write-flags": (over, write(0, 4, 1), write(0, 65, 1)),
        "mem-overlap": (over, call("bpf_dynptr_write", D, 4, Mem(), 40, 0), call("bpf_dynptr_read", Mem(8), 40, D, 0, 0)),
        "mem-adjust": (over, call("bpf_dynptr_adjust", D, 8, 40), *ask, read(0, 4), read(28, 4), read(32, 1), call("bpf_dynptr_adjust", D, 4, 33), call("bpf_dynptr_adjust", D, 33, 33), call("bpf_dynptr_adjust", D, 5, 4), call("bpf_dynptr_adjust", D, 4, 32), *ask, write(0, 4)),
        "mem-adjust-to-nothing": (over, call("bpf_dynptr_adjust", D, 64, 64), *ask, read(0, 0), read(0, 1)),
        "mem-clone": (over, call("bpf_dynptr_adjust", D, 8, 40), call("bpf_dynptr_clone", D, E), call("bpf_dynptr_size", E), call("bpf_dynptr_adjust", E, 8, 16), call("bpf_dynptr_size", D), call("bpf_dynptr_write", E, 0, Mem(300), 8, 0)),
        "mem-clone-null": (call("bpf_dynptr_from_mem", Mem(), 64, 1, D), call("bpf_dynptr_clone", D, E), call("bpf_dynptr_is_null", E), call("bpf_dynptr_size", E)),
        "mem-data": (over, *(call("bpf_dynptr_data", D, offset, size, keep=Keep.PRESENCE) for offset, size in ((0, 64), (0, 65), (64, 0), (60, 4), (60, 5), (U32, 1)))),
        "mem-data-null": (call("bpf_dynptr_from_mem", Mem(), 64, 1, D), call("bpf_dynptr_data", D, 0, 1, keep=Keep.PRESENCE)),
        "mem-slice": (over, *(call("bpf_dynptr_slice", D, offset, 0, size, keep=Keep.PRESENCE) for offset, size in ((0, 64), (0, 65), (60, 4), (61, 4), (U32, 1)))),
        "mem-slice-value": (over, call("bpf_dynptr_slice", D, 3, Stack(64), 4, keep=Keep.TARGET), call("bpf_dynptr_slice_rdwr", D, 60, Stack(64), 4, keep=Keep.TARGET), call("bpf_dynptr_slice_rdwr", D, 61, Stack(64), 4, keep=Keep.TARGET)),
    }  # fmt: skip


def _packet_calls(maker: str) -> dict[str, tuple[Call, ...]]:
    over = call(maker, CTX, 0, D)
    read = lambda offset, size, flags=0: call("bpf_dynptr_read", Mem(200), size, D, offset, flags)  # noqa: E731
    write = lambda offset, size, flags=0: call("bpf_dynptr_write", D, offset, Mem(300), size, flags)  # noqa: E731
    ask = (call("bpf_dynptr_is_null", D), call("bpf_dynptr_is_rdonly", D), call("bpf_dynptr_size", D))
    made = {
        "ask": (over, *ask),
        "flags": (call(maker, CTX, 1, D), *ask, read(0, 4), write(0, 4), call("bpf_dynptr_adjust", D, 0, 0)),
        "high-flags": (call(maker, CTX, 1 << 50, D), *ask),
        "read": (over, read(0, 8), read(96, 4), read(97, 4), read(100, 0), read(100, 1), read(101, 0), read(U32, 2), read(4, 4, 1)),
        "write": (over, write(0, 8), write(96, 4), write(97, 4), write(100, 0), write(100, 1), write(U32, 2)),
        "data": (over, call("bpf_dynptr_data", D, 0, 4, keep=Keep.PRESENCE)),
        "adjust": (over, call("bpf_dynptr_adjust", D, 14, 60), *ask, read(0, 8), write(2, 8), read(46, 1), write(40, 7)),
        "clone": (over, call("bpf_dynptr_adjust", D, 14, 60), call("bpf_dynptr_clone", D, E), call("bpf_dynptr_adjust", E, 6, 20), call("bpf_dynptr_write", E, 0, Mem(300), 14, 0), *ask),
        "slice": (over, call("bpf_dynptr_slice", D, 12, Stack(64), 4, keep=Keep.TARGET), call("bpf_dynptr_slice", D, 96, 0, 4, keep=Keep.PRESENCE), call("bpf_dynptr_slice", D, 97, 0, 4, keep=Keep.PRESENCE), call("bpf_dynptr_slice_rdwr", D, 97, Stack(64), 4, keep=Keep.TARGET)),
    }  # fmt: skip
    return made | {
        f"write-flags-{flags:x}": (over, write(20, 4, flags), write(97, 4, flags)) for flags in (1, 2, 3, 4, 1 << 32)
    }


def dynptr_skb() -> Iterator[Row]:
    """Dynptrs over skbs, and what becomes of them when the skb changes."""
    for kind, name in ((TC, "cls"), (ACT, "act")):
        yield from _rows(
            kind, FRAME, {f"{name}-skb-{key}": c for key, c in _packet_calls("bpf_dynptr_from_skb").items()}
        )
    over = call("bpf_dynptr_from_skb", CTX, 0, D)
    tail = lambda size: call("bpf_skb_change_tail", CTX, size, 0)  # noqa: E731
    read = lambda offset, size: call("bpf_dynptr_read", Mem(200), size, D, offset, 0)  # noqa: E731
    write = lambda offset, size: call("bpf_dynptr_write", D, offset, Mem(300), size, 0)  # noqa: E731
    size = call("bpf_dynptr_size", D)
    yield from _rows(TC, FRAME, {
        "skb-dynptr-shrunk": (over, tail(40), size, read(0, 40), read(30, 11), read(40, 4), write(36, 4), write(37, 4), write(60, 4)),
        "skb-dynptr-grown": (over, tail(200), size, read(96, 4), read(97, 4), write(96, 4)),
        "skb-dynptr-moved": (over, call("bpf_skb_change_head", CTX, 16, 0), size, read(0, 32), write(16, 4)),
        "skb-dynptr-pulled": (over, call("bpf_skb_pull_data", CTX, 0), read(0, 8)),
        "skb-slice-shrunk": (over, tail(40), call("bpf_dynptr_slice", D, 38, Stack(64), 4, keep=Keep.TARGET), call("bpf_dynptr_slice", D, 36, Stack(64), 4, keep=Keep.TARGET)),
    })  # fmt: skip


def dynptr_xdp() -> Iterator[Row]:
    """Dynptrs over xdp frames: in one piece, in fragments, and after adjustments."""
    calls = _packet_calls("bpf_dynptr_from_xdp")
    yield from _rows(XDP, FRAME, {f"xdp-{key}": c for key, c in calls.items()}, frags=True)
    yield from _rows(
        XDP, FRAME, {f"xdp-cut-{key}": c for key, c in calls.items()}, ctx=xdp_ctx(data_end=50), frags=True
    )
    over = call("bpf_dynptr_from_xdp", CTX, 0, D)
    read = lambda offset, size: call("bpf_dynptr_read", Mem(200), size, D, offset, 0)  # noqa: E731
    write = lambda offset, size: call("bpf_dynptr_write", D, offset, Mem(300), size, 0)  # noqa: E731
    size = call("bpf_dynptr_size", D)
    yield from _rows(XDP, FRAME, {
        "xdp-dynptr-shrunk": (over, call("bpf_xdp_adjust_tail", CTX, -60), size, read(36, 4), read(37, 4), write(37, 4), write(36, 4)),
        "xdp-dynptr-grown": (over, call("bpf_xdp_adjust_tail", CTX, 60), size, read(96, 4), read(97, 4)),
        "xdp-dynptr-moved": (over, call("bpf_xdp_adjust_head", CTX, 14), size, read(0, 4), read(86, 4), write(0, 4), read(83, 4)),
    })  # fmt: skip


def slices() -> Iterator[Row]:
    """Slices of a frame in fragments: contiguous ones are addresses, others go through the buffer."""
    over = call("bpf_dynptr_from_xdp", CTX, 0, D)
    for linear, offset, size in product((20, 50), (0, 16, 17, 46, 47, 48, 50, 96, 97), (4, 8)):
        calls = (
            over,
            call("bpf_dynptr_slice", D, offset, 0, size, keep=Keep.PRESENCE),
            call("bpf_dynptr_slice", D, offset, Stack(64), size, keep=Keep.TARGET),
            call("bpf_dynptr_slice_rdwr", D, offset, Stack(64), size, keep=Keep.TARGET),
        )
        yield Row(f"slice-{linear}-{offset}-{size}", XDP, calls, FRAME, xdp_ctx(data_end=linear), frags=True)


def iterators() -> Iterator[Row]:
    """bpf_iter_num: ranges, limits, and what comes after the end."""
    step = call("bpf_iter_num_next", IT, keep=Keep.TARGET)
    for start, end in (
        (0, 0), (0, 1), (0, 3), (5, 7), (-3, -1), (-1, 1), (3, 0), (0, 8 << 20), (0, (8 << 20) + 1), (-(1 << 31), (1 << 31) - 1),
        (-(1 << 31), -(1 << 31) + 2), ((1 << 31) - 2, (1 << 31) - 1), (-(1 << 31), -(1 << 31)), (1 << 32, 2), (0, 1 << 32 | 2),
    ):  # fmt: skip
        begin = call("bpf_iter_num_new", IT, start, end)
        yield Row(f"iter-{start}-{end}", SYSCALL, (begin, step, step, step, step, call("bpf_iter_num_destroy", IT)))
    yield Row("rcu", SYSCALL, (call("bpf_rcu_read_lock"), call("bpf_rcu_read_unlock")))


def xdp_geometry() -> Iterator[Row]:
    """Moving the borders of an xdp frame in one piece."""
    length = call("bpf_xdp_get_buff_len", CTX)
    for delta in (0, 1, 14, 85, 86, 87, 100, -1, -14, -216, -217, -256, 1 << 31, U32):
        yield Row(f"xdp-head-{delta}", XDP, (call("bpf_xdp_adjust_head", CTX, delta), length), FRAME)
    for delta in (0, 1, -1, -86, -87, -100, 100, 3420, 3421, 1 << 31, U32):
        yield Row(f"xdp-tail-{delta}", XDP, (call("bpf_xdp_adjust_tail", CTX, delta), length), FRAME)
    for delta in (0, -4, -8, -3, -216, -220, 4, 1, -1, -252):
        calls = (call("bpf_xdp_adjust_meta", CTX, delta), length)
        yield Row(f"xdp-meta-{delta}", XDP, calls, FRAME)
        yield Row(f"xdp-meta-of-8-{delta}", XDP, calls, FRAME, xdp_ctx(data=8, data_end=100))
    yield from _rows(XDP, FRAME, {
        "xdp-head-with-meta": (call("bpf_xdp_adjust_head", CTX, -100), call("bpf_xdp_adjust_head", CTX, -107), call("bpf_xdp_adjust_head", CTX, 120), length),
        "xdp-head-over-meta": (call("bpf_xdp_adjust_head", CTX, 9), call("bpf_xdp_adjust_meta", CTX, -4), length),
    }, ctx=xdp_ctx(data=12, data_end=100))  # fmt: skip
    yield from _rows(XDP, FRAME, {
        "xdp-shrink-grow": (call("bpf_xdp_adjust_tail", CTX, -50), call("bpf_xdp_adjust_tail", CTX, 50), length),
        "xdp-head-out-and-in": (call("bpf_xdp_adjust_head", CTX, 20), call("bpf_xdp_adjust_head", CTX, -20), length),
    })  # fmt: skip
    for offset, size in ((0, 4), (96, 4), (97, 4), (100, 1), (U32, 4), (0x10000, 4), (0xFFFF, 4)):
        yield Row(f"xdp-load-{offset}-{size}", XDP, (call("bpf_xdp_load_bytes", CTX, offset, Mem(), size),), FRAME)
        yield Row(f"xdp-store-{offset}-{size}", XDP, (call("bpf_xdp_store_bytes", CTX, offset, Mem(), size),), FRAME)


def xdp_fragments() -> Iterator[Row]:
    """The same on frames whose tail is in fragments."""
    length = call("bpf_xdp_get_buff_len", CTX)
    cut = xdp_ctx(data_end=40)
    for delta in (0, 1, 4036, 4037, -1, -59, -60, -61, -86, -87, 1 << 31):
        yield Row(f"frags-tail-{delta}", XDP, (call("bpf_xdp_adjust_tail", CTX, delta), length), FRAME, cut, frags=True)
    for delta in (26, 27, -216, -217):
        yield Row(f"frags-head-{delta}", XDP, (call("bpf_xdp_adjust_head", CTX, delta), length), FRAME, cut, frags=True)
    for offset, size in ((0, 40), (36, 8), (40, 8), (92, 8), (93, 8)):
        yield Row(
            f"frags-load-{offset}-{size}",
            XDP,
            (call("bpf_xdp_load_bytes", CTX, offset, Mem(), size),),
            FRAME,
            cut,
            frags=True,
        )
        yield Row(
            f"frags-store-{offset}-{size}",
            XDP,
            (call("bpf_xdp_store_bytes", CTX, offset, Mem(), size),),
            FRAME,
            cut,
            frags=True,
        )
    for delta in (-1, -904, -905, -2000, -5986, -5987, 3000, 3192):
        yield Row(f"jumbo-tail-{delta}", XDP, (call("bpf_xdp_adjust_tail", CTX, delta), length), PACKET, frags=True)
    yield Row(
        "frags-shrink-grow",
        XDP,
        (call("bpf_xdp_adjust_tail", CTX, -30), call("bpf_xdp_adjust_tail", CTX, 30), length),
        FRAME,
        cut,
        frags=True,
    )
    yield Row(
        "frags-to-none",
        XDP,
        (call("bpf_xdp_adjust_tail", CTX, -70), call("bpf_xdp_adjust_tail", CTX, 70), length),
        FRAME,
        cut,
        frags=True,
    )


def accesses(layout: CtxLayout, size: int) -> Iterator[int]:
    return (at for at in range(0, layout.size, size) if (field := layout.find(at, size)) and not field.kind.is_packet)


def ctx_fields() -> Iterator[Row]:
    """Every legal load of every scalar field, with a ctx and without; stores read back."""
    full = skb_ctx(mark=0x11223344, priority=0x55667788, ingress_ifindex=77, cb=int.from_bytes(bytes(range(1, 21)), "little"), tstamp=0x1122334455667788, wire_len=5000, gso_segs=7, gso_size=1400, hwtstamp=0x99)  # fmt: skip
    for size in (1, 2, 4, 8):
        loads = tuple(
            call("load", at, size)
            for at in accesses(SK_BUFF, size)
            if SK_BUFF.find(at, size) is not SK_BUFF.field("sk")
        )
        for at in range(0, len(loads), 50):
            part = loads[at : at + 50]
            yield Row(f"skb-fields-{size}-{at}", TC, part, FRAME)
            yield Row(f"skb-fields-{size}-{at}-ctx", ACT, part, FRAME, full)
    for field in SK_BUFF.fields:
        if field.writable and field.size == 4:
            for value in (0x12345678, 0xFFFF, 0xFFFE, U32):
                calls = (
                    call("store", field.offset, 4, value),
                    call("load", field.offset, 4),
                    call("load", field.offset + 1, 1),
                    call("load", field.offset + 2, 2),
                    call("load", field.offset + 3, 1),
                )
                yield Row(f"skb-store-{field.name}-{value:x}", TC, calls, FRAME, full)
    cb = tuple(
        call("store", 48 + at, size, 0xA1B2C3D4E5F60718) for at, size in ((0, 8), (8, 4), (13, 1), (14, 2), (16, 4))
    )
    yield Row(
        "skb-store-cb", TC, (*cb, *(call("load", at, 4) for at in range(48, 68, 4)), call("load", 56, 8)), FRAME, full
    )
    yield Row("skb-store-tstamp", TC, (call("store", 152, 8, 0x0102030405060708), call("load", 152, 8)), FRAME, full)
    xdp = tuple(call("load", at, 4) for at in accesses(XDP_MD, 4))
    yield Row("xdp-fields", XDP, xdp, FRAME)
    yield Row("xdp-fields-ctx", XDP, xdp, FRAME, xdp_ctx(data_end=100, ingress_ifindex=1))


def _fill(layout: CtxLayout, values: dict[str, int]) -> bytes:
    raw = bytearray(layout.size)
    for name, value in values.items():
        field = layout.field(name)
        raw[field.offset : field.end] = value.to_bytes(field.size, "little")
    return bytes(raw)


def skb_ctx(**values: int) -> bytes:
    return _fill(SK_BUFF, values)


def xdp_ctx(**values: int) -> bytes:
    return _fill(XDP_MD, values)


def skb_arguments() -> Iterator[Row]:
    """What a test run of an skb accepts, and what the skb is made of."""
    look = tuple(call("load", at, 4) for at in (0, 4, 16, 36, 40, 160, 164))
    for size in (0, 1, 13, 14, 15, 3711, 3712, 3713, 6000):
        yield Row(f"skb-data-{size}", TC, look, PACKET[:size])
    for kind, sizes in (
        (0x0800, (14, 33, 34, 35)),
        (0x86DD, (34, 53, 54)),
        (0x8100, (14, 15)),
        (5, (14, 15, 16, 20)),
        (0x5FF, (30,)),
        (0x600, (30,)),
    ):
        for size in sizes:
            yield Row(
                f"skb-type-{kind:x}-{size}",
                ACT,
                look,
                (bytes(12) + kind.to_bytes(2, "big") + bytes(40) + PACKET)[:size],
            )
    yield Row("skb-type-novell", TC, look, bytes(12) + b"\0\x20\xff\xff" + bytes(40))
    for mac in ("000000000000", "ffffffffffff", "010000000000", "330000000001", "020000000000", "000000000001"):
        yield Row(f"skb-mac-{mac}", TC, look, bytes.fromhex(mac) + PACKET[6:60])
    for length in (1, 8, 12, 40, 191, 192, 193, 200, 4096, 4097, 5000):
        yield Row(f"skb-ctx-{length}", TC, look, FRAME, bytes(length))
        yield Row(f"skb-ctx-{length}-last", TC, look, FRAME, bytes(length - 1) + b"\1")
    for at in range(0, 192, 4):
        yield Row(f"skb-ctx-set-{at}", TC, look, FRAME, bytes(at) + b"\1" + bytes(191 - at))
    for length in (99, 100, 101, 65535, 65536, 65537, U32):
        yield Row(f"skb-wire-len-{length}", TC, look, FRAME, skb_ctx(wire_len=length))
    for name, value in (
        ("gso_segs", 65535),
        ("gso_segs", 65536),
        ("gso_size", 65536),
        ("gso_size", 0x12345),
        ("ifindex", 99999),
        ("ifindex", 1),
        ("ingress_ifindex", 99999),
    ):
        yield Row(f"skb-{name}-{value}", TC, (*look, call("load", 176, 4)), FRAME, skb_ctx(**{name: value}))
    bad = {"size": FRAME[:10], "type": bytes(12) + b"\x08\0\1"}
    for name, data in bad.items():
        for what, ctx in (
            ("index", skb_ctx(ifindex=99999)),
            ("stray", skb_ctx(len=1)),
            ("tail", bytes(200) + b"\1"),
            ("both", skb_ctx(ifindex=99999, len=1)),
        ):
            yield Row(f"skb-bad-{name}-{what}", TC, look, data, ctx)
    yield Row("skb-bad-index-and-stray", TC, look, FRAME, skb_ctx(ifindex=99999, len=1))
    twice = (
        call("bpf_skb_change_tail", CTX, 60, 0),
        call("bpf_skb_change_head", CTX, 4, 0),
        call("load", 0, 4),
        call("store", 8, 4, 9),
        call("load", 48, 4),
        call("store", 48, 4, 77),
    )
    yield Row("skb-repeat", TC, twice, FRAME, repeat=3)
    yield Row("skb-repeat-0", TC, twice, FRAME, repeat=0)
    yield Row("skb-repeat-ctx", TC, twice, FRAME, skb_ctx(mark=5), repeat=2)


def xdp_arguments() -> Iterator[Row]:
    """What a test run of an xdp frame accepts, and what the frame is made of."""
    look = (call("bpf_xdp_get_buff_len", CTX), *(call("load", at, 4) for at in accesses(XDP_MD, 4)))
    big = PACKET * 13
    for size in (0, 13, 14, 15, 3519, 3520, 3521, 6000, 73152, 73153):
        yield Row(f"xdp-data-{size}", XDP, look, big[:size], frags=True)
    for meta, linear in product((0, 3, 4, 8, 86, 88, 212, 216, 220, 252, 256), (0, 4, 14, 50, 100, 101)):
        yield Row(f"xdp-ctx-{meta}-{linear}", XDP, look, FRAME, xdp_ctx(data=meta, data_end=linear), frags=True)
    for meta, size in product((0, 4, 216, 220), (230, 300, 3736, 3737)):
        yield Row(f"xdp-meta-{meta}-of-{size}", XDP, look, PACKET[:size], xdp_ctx(data=meta, data_end=size), frags=True)
    for length in (1, 4, 8, 23, 24, 25, 100, 4096, 4097):
        yield Row(f"xdp-ctx-length-{length}", XDP, look, FRAME, bytes(length), frags=True)
        yield Row(f"xdp-ctx-length-{length}-last", XDP, look, FRAME, bytes(length - 1) + b"\1", frags=True)
    for ifindex, queue in product((0, 1, 99999), (0, 1, 7)):
        ctx = xdp_ctx(data_end=100, ingress_ifindex=ifindex, rx_queue_index=queue)
        yield Row(f"xdp-queue-{ifindex}-{queue}", XDP, look, FRAME, ctx)
    yield Row("xdp-egress", XDP, look, FRAME, xdp_ctx(data_end=100)[:20] + b"\1\0\0\0")
    yield Row("xdp-data-meta", XDP, look, FRAME, xdp_ctx(data_end=100, data_meta=4))
    yield Row(
        "xdp-bad-index-and-size", XDP, look, big[:73153], xdp_ctx(data_end=3520, ingress_ifindex=99999), frags=True
    )
    yield Row("xdp-linear-0-too-long", XDP, look, big[:69633], xdp_ctx(), frags=True)
    yield Row("xdp-linear-0-longest", XDP, look, big[:69632], xdp_ctx(), frags=True)
    twice = (
        call("bpf_xdp_adjust_head", CTX, 4),
        call("bpf_xdp_adjust_tail", CTX, -6),
        call("bpf_xdp_get_buff_len", CTX),
    )
    yield Row("xdp-repeat", XDP, twice, FRAME, repeat=3)
    yield Row("xdp-repeat-ctx", XDP, twice, FRAME, xdp_ctx(data=8, data_end=100), repeat=2)


def syscall_arguments() -> Iterator[Row]:
    """What a test run of a syscall program accepts."""
    nothing = (call("bpf_rcu_read_lock"), call("bpf_rcu_read_unlock"))
    for length in (0, 1, 8, 408, 65535, 65536):
        yield Row(f"syscall-ctx-{length}", SYSCALL, nothing, ctx=PACKET[:1] * length)
    for repeat in (0, 2):
        yield Row(f"syscall-repeat-{repeat}", SYSCALL, nothing, repeat=repeat)
    yield Row("syscall-data", SYSCALL, nothing, FRAME)
    yield Row(
        "syscall-ctx-changed",
        SYSCALL,
        (call("load", 0, 4), call("store", 0, 4, 0x01020304), call("store", 8, 8, -1), call("load", 4, 2)),
        ctx=bytes(range(16)),
    )
