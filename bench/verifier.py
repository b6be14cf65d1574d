"""The verifier beside the kernel's: how many instructions it visits, and how long each takes: ``python -m bench.verifier``.

The programs are those that both accept. The kernel tells its own time and count, without a log to write; ours is timed without a log as
well, as when a program is loaded. Each number is the median of several rounds, in which the two take turns.
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.errors import BpfCryptoError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.loading import Loading
from bpfcrypto.kernel.probe import unavailable
from bpfcrypto.loader.core import apply_core
from bpfcrypto.source import choose_programs, read_source
from bpfcrypto.spec import CollectionSpec, ProgramSpec
from bpfcrypto.verifier.env import Options
from bpfcrypto.verifier.verify import Verification, verify

ROOT = Path(__file__).resolve().parent.parent
CRYPTO = (ROOT / "examples/crypto_packets.bpf.o", *sorted((ROOT / "tests/bpf").glob("crypto*.bpf.o")))
CORPUS = tuple(sorted((ROOT / "tests/bpf").glob("*.bpf.o")))

US_PER_INSN_GOAL = 15.0
RATIO_GOAL = 1.2
MEMORY_GOAL_MB = 500
ROUNDS = 3
_STATISTICS = 4  # the log level
_TIME = re.compile(r"^verification time (\d+) usec$", re.MULTILINE)
_COUNT = re.compile(r"^processed (\d+) insns", re.MULTILINE)

# Every round forks into two paths that meet again, with values on the stack and an offset that matters; the forks are put aside until
# the last round, so that states pile up: about the worst that a loop can do within the kernel's limit of 8192 paths.
LONG = """
r6 = 0
round:
call bpf_get_prandom_u32#7
r7 = r0
r7 &= 15
r1 = r6
r1 &= 7
if r0 > 100 goto other
r8 = 1
*(u64 *)(r10 -8) = r0
*(u64 *)(r10 -24) = r6
goto join
other:
r8 = 2
*(u64 *)(r10 -8) = r6
*(u64 *)(r10 -24) = r0
join:
r2 = *(u64 *)(r10 -8)
r2 &= 63
r2 += r8
*(u64 *)(r10 -16) = r2
r3 = r10
r3 += -64
r3 += r7
*(u8 *)(r3 +0) = r1
r4 = *(u64 *)(r10 -24)
r4 ^= r2
w5 = w4
w5 *= 3
r5 += r4
*(u32 *)(r10 -32) = r5
r6 += 1
if r6 < 2150 goto round
r0 = 0
exit
"""


@dataclass(frozen=True, slots=True)
class Costs:
    """What both verifiers said of some programs.

    Attributes:
        ours, theirs: instructions visited, by program.
        our_us, their_us: microseconds for all of them.
    """

    ours: tuple[int, ...]
    theirs: tuple[int, ...]
    our_us: float
    their_us: float

    @property
    def per_insn(self) -> float:
        """Our microseconds for each instruction that we visited."""
        return self.our_us / sum(self.ours)

    @property
    def kernel_per_insn(self) -> float:
        """The kernel's, for each that it visited."""
        return self.their_us / sum(self.theirs)

    @property
    def worst_ratio(self) -> float:
        """The most instructions that we visited of one program for one that the kernel visited."""
        return max(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))


def why_not() -> str | None:
    """Why the kernel cannot be asked here; None where it can."""
    return unavailable()


def long_program() -> CollectionSpec:
    """A program that takes more than 200,000 visits."""
    program = ProgramSpec("long", "xdp", ProgType.XDP, assemble(LONG))
    return CollectionSpec("<bench>", license="GPL", programs={"long": program})


def measure(specs: Sequence[CollectionSpec], rounds: int = ROUNDS) -> Costs:
    """Both verifiers on all programs that both accept."""
    ours: dict[tuple[int, str], list[tuple[int, float]]] = {}
    theirs: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for _ in range(rounds):
        for number, spec in enumerate(specs):
            for program, kernel in _kernel(spec):
                insns = relocated(program, spec)
                start = time.perf_counter()
                said = verified(program, spec, insns)
                elapsed = (time.perf_counter() - start) * 1e6
                if said.accepted:
                    ours.setdefault((number, program.name), []).append((said.insns_processed, elapsed))
                    theirs.setdefault((number, program.name), []).append(kernel)
    return Costs(
        tuple(each[0][0] for each in ours.values()),
        tuple(each[0][0] for each in theirs.values()),
        sum(statistics.median(us for _, us in each) for each in ours.values()),
        sum(statistics.median(us for _, us in each) for each in theirs.values()),
    )


def relocated(program: ProgramSpec, spec: CollectionSpec) -> tuple[Insn, ...]:
    """The instructions with CO-RE applied."""
    if program.core and spec.btf is not None:
        return apply_core(program, spec.btf, kernel_types())
    return program.insns


def verified(program: ProgramSpec, spec: CollectionSpec, insns: tuple[Insn, ...]) -> Verification:
    """Our verdict, as the embedded engine asks for it."""
    return verify(program, spec, insns, kernel_types=kernel_types(), options=Options(log_level=0))


def _kernel(spec: CollectionSpec) -> Iterator[tuple[ProgramSpec, tuple[int, float]]]:
    """The programs that the kernel accepts, each with its count and time."""
    chosen = choose_programs(spec, None)
    with Loading(spec, chosen) as loading:
        for program in chosen:
            try:
                request = loading.prepared(program).request
            except BpfCryptoError:
                continue
            outcome = bpf.prog_load(request, log_level=_STATISTICS)
            count, took = _COUNT.search(outcome.log), _TIME.search(outcome.log)
            if outcome.fd is None:
                continue
            outcome.fd.close()
            if count is not None and took is not None:
                yield program, (int(count[1]), float(took[1]))


def specs_of(paths: Sequence[Path]) -> list[CollectionSpec]:
    """The objects that both can load programs of."""
    return [read_source(path) for path in paths]


def peak_memory_mb() -> float:
    """What the long verification takes at most, with all of Python, in a process of its own."""
    command = [sys.executable, "-m", "bench.verifier", "--long"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(json.loads(done.stdout)["peak_mb"])


def main() -> None:
    """Print a line for each set of programs; with ``--long``, verify the long one and print JSON for whoever started this process."""
    if "--long" in sys.argv[1:]:
        spec = long_program()
        program = spec.programs["long"]
        said = verified(program, spec, program.insns)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"visited": said.insns_processed, "accepted": said.accepted, "peak_mb": peak}))
        return
    for name, specs in (("crypto", specs_of(CRYPTO)), ("corpus", specs_of(CORPUS)), ("long", [long_program()])):
        costs = measure(specs)
        print(
            f"{name:8}{costs.per_insn:6.1f} us/insn, the kernel {costs.kernel_per_insn:5.2f}; "
            f"{sum(costs.ours)} visited, the kernel {sum(costs.theirs)}; worst ratio {costs.worst_ratio:.2f}"
        )
    print(f"{'memory':8}{peak_memory_mb():6.0f} MB at most")


if __name__ == "__main__":
    main()
