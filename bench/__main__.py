"""All benchmarks in one table: ``make bench``.

What cannot be measured here is in the table too, with the reason.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench import aes, interp, load_time, verifier

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


def verification() -> Iterator[Row]:
    """Our verifier beside the kernel's: what an instruction takes, and how many are visited."""
    reason = verifier.why_not()
    if reason is not None:
        yield "verifier", "not measured", "", reason
        return
    sets = {
        "crypto programs": verifier.specs_of(verifier.CRYPTO),
        "test programs": verifier.specs_of(verifier.CORPUS),
        "long loop": [verifier.long_program()],
    }
    for name, specs in sets.items():
        costs = verifier.measure(specs)
        goal = f"<= {verifier.US_PER_INSN_GOAL:g}"
        said = f"{met(costs.per_insn <= verifier.US_PER_INSN_GOAL)}; the kernel {costs.kernel_per_insn:.2f}"
        yield f"verifier: {name}", f"{costs.per_insn:.1f} us/insn", goal, said
        said = f"{met(costs.worst_ratio <= verifier.RATIO_GOAL)}; {sum(costs.ours)} visited, by the kernel {sum(costs.theirs)}"
        yield "  visited / kernel, at worst", f"{costs.worst_ratio:.2f}", f"<= {verifier.RATIO_GOAL:g}", said
    peak, goal = verifier.peak_memory_mb(), verifier.MEMORY_GOAL_MB
    yield "  peak memory of the long loop", f"{peak:.0f} MB", f"<= {goal}", met(peak <= goal)


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
    parts = (interpreter, machine_aes, verification, embedded_load, kernel_load, start_up)
    rows = [row for part in parts for row in part()]
    print_table(("measurement", "value", "goal", ""), rows, right=("value", "goal"))


if __name__ == "__main__":
    main()
