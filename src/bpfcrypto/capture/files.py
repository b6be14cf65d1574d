"""Opening and creating capture files by name; the first bytes decide the format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from types import TracebackType
from typing import Self

from bpfcrypto.capture.packet import CaptureWriter, LinkType, Packet, link_type_name
from bpfcrypto.capture.pcap import MAGICS, PcapReader, PcapWriter, default_header
from bpfcrypto.capture.pcapng import MAGIC, PcapngReader
from bpfcrypto.capture.stream import ByteSource, create_sink, open_source
from bpfcrypto.errors import CaptureError

# First bytes of files that people take for captures -> what they are and what to do.
_LOOKALIKES: dict[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("compressed with gzip", "zcat FILE | bpfcrypto run --pcap - ..."),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "zstdcat FILE | bpfcrypto run --pcap - ..."),
    b"\x34\xcd\xb2\xa1": ("a pcap with a kernel's own record headers", "editcap -F pcap IN OUT converts it"),
    b"\xa1\xb2\xcd\x34": ("a pcap with a kernel's own record headers", "editcap -F pcap IN OUT converts it"),
    b"snoop\0\0\0": ("a snoop file", "editcap -F pcap IN OUT converts it"),
}


class Capture:
    """An open capture file of either format; what :func:`open_capture` gives.

    Iterating gives the packets once, in order. When the file is damaged or cut, every packet before the damage comes first and
    then a :class:`~bpfcrypto.errors.CaptureError` that names the offset.

    Attributes:
        reader: the reader of the format.
        link_type: what every packet must start with; None takes any.
    """

    def __init__(self, reader: PcapReader | PcapngReader, link_type: int | None) -> None:
        self.reader = reader
        self.link_type = link_type

    @property
    def name(self) -> str:
        """The file's name, ``<stdin>`` for standard input."""
        return self.reader.name

    @property
    def offset(self) -> int:
        """Bytes of the file that were read so far."""
        return self.reader.source.offset

    @property
    def format(self) -> str:
        """``pcap`` or ``pcapng``."""
        return self.reader.format

    def __iter__(self) -> Iterator[Packet]:
        wanted = self.link_type
        for packet in self.reader:
            if wanted is not None and packet.interface.link_type != wanted:
                raise CaptureError(
                    f"packet {packet.number} has link type {link_type_name(packet.interface.link_type)}, "
                    f"not {link_type_name(wanted)}",
                    source=self.name,
                    offset=packet.offset,
                    hint="programs take Ethernet frames: capture on one Ethernet interface, not on 'any' or a raw tunnel",
                )
            yield packet

    def close(self) -> None:
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_capture(path: str | PathLike[str], *, link_type: int | None = LinkType.ETHERNET) -> Capture:
    """Open a pcap or pcapng file of either byte order and any time resolution.

    Args:
        path: the file; ``-`` is standard input.
        link_type: the link type that every packet must have, since programs run on Ethernet frames; None takes any.

    Returns:
        The open file; iterate over it for its packets.

    Raises:
        CaptureError: it cannot be opened, or is no capture file.
    """
    source = open_source(os.fspath(path))
    try:
        return Capture(_reader(source), link_type)
    except BaseException:
        source.close()
        raise


def _reader(source: ByteSource) -> PcapReader | PcapngReader:
    magic = source.peek(8)
    if magic[:4] in MAGICS:
        return PcapReader(source)
    if magic[:4] == MAGIC:
        return PcapngReader(source)
    for start, (what, hint) in _LOOKALIKES.items():
        if magic.startswith(start):
            raise source.damage(f"this is {what}, not a pcap or pcapng file", hint=hint)
    raise source.damage("the file is empty" if not magic else f"no pcap or pcapng file: it begins with {magic.hex()}")


def create_capture(path: str | PathLike[str], *, like: Capture | None = None) -> CaptureWriter:
    """Create a capture file, or overwrite one.

    The file grows in place: whatever happens later, what was written stays.

    Args:
        path: the file; ``-`` is standard output.
        like: an open capture from which no packet was read yet: the new file gets its format, byte order, time resolution and
            interfaces. Without it the file is a pcap with microseconds.

    Raises:
        CaptureError: it cannot be created, or is the file being read.
    """
    name = os.fspath(path)
    if like is not None and os.path.exists(name) and os.path.exists(like.name) and os.path.samefile(name, like.name):
        raise CaptureError("the output is the file being read", source=name, hint="write to another file")
    if like is None:
        return PcapWriter(create_sink(name), default_header())
    return like.reader.create_writer(name)
