"""Nanoseconds per instruction of the interpreter: ``python bench/interp.py``.

Each loop runs the same few instructions many times; the smallest of several timings counts, since everything else on a machine only adds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.interp import Interpreter
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.state import RunState
from bpfcrypto.isa.asm import assemble
from bpfcrypto.spec import ProgramSpec

ROUNDS = 2000
REPEATS = 7

LOOPS = {
    "alu64": "r2 += r3\nr2 ^= 77\nr4 = r2\nr4 >>= 3\nr5 *= r4\nr5 &= r2\nr3 = 9\nr3 |= r5",
    "alu32": "w2 += w3\nw2 ^= 77\nw4 = w2\nw4 >>= 3\nw5 *= w4\nw5 &= w2\nw3 = 9\nw3 |= w5",
    "stack": "*(u64 *)(r10 -8) = r2\nr3 = *(u64 *)(r10 -8)\n*(u8 *)(r10 -16) = r3\nr4 = *(u8 *)(r10 -16)",
    "packet": "r2 = *(u8 *)(r1 +0)\nr3 = *(u16 *)(r1 +2)\nr4 = *(u32 *)(r1 +8)\n*(u32 *)(r1 +4) = r4",
    "map value": "r2 = *(u64 *)(r7 +0)\nr2 += 1\n*(u64 *)(r7 +0) = r2\nr3 = *(u32 *)(r7 +8)",
    "branches": "if r6 == 0 goto pc+1\nif r6 s< 0 goto pc+0\nif w6 & 0x1 goto pc+0\nif r6 > r7 goto pc+0",
    "atomics": "r2 = 1\nlock *(u64 *)(r10 -8) += r2\nr2 = atomic64_fetch_add((u64 *)(r10 -8), r2)",
    "calls": "call leaf",
}


def measure(body: str) -> float:
    """Nanoseconds per instruction of a loop around ``body``."""
    collection = Memory()
    values = collection.new(16 * 64, "map 'bench' value", stride=64, chunk=64)
    start = f"r6 = {ROUNDS}\nr7 = {values.base + 64:#x}\n*(u64 *)(r10 -8) = 0\n"
    code = f"{start}loop:\n{body}\nr6 -= 1\nif r6 != 0 goto loop\nr0 = 0\nexit\nleaf:\nr0 = 1\nexit\n"
    insns = assemble(code)
    program = Interpreter(ProgramSpec("bench", "xdp", ProgType.XDP, insns), insns, {})
    per_round = len(body.splitlines()) + 2 + (2 if "call" in body else 0)

    def timings() -> Iterator[float]:
        for _ in range(REPEATS):
            memory = Memory(collection)
            packet = memory.new(64, "packet")
            state = RunState(memory, program.spec)
            begin = time.perf_counter_ns()
            program.run(state, packet.base)
            yield (time.perf_counter_ns() - begin) / (per_round * ROUNDS)

    return min(timings())


def main() -> None:
    """Print one line per loop."""
    for name, body in LOOPS.items():
        print(f"interpreter, {name:10} {measure(body):6.0f} ns per instruction")


if __name__ == "__main__":
    main()
