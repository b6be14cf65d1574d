"""Builds capture files from their parts, so that a test can bend one number and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from os import PathLike

from bpfcrypto.capture import LinkType, Packet, open_capture

ETHERNET = 1


def read(path: PathLike[str], link_type: int | None = LinkType.ETHERNET) -> list[Packet]:
    """All packets of a file."""
    with open_capture(path, link_type=link_type) as capture:
        return list(capture)


def pcap_header(order: str = "<", *, nanoseconds: bool = False, snaplen: int = 262_144, link: int = ETHERNET) -> bytes:
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, link)


def pcap_record(data: bytes, order: str = "<", *, time: tuple[int, int] = (0, 0), wire_len: int | None = None) -> bytes:
    length = len(data) if wire_len is None else wire_len
    return struct.pack(f"{order}IIII", *time, len(data), length) + data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", *, length: int = -1, version: tuple[int, int] = (1, 0)) -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, *version, length), order)


def interface(order: str = "<", *, link: int = ETHERNET, snaplen: int = 0, options: Sequence[bytes] = ()) -> bytes:
    tail = b"".join((*options, bytes(4))) if options else b""
    return block(1, struct.pack(f"{order}HHI", link, 0, snaplen) + tail, order)


def enhanced(
    data: bytes, order: str = "<", *, index: int = 0, ticks: int = 0, wire_len: int | None = None, options: bytes = b""
) -> bytes:
    length = len(data) if wire_len is None else wire_len
    head = struct.pack(f"{order}IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block(6, head + data + bytes(-len(data) % 4) + options, order)


def simple(data: bytes, order: str = "<", *, wire_len: int | None = None) -> bytes:
    length = len(data) if wire_len is None else wire_len
    return block(3, struct.pack(f"{order}I", length) + data + bytes(-len(data) % 4), order)


def old(data: bytes, order: str = "<", *, index: int = 0, ticks: int = 0) -> bytes:
    head = struct.pack(f"{order}HHIIII", index, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data + bytes(-len(data) % 4), order)
