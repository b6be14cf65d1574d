"""A captured packet, and the interface it was captured on.

Time is kept in the ticks of the file, never converted on the way through, so that a capture can be copied without loss whatever
its resolution; ``timestamp_ns`` converts for people.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

MAX_PACKET = 262_144
"""Longest packet that a capture may hold, in bytes; other readers of these formats draw the same line."""

_HASH_OPTION = 3


class LinkType(IntEnum):
    """The link types that show up most; files may carry any 16-bit number."""

    NULL = 0
    ETHERNET = 1
    RAW = 101
    IEEE802_11 = 105
    LINUX_SLL = 113
    IEEE802_11_RADIOTAP = 127
    LINUX_SLL2 = 276


_LINK_NAMES = {int(member): member.name for member in LinkType}


def link_type_name(value: int) -> str:
    """``ETHERNET``, or the number as text for link types without a name here."""
    return _LINK_NAMES.get(value, str(value))


@dataclass(frozen=True, slots=True)
class Interface:
    """What a file says about where packets were captured.

    Attributes:
        link_type: what packets start with; 1 is Ethernet.
        snaplen: longest captured length in bytes, 0 for no limit.
        resolution: ticks per second of the packets' time.
        offset_s: seconds to add to every time (pcapng's if_tsoffset).
        index: number within the section (pcapng); 0 in pcap files.
        order: byte order of the section, ``<`` or ``>``.
    """

    link_type: int
    snaplen: int = MAX_PACKET
    resolution: int = 1_000_000
    offset_s: int = 0
    index: int = 0
    order: str = "<"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a capture file.

    Attributes:
        data: the captured bytes, from the link-layer header.
        ticks: time in ``interface.resolution`` ticks; None where the file has none (pcapng's simple packets).
        wire_len: length on the wire; more than ``len(data)`` when the capture was cut.
        interface: where it was captured.
        number: position among the packets of the file, from 0.
        offset: byte offset of its record in the file.
        options: raw options of its pcapng block.
    """

    data: bytes
    ticks: int | None
    wire_len: int
    interface: Interface
    number: int = 0
    offset: int = 0
    options: bytes = b""

    @property
    def timestamp_ns(self) -> int | None:
        """Nanoseconds since the epoch; None where the file has no time."""
        if self.ticks is None:
            return None
        return self.ticks * 1_000_000_000 // self.interface.resolution + self.interface.offset_s * 1_000_000_000

    def with_data(self, data: bytes) -> Packet:
        """The same packet with other bytes.

        The length on the wire grows or shrinks by the same amount as the captured one. A hash option is dropped, because it is
        that of the old bytes.

        Args:
            data: the new bytes.

        Returns:
            A packet; this one if nothing changes.
        """
        if data == self.data:
            return self
        wire_len = min(max(len(data), self.wire_len + len(data) - len(self.data)), 0xFFFF_FFFF)
        return replace(self, data=data, wire_len=wire_len, options=_without_hash(self.options, self.interface.order))


class CaptureWriter(Protocol):
    """A capture file being written. Closing it, also after an error, keeps everything written so far."""

    def write(self, packet: Packet) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _without_hash(options: bytes, order: str) -> bytes:
    kept = []
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(f"{order}HH", options, at)
        end = at + 4 + (size + 3 & ~3)
        if code == 0 or end > len(options):
            break
        if code != _HASH_OPTION:
            kept.append(options[at:end])
        at = end
    return b"".join((*kept, bytes(4))) if kept else b""
