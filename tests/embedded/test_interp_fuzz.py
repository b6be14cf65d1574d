"""Any bytes as a program: the interpreter gives a result or a RunError and touches nothing that is not the program's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.interp import Interpreter
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.state import RunState
from bpfcrypto.errors import ObjectError, RunError
from bpfcrypto.isa.codec import decode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import EXIT, OPCODES, Kind, Opcode
from bpfcrypto.spec import ProgramSpec


def native(state: RunState, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """A native that uses its arguments as a program might have made them: an address, a callback."""
    try:
        return state.memory.load(r1, 8)
    except AccessFault:
        return int(state.call(r2 % 16, r3, r4, r5))


def run(insns: tuple[Insn, ...]) -> None:
    """Run a program; only a RunError may come out, and read-only memory and what lies around regions must be as before."""
    memory = Memory()
    constants = memory.new(64, "constants", writable=False)
    packet = memory.new(64, "packet")
    spec = ProgramSpec("fuzz", "xdp", ProgType.XDP, insns)
    try:
        program = Interpreter(spec, insns, dict.fromkeys(range(len(insns)), native), step_limit=2000)
        result = program.run(RunState(memory, spec), packet.base)
    except RunError as error:
        assert error.program == "fuzz"
        assert 0 <= error.insn <= len(insns)
    else:
        assert 0 <= result < 1 << 64
    assert bytes(memory.span(constants.base, 64)) == bytes(64)


def instruction(row: Opcode) -> st.SearchStrategy[Insn]:
    """An instruction of a row with operands that mostly make sense in a short program."""
    near = st.integers(-6, 6)
    free = {
        "dst": st.integers(0, 10 if row.kind in (Kind.STORE, Kind.ATOMIC) else 9),
        "src": st.integers(0, 10),
        "off": near if row.kind in (Kind.BRANCH, Kind.GOTO, Kind.MAY_GOTO) else st.integers(-520, 70),
        "imm": near if row.kind in (Kind.GOTO, Kind.CALL) else st.integers(-(1 << 31), (1 << 31) - 1),
    }
    return st.builds(
        Insn,
        st.just(row.code),
        **{name: st.just(row.fixed.get(name)) if name in row.fixed else free[name] for name in free},
    )


def program_of(rows: list[Opcode]) -> st.SearchStrategy[tuple[Insn, ...]]:
    return st.tuples(*(instruction(row) for row in rows)).map(lambda insns: (*insns, Insn(EXIT)))


rows = st.lists(st.sampled_from([row for row in OPCODES if row.slots == 1]), min_size=1, max_size=20)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=160))
def test_any_bytes(data: bytes) -> None:
    """Random bytes, whole instructions or not."""
    try:
        insns = decode(data)
    except ObjectError:
        return
    run(insns)


@settings(max_examples=400, deadline=None)
@given(rows.flatmap(program_of))
def test_any_instructions(insns: tuple[Insn, ...]) -> None:
    """Random instructions with valid encodings, which get further than random bytes."""
    run(insns)
