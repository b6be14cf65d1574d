"""The log's form: instructions with what they changed, aligned, source lines once."""

from __future__ import annotations

from tests.support.asm_programs import program_of, verdict_on

from bpfcrypto.spec import LineInfo
from bpfcrypto.verifier.log import Trace, insn_text, source_text
from bpfcrypto.verifier.state import Frame, State, scalar_const


def test_lines_of_a_rejection() -> None:
    """The registers at the start, each instruction with what it changed from column 40, the verdict, the counts."""
    verdict = verdict_on("r0 = 7\nr3 = r5\nexit")

    assert verdict.log.splitlines() == [
        "0: R1=ctx() R10=fp0",
        "0: (b7) r0 = 7                        ; R0=7",
        "1: (bf) r3 = r5",
        "R5 !read_ok",
        "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0",
    ]


def test_accepted_programs_say_only_what_it_took() -> None:
    """An accepted program's log has the counts, and level 0 has no more for a rejected one."""
    assert len(verdict_on("r0 = 7\nexit").log.splitlines()) == 1
    assert len(verdict_on("r0 = r5\nexit", log_level=0).log.splitlines()) == 1


def test_level_two_keeps_every_path() -> None:
    """Level 2 shows both ways of a branch."""
    log = verdict_on("call bpf_get_prandom_u32#7\nif r0 > 3 goto pc+1\nr0 = 1\nexit", log_level=2).log

    assert "from 1 to 3:" in log


def test_source_lines_are_shown_once() -> None:
    """A line stands before its first instruction, and again only after another; two columns of one line are one line."""
    lines = (
        LineInfo(0, "dir/prog.c", 4, 2, "\tint x = 0;"),
        LineInfo(1, "dir/prog.c", 4, 9, "\tint x = 0;"),
        LineInfo(2, "dir/prog.c", 5, 2, "\treturn x;"),
    )
    program = program_of("r0 = 0\nr0 += 1\nexit")
    trace = Trace(program, program.insns, lines, 1)
    for index in range(3):
        trace.insn(index)

    assert trace.text().splitlines() == [
        "; int x = 0; @ prog.c:4",
        "0: (b7) r0 = 0",
        "1: (07) r0 += 1",
        "; return x; @ prog.c:5",
        "2: (95) exit",
    ]
    assert source_text(lines[0]) == "int x = 0; @ prog.c:4"


def test_taking_lines_back() -> None:
    """A path that ends well takes its lines with it."""
    program = program_of("r0 = 0\nexit")
    trace = Trace(program, program.insns, (), 1)
    trace.note("kept")
    position = trace.position
    trace.insn(0)
    trace.reset(position)

    assert trace.text() == "kept\n"


def test_changes_keep_what_was_known_then() -> None:
    """A register that changes later is shown as it was."""
    program = program_of("r0 = 0\nexit")
    trace = Trace(program, program.insns, (), 1)
    state = State([Frame(0, 0)])
    state.regs[0] = scalar_const(1)
    trace.insn(0)
    trace.change(state, 0, 1, 0)
    state.regs[0] = scalar_const(2)

    assert trace.text() == "0: (b7) r0 = 0                        ; R0=1\n"


def test_calls_are_named() -> None:
    """Helpers have their names in the text."""
    program = program_of("call bpf_ktime_get_ns#5\nexit")

    assert insn_text(program, program.insns, 0) == "(85) call bpf_ktime_get_ns#5"
