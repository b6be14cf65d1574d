"""Functions, jumps, unreachable code, prune points and loops, on small programs in assembler."""

from __future__ import annotations

import pytest
from tests.support.asm_programs import program_of

from bpfcrypto.isa.insn import Insn
from bpfcrypto.verifier.cfg import Flow, build_flow, check_jumps, find_subprograms
from bpfcrypto.verifier.state import Rejected


def flow_of(text: str) -> Flow:
    """The graph of a program."""
    program = program_of(text)
    flow = find_subprograms(program, program.insns)
    check_jumps(flow, program.insns)
    build_flow(flow, program, program.insns)
    return flow


def test_functions_are_cut_at_call_targets() -> None:
    """The target of a call starts a function, and the instructions before it belong to another."""
    flow = flow_of("call pc+2\nr0 = 0\nexit\nr0 = 1\nexit")

    assert [each.start for each in flow.subprograms] == [0, 3]
    assert flow.subprogram_of == [0, 0, 0, 1, 1]
    assert (flow.end(0), flow.end(1), flow.starting_at(3), flow.starting_at(4)) == (3, 5, 1, -1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("goto pc+1\nr0 = 0\nexit", "unreachable insn 1"),
        ("r0 = 0\nif r0 == 0 goto pc+5\nexit", "jump out of range from insn 1 to 7"),
        ("r0 = 0\nexit\nr0 = 1", "last insn is not an exit or jmp"),
        ("r0 = 0\ncall pc+9\nexit", "call to invalid destination"),
        ("r0 = 0\ncall pc+2\nif r0 == 1 goto pc+2\nexit\nr0 = 0\nexit", "jump out of range from insn 2 to 5"),
        ("if r1 == 0 goto pc+1\nr0 = 0x1122334455667788\nexit", "jump into the middle of ldimm64 insn 1"),
    ],
)
def test_broken_graphs(text: str, message: str) -> None:
    """A graph that cannot be walked is refused with the kernel's words."""
    with pytest.raises(Rejected, match=message):
        flow_of(text)


def test_second_half_of_lddw_is_no_node() -> None:
    """The slot behind an ``lddw`` is neither reached nor missed."""
    flow = flow_of("r0 = 0x1122334455667788\nexit")

    assert flow.successors[0] == (2,)
    assert flow.postorder == [[2, 0]]


def test_prune_points() -> None:
    """States are compared at branches and at what jumps lead to, and forced at may_goto."""
    flow = flow_of("r0 = 0\nmay_goto pc+2\nr0 += 1\ngoto pc-3\nexit")

    assert [index for index, mark in enumerate(flow.prune_points) if mark] == [1, 4]
    assert [index for index, mark in enumerate(flow.jump_points) if mark] == [1, 4]
    assert [index for index, mark in enumerate(flow.checkpoints) if mark] == [1]


def test_components() -> None:
    """Instructions of a loop share a number; those outside have none, and two loops have two."""
    flow = flow_of(
        "r0 = 0\nr0 += 1\nif r0 < 9 goto pc-2\nr0 += 2\nif r0 < 99 goto pc-2\nexit",
    )

    first, second = flow.components[1], flow.components[3]
    assert flow.components == [0, first, first, second, second, 0]
    assert 0 != first != second != 0


def test_a_loop_to_itself_is_a_component() -> None:
    """One instruction that jumps to itself is a loop, too."""
    flow = flow_of("r0 = 0\nif r0 == 1 goto pc-1\nexit")

    assert flow.components[1]


def test_effects_reach_callers() -> None:
    """A function that calls one which changes the packet changes the packet."""
    flow = flow_of(
        "call pc+2\nr0 = 0\nexit\ncall pc+2\nr0 = 0\nexit\nr2 = 0\ncall bpf_skb_pull_data#39\nr0 = 0\nexit",
    )

    assert [each.changes_packet for each in flow.subprograms] == [True, True, True]


def test_recursion_is_no_error_here() -> None:
    """That functions call each other in a circle is for the depth of the call stack to find out."""
    flow = flow_of("call pc+1\nexit\ncall pc-1\nexit")

    assert len(flow.subprograms) == 2


def test_unknown_bytes_do_not_break_the_walk() -> None:
    """Opcodes that do not exist have one successor, as plain instructions do."""
    program = program_of("r0 = 0\nexit", insns=(Insn(0xB7), Insn(0xFF), Insn(0x95)))
    flow = find_subprograms(program, program.insns)
    build_flow(flow, program, program.insns)

    assert flow.successors == [(1,), (2,), ()]
