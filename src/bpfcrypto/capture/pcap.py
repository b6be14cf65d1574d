"""The pcap format: a 24-byte header, then records of 16 bytes and data (draft-ietf-opsawg-pcap).

The magic number tells byte order and resolution. The header goes to the output as it came, so a copy is the same file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from bpfcrypto.capture.packet import MAX_PACKET, Interface, Packet
from bpfcrypto.capture.stream import ByteSink, ByteSource, create_sink
from bpfcrypto.errors import CaptureError
from bpfcrypto.records import RecordFormat, RecordInterface

HEADER_SIZE = 24
RECORD_SIZE = 16

MAGICS: dict[bytes, tuple[str, int]] = {
    bytes.fromhex(magic): meaning
    for magic, meaning in {
        "d4c3b2a1": ("<", 1_000_000),
        "a1b2c3d4": (">", 1_000_000),
        "4d3cb2a1": ("<", 1_000_000_000),
        "a1b23c4d": (">", 1_000_000_000),
    }.items()
}
"""First four bytes of a file -> byte order and ticks per second."""

_SNAPLEN_AT = 16
_U32 = 0xFFFF_FFFF


def default_header() -> bytes:
    """The header of a new file: little-endian, microseconds, Ethernet."""
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MAX_PACKET, 1)


class PcapReader:
    """Reads a pcap file.

    Args:
        source: at the magic number.

    Attributes:
        source: at the next record.
        number: of the next packet.
        header: the file's.
        interface: the only one.

    Raises:
        CaptureError: the header is cut, or of a version that this reader does not know.
    """

    format = "pcap"

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.number = 0
        self.header = source.take(HEADER_SIZE, "the file header")
        order, resolution = MAGICS[self.header[:4]]
        major, minor, _, _, snaplen, link = struct.unpack_from(f"{order}HHiIII", self.header, 4)
        if (major, minor) != (2, 4):
            raise source.damage(
                f"pcap version {major}.{minor} is not known", offset=4, hint="2.4 is the only one in use"
            )
        # The upper 16 bits of the link type tell of a frame check sequence; programs see it as data.
        self.interface = Interface(link & 0xFFFF, snaplen, resolution, order=order)

    @property
    def name(self) -> str:
        return self.source.name

    def __iter__(self) -> Iterator[Packet]:
        source = self.source
        interface = self.interface
        resolution = interface.resolution
        record = struct.Struct(f"{interface.order}IIII")
        while source.peek(1):
            at = source.offset
            seconds, fraction, size, wire_len = record.unpack(source.take(RECORD_SIZE, "a record header"))
            if size > MAX_PACKET:
                raise source.damage(
                    f"packet {self.number} claims {size} bytes, more than the {MAX_PACKET} possible", offset=at
                )
            data = source.take(size, "a packet", record=at)
            self.number += 1
            yield Packet(data, seconds * resolution + fraction, wire_len, interface, self.number - 1, at)

    def records(self, link_type: int | None) -> RecordFormat:
        """The records from here on."""
        interface = self.interface
        usable = link_type in (None, interface.link_type)
        return RecordFormat("pcap", interface.order, interface.resolution, (RecordInterface(usable, 0),))

    def create_writer(self, path: str) -> PcapWriter:
        """Create a file of the same kind."""
        return PcapWriter(create_sink(path), self.header)

    def close(self) -> None:
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PcapWriter:
    """Writes a pcap file.

    Packets that outgrow the header's snapshot length raise it when the file is closed, since readers cut packets to it.

    Args:
        sink: where to.
        header: the 24 bytes to begin with; they decide byte order and resolution.
    """

    def __init__(self, sink: ByteSink, header: bytes) -> None:
        self._sink = sink
        self._order, self._resolution = MAGICS[header[:4]]
        self._record = struct.Struct(f"{self._order}IIII")
        (self._snaplen,) = struct.unpack_from(f"{self._order}I", header, _SNAPLEN_AT)
        self._longest = 0
        sink.write(header)

    def write(self, packet: Packet) -> None:
        """Append a packet.

        Raises:
            CaptureError: its time or size does not fit the format, or the file cannot be written.
        """
        size = len(packet.data)
        interface = packet.interface
        ticks = (packet.ticks or 0) * self._resolution // interface.resolution + interface.offset_s * self._resolution
        # Some writers let the fraction run over a second; the last second of the format takes the rest.
        seconds = min(ticks // self._resolution, _U32)
        try:
            head = self._record.pack(seconds, ticks - seconds * self._resolution, size, packet.wire_len)
        except struct.error:
            raise CaptureError(
                f"packet {packet.number}: time {ticks} or length {packet.wire_len} does not fit a pcap record",
                source=self._sink.name,
                offset=self._sink.offset,
            ) from None
        if size > MAX_PACKET:
            raise CaptureError(
                f"packet {packet.number}: {size} bytes are more than the {MAX_PACKET} possible",
                source=self._sink.name,
                offset=self._sink.offset,
            )
        self._longest = max(self._longest, size)
        self._sink.write(head + packet.data)

    def takes_records(self, reader: PcapReader) -> bool:
        """Whether records as they are in another file can be written here."""
        interface = reader.interface
        return (self._order, self._resolution) == (interface.order, interface.resolution)

    def write_records(self, data: memoryview, longest: tuple[int, ...]) -> None:
        """Append whole records at once.

        Args:
            data: the records.
            longest: how long the longest packet among them is.
        """
        self._longest = max(self._longest, *longest)
        self._sink.write_now(data)

    def close(self) -> None:
        try:
            if 0 < self._snaplen < self._longest:
                self._sink.patch(_SNAPLEN_AT, struct.pack(f"{self._order}I", self._longest))
        finally:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
