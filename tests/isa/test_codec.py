"""Bytes to instructions and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.errors import ObjectError
from bpfcrypto.isa.codec import decode, encode, imm64
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import EXIT, LDDW

insns = st.builds(
    Insn,
    st.integers(0, 255).filter(lambda code: code != LDDW),
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
)


@given(st.lists(insns).map(tuple))
def test_decode_inverts_encode(program: tuple[Insn, ...]) -> None:
    """decode(encode(x)) is x for any instructions."""
    assert decode(encode(program)) == program


@given(st.binary(max_size=64))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give instructions that encode to them again, or an ObjectError."""
    try:
        program = decode(data)
    except ObjectError:
        return
    assert encode(program) == data


def test_layout() -> None:
    """Fields lie where struct bpf_insn has them: registers in nibbles, little-endian numbers."""
    assert decode(bytes.fromhex("7b1af8ff 04030201")) == (Insn(0x7B, 10, 1, -8, 0x01020304),)


def test_a_cut_instruction_names_its_offset() -> None:
    """Bytes that are no whole instructions are an ObjectError at the first byte that does not fit."""
    with pytest.raises(ObjectError, match="no multiple of 8") as caught:
        decode(encode([Insn(EXIT)]) + b"\x95")
    assert caught.value.offset == 8


def test_a_cut_lddw_names_its_offset() -> None:
    """An lddw in the last slot is an ObjectError; its second half is no instruction of its own."""
    with pytest.raises(ObjectError, match="second half") as caught:
        decode(encode([Insn(EXIT), Insn(LDDW, 1)]))
    assert caught.value.offset == 8
    assert len(decode(encode([Insn(LDDW, 1), Insn(LDDW, 1)]))) == 2


def test_imm64_joins_unsigned_halves() -> None:
    """Both halves of an lddw are unsigned: a negative lower half does not spread into the upper."""
    program = (Insn(LDDW, 1, imm=-1), Insn(0, imm=-2), Insn(EXIT))
    assert imm64(program, 0) == 0xFFFFFFFE_FFFFFFFF
    with pytest.raises(ObjectError, match="instruction 2 is not a whole lddw"):
        imm64(program, 2)
