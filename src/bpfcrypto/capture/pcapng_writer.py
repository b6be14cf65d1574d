"""Writing pcapng: the packets, and between them the blocks that the reader passed on.

Section and interface blocks come from the input, so byte order, resolution and everything that only other tools understand stay as
they were. Two numbers are corrected: a section's length is set to "unknown", for packets may change size or be left out, and an
interface's snapshot length is raised over the longest packet written.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bpfcrypto.capture.packet import MAX_PACKET, Interface, Packet
from bpfcrypto.capture.stream import ByteSink
from bpfcrypto.errors import CaptureError

if TYPE_CHECKING:
    from bpfcrypto.capture.pcapng import PcapngReader

_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6
_SECTION_LENGTH = slice(16, 24)
_SNAPLEN_AT = 12


@dataclass(frozen=True, slots=True)
class PassedBlock:
    """A block that is no packet.

    Attributes:
        before: number of the packet that it stands in front of.
        raw: the whole block.
        order: byte order of its section.
        starts_section: whether it is a section header.
        interface: what it describes, for interface descriptions.
    """

    before: int
    raw: bytes
    order: str
    starts_section: bool = False
    interface: Interface | None = None


@dataclass(slots=True)
class _Written:
    """An interface in the output: where its snapshot length stands, and the longest packet so far."""

    interface: Interface
    snaplen_at: int
    longest: int = 0


class PcapngWriter:
    """Writes a pcapng file after the model of one being read.

    Args:
        sink: where to.
        passed: the reader's queue of blocks that are no packets.
    """

    def __init__(self, sink: ByteSink, passed: deque[PassedBlock]) -> None:
        self._sink = sink
        self._passed = passed
        self._order = "<"
        self._section: list[_Written] = []
        self._grown: list[tuple[_Written, str]] = []

    def write(self, packet: Packet) -> None:
        """Append a packet, and before it the blocks that stood before it in the input.

        Raises:
            CaptureError: the packet is of another file, does not fit the format, or the file cannot be written.
        """
        self._copy_blocks(packet.number)
        index = packet.interface.index
        if index >= len(self._section) or self._section[index].interface != packet.interface:
            raise self._refusal(packet, "its interface is not in this file")
        size = len(packet.data)
        if size > MAX_PACKET:
            raise self._refusal(packet, f"{size} bytes are more than the {MAX_PACKET} possible")
        try:
            block = self._simple(packet) if self._is_simple(packet) else self._enhanced(packet)
        except struct.error:
            raise self._refusal(
                packet, f"time {packet.ticks} or length {packet.wire_len} does not fit the format"
            ) from None
        self._section[index].longest = max(self._section[index].longest, size)
        self._sink.write(block)

    def takes_records(self, reader: PcapngReader) -> bool:
        """Whether blocks as they are in another file can be written here."""
        return reader.passed is self._passed

    def write_records(self, data: memoryview, longest: tuple[int, ...]) -> None:
        """Append whole blocks at once, and before them the blocks that stood before them in the input.

        Args:
            data: the blocks.
            longest: by interface, how long the longest packet among them is.
        """
        self._copy_all()
        for written, size in zip(self._section, longest, strict=False):
            written.longest = max(written.longest, size)
        self._sink.write_now(data)

    def _copy_all(self) -> None:
        while self._passed:
            self._copy_blocks(self._passed[0].before)

    def _is_simple(self, packet: Packet) -> bool:
        """Whether a simple packet block can say it: no time, and a captured length that follows from the other numbers."""
        interface = packet.interface
        derived = min(packet.wire_len, interface.snaplen or packet.wire_len)
        return packet.ticks is None and interface.index == 0 and derived == len(packet.data)

    def _simple(self, packet: Packet) -> bytes:
        return self._block(_SIMPLE_PACKET, struct.pack(f"{self._order}I", packet.wire_len) + _padded(packet.data))

    def _enhanced(self, packet: Packet) -> bytes:
        ticks = packet.ticks or 0
        head = struct.pack(
            f"{self._order}IIIII",
            packet.interface.index,
            ticks >> 32,
            ticks & 0xFFFF_FFFF,
            len(packet.data),
            packet.wire_len,
        )
        return self._block(_ENHANCED_PACKET, head + _padded(packet.data) + packet.options)

    def _block(self, kind: int, body: bytes) -> bytes:
        size = struct.pack(f"{self._order}I", len(body) + 12)
        return struct.pack(f"{self._order}I", kind) + size + body + size

    def _copy_blocks(self, number: int) -> None:
        passed = self._passed
        while passed and passed[0].before <= number:
            block = passed.popleft()
            raw = block.raw
            if block.starts_section:
                self._remember_grown()
                self._section = []
                self._order = block.order
                raw = raw[: _SECTION_LENGTH.start] + b"\xff" * 8 + raw[_SECTION_LENGTH.stop :]
            elif block.interface is not None:
                self._section.append(_Written(block.interface, self._sink.offset + _SNAPLEN_AT))
            self._sink.write(raw)

    def _remember_grown(self) -> None:
        self._grown += [(w, self._order) for w in self._section if 0 < w.interface.snaplen < w.longest]

    def _refusal(self, packet: Packet, why: str) -> CaptureError:
        return CaptureError(f"packet {packet.number}: {why}", source=self._sink.name, offset=self._sink.offset)

    def close(self) -> None:
        try:
            self._copy_all()
            self._remember_grown()
            for written, order in self._grown:
                self._sink.patch(written.snaplen_at, struct.pack(f"{order}I", written.longest))
        finally:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
