"""The argument rules of BPF_PROG_TEST_RUN: from what the caller gives to a packet, and back (net/bpf/test_run.c).

The kernel looks at one thing after another and answers with the errno of the first that is wrong; the order here is its order.
What it refuses is a SyscallError with the same errno.

A context that was given goes in and comes out; without one, the program sees the defaults. That is not the same as a context of
zeros: an skb then has no wire length, and an xdp frame's linear part is as long as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EBADMSG, EINVAL, ENODEV, ENOMEM
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD, CtxLayout
from bpfcrypto.abi.progs import AttachType, ProgType, RunFlag
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.packet import ETH_HLEN, PAGE_SIZE, SHARED_INFO
from bpfcrypto.embedded.packet_skb import HEADROOM, SkBuff
from bpfcrypto.embedded.packet_xdp import MAX_FRAGMENTS, MAX_LINEAR, MAX_META, XdpFrame
from bpfcrypto.errors import SyscallError

if TYPE_CHECKING:
    from bpfcrypto.spec import ProgramSpec

COMMAND = "BPF_PROG_TEST_RUN"
LOOPBACK = 1
MAX_SKB = PAGE_SIZE - HEADROOM - SHARED_INFO
MAX_SYSCALL_CTX = 0xFFFF

ELEMENTS = frozenset({AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP})
"""Where programs are attached that no test run takes."""

_MAX_WIRE_LEN = 65536  # GSO_LEGACY_MAX_SIZE
_MAX_GSO_SEGS = 65535
_SMALLEST: Mapping[int, int] = {0x0800: ETH_HLEN + 20, 0x86DD: ETH_HLEN + 40}
"""Ethertype -> bytes that a frame of it must have."""

# Fields of struct __sk_buff that a context sets, in the order in which the kernel writes them back.
_SKB_FIELDS = ("mark", "priority", "ingress_ifindex", "ifindex", "cb", "tstamp", "wire_len", "gso_segs", "hwtstamp")

Interfaces = Mapping[int, int]
"""Interface index -> number of receive queues."""


def refuse(errno: int, detail: str, hint: str | None = None) -> SyscallError:
    """The refusal of a test run."""
    return SyscallError(COMMAND, errno, detail=detail, hint=hint)


def _whole(layout: CtxLayout, ctx: bytes | bytearray) -> bytearray:
    """The context at its full size (bpf_ctx_init): what is missing is zero, what is too much must be zero."""
    if len(ctx) > PAGE_SIZE or any(ctx[layout.size :]):
        raise refuse(
            E2BIG, f"a ctx of {len(ctx)} bytes, where struct {layout.struct} has {layout.size}", "cut what is behind it"
        )
    return bytearray(ctx[: layout.size].ljust(layout.size, b"\0"))


def _get(layout: CtxLayout, ctx: bytes | bytearray, name: str) -> int:
    field = layout.field(name)
    return int.from_bytes(ctx[field.offset : field.end], "little")


def _put(layout: CtxLayout, ctx: bytearray, name: str, value: int) -> None:
    field = layout.field(name)
    ctx[field.offset : field.end] = value.to_bytes(field.size, "little")


def _stray(layout: CtxLayout, ctx: bytes | bytearray) -> int | None:
    """Offset of the first byte that is set outside of the settable fields."""
    rest = bytearray(ctx)
    for field in layout.fields:
        if field.settable:
            rest[field.offset : field.end] = bytes(field.size)
    return next((at for at, byte in enumerate(rest) if byte), None)


def check_flags(kind: ProgType, flags: RunFlag) -> None:
    """Which flags a type of program takes.

    Raises:
        SyscallError: EINVAL.
    """
    known = RunFlag.CHECKSUM_COMPLETE if kind in (ProgType.SCHED_CLS, ProgType.SCHED_ACT) else RunFlag.NONE
    if int(flags) & ~int(known):
        raise refuse(
            EINVAL, f"flags {int(flags):#x} for a program of type {kind.name}", f"it takes {int(known):#x} at most"
        )


def check_attach_type(program: ProgramSpec) -> None:
    """Programs for the elements of a redirect map run nowhere else.

    Raises:
        SyscallError: EINVAL.
    """
    if program.attach_type in ELEMENTS:
        raise refuse(
            EINVAL,
            f"program '{program.name}' of section '{program.section}'",
            "it runs on packets that were redirected to an element of a DEVMAP or CPUMAP, never by itself",
        )


def check_sum(skb: SkBuff) -> None:
    """Compare the known sum with the packet.

    Raises:
        SyscallError: EBADMSG.
    """
    if not skb.checksum.matches(skb.to_bytes()[skb.network_offset :]):
        raise refuse(
            EBADMSG,
            "the packet's sum is not what helpers were told",
            "store with BPF_F_RECOMPUTE_CSUM, or tell the difference with bpf_csum_update",
        )


def make_skb(
    memory: Memory, data: bytes, ctx: bytes | bytearray, interfaces: Interfaces, *, linear: int | None = None
) -> SkBuff:
    """The skb of a run (bpf_prog_test_run_skb).

    Args:
        memory: the run's memory.
        data: a frame of 14 to 3712 bytes; at least 34 of IPv4, 54 of IPv6.
        ctx: struct __sk_buff, or b"" for none.
        interfaces: what ``ifindex`` may name.
        linear: bytes of the packet in the linear part, at least its Ethernet header; None for all. With it, a packet may be as
            much longer as the pages of an skb hold.

    Raises:
        SyscallError: EINVAL, E2BIG or ENODEV, as the kernel.
    """
    head = len(data) if linear is None else min(max(linear, ETH_HLEN), MAX_SKB)
    limit = MAX_SKB if linear is None else head + MAX_FRAGMENTS * PAGE_SIZE
    if not ETH_HLEN <= len(data) <= limit:
        raise refuse(EINVAL, f"a packet of {len(data)} bytes", f"an skb of a test run has {ETH_HLEN} to {limit} bytes")
    given = _whole(SK_BUFF, ctx) if ctx else None
    ifindex = max(_get(SK_BUFF, given, "ifindex"), LOOPBACK) if given is not None else LOOPBACK
    if ifindex not in interfaces:
        raise refuse(ENODEV, f"no interface has the index {ifindex}")
    ethertype = int.from_bytes(data[12:14], "big")
    if len(data) < _SMALLEST.get(ethertype, 0):
        raise refuse(
            EINVAL,
            f"a packet of {len(data)} bytes with ethertype {ethertype:#06x}",
            f"it must hold the whole network header: {_SMALLEST[ethertype]} bytes",
        )
    if given is not None:
        _check_skb_ctx(given, len(data))
    skb = SkBuff(memory, data, linear=min(head, len(data)))
    if given is not None:
        for field in SK_BUFF.fields:
            if field.settable:
                skb.set(field.name, _get(SK_BUFF, given, field.name))
        skb.set("ifindex", ifindex)
        skb.set("wire_len", _get(SK_BUFF, given, "wire_len") or len(data))
    return skb


def _check_skb_ctx(ctx: bytearray, size: int) -> None:
    stray = _stray(SK_BUFF, ctx)
    if stray is not None:
        names = ", ".join(field.name for field in SK_BUFF.fields if field.settable)
        raise refuse(EINVAL, f"byte {stray} of struct __sk_buff is set", f"only these can be: {names}")
    wire_len = _get(SK_BUFF, ctx, "wire_len")
    if wire_len and not size <= wire_len <= _MAX_WIRE_LEN:
        raise refuse(EINVAL, f"a wire_len of {wire_len} for {size} bytes", f"it is 0, or {size} to {_MAX_WIRE_LEN}")
    segments = _get(SK_BUFF, ctx, "gso_segs")
    if segments > _MAX_GSO_SEGS:
        raise refuse(EINVAL, f"a gso_segs of {segments}", f"it is at most {_MAX_GSO_SEGS}")


def skb_ctx(skb: SkBuff, ctx: bytes | bytearray) -> bytes:
    """The struct __sk_buff after a run; b"" where none was given."""
    if not ctx:
        return b""
    result = _whole(SK_BUFF, ctx)
    for name in _SKB_FIELDS:
        _put(SK_BUFF, result, name, skb[name])
    return bytes(result)


def make_xdp(memory: Memory, data: bytes, ctx: bytes | bytearray, interfaces: Interfaces) -> XdpFrame:
    """The xdp frame of a run (bpf_prog_test_run_xdp).

    Args:
        memory: the run's memory.
        data: metadata and frame; at least 14 bytes of frame, at most what the linear part and 17 pages hold.
        ctx: struct xdp_md, or b"" for none: ``data`` is the size of the metadata, ``data_end`` that of the linear part with it.
        interfaces: what ``ingress_ifindex`` may name.

    Raises:
        SyscallError: EINVAL, E2BIG, ENOMEM or ENODEV, as the kernel.
    """
    meta, linear = 0, len(data)
    given = _whole(XDP_MD, ctx) if ctx else None
    if given is not None:
        meta, linear = _get(XDP_MD, given, "data"), _get(XDP_MD, given, "data_end")
        if _get(XDP_MD, given, "data_meta") or linear > len(data) or meta > linear or meta % 4 or meta > MAX_META:
            raise refuse(
                EINVAL,
                f"a struct xdp_md with data {meta}, data_end {linear} and {len(data)} bytes of packet",
                f"data is the size of the metadata, a multiple of 4 up to {MAX_META}; data_end the end of the linear part; data_meta 0",
            )
    if len(data) - meta < ETH_HLEN:
        raise refuse(EINVAL, f"a frame of {len(data) - meta} bytes", f"a frame has at least {ETH_HLEN}")
    linear = min(linear, MAX_LINEAR + meta)
    ifindex, queue = (
        (_get(XDP_MD, given, "ingress_ifindex"), _get(XDP_MD, given, "rx_queue_index")) if given else (0, 0)
    )
    if given is not None:
        _check_queue(given, ifindex, queue, interfaces)
    limit = linear + MAX_FRAGMENTS * PAGE_SIZE
    if len(data) > limit:
        raise refuse(
            ENOMEM, f"a frame of {len(data)} bytes", f"the linear part and {MAX_FRAGMENTS} fragments hold {limit}"
        )
    frame = XdpFrame(memory, data, meta=meta, linear=linear)
    frame.set_queue(ifindex or LOOPBACK, queue)
    return frame


def _check_queue(ctx: bytearray, ifindex: int, queue: int, interfaces: Interfaces) -> None:
    if any(ctx[XDP_MD.field("rx_queue_index").end :]):
        raise refuse(EINVAL, "a struct xdp_md with an egress_ifindex", "it must be 0")
    if queue and not ifindex:
        raise refuse(EINVAL, f"rx_queue_index {queue} without an ingress_ifindex")
    if ifindex and ifindex not in interfaces:
        raise refuse(ENODEV, f"no interface has the index {ifindex}")
    if ifindex and queue >= interfaces[ifindex]:
        raise refuse(EINVAL, f"rx_queue_index {queue} of an interface with {interfaces[ifindex]} queues")


def xdp_ctx(frame: XdpFrame, ctx: bytes | bytearray) -> bytes:
    """The struct xdp_md after a run, as it was given but for the borders; b"" where none was given."""
    if not ctx:
        return b""
    result = _whole(XDP_MD, ctx)
    _put(XDP_MD, result, "data", frame.meta_size)
    _put(XDP_MD, result, "data_end", frame.meta_size + frame.linear_size)
    return bytes(result)


def check_syscall(data: bytes, ctx: bytes | bytearray, repeat: int, least: int) -> None:
    """What a syscall program takes: a context, and nothing else (bpf_prog_test_run_syscall).

    Args:
        data: what was given as a packet.
        ctx: the context.
        repeat: the rounds.
        least: bytes of the context that the program accesses.

    Raises:
        SyscallError: EINVAL.
    """
    if data or repeat > 1:
        raise refuse(
            EINVAL, f"{len(data)} bytes of data and {repeat} repetitions", "a syscall program takes a ctx only"
        )
    if len(ctx) < least:
        raise refuse(EINVAL, f"a ctx of {len(ctx)} bytes", f"the program accesses {least} bytes of it")
    if len(ctx) > MAX_SYSCALL_CTX:
        raise refuse(EINVAL, f"a ctx of {len(ctx)} bytes", f"a syscall program takes at most {MAX_SYSCALL_CTX}")
