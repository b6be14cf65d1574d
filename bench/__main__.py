"""All benchmarks: ``make bench`` prints one table; with ``--json`` as JSON, with ``--write`` into docs/reference with its plots.

What cannot be measured here is in the table too, with the reason. Ratios are measured in the same run, in rounds in which both sides take
turns; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench import aes, capture, compile_time, interp, load_time, programs, report, verifier
from bench.rows import Row

from bpfcrypto import open_engine
from bpfcrypto.cli.render import print_table
from bpfcrypto.embedded.jit.aes_native import native_aes
from bpfcrypto.errors import NotSupportedError

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9


def interpreter() -> Iterator[Row]:
    """Nanoseconds per checked instruction, by kind of loop."""
    for name, body in interp.LOOPS.items():
        yield Row("interpreter", name, interp.measure(body), "ns/insn", 500)


def machine_code() -> Iterator[Row]:
    """Programs as machine code beside the kernel's."""
    reason = programs.why_not()
    if reason is not None:
        yield Row("programs", "time / the kernel's", None, note=reason)
        return
    times = programs.measure()
    for name, each in times.items():
        note = f"{each.machine:,.1f} ns, the kernel {each.kernel:,.1f}, interpreted {each.interpreter:,.0f}; spread {each.spread:.0f} %"
        yield Row("programs", name, each.ratio, "x", programs.GOAL, note=note)
    yield Row("programs", "geometric mean", programs.mean_ratio(times), "x", programs.MEAN_GOAL)


def compiling() -> Iterator[Row]:
    """Making machine code, and taking it from disk."""
    for name, goal in compile_time.PROGRAMS.items():
        cost = compile_time.measure(name, ROUNDS)
        yield Row("compiling", f"{cost.insns} instructions", cost.compile, "ms", goal)
        yield Row("compiling", f"{cost.insns}, from disk", cost.link, "ms", compile_time.LINK_GOAL)


def machine_aes() -> Iterator[Row]:
    """AES in machine code beside OpenSSL."""
    try:
        bench = aes.Bench(native_aes())
    except (NotSupportedError, FileNotFoundError) as error:
        yield Row("AES", "speed / OpenSSL EVP's", None, note=str(error))
        return
    for case in aes.cases(" 128"):
        result = bench.measure(case, ROUNDS)
        ours, evp = result["ours"][0], result["evp"][0]
        note = f"{ours:,.1f} ns, EVP {evp:,.1f}"
        yield Row("AES", f"{case}, {case.size} B", evp / ours, "x", aes.goal(case), at_least=True, note=note)


def verification() -> Iterator[Row]:
    """Our verifier beside the kernel's: what an instruction takes, and how many are visited."""
    reason = verifier.why_not()
    if reason is not None:
        yield Row("verifier", "time of an instruction", None, note=reason)
        return
    sets = {
        "crypto programs": verifier.specs_of(verifier.CRYPTO),
        "test programs": verifier.specs_of(verifier.CORPUS),
        "long loop": [verifier.long_program()],
    }
    for name, specs in sets.items():
        costs = verifier.measure(specs)
        note = f"the kernel {costs.kernel_per_insn:.2f}"
        yield Row("verifier", name, costs.per_insn, "us/insn", verifier.US_PER_INSN_GOAL, note=note)
        note = f"{sum(costs.ours)} visited, by the kernel {sum(costs.theirs)}"
        yield Row(
            "verifier",
            f"{name}: visited / the kernel's, at worst",
            costs.worst_ratio,
            "x",
            verifier.RATIO_GOAL,
            note=note,
        )
    yield Row("verifier", "peak memory of the long loop", verifier.peak_memory_mb(), "MB", verifier.MEMORY_GOAL_MB)


def loading() -> Iterator[Row]:
    """How long the example takes to get onto an engine, a fresh engine each time; the kernel's beside bpftool."""

    def load() -> None:
        with open_engine("embedded") as engine:
            engine.load(load_time.DEFAULT).close()

    yield Row("loading", "embedded engine", milliseconds(load), "ms")
    reason = load_time.why_not()
    if reason is not None:
        yield Row("loading", "kernel engine / bpftool", None, note=reason)
        return
    medians = load_time.measure(load_time.DEFAULT, ROUNDS)
    note = ", ".join(f"{name} {value:.1f} ms" for name, value in medians.items())
    yield Row(
        "loading", "kernel engine / bpftool", medians["bpfcrypto"] / medians["bpftool"], "x", load_time.GOAL, note=note
    )


def captures() -> Iterator[Row]:
    """Captures through a program that encrypts, and what a call for a packet costs."""
    reason = capture.why_not()
    if reason is not None:
        yield Row("captures", "packets", None, note=reason)
        return
    with capture.Bench() as bench:
        for size in capture.SIZES:
            rates = bench.rates(size, ROUNDS)
            ours, share = rates["ours"] / 1e6, rates["ours"] / rates["write"]
            goal = capture.GOAL_MPPS if size == capture.SIZES[0] and share < capture.GOAL_SHARE else None
            note = f"{share:.2f} of what write() takes"
            yield Row("captures", f"{size} B, encrypted", ours, "M/s", goal, at_least=True, note=note)
            if "dpkt" in rates:
                goal = capture.GOAL_DPKT if size == capture.SIZES[0] else None
                note = f"{rates['dpkt'] / 1e6:.3f} M/s"
                yield Row(
                    "captures",
                    f"{size} B / dpkt + cryptography",
                    rates["ours"] / rates["dpkt"],
                    "x",
                    goal,
                    at_least=True,
                    note=note,
                )
        yield Row("calls", "run, over the program's time", bench.call_overhead(ROUNDS), "ns", capture.GOAL_CALL_NS)
        yield Row("calls", "run_many, 64 B, one packet", bench.run_many(ROUNDS), "ns")


def start_up() -> Iterator[Row]:
    """Whole commands."""
    command = [sys.executable, "-m", "bpfcrypto.cli"]
    yield Row("commands", "bpfcrypto --help", milliseconds(lambda: _call([*command, "--help"])), "ms", 80)
    with tempfile.TemporaryDirectory() as folder:
        key, one = Path(folder, "key"), Path(folder, "one.pcap")
        key.write_bytes(bytes(16))
        one.write_bytes(report.first_packet(ROOT / "examples/traffic.pcap"))
        run = [*command, "run", str(ROOT / "examples/crypto_packets.bpf.o"), "--program", "encrypt", "--setup", "setup"]
        run += ["--set", "cipher=cbc(aes)", "--set", f"key=@{key}", "--set", "key_len=16", "--pcap", str(one)]
        _call(run)
        yield Row("commands", "run of the example, one packet", milliseconds(lambda: _call(run)), "ms", 200)


def _call(command: list[str]) -> None:
    """Run a command as users do, whose Python keeps its bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def milliseconds(work: Callable[[], object]) -> float:
    return statistics.median(load_time.milliseconds(work) for _ in range(ROUNDS))


PARTS = (machine_code, machine_aes, captures, compiling, verification, interpreter, loading, start_up)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *(part.__name__ for part in PARTS)], help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="write docs/reference/speed.md, its data and its plots")
    options = parser.parse_args()
    rows = [row for part in PARTS if not options.parts or part.__name__ in options.parts for row in part()]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    elif options.write:
        head = report.HEAD.format(machine=report.machine())
        report.write(ROOT / "docs" / "reference", rows, head, "speed", report.TITLES, report.NOTES)
    else:
        table = [(f"{row.group}: {row.name}", row.shown, row.goal_shown, row.verdict) for row in rows]
        print_table(("measurement", "value", "goal", ""), table, right=("value", "goal"))


if __name__ == "__main__":
    main()
