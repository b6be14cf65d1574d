"""Captures that go through a program in whole chunks come out as they do packet by packet in the interpreter."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.capture import ReplayTotals, chunks, create_capture, one_job, open_capture, replay, stream
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.jit.compile import is_available
from bpfcrypto.errors import CaptureError, RunError
from support.captures import block, enhanced, interface, old, option, pcap_header, pcap_record, read, section, simple
from support.packets import sample

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine_collection import EmbeddedCollection
    from bpfcrypto.engine import Program

OBJECT = Path(__file__).parents[1] / "bpf/records.bpf.o"
PROGRAMS = ("each_xdp", "each_tc")
CPUS = 4

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")


@cache
def loaded(jit: bool) -> EmbeddedCollection:
    return EmbeddedEngine(jit=jit, cpus=CPUS).load(OBJECT)


def frames(draw: random.Random, count: int) -> Iterator[bytes]:
    """Packets of every shape and size, each asking for something else."""
    known = list(sample().values())
    for _ in range(count):
        frame = bytearray(
            draw.choice(known)
            if draw.random() < 0.7
            else draw.randbytes(draw.choice((0, 13, 14, 15, 60, 3520, 3521, 3712, 3713, 9000)))
        )
        if len(frame) > 14:
            frame[14] = draw.randrange(256)
        yield bytes(frame)


def pcap(order: str, nanoseconds: bool) -> Callable[[random.Random, int], bytes]:
    def make(draw: random.Random, count: int) -> bytes:
        limit = 10**9 if nanoseconds else 10**6
        records = (
            pcap_record(
                each,
                order,
                time=(draw.choice((0, 5, 0xFFFFFFFF)), draw.choice((0, 7, limit - 1, limit, 3 * limit + 1))),
                wire_len=draw.choice((len(each), len(each) + 900, 0, 0xFFFFFFFF)),
            )
            for each in frames(draw, count)
        )
        return pcap_header(order, nanoseconds=nanoseconds, snaplen=1500) + b"".join(records)

    return make


def pcapng(*orders: str) -> Callable[[random.Random, int], bytes]:
    def make(draw: random.Random, count: int) -> bytes:
        return b"".join(part for order in orders for part in blocks(draw, count // len(orders), order))

    return make


def blocks(draw: random.Random, count: int, order: str) -> Iterator[bytes]:
    """A section: blocks of every kind, and interfaces that come late."""
    yield section(order, length=draw.choice((-1, 4096)))
    yield interface(order, snaplen=draw.choice((0, 96, 65535)), options=[option(9, b"\x09", order)])
    interfaces = 1
    hashed, comment = option(3, b"\x02abcd", order), option(1, b"said", order)
    for each in frames(draw, count):
        kind = draw.randrange(24)
        if kind == 0:
            yield interface(order, snaplen=1000)
            interfaces += 1
        elif kind == 1:
            yield block(draw.choice((4, 5, 11, 0x0BAD, 0x40000BAD)), draw.randbytes(4 * draw.randrange(9)), order)
        elif kind == 2:
            yield old(each, order, index=draw.randrange(interfaces))
        elif kind < 6:
            yield simple(each, order)
        else:
            options = b"".join(draw.sample([hashed, comment, option(2, bytes(4), order)], draw.randrange(4)))
            yield enhanced(
                each,
                order,
                index=draw.randrange(interfaces),
                ticks=draw.getrandbits(64),
                wire_len=draw.choice((len(each), len(each) + 1, 0xFFFFFFFF)),
                options=options + bytes(4) if options else b"",
            )


FORMATS = {
    "pcap-le": pcap("<", nanoseconds=False),
    "pcap-be": pcap(">", nanoseconds=False),
    "pcap-le-ns": pcap("<", nanoseconds=True),
    "pcap-be-ns": pcap(">", nanoseconds=True),
    "pcapng-le": pcapng("<"),
    "pcapng-be": pcapng(">"),
    "pcapng-both": pcapng("<", ">", ">", "<"),
}


def through(
    program: Program, path: Path, out: Path | None, *, jobs: int = 1, drop_refused: bool = False
) -> tuple[dict[str, object], str]:
    """A capture through a program: what was counted, and what went wrong."""
    totals, wrong = ReplayTotals(), ""
    with ExitStack() as stack:
        try:
            capture = stack.enter_context(open_capture(path))
            output = None if out is None else stack.enter_context(create_capture(out, like=capture))
            replay(program, capture, output, totals=totals, jobs=jobs, drop_refused=drop_refused)
        except CaptureError as error:
            wrong = str(error)
    return {**asdict(totals), "verdicts": dict(totals.verdicts), "duration_ns": 0}, wrong


def both_ways(folder: Path, data: bytes, name: str) -> tuple[object, object]:
    """A file through the interpreter packet by packet, and through machine code."""
    path, one, other = folder / "in", folder / "one", folder / "other"
    path.write_bytes(data)
    for each in (one, other):
        each.unlink(missing_ok=True)
    slow = through(loaded(False).programs[name], path, one)
    fast = through(loaded(True).programs[name], path, other)
    without = through(loaded(True).programs[name], path, None)
    assert without == fast
    return (
        (slow, one.read_bytes() if one.exists() else b""),
        (fast, other.read_bytes() if other.exists() else b""),
    )


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("chunk", [None, 256 << 10, 16 << 10])
def test_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str, chunk: int | None
) -> None:
    """Every format and byte order, changed, resized and dropped packets, chunks that end anywhere: the same file and the same counts."""
    if chunk is not None:
        monkeypatch.setattr(stream, "CHUNK", chunk)
    data = FORMATS[form](random.Random(f"{form} {name}"), 900)

    slow, fast = both_ways(tmp_path, data, name)

    assert fast == slow
    counted = slow[0][0]  # type: ignore[index]
    assert min(counted[each] for each in ("changed", "written", "dropped", "refused")) > 0


@pytest.mark.parametrize("form", ["pcap-be", "pcapng-both"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_refused_packets_are_left_out_on_demand(tmp_path: Path, form: str, name: str) -> None:
    """What no test run takes is not copied but dropped: the interpreter, machine code and four threads agree, and nothing else changes."""
    path = tmp_path / "in"
    path.write_bytes(FORMATS[form](random.Random(f"{form} {name}"), 900))
    fast, slow = loaded(True).programs[name], loaded(False).programs[name]

    copied, _ = through(fast, path, None)
    found = [
        (through(program, path, tmp_path / "out", jobs=jobs, drop_refused=True), (tmp_path / "out").read_bytes())
        for program, jobs in ((slow, 1), (fast, 1), (fast, CPUS))
    ]

    refused = copied["refused"]
    assert isinstance(refused, int)
    assert refused > 0
    assert found[0][0][0] == copied | {
        "written": copied["written"] - refused,  # type: ignore[operator]
        "dropped": copied["dropped"] + refused,  # type: ignore[operator]
    }
    assert found[0] == found[1] == found[2]


SMALL = [make(random.Random(name), 12) for name, make in FORMATS.items()]


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A valid file with a few bytes overwritten, cut or inserted."""
    data = bytearray(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=300, deadline=None)
@given(data=bent(), name=st.sampled_from(PROGRAMS))
def test_damaged_files(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    """Damage anywhere: the same packets before it, the same words about it."""
    folder = tmp_path_factory.getbasetemp() / "chunks"
    folder.mkdir(exist_ok=True)

    slow, fast = both_ways(folder, data, name)

    assert fast == slow


@pytest.mark.parametrize("form", ["pcap-be", "pcapng-both"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str) -> None:
    """Four threads give what one gives, in the same order; each CPU has counted some of the packets, and together they have all."""
    monkeypatch.setattr(stream, "CHUNK", 16 << 10)
    path = tmp_path / "in"
    path.write_bytes(FORMATS[form](random.Random(form), 3000))
    results = {}
    for jobs in (1, CPUS, 99):
        with EmbeddedEngine(cpus=CPUS) as engine, engine.load(OBJECT) as collection:
            results[jobs] = through(collection.programs[name], path, tmp_path / str(jobs), jobs=jobs)
            seen = struct.unpack(f"<{CPUS}Q", collection.maps["seen"].lookup(bytes(4)))
        assert sum(seen) == sum(results[1][0]["verdicts"].values())  # type: ignore[attr-defined]

    assert results[1] == results[CPUS] == results[99]
    assert (tmp_path / "1").read_bytes() == (tmp_path / str(CPUS)).read_bytes() == (tmp_path / "99").read_bytes()


def test_who_runs_in_one_job() -> None:
    """Programs that write what others read, and programs that are no machine code, say so."""
    machine, interpreted = loaded(True).programs, loaded(False).programs

    assert [one_job(machine[name]) for name in PROGRAMS] == ["", ""]
    assert one_job(machine["in_turn"]) == "the order of its packets shows in map '.bss'"
    assert one_job(interpreted["each_tc"]) == "the program is interpreted"


def test_what_is_left_to_packets(tmp_path: Path) -> None:
    """Who wants to see each packet, or gives a context, or writes another kind of file, goes packet by packet."""
    program = loaded(True).programs["each_tc"]
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(FORMATS["pcapng-le"](random.Random(1), 50))
    seen = []

    with open_capture(path) as capture:
        assert chunks.chunked(program, capture, None) is not None
        with create_capture(out) as output:
            assert chunks.chunked(program, capture, output) is None
    with open_capture(path) as capture:
        totals = replay(program, capture, on_packet=lambda packet, _: seen.append(packet.number))
    assert seen == list(range(totals.packets))


def test_errors_keep_what_was_before(tmp_path: Path, compile_bpf: Callable[..., bytes]) -> None:
    """A run that breaks a rule ends the work; the packets before it are written and counted."""
    source = """
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    char _license[] SEC("license") = "GPL";
    SEC("tc") int fails(struct __sk_buff *skb)
    {
        u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
        if (data + 15 > end || data[14] != 9)
            return 0;
        bpf_trace_printk("x", 2);
        return 0;
    }
    """
    path, out = tmp_path / "in", tmp_path / "out"
    good, bad = pcap_record(bytes(60)), pcap_record(bytes(14) + b"\x09" + bytes(45))
    path.write_bytes(pcap_header() + good * 3 + bad + good)

    def refuse(_line: str) -> None:
        raise RunError("no more", program="fails")

    totals = ReplayTotals()
    with EmbeddedEngine(trace=refuse) as engine, engine.load(compile_bpf(source)) as collection:
        program = collection.programs["fails"]
        with (
            open_capture(path) as capture,
            create_capture(out, like=capture) as output,
            pytest.raises(RunError, match="no more"),
        ):
            replay(program, capture, output, totals=totals)
        assert program.run(bytes(60)).retval == 0  # the place of the packets serves on

    assert totals.packets == 3
    assert out.read_bytes() == pcap_header() + good * 3


WORKER = f"""
import re, sys
from bpfcrypto.capture import create_capture, open_capture, replay
from bpfcrypto.embedded.engine import EmbeddedEngine
program = EmbeddedEngine().load({str(OBJECT)!r}).programs["each_xdp"]
with open_capture("-") as capture, create_capture(sys.argv[1], like=capture) as output:
    totals = replay(program, capture, output, jobs=int(sys.argv[2]))
# not what getrusage() says: that begins with the peak of the process that this one was forked from
print(totals.packets, re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def start(out: str, jobs: int = 1) -> subprocess.Popen[bytes]:
    """A process that takes a capture from its standard input."""
    command = [sys.executable, "-c", WORKER, out, str(jobs)]
    return subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    view = memoryview(data)
    while view:
        view = view[os.write(process.stdin.fileno(), view) :]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
@pytest.mark.parametrize("jobs", [1, 2])
def test_memory_stays_flat(jobs: int) -> None:
    """200 MB through pipes, from standard input to standard output, take no more memory than a few chunks."""
    piece = pcap_record(bytes(14) + bytes(1010)) * 2000
    rounds = 200_000_000 // len(piece)

    with start("-", jobs) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        def write() -> None:
            feed(process, pcap_header())
            for _ in range(rounds):
                feed(process, piece)
            process.stdin.close()  # type: ignore[union-attr]

        writer = threading.Thread(target=write)
        writer.start()
        size = 0
        while data := os.read(process.stdout.fileno(), 1 << 20):
            size += len(data)
        packets, peak_kib = map(int, process.stderr.read().split())
        writer.join()

    assert packets == rounds * 2000
    assert size == len(pcap_header()) + rounds * len(piece)
    assert peak_kib < 200_000


def test_live_captures_are_not_kept_waiting() -> None:
    """A packet comes out when it has come in, though both pipes stay open."""
    record = pcap_record(bytes(60))
    with start("-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feed(process, pcap_header() + record)
        data = b""
        while len(data) < len(pcap_header() + record):
            data += os.read(process.stdout.fileno(), 1 << 16)
        process.stdin.close()

    assert data == pcap_header() + record


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Who is killed while writing leaves a file that can be read up to the last chunk."""
    out = tmp_path / "out.pcap"
    record = pcap_record(bytes(14) + bytes(86))
    piece = record * 20_000
    with start(str(out)) as process:
        feed(process, pcap_header())
        deadline = time.monotonic() + 60
        while (not out.exists() or out.stat().st_size < 3 * len(piece)) and time.monotonic() < deadline:
            feed(process, piece)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(BrokenPipeError):
            feed(process, piece * 100)

    size = out.stat().st_size
    whole = (size - len(pcap_header())) // len(record)
    packets = []
    try:
        packets = read(out)
    except CaptureError as error:
        assert error.offset == len(pcap_header()) + whole * len(record)
        out.write_bytes(out.read_bytes()[: error.offset])
        packets = read(out)
    assert len(packets) == whole >= 3 * 20_000 - 1
