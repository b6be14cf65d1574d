"""Bytes to instructions and back (struct bpf_insn, little-endian).

Decoding decides nothing about validity: an unknown opcode is a value like any other, for the verifier and the interpreter to
refuse. Only bytes that are no sequence of whole instructions are an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from bpfcrypto.errors import ObjectError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import LDDW

_INSN = struct.Struct("<BBhi")


def decode(data: bytes) -> tuple[Insn, ...]:
    """The instructions in ``data``, one per 8-byte slot.

    Raises:
        ObjectError: the length is no multiple of 8, or the second half of an ``lddw`` is missing; ``offset`` says where.
    """
    whole = len(data) - len(data) % _INSN.size
    if whole != len(data):
        raise ObjectError(f"{len(data)} bytes of code are no multiple of {_INSN.size}", offset=whole)
    insns = tuple(Insn(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in _INSN.iter_unpack(data))
    slot = 0
    while slot < len(insns):
        slot += 2 if insns[slot].code == LDDW else 1
    if slot > len(insns):
        raise ObjectError("lddw without its second half", offset=whole - _INSN.size)
    return insns


def encode(insns: Iterable[Insn]) -> bytes:
    """The bytes of a program: 8 for every slot."""
    return b"".join(_INSN.pack(i.code, i.dst | i.src << 4, i.off, i.imm) for i in insns)


def imm64(insns: Sequence[Insn], index: int) -> int:
    """The unsigned 64-bit immediate of the ``lddw`` at slot ``index``.

    Raises:
        ObjectError: the slot holds no ``lddw``, or only its first half.
    """
    if insns[index].code != LDDW or index + 1 >= len(insns):
        raise ObjectError(f"instruction {index} is not a whole lddw")
    return (insns[index].imm & 0xFFFFFFFF) | (insns[index + 1].imm & 0xFFFFFFFF) << 32
