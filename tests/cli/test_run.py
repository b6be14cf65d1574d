"""``bpfcrypto run`` on the embedded engine, and the same on the kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfcrypto.capture import open_capture
from bpfcrypto.cli.main import main
from support.captures import pcap_header, pcap_record, read

ROOT = Path(__file__).parents[2]
OBJECT = str(ROOT / "examples/crypto_packets.bpf.o")
TRAFFIC = ROOT / "examples/traffic.pcap"
KEY = ["--setup", "setup", "--set", "key=hex:000102030405060708090a0b0c0d0e0f", "--set", "key_len=16"]
ARP = "ffffffffffff0200000000010806"


def udp_packet() -> str:
    """The first packet of the capture that the example encrypts."""
    with open_capture(TRAFFIC) as capture:
        return next(p.data.hex() for p in capture if p.number == 40)


@pytest.mark.parametrize("engine", ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_json_of_one_run(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """One run prints what the issue of a run is: return value, packet, context, time and every variable."""
    code = main(["run", OBJECT, "-p", "encrypt", "--engine", engine, *KEY, "--data", udp_packet(), "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert list(answer) == ["retval", "data", "ctx", "duration_ns", "variables"]
    assert answer["retval"] == 0
    assert answer["data"][:84] == udp_packet()[:84]
    assert answer["data"] != udp_packet()
    assert answer["duration_ns"] > 0
    assert answer["variables"] == {"cipher": "cbc(aes)", "key_len": 0, "authsize": 0, "status": 0, "key": "00" * 256}


def test_a_run_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json the same is a table, with the verdict's name and without bytes of arrays."""
    code = main(["run", OBJECT, "-p", "xdp_encrypt", "--data", ARP])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[1].split() == ["retval", "2", "(XDP_PASS)"]
    assert [line.split()[0] for line in lines[2:]] == ["time", "data", "cipher", "key_len", "authsize", "status", "key"]
    assert lines[-1].split() == ["key", "256", "bytes"]


@pytest.mark.parametrize("engine", ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_a_capture_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """A capture through encrypt and decrypt is the same file; the counters tell what happened."""
    first, second = str(tmp_path / "1.pcap"), str(tmp_path / "2.pcap")
    common = ["--engine", engine, *KEY, "--json"]

    assert main(["run", OBJECT, "-p", "encrypt", *common, "--pcap", str(TRAFFIC), "--write", first]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["run", OBJECT, "-p", "decrypt", *common, "--pcap", first, "--write", second]) == 0

    packets = len(read(TRAFFIC))
    assert (answer["packets"], answer["written"], answer["dropped"], answer["refused"]) == (packets, packets, 0, 0)
    assert answer["verdicts"] == {"TC_ACT_OK": packets}
    assert 0 < answer["changed"] < packets
    assert Path(second).read_bytes() == TRAFFIC.read_bytes() != Path(first).read_bytes()


def test_drops_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packets that the program drops, here for want of a key, are left out and counted."""
    out = tmp_path / "out.pcap"

    code = main(["run", OBJECT, "-p", "encrypt", "--pcap", str(TRAFFIC), "--write", str(out), "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["dropped"] == answer["verdicts"]["TC_ACT_SHOT"] > 0
    assert answer["written"] == len(read(out)) == len(read(TRAFFIC)) - answer["dropped"]


def test_a_cut_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut file is processed up to the cut; then the error names the offset, and the exit code is 1."""
    path, out = tmp_path / "cut.pcap", tmp_path / "out.pcap"
    whole = pcap_header() + pcap_record(bytes.fromhex(ARP))
    path.write_bytes(whole + pcap_record(bytes.fromhex(ARP))[:-1])

    code = main(["run", OBJECT, "-p", "encrypt", "--pcap", str(path), "--write", str(out)])

    printed, err = capsys.readouterr()
    assert code == 1
    assert "packets       1" in " ".join(printed.split("  ")) or "1" in printed.splitlines()[1]
    assert f"error: {path}: offset {len(whole):#x}: the file is cut" in err
    assert out.read_bytes() == whole


def test_refused_packets_are_kept_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packets that no test run takes are copied, and a warning says how many."""
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    path.write_bytes(pcap_header() + pcap_record(b"short"))

    code = main(["run", OBJECT, "-p", "encrypt", "--pcap", str(path), "--write", str(out)])

    assert code == 0
    assert "warning: 1 packets are too short or too long for a test run" in capsys.readouterr().err
    assert out.read_bytes() == path.read_bytes()


def test_binary_output_has_standard_output_for_itself(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With --write - standard output is the capture file and nothing else; the table goes to standard error."""
    code = main(["run", OBJECT, "-p", "encrypt", *KEY, "--pcap", str(TRAFFIC), "--write", "-"])

    out, err = capfdbinary.readouterr()
    assert code == 0
    assert out[:24] == TRAFFIC.read_bytes()[:24]
    assert len(out) == TRAFFIC.stat().st_size
    assert b"TC_ACT_OK" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--set", "key_len=15"], "setup program 'setup' left the status -22: EINVAL"),
        (["--set", "key_len=16", "--set", "cipher=rot13"], "setup program 'setup' left the status -95: EOPNOTSUPP"),
    ],
)
def test_a_setup_that_fails(capsys: pytest.CaptureFixture[str], settings: list[str], message: str) -> None:
    """A setup program that cannot make the context ends the command, with the errno in words."""
    code = main(["run", OBJECT, "-p", "encrypt", "--setup", "setup", *settings, "--data", ARP])

    assert code == 1
    assert message in capsys.readouterr().err


def test_a_setup_that_returns_an_errno(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A return value of setup other than 0 counts as failure, too."""
    source = tmp_path / "fails.bpf.c"
    source.write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nchar _license[] SEC("license") = "GPL";\n'
        'SEC("syscall") int setup(void *ctx) { return -2; }\nSEC("xdp") int prog(struct xdp_md *xdp) { return 2; }\n'
    )

    code = main(["run", str(source), "-p", "prog", "--setup", "setup", "--data", ARP])

    assert code == 1
    assert "setup program 'setup' returned -2: ENOENT" in capsys.readouterr().err


def test_unknown_program(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is answered with the right ones."""
    assert main(["run", OBJECT, "-p", "nothing", "--data", ARP]) == 1
    assert "hint: its programs: 'setup', 'encrypt'" in capsys.readouterr().err


def test_a_syscall_program_takes_no_capture(capsys: pytest.CaptureFixture[str]) -> None:
    """A program without packets cannot run on a capture."""
    assert main(["run", OBJECT, "-p", "setup", "--pcap", str(TRAFFIC)]) == 3
    assert "of type SYSCALL is not supported here" in capsys.readouterr().err


RECORDS = str(ROOT / "tests/bpf/records.bpf.o")


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("program", "options", "said"),
    [
        ("each_xdp", ["--jobs", "2"], ""),
        ("in_turn", ["--jobs", "2"], "is one job here: the order of its packets shows in map '.bss'"),
        ("in_turn", ["--jobs", "2", "--any-order"], ""),
        ("each_tc", ["--jobs", "3"], "is 2 here: there are 2 CPUs"),
        ("each_tc", ["--jobs", "2", "--ctx", "00" * 192], "is one job here: each packet is given a context"),
    ],
)
@pytest.mark.usefixtures("two_cpus")
def test_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str, options: list[str], said: str) -> None:
    """Several threads give the file of one; where a program has to run in one, the tool says so and why."""
    one, many = tmp_path / "one.pcap", tmp_path / "many.pcap"
    ctx = options[2:] if "--ctx" in options else []
    command = ["run", RECORDS, "-p", program, "--pcap", str(TRAFFIC), "--write"]

    assert main([*command, str(one), *ctx]) == 0
    capsys.readouterr()
    assert main([*command, str(many), *options]) == 0

    err = capsys.readouterr().err
    assert (said in err and "note: --jobs" in err) if said else "note" not in err
    assert one.read_bytes() == many.read_bytes()


def test_jobs_need_a_capture(capsys: pytest.CaptureFixture[str]) -> None:
    """A single packet is one job."""
    assert main(["run", OBJECT, "-p", "encrypt", "--data", ARP, "--jobs", "2"]) == 2
    assert "--jobs needs --pcap" in capsys.readouterr().err
