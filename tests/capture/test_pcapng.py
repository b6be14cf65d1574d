"""The pcapng format."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfcrypto.capture import create_capture, open_capture
from bpfcrypto.errors import CaptureError
from support.captures import block, enhanced, interface, old, option, read, section, simple

FRAME = bytes(range(61))
NAMES = 4
STATISTICS = 5


def rewrite(path: Path, out: Path, *, change: bytes | None = None, keep: range = range(1000)) -> None:
    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        for packet in capture:
            if packet.number in keep:
                output.write(packet if change is None else packet.with_data(change))


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_block_is_copied_in_its_place(tmp_path: Path, order: str) -> None:
    """Blocks that are no packets, options and all, stand in the copy where they stood."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    comment = option(1, b"hello", order) + bytes(4)
    path.write_bytes(
        section(order)
        + block(NAMES, b"names of " * 4, order)
        + interface(order, options=[option(2, b"eth0", order), option(9, b"\x09", order)])
        + enhanced(FRAME, order, ticks=2**40 + 5, wire_len=70, options=comment)
        + block(0xBAD, b"custom  ", order)
        + simple(FRAME, order)
        + block(STATISTICS, bytes(12), order)
    )

    rewrite(path, out)

    assert out.read_bytes() == path.read_bytes()


def test_blocks_around_dropped_packets_stay(tmp_path: Path) -> None:
    """A packet that is left out takes nothing else with it."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    start = section() + interface()
    path.write_bytes(start + enhanced(b"a") + block(NAMES, b"one ") + enhanced(b"b") + block(NAMES, b"two "))

    rewrite(path, out, keep=range(0))

    assert out.read_bytes() == start + block(NAMES, b"one ") + block(NAMES, b"two ")


def test_sections_of_both_orders(tmp_path: Path) -> None:
    """Each section has its own byte order and numbers its interfaces afresh; section lengths become unknown."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    parts = [
        interface() + interface(options=[option(9, b"\x83")]) + enhanced(FRAME, index=1, ticks=24),
        interface(">") + enhanced(FRAME, ">", index=0, ticks=24),
    ]
    path.write_bytes(section(length=400) + parts[0] + section(">", length=400) + parts[1])

    times = [packet.timestamp_ns for packet in read(path)]
    rewrite(path, out)

    assert times == [3_000_000_000, 24_000]
    assert out.read_bytes() == section() + parts[0] + section(">") + parts[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 1_000_000),
        ([option(9, b"\x00")], 1_000_000_000_000),
        ([option(9, b"\x09")], 1_000),
        ([option(9, b"\x8a")], 976_562_500),
        ([option(9, b"\x03"), option(14, (2).to_bytes(8, "little"))], 3_000_000_000),
        ([option(14, (-1).to_bytes(8, "little", signed=True))], -999_000_000),
    ],
)
def test_time_resolution_and_offset(tmp_path: Path, options: list[bytes], expected: int) -> None:
    """if_tsresol counts in powers of ten or two, if_tsoffset in signed seconds."""
    path = tmp_path / "in.pcapng"
    path.write_bytes(section() + interface(options=options) + enhanced(FRAME, ticks=1_000))

    (packet,) = read(path)

    assert packet.timestamp_ns == expected


def test_simple_packets_have_no_time(tmp_path: Path) -> None:
    """A simple packet has no time and is cut to the interface's snapshot length."""
    path = tmp_path / "in.pcapng"
    path.write_bytes(section() + interface(snaplen=8) + simple(FRAME[:8], wire_len=61))

    (packet,) = read(path)

    assert packet.timestamp_ns is None
    assert (packet.data, packet.wire_len) == (FRAME[:8], 61)


def test_simple_packet_that_grows_becomes_enhanced(tmp_path: Path) -> None:
    """When a simple packet block cannot say the new length, an enhanced one does, and the snapshot length follows."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(section() + interface(snaplen=8) + simple(FRAME[:8], wire_len=61))

    rewrite(path, out, change=FRAME[:12])

    assert out.read_bytes() == section() + interface(snaplen=12) + enhanced(FRAME[:12], wire_len=65)


def test_old_packet_blocks_are_read(tmp_path: Path) -> None:
    """The obsolete packet block is read, and written as an enhanced one."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(section(">") + interface(">") + old(FRAME, ">", ticks=2**33))

    rewrite(path, out)

    assert out.read_bytes() == section(">") + interface(">") + enhanced(FRAME, ">", ticks=2**33)


def test_a_changed_packet_loses_its_hash_only(tmp_path: Path) -> None:
    """The hash option speaks of the old bytes; other options stay."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    comment, digest, end = option(1, b"note"), option(3, b"\x02abcd"), bytes(4)
    path.write_bytes(
        section()
        + interface()
        + enhanced(FRAME, options=digest + comment + end)
        + enhanced(FRAME, options=digest + end)
        + enhanced(FRAME, options=b"\x03\x00\xff\xff")
    )

    rewrite(path, out, change=b"new")

    assert out.read_bytes() == section() + interface() + enhanced(b"new", options=comment + end) + enhanced(b"new") * 2


START = section() + interface()
DAMAGED = {
    "cut block header": (START + b"\6\0\0\0", len(START), "a block needs at least 12 bytes, 4 are left"),
    "cut block": (START + enhanced(FRAME)[:-1], len(START), "the file is cut: a block needs 96 bytes, 95 are left"),
    "odd length": (START + b"\6\0\0\0\x2d\0\0\0" + bytes(60), len(START), "a block of type 6 claims 45 bytes"),
    "huge block": (START + b"\6\0\0\0\xfc\xff\xff\x7f" + bytes(60), len(START), "claims 2147483644 bytes"),
    "short body": (START + block(6, bytes(16)), len(START), "a block of type 6 claims 28 bytes"),
    "lengths differ": (START + enhanced(FRAME)[:-4] + b"\x5c\0\0\0", len(START), "does not end with its length 96"),
    "unknown interface": (START + enhanced(FRAME, index=1), len(START), "packet 0 refers to interface 1 of 1"),
    "packet over its block": (START + enhanced(b"")[:20] + b"\x40\0\0\0" + enhanced(b"")[24:], len(START), "claims 64"),
    "byte order": (START + section()[:8] + b"abcd" + section()[12:], len(START), "byte-order magic 61626364"),
    "version": (START + section(version=(2, 0)), len(START), "pcapng version 2.0 is not known"),
    "options cut": (section() + block(1, bytes(8) + b"\x09\0\1\0"), 28, "option 9 claims 1 bytes, 0 are left"),
    "resolution": (section() + interface(options=[option(9, b"\6\6")]), 28, "has 2 bytes, not 1"),
    "offset": (section() + interface(options=[option(14, b"\6\6")]), 28, "has 2 bytes, not 8"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_names_its_offset(tmp_path: Path, name: str) -> None:
    """Each kind of damage is named, with the offset of its block."""
    path = tmp_path / "in.pcapng"
    data, offset, message = DAMAGED[name]
    path.write_bytes(data)

    with pytest.raises(CaptureError) as caught:
        read(path)

    assert caught.value.offset == offset
    assert message in str(caught.value)


def test_packets_of_another_file_are_refused(tmp_path: Path) -> None:
    """A packet whose interface this file does not describe is refused, never filed under another one."""
    path, other = tmp_path / "in.pcapng", tmp_path / "other.pcapng"
    path.write_bytes(START + enhanced(FRAME))
    other.write_bytes(section() + interface(snaplen=100) + enhanced(FRAME))
    (foreign,) = read(other)

    with open_capture(path) as capture, create_capture(tmp_path / "out.pcapng", like=capture) as output:
        next(iter(capture))
        with pytest.raises(CaptureError, match="its interface is not in this file"):
            output.write(foreign)


def test_output_must_come_before_reading(tmp_path: Path) -> None:
    """An output made late would lose blocks, so it is refused, and an existing file is not touched."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(START + enhanced(FRAME))
    out.write_bytes(b"precious")

    with open_capture(path) as capture:
        next(iter(capture))
        with pytest.raises(CaptureError, match="must be created before"):
            create_capture(out, like=capture)

    assert out.read_bytes() == b"precious"
