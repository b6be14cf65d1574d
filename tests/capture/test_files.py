"""Opening and creating capture files by name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.capture import CaptureWriter, LinkType, Packet, create_capture, open_capture
from bpfcrypto.capture.stream import CHUNK
from bpfcrypto.errors import CaptureError
from support.captures import enhanced, interface, option, pcap_header, pcap_record, read, section, simple

FRAME = bytes(range(64))

VALID = [
    pcap_header() + pcap_record(FRAME) * 3,
    pcap_header(">", nanoseconds=True) + pcap_record(FRAME, ">") * 3,
    section()
    + interface(options=[option(9, b"\x09")])
    + enhanced(FRAME, options=option(3, b"\x02abcd"))
    + simple(FRAME),
    section(">") + interface(">") + enhanced(FRAME, ">") + section() + interface() + simple(FRAME),
]


def copy(path: Path, out: Path) -> list[Packet]:
    packets = []
    with open_capture(path, link_type=None) as capture:
        output: CaptureWriter = create_capture(out, like=capture)
        with output:
            for packet in capture:
                packets.append(packet)
                output.write(packet.with_data(packet.data + b"!"))
    return packets


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes overwritten, cut or inserted."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), bent(), bent().map(lambda d: d[: len(d) // 2])))
def test_any_bytes_give_packets_or_a_capture_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever the bytes, reading and rewriting gives packets and then perhaps a CaptureError inside the file."""
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    path = folder / "in"
    path.write_bytes(data)

    try:
        packets = copy(path, folder / "out")
    except CaptureError as error:
        assert str(path) in str(error)
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
    else:
        assert len(read(folder / "out", link_type=None)) == len(packets)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"GIF89a..", "no pcap or pcapng file: it begins with 4749463839612e2e"),
        (b"\x1f\x8b\x08\x00", "this is compressed with gzip"),
        (bytes.fromhex("34cdb2a1"), "this is a pcap with a kernel's own record headers"),
        (pcap_header()[:20], "the file header needs 24 bytes, 20 are left"),
    ],
)
def test_no_capture_file(tmp_path: Path, data: bytes, message: str) -> None:
    """What is no capture file is named for what it is, as soon as it is opened."""
    path = tmp_path / "file"
    path.write_bytes(data)

    with pytest.raises(CaptureError, match=message):
        open_capture(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """Errors of the operating system name the file."""
    with pytest.raises(CaptureError, match="nowhere: cannot open: No such file"):
        open_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match="cannot create: Is a directory"):
        create_capture(tmp_path)


def test_other_link_types_cannot_run_programs(tmp_path: Path) -> None:
    """A packet that is no Ethernet frame is refused with a hint; readers that take any link type get it."""
    path = tmp_path / "cooked.pcap"
    path.write_bytes(pcap_header(link=LinkType.LINUX_SLL) + pcap_record(FRAME))

    with pytest.raises(CaptureError, match="packet 0 has link type LINUX_SLL, not ETHERNET") as caught:
        read(path)
    packets = read(path, link_type=None)

    assert "not on 'any'" in (caught.value.hint or "")
    assert [p.interface.link_type for p in packets] == [113]


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    """Writing onto the file being read, by whatever name, is refused before a byte is lost."""
    path, link = tmp_path / "in.pcap", tmp_path / "link.pcap"
    path.write_bytes(VALID[0])
    link.symlink_to(path)

    with open_capture(path) as capture, pytest.raises(CaptureError, match="the output is the file being read"):
        create_capture(link, like=capture)

    assert path.read_bytes() == VALID[0]


@pytest.mark.parametrize("data", VALID)
def test_standard_input_and_output(data: bytes) -> None:
    """``-`` reads and writes pipes; the copy is the same bytes."""
    code = (
        "from bpfcrypto.capture import create_capture, open_capture\n"
        "with open_capture('-') as capture, create_capture('-', like=capture) as output:\n"
        "    for packet in capture: output.write(packet)\n"
    )

    result = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)

    assert result.stdout == data


def test_slow_pipes(tmp_path: Path) -> None:
    """Packets that arrive in small pieces are read as they come."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def feed() -> None:
        with open(path, "wb", buffering=0) as pipe:
            for at in range(0, len(VALID[2]), 7):
                pipe.write(VALID[2][at : at + 7])

    thread = threading.Thread(target=feed)
    thread.start()
    packets = read(path)
    thread.join()

    assert [p.data for p in packets] == [FRAME, FRAME]


def test_a_packet_on_standard_input_is_not_kept_waiting() -> None:
    """A packet is given out as soon as it is there, though the pipe stays open: captures may be live."""
    code = (
        "from bpfcrypto.capture import open_capture\n"
        "with open_capture('-') as capture: print(len(next(iter(capture)).data), flush=True)\n"
    )

    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pcap_header() + pcap_record(FRAME))
        process.stdin.flush()
        printed = process.stdout.readline()

    assert printed == b"64\n"


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Reading holds no more than a few chunks, however long the file is."""
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap_header() + pcap_record(bytes(1500)) * 10_000)

    tracemalloc.start()
    with open_capture(path) as capture:
        count = sum(1 for _ in capture)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 10_000
    assert peak < 2 * CHUNK


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_capture_error() -> None:
    """A disk without room is an error that names the file."""
    with pytest.raises(CaptureError, match=r"/dev/full: .*cannot write: No space left"), create_capture("/dev/full"):
        pass
