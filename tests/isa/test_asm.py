"""Assembly text to instructions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.errors import AssembleError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.disasm import disassemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, EXIT, LDDW, OPCODES, Kind, Opcode, PseudoCall

NIBBLE = st.integers(0, 15)
OFF = st.integers(-(1 << 15), (1 << 15) - 1)
IMM = st.integers(-(1 << 31), (1 << 31) - 1)


def instruction(row: Opcode) -> st.SearchStrategy[tuple[Insn, ...]]:
    """Any instruction of a row, but for the two fields that the kernel's text leaves out."""
    unprinted = row.kind is Kind.EXIT or (row.fixed.get("src") == PseudoCall.KFUNC and row.kind is Kind.CALL)
    free = {"dst": NIBBLE, "src": NIBBLE, "off": st.just(0) if unprinted else OFF, "imm": IMM}
    fields = {name: st.just(row.fixed[name]) if name in row.fixed else values for name, values in free.items()}
    first = st.builds(Insn, st.just(row.code), **fields)
    second = st.builds(Insn, st.just(0), imm=IMM)
    return st.tuples(first, second) if row.slots == 2 else st.tuples(first)


raw = st.tuples(st.builds(Insn, st.integers(0, 255), NIBBLE, NIBBLE, OFF, IMM)).filter(
    lambda insns: insns[0].code not in (LDDW, CALL, EXIT)
)
programs = st.lists(st.one_of(raw, st.sampled_from(OPCODES).flatmap(instruction)), max_size=12).map(
    lambda parts: tuple(insn for part in parts for insn in part)
)


@settings(max_examples=300)
@given(programs)
def test_assemble_inverts_disassemble(program: tuple[Insn, ...]) -> None:
    """assemble(disassemble(p)) is p, for valid and invalid instructions alike."""
    assert assemble("\n".join(disassemble(program))) == program


@settings(max_examples=300)
@given(st.text(alphabet='rw0123456789 +-=*/<>&|^~!s%()[]{}:;,.#ugotoifcallexitpcmaplockx\n\t"\\ä', max_size=60))
def test_any_text(text: str) -> None:
    """Any text gives instructions or an AssembleError whose span lies within the text."""
    try:
        assemble(text)
    except AssembleError as error:
        row, first, last = error.span
        assert 1 <= first <= last <= len(text.splitlines()[row - 1])


def test_blanks_are_no_operands() -> None:
    """Operands in braces, as the table of instructions has them, are an AssembleError."""
    with pytest.raises(AssembleError, match="is no operand"):
        assemble("call pc{0}")


def test_labels_and_comments() -> None:
    """Labels stand for distances in jumps, calls and addresses of subprograms, forwards and backwards; lddw counts two."""
    named = """
        r2 = subprog[callback]  ; takes two slots
    again: may_goto done        // both labels point here
    twice:
        r3 = 0x10
        if r3 s> 5 goto again
        if w3 & 7 goto done
        call function
        gotol twice
        goto again
    done: exit
    function: callback:
        r0 = 0
        exit
    """
    plain = """
        r2 = subprog[+10]
        may_goto pc+7
        r3 = 0x10
        if r3 s> 0x5 goto pc-4
        if w3 & 0x7 goto pc+3
        call pc+3
        gotol pc-6
        goto pc-8
        exit
        r0 = 0
        exit
    """
    assert assemble(named) == assemble(plain)


def test_moves_and_lddw_differ_by_spelling() -> None:
    """As in the kernel's log a decimal number is a move and a hexadecimal one an lddw; what fits only one is that one."""
    assert [insn.code for insn in assemble("r1 = 5")] == [0xB7]
    assert [insn.code for insn in assemble("r1 = 0x5")] == [LDDW, 0]
    assert assemble("r1 = 4294967295") == (Insn(LDDW, 1, imm=-1), Insn(0))
    assert assemble("w1 = 0xffffffff") == (Insn(0xB4, 1, imm=-1),)


def test_blanks_do_not_matter() -> None:
    """Operators and operands may touch or be apart."""
    loose = assemble("r0=*(u32*)(r1+8)\nr0 = * ( u32 * ) ( r1 + 8 )\nr1  s>>=3\nif r1!=r2 goto pc + 1\nr1 = - 1")
    tight = assemble("r0 = *(u32 *)(r1 +8)\nr0 = *(u32 *)(r1 +8)\nr1 s>>= 3\nif r1 != r2 goto pc+1\nr1 = -1")
    assert loose == tight


def test_functions_by_name() -> None:
    """Names of helpers and kfuncs become their numbers; a name with a number needs no table to be a helper."""
    helpers, kfuncs = {"bpf_ktime_get_ns": 5}, {"bpf_crypto_encrypt": 63741}
    text = "call bpf_ktime_get_ns\ncall bpf_crypto_encrypt\ncall bpf_crypto_encrypt#7\ncall bpf_other#8\ncall kfunc#9"
    assert assemble(text, helpers=helpers, kfuncs=kfuncs) == (
        Insn(CALL, imm=5),
        Insn(CALL, src=PseudoCall.KFUNC, imm=63741),
        Insn(CALL, src=PseudoCall.KFUNC, imm=7),
        Insn(CALL, imm=8),
        Insn(CALL, src=PseudoCall.KFUNC, imm=9),
    )


@pytest.mark.parametrize(
    ("text", "message", "span"),
    [
        ("r0 = ", "this is no BPF instruction", (1, 1, 4)),
        ("exit\n  frobnicate r1", "this is no BPF instruction", (2, 3, 15)),
        ("goto nowhere", "no label 'nowhere'", (1, 6, 12)),
        ("call nothing", "'nothing' is no label and no known function", (1, 6, 12)),
        ("r16 = 5", "'r16' does not fit: r<dst> = <imm>", (1, 1, 3)),
        ("r1 += 0xffffffff", "'0xffffffff' does not fit: r<dst> += <imm>", (1, 7, 16)),
        ("a:\na: exit", "label 'a' is defined twice", (2, 1, 1)),
        ("*(u8 *)(r1 +99999) = 1", "'+99999' does not fit: *(u8 *)(r<dst> <off>) = <imm>", (1, 12, 17)),
        ("r1 = bswap16 r2", "'r2' does not fit: r<dst> = bswap16 r<dst>", (1, 14, 15)),
        (".insn 0x100, 0, 0, 0, 0", "code must be 0 to 255", (1, 7, 11)),
    ],
)
def test_errors_point_at_the_text(text: str, message: str, span: tuple[int, int, int]) -> None:
    """An error says what is wrong and at which columns."""
    with pytest.raises(AssembleError) as caught:
        assemble(text)
    assert caught.value.message == message
    assert caught.value.span == span


def test_an_error_shows_the_line() -> None:
    """The text of an error underlines the place."""
    with pytest.raises(AssembleError) as caught:
        assemble("exit\n  goto nowhere ; comment")
    assert str(caught.value).splitlines() == [
        "line 2, column 8: no label 'nowhere'",
        "    goto nowhere ; comment",
        "         ^^^^^^^",
    ]
