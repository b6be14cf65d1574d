"""All benchmarks in one table: ``make bench``.

What cannot be measured here is in the table too, with the reason.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench import aes, capture, interp, load_time

from bpfcrypto import open_engine
from bpfcrypto.cli.render import print_table
from bpfcrypto.embedded.jit.aes_native import native_aes
from bpfcrypto.errors import NotSupportedError

NS_PER_INSN_GOAL = 500
ROUNDS = 9

Row = tuple[str, str, str, str]


def interpreter() -> Iterator[Row]:
    """Nanoseconds per checked instruction, by kind of loop."""
    for name, body in interp.LOOPS.items():
        value = interp.measure(body)
        yield f"interpreter: {name}", f"{value:.0f} ns/insn", f"<= {NS_PER_INSN_GOAL}", met(value <= NS_PER_INSN_GOAL)


def embedded_load() -> Iterator[Row]:
    """How long the example takes to get onto the embedded engine, a fresh engine each time."""

    def load() -> None:
        with open_engine("embedded") as engine:
            engine.load(load_time.DEFAULT).close()

    value = statistics.median(load_time.milliseconds(load) for _ in range(ROUNDS))
    yield "load, embedded engine", f"{value:.1f} ms", "", ""


def kernel_load() -> Iterator[Row]:
    """The same for the kernel engine, beside bpftool in the same run."""
    reason = load_time.why_not()
    if reason is not None:
        yield "load, kernel engine", "not measured", "", reason
        return
    medians = load_time.measure(load_time.DEFAULT, ROUNDS)
    for name, value in medians.items():
        yield f"load, {name}", f"{value:.1f} ms", "", ""
    ratio = medians["bpfcrypto"] / medians["bpftool"]
    yield "load, kernel engine / bpftool", f"{ratio:.2f}", f"<= {load_time.GOAL:g}", met(ratio <= load_time.GOAL)


def machine_aes() -> Iterator[Row]:
    """AES in machine code beside OpenSSL, for one block and for a packet."""
    try:
        bench = aes.Bench(native_aes())
    except (NotSupportedError, FileNotFoundError) as error:
        yield "AES, ours / OpenSSL EVP", "not measured", "", str(error)
        return
    for case in aes.cases(" 128"):
        if case.size in (16, 1408):
            result, goal = bench.measure(case, ROUNDS), aes.goal(case)
            ratio = result["evp"][0] / result["ours"][0]
            yield f"{case}, {case.size} B: speed / EVP's", f"{ratio:.2f}", f">= {goal:g}", met(ratio >= goal)


def captures() -> Iterator[Row]:
    """Captures through a program that encrypts, and what a call for a packet costs."""
    reason = capture.why_not()
    if reason is not None:
        yield "captures", "not measured", "", reason
        return
    with capture.Bench() as bench:
        for size in capture.SIZES:
            rates = bench.rates(size, ROUNDS)
            ours, share = rates["ours"] / 1e6, rates["ours"] / rates["write"]
            has_goal = size == capture.SIZES[0]
            good = ours >= capture.GOAL_MPPS or share >= capture.GOAL_SHARE
            goal = f">= {capture.GOAL_MPPS:g} M/s or {capture.GOAL_SHARE:g} of write()" if has_goal else ""
            value = f"{ours:.2f} M/s, {share:.2f} of write()"
            yield f"capture to capture, {size} B", value, goal, met(good) if has_goal else ""
            if "dpkt" in rates:
                yield f"the same / dpkt + cryptography, {size} B", f"{rates['ours'] / rates['dpkt']:.0f}", "", ""
        cost = bench.call_overhead(ROUNDS)
        yield "Program.run, over the program's time", f"{cost:.0f} ns", "<= 1000", met(cost <= capture.GOAL_CALL_NS)
        yield "Program.run_many, 64 B", f"{bench.run_many(ROUNDS):.0f} ns/packet", "", ""


def start_up() -> Iterator[Row]:
    """``bpfcrypto --help`` as a command."""
    command = [sys.executable, "-m", "bpfcrypto.cli", "--help"]

    def start() -> None:
        subprocess.run(command, check=True, capture_output=True)

    value = statistics.median(load_time.milliseconds(start) for _ in range(ROUNDS))
    yield "bpfcrypto --help", f"{value:.0f} ms", "<= 80", met(value <= 80)


def met(good: bool) -> str:
    return "met" if good else "NOT met"


def main() -> None:
    rows = [
        row for part in (interpreter, machine_aes, captures, embedded_load, kernel_load, start_up) for row in part()
    ]
    print_table(("measurement", "value", "goal", ""), rows, right=("value", "goal"))


if __name__ == "__main__":
    main()
