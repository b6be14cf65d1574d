"""Reading pcapng: blocks in sections (draft-ietf-opsawg-pcapng).

A section header sets the byte order, interface descriptions number themselves within their section, and packets refer to them.
Blocks that are no packets (name resolution, statistics, secrets, custom ones) mean nothing here; when there is an output they are
handed over to it, to be copied in their place.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from bpfcrypto.capture.packet import MAX_PACKET, Interface, Packet
from bpfcrypto.capture.pcapng_writer import PassedBlock, PcapngWriter
from bpfcrypto.capture.stream import ByteSource, create_sink
from bpfcrypto.errors import CaptureError
from bpfcrypto.records import RecordFormat, RecordInterface

SECTION = 0x0A0D0D0A
INTERFACE = 1
OLD_PACKET = 2
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6

MAGIC = bytes.fromhex("0a0d0d0a")
"""First four bytes of a file: the type of a section header reads the same in both byte orders."""

ORDERS = {bytes.fromhex("4d3c2b1a"): "<", bytes.fromhex("1a2b3c4d"): ">"}
"""The byte-order magic of a section header -> byte order."""

MAX_BLOCK = 16 << 20
MAX_INTERFACES = 1 << 16

# The fixed part of the bodies that are read.
_BODY_SIZES = {SECTION: 16, INTERFACE: 8, OLD_PACKET: 20, SIMPLE_PACKET: 4, ENHANCED_PACKET: 20}
_RESOLUTION_OPTION = 9
_OFFSET_OPTION = 14


class PcapngReader:
    """Reads a pcapng file.

    Args:
        source: at the first block.

    Attributes:
        source: at the next block.
        number: of the next packet.

    Raises:
        CaptureError: the first block is no section header.
    """

    format = "pcapng"

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._order = "<"
        self._interfaces: list[Interface] = []
        self.number = 0
        self._started = False
        self._passed: deque[PassedBlock] | None = None
        self._packet_blocks: dict[int, Callable[[bytes, int], Packet]] = {
            ENHANCED_PACKET: self._enhanced,
            OLD_PACKET: self._old,
            SIMPLE_PACKET: self._simple,
        }
        _, self._first = self._read_block()

    @property
    def name(self) -> str:
        return self.source.name

    def __iter__(self) -> Iterator[Packet]:
        self.start()
        while self.source.peek(1):
            at = self.source.offset
            kind, raw = self._read_block()
            if kind in self._packet_blocks:
                packet = self._packet_blocks[kind](raw[8:-4], at)
                self.number += 1
                yield packet
            elif kind == SECTION:
                self._open_section(raw, at)
            elif kind == INTERFACE:
                self._add_interface(raw, at)
            else:
                self._pass(PassedBlock(self.number, raw, self._order))

    def start(self) -> None:
        """Read the first section header, if it was not yet."""
        if not self._started:
            self._started = True
            self._open_section(self._first, 0)

    def records(self, link_type: int | None) -> RecordFormat:
        """The blocks from here to the next header of a section or an interface."""
        usable = (RecordInterface(link_type in (None, each.link_type), each.snaplen) for each in self._interfaces)
        return RecordFormat("pcapng", self._order, 0, tuple(usable))

    @property
    def passed(self) -> deque[PassedBlock] | None:
        """The queue of blocks that are no packets; None without an output."""
        return self._passed

    def create_writer(self, path: str) -> PcapngWriter:
        """Create a file of the same kind; the blocks that are no packets go there too.

        Raises:
            CaptureError: packets were read already, so that blocks in front of them are lost.
        """
        if self._started:
            raise CaptureError("the output must be created before packets are read", source=self.name)
        sink = create_sink(path)
        self._passed = deque()
        return PcapngWriter(sink, self._passed)

    def _read_block(self) -> tuple[int, bytes]:
        """Take one whole block; its type and bytes."""
        source = self.source
        at = source.offset
        head = source.peek(12)
        if len(head) < 12:
            raise source.damage(f"the file is cut: a block needs at least 12 bytes, {len(head)} are left")
        if head[:4] == MAGIC:
            order = ORDERS.get(head[8:12])
            if order is None:
                raise source.damage(f"a section header with the byte-order magic {head[8:12].hex()}")
            self._order = order
        kind, size = struct.unpack_from(f"{self._order}II", head)
        if size < 12 + _BODY_SIZES.get(kind, 0) or size % 4 or size > MAX_BLOCK:
            raise source.damage(f"a block of type {kind} claims {size} bytes")
        raw = source.take(size, "a block", record=at)
        if raw[-4:] != raw[4:8]:
            raise source.damage(f"a block of type {kind} does not end with its length {size}", offset=at)
        return kind, raw

    def _pass(self, block: PassedBlock) -> None:
        if self._passed is not None:
            self._passed.append(block)

    def _open_section(self, raw: bytes, at: int) -> None:
        major, minor = struct.unpack_from(f"{self._order}HH", raw, 12)
        if (major, minor) not in {(1, 0), (1, 2)}:
            raise self.source.damage(f"pcapng version {major}.{minor} is not known", offset=at)
        self._interfaces = []
        self._pass(PassedBlock(self.number, raw, self._order, starts_section=True))

    def _add_interface(self, raw: bytes, at: int) -> None:
        if len(self._interfaces) == MAX_INTERFACES:
            raise self.source.damage(f"more than {MAX_INTERFACES} interfaces in one section", offset=at)
        link_type, _, snaplen = struct.unpack_from(f"{self._order}HHI", raw, 8)
        options = self._options(raw[16:-4], at)
        interface = Interface(
            link_type,
            snaplen,
            self._resolution(options.get(_RESOLUTION_OPTION, b"\x06"), at),
            self._offset_s(options.get(_OFFSET_OPTION, bytes(8)), at),
            len(self._interfaces),
            self._order,
        )
        self._interfaces.append(interface)
        self._pass(PassedBlock(self.number, raw, self._order, interface=interface))

    def _options(self, data: bytes, at: int) -> dict[int, bytes]:
        """The options of a block by code; of repeated ones the first."""
        options: dict[int, bytes] = {}
        position = 0
        while position < len(data):
            if position + 4 > len(data):
                raise self.source.damage("a block's options are cut", offset=at)
            code, size = struct.unpack_from(f"{self._order}HH", data, position)
            if code == 0:
                break
            value = data[position + 4 : position + 4 + size]
            if len(value) < size:
                raise self.source.damage(f"option {code} claims {size} bytes, {len(value)} are left", offset=at)
            options.setdefault(code, value)
            position += 4 + (size + 3 & ~3)
        return options

    def _resolution(self, value: bytes, at: int) -> int:
        if len(value) != 1:
            raise self.source.damage(f"the time resolution of an interface has {len(value)} bytes, not 1", offset=at)
        exponent = value[0] & 0x7F
        return int((2 if value[0] & 0x80 else 10) ** exponent)

    def _offset_s(self, value: bytes, at: int) -> int:
        if len(value) != 8:
            raise self.source.damage(f"the time offset of an interface has {len(value)} bytes, not 8", offset=at)
        return int.from_bytes(value, "little" if self._order == "<" else "big", signed=True)

    def _interface(self, index: int, at: int) -> Interface:
        if index >= len(self._interfaces):
            raise self.source.damage(
                f"packet {self.number} refers to interface {index} of {len(self._interfaces)}", offset=at
            )
        return self._interfaces[index]

    def _enhanced(self, body: bytes, at: int) -> Packet:
        index, high, low, size, wire_len = struct.unpack_from(f"{self._order}IIIII", body)
        return self._timed(body, at, index, high << 32 | low, size, wire_len)

    def _old(self, body: bytes, at: int) -> Packet:
        index, _drops, high, low, size, wire_len = struct.unpack_from(f"{self._order}HHIIII", body)
        return self._timed(body, at, index, high << 32 | low, size, wire_len)

    def _timed(self, body: bytes, at: int, index: int, ticks: int, size: int, wire_len: int) -> Packet:
        end = 20 + (size + 3 & ~3)
        data = self._data(body, 20, size, at)
        return Packet(data, ticks, wire_len, self._interface(index, at), self.number, at, body[end:])

    def _simple(self, body: bytes, at: int) -> Packet:
        (wire_len,) = struct.unpack_from(f"{self._order}I", body)
        interface = self._interface(0, at)
        size = min(wire_len, interface.snaplen or wire_len)
        return Packet(self._data(body, 4, size, at), None, wire_len, interface, self.number, at)

    def _data(self, body: bytes, start: int, size: int, at: int) -> bytes:
        if size > min(len(body) - start, MAX_PACKET):
            raise self.source.damage(f"packet {self.number} claims {size} bytes in a block of {len(body)}", offset=at)
        return body[start : start + size]

    def close(self) -> None:
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
