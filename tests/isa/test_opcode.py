"""The opcode table."""

from __future__ import annotations

from collections import Counter

from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, EXIT, GOTO, GOTOL, LDDW, MAY_GOTO, OPCODES, Kind, Op, Opcode, is_known, lookup


def example(row: Opcode) -> Insn:
    """An instruction of a row: fixed fields as they must be, the others with values that no fixed field has."""
    fixed = row.fixed
    return Insn(row.code, fixed.get("dst", 3), fixed.get("src", 7), fixed.get("off", 77), fixed.get("imm", 0x4444))


def test_rows_are_disjoint() -> None:
    """No instruction belongs to two rows, whatever its opcode and fields."""
    for row in OPCODES:
        insn = example(row)
        assert [other for other in OPCODES if other.code == insn.code and other.matches(insn)] == [row]


def test_lookup_finds_every_row() -> None:
    """Each row's example is found as that row."""
    assert [lookup(example(row)) for row in OPCODES] == list(OPCODES)


def test_opcode_bytes_of_the_specification() -> None:
    """Opcode bytes from RFC 9669 stand for the operations it gives them."""
    known = {
        0x07: Op.ADD,
        0x0C: Op.ADD,
        0x1F: Op.SUB,
        0x27: Op.MUL,
        0x4F: Op.OR,
        0x57: Op.AND,
        0x67: Op.LSH,
        0x7C: Op.RSH,
        0x87: Op.NEG,
        0xA7: Op.XOR,
        0xC7: Op.ARSH,
        0x15: Op.JEQ,
        0x2D: Op.JGT,
        0x36: Op.JGE,
        0x45: Op.JSET,
        0x5E: Op.JNE,
        0x65: Op.JSGT,
        0xA5: Op.JLT,
        0xC6: Op.JSLT,
        0xDD: Op.JSLE,
        0x61: Op.LOAD,
        0x81: Op.LOAD_SX,
        0x73: Op.STORE,
        0x7A: Op.STORE_IMM,
        LDDW: Op.LDDW,
        CALL: Op.CALL,
        EXIT: Op.EXIT,
        GOTO: Op.JA,
        GOTOL: Op.JA,
        MAY_GOTO: Op.MAY_GOTO,
    }
    plain = {code: {row.op for row in OPCODES if row.code == code} for code in known}
    assert plain == {code: {op} for code, op in known.items()}
    assert (LDDW, CALL, EXIT, GOTO, GOTOL, MAY_GOTO) == (0x18, 0x85, 0x95, 0x05, 0x06, 0xE5)


def test_fields_select_the_operation() -> None:
    """Offset, immediate and source register tell apart the instructions that share an opcode byte."""
    selected = {
        Insn(0x3F, 1, 2): (Op.DIV, 0),
        Insn(0x3F, 1, 2, off=1): (Op.SDIV, 0),
        Insn(0xBF, 1, 2): (Op.MOV, 0),
        Insn(0xBF, 1, 2, off=8): (Op.MOV, 1),
        Insn(0xBF, 1, 2, off=1): (Op.CAST, 0),
        Insn(0xDB, 1, 2, 8, 0xF1): (Op.CMPXCHG, 8),
        Insn(0xDB, 1, 2, 8, 0xE1): (Op.XCHG, 8),
    }
    assert {insn: (row.op, row.size) for insn in selected if (row := lookup(insn))} == selected
    assert lookup(Insn(0xBF, 1, 2, off=2)) is None
    assert lookup(Insn(0xDB, 1, 2, 8, 0x02)) is None
    assert lookup(Insn(0x8D)) is None


def test_written_registers() -> None:
    """The register that an instruction writes: dst mostly, src of fetching atomics, r0 of calls and cmpxchg, or none."""
    cases = {
        Insn(0x07, 4, 0, 0, 1): 4,
        Insn(0x79, 4, 5): 4,
        Insn(LDDW, 4): 4,
        Insn(0x7B, 4, 5): None,
        Insn(0xDB, 4, 5, 0, 0x00): None,
        Insn(0xDB, 4, 5, 0, 0x01): 5,
        Insn(0xDB, 4, 5, 0, 0xE1): 5,
        Insn(0xDB, 4, 5, 0, 0xF1): 0,
        Insn(0xDB, 4, 5, 0, 0x100): 4,
        Insn(0xDB, 4, 5, 0, 0x110): None,
        Insn(0x30, imm=4): 0,
        Insn(CALL, imm=5): 0,
        Insn(EXIT): None,
        Insn(0x15, 4): None,
    }
    assert {insn: row.writes(insn) for insn in cases if (row := lookup(insn))} == cases


def test_every_width_is_there() -> None:
    """Each family has as many rows as the instruction set has forms of it."""
    count = Counter(row.kind for row in OPCODES)
    assert count[Kind.ALU] == 13 * 2 * 2
    assert count[Kind.MOV] == (2 + 3) + (2 + 2)
    assert count[Kind.UNARY] == 2 + 9
    assert count[Kind.LOAD] == 4 + 3
    assert count[Kind.STORE] == 4 * 2
    assert count[Kind.ATOMIC] == 2 * (4 * 2 + 2) + 4 * 2
    assert count[Kind.BRANCH] == 11 * 2 * 2
    assert count[Kind.LEGACY] == 3 * 2
    assert count[Kind.LDDW] == 7
    assert count[Kind.CALL] == 3
    assert is_known(0x07)
    assert not is_known(0xFF)
