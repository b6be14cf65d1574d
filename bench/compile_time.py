"""How long machine code takes to make, and to get from disk: ``python -m bench.compile_time``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.engine_verify import verify_program
from bpfcrypto.embedded.jit.build import Built
from bpfcrypto.embedded.jit.compile import Unit, compile_object, passes_for
from bpfcrypto.embedded.jit.lower import lower
from bpfcrypto.embedded.jit.names import MAIN

OBJECT = Path(__file__).with_name("programs.bpf.o")
PROGRAMS: Mapping[str, float] = {"dynptr": 10, "branchy_500": 30, "branchy_5000": 250}
"""Program -> milliseconds that its compilation should take at most."""

LINK_GOAL = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """One program: its instructions, and milliseconds of processor time to compile it and to take it from disk."""

    insns: int
    compile: float
    link: float


def measure(name: str, rounds: int) -> Cost:
    """The medians for a program of the object."""
    with EmbeddedEngine(jit=False) as engine, engine.load(OBJECT, programs=[name]) as collection:
        program = collection.programs[name]
        insns = program.interpreter.insns
        facts = verify_program(program.spec, collection.spec, cpus=1, progress=None).facts
        assert facts is not None
        made, linked = [], []
        for _ in range(rounds):
            start = time.process_time()
            lowered = lower(program.spec, insns, collection.spec.maps, facts)
            image = compile_object(lowered.text, passes_for(len(insns), loops=lowered.loops))
            made.append(time.process_time() - start)
            packed = Built(image, lowered.links, lowered.requests, lowered.exports).pack()
            start = time.process_time()
            unit = Unit(Built.unpack(packed).image, (MAIN,))
            linked.append(time.process_time() - start)
            del unit
    return Cost(len(insns), 1000 * statistics.median(made), 1000 * statistics.median(linked))


def main() -> None:
    """Print one line per program."""
    for name, goal in PROGRAMS.items():
        cost = measure(name, 5)
        print(
            f"{cost.insns:5} instructions: compiled in {cost.compile:.1f} ms (goal {goal:g}), from disk {cost.link:.2f} ms"
        )


if __name__ == "__main__":
    main()
