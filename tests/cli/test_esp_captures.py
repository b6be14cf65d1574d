"""``bpfcrypto esp seal`` and ``bpfcrypto esp open`` on capture files and pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bpfcrypto.cli.main import main
from bpfcrypto.programs.esp.suites import SUITES
from support.captures import enhanced, interface, pcap_header, pcap_record, read, section
from support.esp_captures import OTHER, Sites
from support.esp_pair import write_secret

TRAFFIC = Path(__file__).parents[2] / "examples/traffic.pcap"
HOSTS = {"left": ["10.77.0.1", "fd77::1"], "right": ["10.77.0.2", "fd77::2"]}
"""Those of the capture."""

PEAK = """
import re, sys
from bpfcrypto.cli.main import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""

Writer = Callable[[Path, Iterable[bytes]], None]


def pcap(path: Path, frames: Iterable[bytes]) -> None:
    path.write_bytes(pcap_header() + b"".join(pcap_record(each, time=(n, 7)) for n, each in enumerate(frames)))


def pcapng(path: Path, frames: Iterable[bytes]) -> None:
    blocks = (enhanced(each, ticks=n) for n, each in enumerate(frames))
    path.write_bytes(section() + interface() + b"".join(blocks))


def esp(*arguments: str | Path) -> int:
    return main(["esp", *map(str, arguments)])


def counted(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    """A command with --json: its exit code and what it has printed."""
    capsys.readouterr()
    code = esp(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def numbered(path: Path, packets: Iterable[tuple[int, bytes]]) -> None:
    """A capture in which the number of each packet is its time."""
    path.write_bytes(pcap_header() + b"".join(pcap_record(data, time=(n, 0)) for n, data in sorted(packets)))


def numbers(path: Path) -> dict[int, bytes]:
    """The packets of such a capture."""
    return {(each.ticks or 0) // 1_000_000: each.data for each in read(path)}


def without_trailer(data: bytes) -> bytes:
    """A frame without what is behind its IPv4 packet, which ESP does not carry; one of the capture has such bytes."""
    return data[: 14 + int.from_bytes(data[16:18], "big")] if data[12:14] == b"\x08\x00" else data


def protected(sites: Sites, folder: Path) -> tuple[Path, Path]:
    """What the two sides seal of the example capture, in one file, and the same packets in the clear."""
    packets = dict(enumerate(each.data for each in read(TRAFFIC)))
    numbered(folder / "traffic", packets.items())
    found: dict[int, bytes] = {}
    for side in OTHER:
        assert esp("seal", folder / "traffic", folder / side, "--config", sites.path(side)) == 0
        found |= numbers(folder / side)
    numbered(folder / "esp", found.items())
    numbered(folder / "clear", ((n, without_trailer(packets[n])) for n in found))
    return folder / "esp", folder / "clear"


@pytest.mark.parametrize("suite", SUITES)
def test_real_packets_in_both_directions(tmp_path: Path, capsys: pytest.CaptureFixture[str], suite: str) -> None:
    """TCP, UDP, ICMP and fragments between two hosts, each sealed by its own side: either configuration opens all of it, and ARP
    and neighbour discovery have stayed as they were.
    """
    sites = Sites(tmp_path, suite, inner=HOSTS)
    sealed, clear = protected(sites, tmp_path)

    for side in OTHER:
        out = tmp_path / f"opened.{side}"
        code, answer = counted(capsys, "open", sealed, out, "--config", sites.path(side), "--strict")

        assert (code, answer["dropped"]) == (0, 0)
        assert out.read_bytes() == clear.read_bytes() != sealed.read_bytes()
        assert answer["verdicts"] == {"OPENED": 254, "BYPASSED": 7}
        directions = {each["direction"]: each["packets"] for each in answer["associations"]}  # type: ignore[attr-defined]
        assert sum(each["OPENED"] for each in directions.values()) == 254
        assert len(directions) == 2


@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
def test_the_identical_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Writer, mode: str) -> None:
    """A capture of either format, sealed and opened, is the same file; the tables say what happened, and which numbers are used."""
    sites = Sites(tmp_path, mode=mode)
    files = [tmp_path / name for name in ("clear", "esp", "opened")]
    write(files[0], [sites.frame("left", bytes(size)) for size in range(8, 1400, 100)])

    assert esp("seal", files[0], files[1], "--config", sites.path("left"), "--epoch", "9", "--sequence", "100") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["verdict", "packets", "meaning"]
    assert lines[1].split()[:2] == ["SEALED", "14"]
    assert lines[-1].split() == ["right", "out", "0x907", "14", "114"]

    assert esp("open", files[1], files[2], "--config", sites.path("right")) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["left", "in", "0x907", "14", "114"]
    assert files[2].read_bytes() == files[0].read_bytes() != files[1].read_bytes()
    assert all(each.data[23] == 50 for each in read(files[1]))


def test_captures_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A capture that scapy's IPsec has made, both directions in turn with explicit keys, is opened by one command; and scapy opens ours."""
    pytest.importorskip("scapy")
    sites = Sites(tmp_path, "chacha20-poly1305", explicit=True)
    scapy = {side: sites.in_scapy(side) for side in OTHER}
    clear = [sites.frame(side, bytes([number] * 30)) for number in range(20) for side in OTHER]
    pcap(tmp_path / "in", [scapy[side].seal(sites.frame(side, bytes([n] * 30))) for n in range(20) for side in OTHER])

    assert esp("open", tmp_path / "in", tmp_path / "out", "--config", sites.path("right"), "--strict") == 0
    assert [each.data for each in read(tmp_path / "out")] == clear

    pcap(tmp_path / "left", clear[::2])
    assert esp("seal", tmp_path / "left", tmp_path / "ours", "--config", sites.path("left")) == 0
    assert [scapy["left"].open(each.data) for each in read(tmp_path / "ours")] == clear[::2]


def test_a_wrong_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is opened, nothing written, the table says that it is not authentic, and the command fails."""
    sites = Sites(tmp_path)
    pcap(tmp_path / "in", [sites.frame("left")] * 3)
    assert esp("seal", tmp_path / "in", tmp_path / "esp", "--config", sites.path("left")) == 0
    write_secret(tmp_path / "secret")
    capsys.readouterr()

    code = esp("open", tmp_path / "esp", tmp_path / "out", "--config", sites.path("right"))

    shown = capsys.readouterr()
    assert code == 1
    assert shown.out.splitlines()[1].split()[:4] == ["BAD_TAG", "3", "not", "authentic:"]
    assert shown.err == "error: no packet was opened\n"
    assert read(tmp_path / "out") == []


def test_strictness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A capture with something else in it is no failure, but with --strict."""
    sites = Sites(tmp_path)
    pcap(tmp_path / "in", [sites.frame("left"), sites.frame("right")])
    arguments = ("seal", tmp_path / "in", tmp_path / "esp", "--config", sites.path("left"))

    assert counted(capsys, *arguments)[0] == 0
    code, answer = counted(capsys, *arguments, "--strict")
    assert (code, answer["verdicts"]) == (1, {"SEALED": 1, "NO_POLICY": 1})


@pytest.mark.parametrize("write", [pcap, pcapng])
def test_nothing_slips_through_in_the_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Writer) -> None:
    """Packets of a size that no test run takes, such as super-packets, are left out of what is sealed, and said to be."""
    sites = Sites(tmp_path)
    write(tmp_path / "in", [sites.frame("left", bytes(size)) for size in (100, 3600, 30000)] + [b"short"])

    code, answer = counted(capsys, "seal", tmp_path / "in", tmp_path / "esp", "--config", sites.path("left"))

    assert (code, answer["refused"], answer["dropped"], answer["written"]) == (0, 2, 2, 2)
    assert [each.data[23] for each in read(tmp_path / "esp")] == [50, 50]
    assert esp("seal", tmp_path / "in", tmp_path / "esp", "--config", sites.path("left")) == 0
    assert "(size)" in capsys.readouterr().out


def test_pipes(tmp_path: Path) -> None:
    """Both commands between pipes: captures go through standard input and output, tables to standard error; epochs 1 to 16 are tried."""
    sites = Sites(tmp_path)
    pcap(tmp_path / "in", [sites.frame("left", bytes([n] * 64)) for n in range(50)])
    python = [sys.executable, "-m", "bpfcrypto.cli", "esp"]
    found = {}
    for epoch in ("16", "17"):
        with (tmp_path / "in").open("rb") as source:
            seal = subprocess.Popen(
                [*python, "seal", "-", "-", "--config", sites.path("left"), "--epoch", epoch],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        assert seal.stdout is not None
        assert seal.stderr is not None
        command = [*python, "open", "-", "-", "--config", sites.path("right")]
        with seal, seal.stderr:
            found[epoch] = subprocess.run(command, stdin=seal.stdout, capture_output=True, check=False)
            assert b"SEALED" in seal.stderr.read()

    assert (found["16"].returncode, found["16"].stdout) == (0, (tmp_path / "in").read_bytes())
    assert b"OPENED" in found["16"].stderr
    assert (found["17"].returncode, found["17"].stdout) == (1, pcap_header())
    assert b"NO_SA" in found["17"].stderr


def test_named_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--epochs says which are opened; what is no range of epochs is refused."""
    sites = Sites(tmp_path)
    pcap(tmp_path / "in", [sites.frame("left")])
    assert esp("seal", tmp_path / "in", tmp_path / "esp", "--config", sites.path("left"), "--epoch", "300") == 0
    arguments = ("open", tmp_path / "esp", tmp_path / "out", "--config", sites.path("left"))

    for text, code in (("300", 0), ("299-301", 0), ("1-299", 1), ("0-4", 2), ("5-3", 2), ("x", 2), ("1-16777216", 2)):
        assert (text, esp(*arguments, "--epochs", text)) == (text, code)
    assert esp(*arguments, "--epochs", "1-600") == 2
    assert "1200 security associations are more than 1023" in capsys.readouterr().err


def test_other_link_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A capture of something else than Ethernet frames is refused with a hint, by both commands."""
    sites = Sites(tmp_path)
    (tmp_path / "in").write_bytes(pcap_header(link=101) + pcap_record(sites.frame("left")[14:]))
    for command in ("seal", "open"):
        assert esp(command, tmp_path / "in", tmp_path / "out", "--config", sites.path("left")) == 1
        shown = capsys.readouterr().err
        assert "link type RAW, not ETHERNET" in shown
        assert "hint: programs take Ethernet frames" in shown


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two things for one standard output, the input as output, and no configuration at all."""
    sites = Sites(tmp_path)
    pcap(tmp_path / "in", [sites.frame("left")])
    config = ("--config", sites.path("left"))

    assert esp("seal", tmp_path / "in", "-", *config, "--json") == 2
    assert "both want standard output" in capsys.readouterr().err
    assert esp("seal", tmp_path / "in", tmp_path / "in", *config) == 1
    assert "the output is the file being read" in capsys.readouterr().err
    assert esp("open", tmp_path / "in", tmp_path / "out", "--config", tmp_path / "none.toml") == 2
    assert len(read(tmp_path / "in")) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_memory_is_flat(tmp_path: Path) -> None:
    """A capture of 6 times the size takes no more memory, in either direction."""
    sites = Sites(tmp_path)
    peaks: dict[str, list[int]] = {"seal": [], "open": []}
    for count in (5_000, 30_000):
        clear, sealed, opened = (tmp_path / f"{name}.{count}" for name in ("clear", "esp", "opened"))
        clear.write_bytes(pcap_header() + pcap_record(sites.frame("left", os.urandom(1300))) * count)
        for command, source, out in (("seal", clear, sealed), ("open", sealed, opened)):
            arguments = ["esp", command, source, out, "--config", sites.path("left")]
            done = subprocess.run(
                [sys.executable, "-c", PEAK, *map(str, arguments)], capture_output=True, text=True, check=True
            )
            peaks[command].append(int(done.stderr.split()[-1]))
        assert opened.stat().st_size == clear.stat().st_size

    for small, large in peaks.values():
        assert large - small < 8 << 10  # KiB; the file is 33 MB longer
