"""Running a program over all packets of a capture."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.capture import create_capture, goes_on, open_capture, replay, verdict_name
from bpfcrypto.engine import RunResult
from bpfcrypto.errors import NotSupportedError, SyscallError
from bpfcrypto.spec import ProgramSpec
from support.captures import pcap_header, pcap_record


@dataclass
class Stub:
    """A program whose runs are a Python function: replay must only follow what the engine answers."""

    behave: Callable[[bytes], RunResult]
    type: ProgType = ProgType.SCHED_CLS

    @property
    def spec(self) -> ProgramSpec:
        return ProgramSpec(self.name, "tc", self.type, ())

    @property
    def name(self) -> str:
        return "stub"

    def run(self, data: bytes = b"", *, ctx: bytes = b"", repeat: int = 1, cpu: int | None = None) -> RunResult:
        return self.behave(data)


def capture_of(tmp_path: Path, *frames: bytes) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_header() + b"".join(pcap_record(f) for f in frames))
    return path


def test_drops_are_left_out_and_counted(tmp_path: Path) -> None:
    """Packets that the program drops are left out; the others come out as the program left them."""
    path, out = capture_of(tmp_path, b"drop", b"keep", b"same"), tmp_path / "out.pcap"
    answers = {
        b"drop": RunResult(2, b"drop", duration_ns=5),
        b"keep": RunResult(0, b"kept!", duration_ns=5),
        b"same": RunResult(0xFFFF_FFFF, b"same", duration_ns=5),
    }

    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        totals = replay(Stub(answers.__getitem__), capture, output)

    assert out.read_bytes() == pcap_header() + pcap_record(b"kept!") + pcap_record(b"same")
    assert (totals.packets, totals.bytes, totals.written, totals.dropped, totals.changed) == (3, 12, 2, 1, 1)
    assert totals.verdicts == {"TC_ACT_SHOT": 1, "TC_ACT_OK": 1, "TC_ACT_UNSPEC": 1}
    assert totals.duration_ns == 15


def test_packets_that_no_test_run_takes_are_kept(tmp_path: Path) -> None:
    """A packet of a size that BPF_PROG_TEST_RUN refuses is copied unchanged and counted."""
    path, out = capture_of(tmp_path, b"x"), tmp_path / "out.pcap"

    def refuse(data: bytes) -> RunResult:
        raise SyscallError("BPF_PROG_TEST_RUN", errno.EINVAL)

    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        totals = replay(Stub(refuse), capture, output)

    assert out.read_bytes() == path.read_bytes()
    assert (totals.refused, totals.written) == (1, 1)


@pytest.mark.parametrize(("number", "ctx"), [(errno.EPERM, b""), (errno.EINVAL, b"\1")])
def test_other_refusals_end_the_work(tmp_path: Path, number: int, ctx: bytes) -> None:
    """What has nothing to do with the packet's size is no reason to copy packets unprocessed."""

    def refuse(data: bytes) -> RunResult:
        raise SyscallError("BPF_PROG_TEST_RUN", number)

    with open_capture(capture_of(tmp_path, b"x")) as capture, pytest.raises(SyscallError):
        replay(Stub(refuse), capture, ctx=ctx)


def test_xdp_metadata_is_not_part_of_the_frame(tmp_path: Path) -> None:
    """Metadata that an XDP program put before the frame does not get into the capture."""
    path, out = capture_of(tmp_path, b"frame"), tmp_path / "out.pcap"
    program = Stub(lambda data: RunResult(2, b"meta" + data, ctx=(4).to_bytes(4, "little") + bytes(20)), ProgType.XDP)

    with open_capture(path) as capture, create_capture(out, like=capture) as output:
        replay(program, capture, output)

    assert out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "retval", "name", "survives"),
    [
        (ProgType.XDP, 0, "XDP_ABORTED", False),
        (ProgType.XDP, 1, "XDP_DROP", False),
        (ProgType.XDP, 2, "XDP_PASS", True),
        (ProgType.XDP, 3, "XDP_TX", True),
        (ProgType.XDP, 4, "XDP_REDIRECT", True),
        (ProgType.XDP, 99, "99", False),
        (ProgType.SCHED_CLS, 0, "TC_ACT_OK", True),
        (ProgType.SCHED_CLS, 2, "TC_ACT_SHOT", False),
        (ProgType.SCHED_ACT, 4, "TC_ACT_STOLEN", False),
        (ProgType.SCHED_CLS, 7, "TC_ACT_REDIRECT", True),
        (ProgType.SCHED_CLS, 8, "TC_ACT_TRAP", False),
        (ProgType.SCHED_CLS, 99, "99", True),
    ],
)
def test_verdicts(kind: ProgType, retval: int, name: str, survives: bool) -> None:
    """The kernel's table of return values, and what they mean for the packet."""
    assert verdict_name(kind, retval) == name
    assert goes_on(kind, retval) is survives


def test_syscall_programs_take_no_packets(tmp_path: Path) -> None:
    """A program without a packet is refused before anything is read."""
    program = Stub(lambda data: RunResult(0), ProgType.SYSCALL)

    with open_capture(capture_of(tmp_path, b"x")) as capture, pytest.raises(NotSupportedError, match="type SYSCALL"):
        replay(program, capture)


def test_the_caller_sees_every_packet(tmp_path: Path) -> None:
    """The callback gets each packet as read with its result, for progress and for counting reasons."""
    seen = []

    with open_capture(capture_of(tmp_path, b"a", b"b")) as capture:
        replay(Stub(lambda d: RunResult(0, d * 2)), capture, on_packet=lambda p, r: seen.append((p.data, r)))

    assert seen == [(b"a", RunResult(0, b"aa")), (b"b", RunResult(0, b"bb"))]
