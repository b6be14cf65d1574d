"""Programs as machine code, in the kernel and on the interpreter: ``python -m bench.programs``.

The same objects, the same packet. Machine code is called from a compiled loop, as the kernel's test run calls its own, and what a program
that does nothing takes is taken off both. The contenders take turns, and the median of each one's rounds counts.
"""

from __future__ import annotations

import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.engine_program import EmbeddedProgram
from bpfcrypto.embedded.jit.compile import Unit, compile_object
from bpfcrypto.embedded.jit.memory import MachineMemory
from bpfcrypto.embedded.state import RunState
from bpfcrypto.embedded.testrun import make_xdp
from bpfcrypto.engine import Collection
from bpfcrypto.isa.asm import assemble
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.probe import unavailable
from bpfcrypto.source import read_source
from bpfcrypto.spec import CollectionSpec, ProgramSpec

OBJECT = Path(__file__).with_name("programs.bpf.o")
PACKET = bytes.fromhex("02000000000102000000000208004500003200010000401166b8c0000201c000020230390035001e0000") + bytes(
    22
)
NOTHING = CollectionSpec(
    "<nothing>", "GPL", programs={"nothing": ProgramSpec("nothing", "xdp", ProgType.XDP, assemble("r0 = 2\nexit"))}
)
ROUNDS = 21
ROUND_NS = 2_000_000
INTERPRETED_NS = 40_000_000
GOAL = 1.0
MEAN_GOAL = 0.5

LOOP = """
define void @loop(ptr %main, ptr %run, i64 %context, i64 %rounds) {
entry:
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %m, %next ]
  %r = call i64 %main(ptr %run, i64 %context)
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, %rounds
  br i1 %more, label %next, label %done
done:
  ret void
}
"""

Timer = Callable[[int], float]
"""Runs a program so many times; nanoseconds for one."""


@dataclass(frozen=True, slots=True)
class Times:
    """One program: nanoseconds for a run, and how far the quartiles of the machine code's rounds are apart, in percent."""

    machine: float
    kernel: float
    interpreter: float
    spread: float

    @property
    def ratio(self) -> float:
        """Machine code's time / the kernel's."""
        return self.machine / self.kernel


class Compiled:
    """Calls machine code in a compiled loop."""

    def __init__(self) -> None:
        self._unit = Unit(compile_object(LOOP), ("loop",))
        word = ctypes.c_uint64
        self._loop = ctypes.CFUNCTYPE(None, word, word, word, word)(self._unit.address("loop"))

    def timer(self, program: EmbeddedProgram) -> Timer:
        """For a program of the embedded engine."""
        machine = program.machine
        assert machine is not None
        memory = MachineMemory(program.memory)
        frame = make_xdp(memory, PACKET, b"", {1: 1})
        running = machine.runs.start(0, RunState(memory, program.spec, packet=frame))
        memory.record = running.record

        def run(rounds: int) -> float:
            start = time.perf_counter_ns()
            self._loop(machine.main, running.address, frame.handle, rounds)
            return (time.perf_counter_ns() - start) / rounds

        run(1)
        return run


def tested(collection: Collection, name: str) -> Timer:
    """By test runs of many repetitions, of which an engine gives the average itself, in whole nanoseconds."""
    program = collection.programs[name]
    return lambda rounds: max(float(program.run(PACKET, repeat=rounds).duration_ns), 1.0)


def rounds_for(timer: Timer, budget: int) -> int:
    """How many runs take about so many nanoseconds."""
    rounds = 10
    while rounds < 1_000_000 and timer(rounds) * rounds < budget / 10:
        rounds *= 10
    return max(1, min(1_000_000, int(budget / timer(rounds))))


def measure(names: list[str] | None = None, rounds: int = ROUNDS) -> Mapping[str, Times]:
    """Every program of the object, or those named."""
    spec = read_source(OBJECT)
    compiled = Compiled()
    found: dict[str, Times] = {}
    with (
        EmbeddedEngine(jit=True) as ours,
        EmbeddedEngine(jit=False) as slow,
        KernelEngine() as kernel,
        ours.load(NOTHING) as our_nothing,
        kernel.load(NOTHING) as their_nothing,
    ):
        empty = _medians(
            {"machine": compiled.timer(our_nothing.programs["nothing"]), "kernel": tested(their_nothing, "nothing")},
            rounds,
        )
        for name in names or list(spec.programs):
            with ours.load(spec, programs=[name]) as a, kernel.load(spec, programs=[name]) as b:
                runs = {"machine": compiled.timer(a.programs[name]), "kernel": tested(b, name)}
                medians = _medians(runs, rounds)
            with slow.load(spec, programs=[name]) as c:
                timer = tested(c, name)
                interpreted = timer(rounds_for(timer, INTERPRETED_NS))
            net = {key: max(value[0] - empty[key][0], 0.1) for key, value in medians.items()}
            found[name] = Times(net["machine"], net["kernel"], interpreted, medians["machine"][1])
    return found


def _medians(timers: Mapping[str, Timer], rounds: int) -> dict[str, tuple[float, float]]:
    counts = {key: rounds_for(timer, ROUND_NS) for key, timer in timers.items()}
    taken: dict[str, list[float]] = {key: [] for key in timers}
    for _ in range(rounds):
        for key, timer in timers.items():
            taken[key].append(timer(counts[key]))
    return {key: (statistics.median(values), _spread(values)) for key, values in taken.items()}


def _spread(values: list[float]) -> float:
    low, middle, high = statistics.quantiles(values, n=4)
    return 100 * (high - low) / middle


def mean_ratio(times: Mapping[str, Times]) -> float:
    """The geometric mean of all ratios."""
    return math.exp(statistics.fmean(math.log(each.ratio) for each in times.values()))


def why_not() -> str | None:
    """Why nothing can be measured here, in words."""
    return unavailable()


def lines(times: Mapping[str, Times]) -> Iterator[str]:
    yield f"{'program':14}{'machine':>10}{'kernel':>10}{'ratio':>8}{'spread':>8}{'interpreter':>14}"
    for name, each in times.items():
        yield f"{name:14}{each.machine:10.1f}{each.kernel:10.1f}{each.ratio:8.2f}{each.spread:7.0f}%{each.interpreter:14.0f}"
    yield f"geometric mean of the ratios {mean_ratio(times):.2f}"


def main() -> None:
    """Print the table, or JSON with --json."""
    reason = why_not()
    if reason is not None:
        sys.exit(f"not measured: {reason}")
    names = [each for each in sys.argv[1:] if each != "--json"]
    times = measure(names or None)
    if "--json" in sys.argv:
        print(json.dumps({name: asdict(each) for name, each in times.items()}))
    else:
        print("\n".join(lines(times)))


if __name__ == "__main__":
    main()
