"""Captures through a program that encrypts: ``python -m bench.capture``.

A pcap of UDP packets goes through ``ecb(aes)`` into another pcap, in this process. Beside it in every round: the same bytes written by
write() alone from a buffer that is in the cache, which is the limit; and dpkt with ``cryptography``, which is what one writes without us.
Rates are of the median round. CPU time is shown as well, which other work on the machine changes less than the time on the wall.

What a call of ``Program.run`` costs is the time of a loop over a program that does nothing, less that program's own time and the loop's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bpfcrypto.capture import create_capture, open_capture, replay
from bpfcrypto.cc import compile_source
from bpfcrypto.cli.render import print_table
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.jit.compile import is_available
from bpfcrypto.errors import NotSupportedError

SIZES = (64, 512, 1420)
GOAL_MPPS, GOAL_SHARE, GOAL_CALL_NS, GOAL_DPKT = 10.0, 0.8, 1000, 100
SOURCE = Path(__file__).with_name("capture.bpf.c")

_BYTES = 160 << 20  # of a capture
_SLOW_BYTES = 4 << 20  # of what dpkt gets
_CHUNK = 4 << 20
_HEADERS = 42
_KEY = bytes(range(16))
_CALLS = 100_000


def frame(size: int) -> bytes:
    """A UDP packet."""
    payload = bytes(n & 0xFF for n in range(size - _HEADERS))
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, size - 14, 1, 0, 64, 17, 0, 0x0A000001, 0x0A000002)
    return bytes(12) + b"\x08\x00" + ip + struct.pack("!HHHH", 4000, 5000, size - 34, 0) + payload


def write_capture(path: Path, size: int, count: int) -> None:
    """A pcap of equal packets."""
    record = struct.pack("<IIII", 1, 2, size, size) + frame(size)
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for at in range(0, count, 1000):
            file.write(record * min(1000, count - at))


def why_not() -> str | None:
    """Why this cannot be measured here; None where it can."""
    return None if is_available() else "llvmlite is not installed"


class Bench:
    """The programs, and a folder for captures."""

    def __init__(self, *, program: str = "xdp_encrypt", folder: str | None = None, jobs: int = 1) -> None:
        self._collection = EmbeddedEngine().load(compile_source(SOURCE))
        self._collection.variables["key"].value = _KEY
        self._collection.programs["setup"].run()
        if self._collection.variables["status"].value != 0:
            raise NotSupportedError("a crypto context")
        self._program = self._collection.programs[program]
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._jobs = jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder)
        self._collection.close()

    def rates(self, size: int, rounds: int) -> dict[str, float]:
        """Packets per second of each contender, and ours per second of CPU time."""
        count, few = (total // (size + 16) for total in (_BYTES, _SLOW_BYTES))
        source, short, target = (self._folder / name for name in ("in.pcap", "short.pcap", "out.pcap"))
        write_capture(source, size, count)
        write_capture(short, size, few)
        contenders: dict[str, tuple[Callable[[], None], int]] = {
            "ours": (lambda: self._ours(source, target, count), count),
            "write": (lambda: _write(target, source.stat().st_size), count),
        }
        if _dpkt_works():
            contenders["dpkt"] = (lambda: _dpkt(short, target), few)
        wall: dict[str, list[float]] = {name: [] for name in contenders}
        cpu = []
        for _ in range(rounds):
            for name, (run, packets) in contenders.items():
                start, start_cpu = time.perf_counter(), time.process_time()
                run()
                wall[name].append((time.perf_counter() - start) / packets)
                if name == "ours":
                    cpu.append((time.process_time() - start_cpu) / packets)
        found = {name: 1 / statistics.median(values) for name, values in wall.items()}
        return {**found, "ours_cpu": 1 / statistics.median(cpu)}

    def _ours(self, source: Path, target: Path, count: int) -> None:
        with open_capture(source) as capture, create_capture(target, like=capture) as output:
            totals = replay(self._program, capture, output, jobs=self._jobs)
        if totals.changed != count:
            raise RuntimeError(f"{totals.changed} of {count} packets were encrypted")

    def call_overhead(self, rounds: int) -> float:
        """Nanoseconds of a call of ``Program.run`` besides the program's own."""
        run, packet = self._collection.programs["tc_nothing"].run, frame(64)
        own = run(packet, repeat=_CALLS).duration_ns
        return statistics.median(_per_call(lambda: run(packet)) for _ in range(rounds)) - own

    def run_many(self, rounds: int) -> float:
        """Nanoseconds of CPU time for each packet of a list, encrypted."""
        packets = [frame(64)] * _CALLS

        def once() -> float:
            start = time.process_time_ns()
            self._program.run_many(packets)
            return (time.process_time_ns() - start) / _CALLS

        return statistics.median(once() for _ in range(rounds))


def _per_call(call: Callable[[], object]) -> float:
    """Nanoseconds of CPU time of a call, without those of the loop and of calling nothing."""

    def loop(function: Callable[[], object]) -> int:
        start = time.process_time_ns()
        for _ in range(_CALLS):
            function()
        return time.process_time_ns() - start

    return (loop(call) - loop(lambda: None)) / _CALLS


def _write(target: Path, size: int) -> None:
    chunk = memoryview(bytearray(_CHUNK))
    with target.open("wb", buffering=0) as file:
        while size > 0:
            size -= file.write(chunk[: min(size, _CHUNK)])


def _dpkt_works() -> bool:
    try:
        import dpkt  # noqa: F401
    except ImportError:
        return False
    return True


def _dpkt(source: Path, target: Path) -> None:
    import dpkt
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(_KEY), modes.ECB()).encryptor()
    with source.open("rb") as file, target.open("wb") as out:
        writer = dpkt.pcap.Writer(out)
        for moment, data in dpkt.pcap.Reader(file):
            end = _HEADERS + ((len(data) - _HEADERS) & ~15)
            writer.writepkt(data[:_HEADERS] + cipher.update(data[_HEADERS:end]) + data[end:], ts=moment)


def rows(bench: Bench, rounds: int) -> Iterator[tuple[str, ...]]:
    for size in SIZES:
        rates = bench.rates(size, rounds)
        dpkt = f"{rates['ours'] / rates['dpkt']:.0f}" if "dpkt" in rates else "dpkt is not installed"
        yield (
            f"{size} B",
            *(f"{rates[name] / 1e6:.2f}" for name in ("ours", "ours_cpu", "write")),
            f"{rates['ours'] / rates['write']:.2f}",
            dpkt,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--program", default="xdp_encrypt", choices=("xdp_encrypt", "tc_encrypt"))
    parser.add_argument("--folder", default=os.environ.get("TMPDIR"), help="where the captures are, such as /dev/shm")
    given = parser.parse_args()
    with Bench(program=given.program, folder=given.folder, jobs=given.jobs) as bench:
        head = ("packets", "M/s", "M/s of CPU time", "write() M/s", "share", "times dpkt + cryptography")
        print_table(head, list(rows(bench, given.rounds)), right=head[1:])
        print(
            f"Program.run of a program that does nothing: {bench.call_overhead(given.rounds):.0f} ns over its own time"
        )
        print(f"Program.run_many, encrypting 64 B: {bench.run_many(given.rounds):.0f} ns for each packet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
