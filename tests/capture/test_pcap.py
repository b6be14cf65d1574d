"""The pcap format."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.capture import Interface, Packet, create_capture, open_capture
from bpfcrypto.errors import CaptureError
from support.captures import pcap_header, pcap_record, read

FRAME = bytes(range(64))


def copy(path: Path, out: Path) -> None:
    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        for packet in capture:
            output.write(packet)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_all_four_magics(tmp_path: Path, order: str, nanoseconds: bool) -> None:
    """Both byte orders and both resolutions give the same time, and are copied as they were."""
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_header(order, nanoseconds=nanoseconds) + pcap_record(FRAME, order, time=(5, 7), wire_len=99))

    with open_capture(path) as capture:
        (packet,) = capture
    copy(path, tmp_path / "out.pcap")

    assert packet.data == FRAME
    assert packet.wire_len == 99
    assert packet.timestamp_ns == 5_000_000_000 + (7 if nanoseconds else 7_000)
    assert (tmp_path / "out.pcap").read_bytes() == path.read_bytes()


records = st.tuples(
    st.binary(max_size=80), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)


@given(order=st.sampled_from("<>"), nanoseconds=st.booleans(), contents=st.lists(records, max_size=6))
def test_copy_is_lossless(
    tmp_path_factory: pytest.TempPathFactory, order: str, nanoseconds: bool, contents: list
) -> None:
    """Whatever times and lengths a valid file holds, reading its copy gives the same packets."""
    folder = tmp_path_factory.mktemp("pcap")
    path = folder / "in.pcap"
    body = b"".join(pcap_record(d, order, time=(s, f), wire_len=w) for d, s, f, w in contents)
    path.write_bytes(pcap_header(order, nanoseconds=nanoseconds) + body)

    copy(path, folder / "out.pcap")

    assert read(folder / "out.pcap") == read(path)


def test_cut_file_gives_packets_then_offset(tmp_path: Path) -> None:
    """A file cut inside a record gives every whole packet and then names the record's offset."""
    path = tmp_path / "cut.pcap"
    whole = pcap_header() + pcap_record(FRAME)
    path.write_bytes(whole + pcap_record(FRAME)[:-1])

    with open_capture(path) as capture:
        packets = iter(capture)
        first = next(packets)
        with pytest.raises(CaptureError) as caught:
            next(packets)

    assert first.data == FRAME
    assert caught.value.offset == len(whole)
    assert str(caught.value) == f"{path}: offset 0x68: the file is cut: a packet needs 64 bytes, 63 are left"


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (pcap_record(FRAME)[:9], "a record header needs 16 bytes, 9 are left"),
        (b"\0" * 8 + b"\xff" * 8, "claims 4294967295 bytes"),
    ],
)
def test_damage_keeps_what_was_written(tmp_path: Path, damaged: bytes, message: str) -> None:
    """The output of a damaged file holds everything before the damage."""
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    path.write_bytes(pcap_header() + pcap_record(FRAME) + damaged)

    with pytest.raises(CaptureError, match=message):
        copy(path, out)

    assert out.read_bytes() == pcap_header() + pcap_record(FRAME)


def test_growth_raises_the_snapshot_length(tmp_path: Path) -> None:
    """A packet that outgrows the snapshot length raises it, so that other readers do not cut the packet."""
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    path.write_bytes(pcap_header(">", snaplen=64) + pcap_record(FRAME, ">", wire_len=100))

    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        for packet in capture:
            output.write(packet.with_data(FRAME + b"tail"))

    assert out.read_bytes() == pcap_header(">", snaplen=68) + pcap_record(FRAME + b"tail", ">", wire_len=104)


def test_unknown_version_is_refused(tmp_path: Path) -> None:
    """A version with another record layout is refused rather than misread."""
    path = tmp_path / "in.pcap"
    header = bytearray(pcap_header())
    header[6] = 2
    path.write_bytes(header)

    with pytest.raises(CaptureError, match=r"pcap version 2\.2 is not known"):
        open_capture(path)


def test_new_file_from_nothing(tmp_path: Path) -> None:
    """Packets made by hand go into a fresh file in any resolution they come with."""
    path = tmp_path / "new.pcap"
    interface = Interface(link_type=1, resolution=1_000_000_000)

    with create_capture(path) as output:
        output.write(Packet(FRAME, 1_500_000_000, 64, interface))

    assert path.read_bytes() == pcap_header() + pcap_record(FRAME, time=(1, 500_000))


@pytest.mark.parametrize(
    "packet",
    [
        Packet(FRAME, -1, 64, Interface(1)),
        Packet(FRAME, 2**63, 64, Interface(1)),
        Packet(FRAME, 0, -5, Interface(1)),
        Packet(bytes(262_145), 0, 0, Interface(1)),
    ],
)
def test_unfit_packets_are_refused(tmp_path: Path, packet: Packet) -> None:
    """A time or length that the format cannot hold is an error, never a wrong record."""
    path = tmp_path / "new.pcap"

    with create_capture(path) as output, pytest.raises(CaptureError, match="packet 0"):
        output.write(packet)

    assert path.read_bytes() == pcap_header()
