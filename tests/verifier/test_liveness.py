"""Live registers by an exhaustive definition, and live stack slots by what pruning makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.asm_programs import program_of, verdict_on

from bpfcrypto.isa.opcode import lookup
from bpfcrypto.verifier.cfg import build_flow, find_subprograms
from bpfcrypto.verifier.liveness import live_registers, use_and_def


def live(text: str) -> list[set[int]]:
    """The registers that are live before each instruction, r10 apart."""
    program = program_of(text)
    flow = find_subprograms(program, program.insns)
    build_flow(flow, program, program.insns)
    uses = [use_and_def(program, insn, lookup(insn), index) for index, insn in enumerate(program.insns)]
    return [{regno for regno in range(10) if mask >> regno & 1} for mask in live_registers(flow, uses)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r0 = r1\nexit", [{1}, {0}]),
        ("r0 = 1\nr0 = 2\nexit", [set(), set(), {0}]),
        ("r0 += r6\nexit", [{0, 6}, {0}]),
        ("*(u64 *)(r10 -8) = r7\nr0 = 0\nexit", [{7}, set(), {0}]),
        ("call bpf_get_prandom_u32#7\nexit", [set(), {0}]),
        ("call bpf_ktime_get_ns#5\nr0 = r6\nexit", [{6}, {6}, {0}]),
        ("r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r3)\nexit", [{0, 3}, {0}]),
        ("r3 = atomic64_fetch_add((u64 *)(r10 -8), r3)\nr0 = r3\nexit", [{3}, {3}, {0}]),
        ("if w1 == w2 goto pc+1\nr0 = 0\nr0 = 1\nexit", [{1, 2}, set(), set(), {0}]),
        ("r0 = -r0\nexit", [{0}, {0}]),
    ],
)
def test_live_registers(text: str, expected: list[set[int]]) -> None:
    """What an instruction reads is live before it, what it writes is not, and calls read their arguments."""
    assert live(text) == expected


REGISTERS = st.integers(0, 4)
STRAIGHT = st.one_of(
    st.builds("r{} = r{}".format, REGISTERS, REGISTERS),
    st.builds("r{} += r{}".format, REGISTERS, REGISTERS),
    st.builds("r{} = 1".format, REGISTERS),
    st.builds("r{} += 1".format, REGISTERS),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STRAIGHT, min_size=1, max_size=8), st.data())
def test_live_means_read_on_some_path(lines: list[str], data: st.DataObject) -> None:
    """A register is live exactly where some path reads it before it writes it."""
    for index in range(len(lines)):
        if data.draw(st.booleans(), label=f"branch before {index}"):
            ahead = data.draw(st.integers(0, len(lines) - index - 1), label="distance")
            lines[index] = f"if r{data.draw(REGISTERS)} == 0 goto pc+{ahead}"
    text = "\n".join([*lines, "exit"])
    program = program_of(text)
    flow = find_subprograms(program, program.insns)
    build_flow(flow, program, program.insns)
    rows = [lookup(insn) for insn in program.insns]

    def read_later(index: int, regno: int) -> bool:
        use, defined = use_and_def(program, program.insns[index], rows[index], index)
        if use >> regno & 1:
            return True
        if defined >> regno & 1:
            return False
        return any(read_later(after, regno) for after in flow.successors[index])

    for index, registers in enumerate(live(text)):
        assert registers == {regno for regno in range(10) if read_later(index, regno)}


DEAD_SLOT = """
call bpf_get_prandom_u32#7
*(u64 *)(r10 -8) = r0
call bpf_get_prandom_u32#7
r6 = r0
if r6 == 5 goto pc+1
*(u64 *)(r10 -8) = r10
if r6 == 7 goto pc+1
r6 = 0
if r6 == 9 goto pc+1
r6 = 1
call bpf_get_prandom_u32#7
call bpf_get_prandom_u32#7
if r6 == 3 goto pc+0
{use}
r0 = 0
exit
"""


def test_dead_slots_do_not_keep_paths_apart() -> None:
    """A slot that nobody reads any more may hold a pointer on one path and a number on another."""
    dead, read = (verdict_on(DEAD_SLOT.format(use=use)) for use in ("r1 = 0", "r1 = *(u64 *)(r10 -8)"))

    assert dead.accepted
    assert read.accepted
    assert dead.insns_processed < read.insns_processed
