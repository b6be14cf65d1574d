"""Instructions as text, in the form of the kernel's verifier log.

What the kernel refuses to print (unknown opcodes, reserved fields in use) becomes ``.insn code, dst, src, off, imm``, so that
every program has a text and assembling that text gives the program back. Two things the kernel's own text leaves out stay out:
the module index in the ``off`` of a kfunc call, and the ignored ``off`` of ``exit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import LDDW, Kind, Opcode, PseudoCall, PseudoImm, lookup

Names = Callable[[int, Insn], str | None]
"""(slot, instruction) -> the name of what a ``call`` calls, or the operand of an ``lddw``; None where there is no better text."""

_NO_ZERO_HALF = frozenset({PseudoImm.VALUE, PseudoImm.MAP_VALUE, PseudoImm.BTF_ID, PseudoImm.MAP_IDX_VALUE})


def format_insn(insns: Sequence[Insn], index: int, *, names: Names | None = None) -> str:
    """The text of the instruction at slot ``index``, such as ``r0 = *(u64 *)(r1 +8)``.

    Args:
        insns: the program.
        index: the slot; for ``lddw`` its first one.
        names: names for calls and ``lddw`` operands.
    """
    insn = insns[index]
    row = printable(insns, index)
    if row is None:
        return f".insn {insn.code:#04x}, {insn.dst}, {insn.src}, {insn.off}, {insn.imm}"
    name = names(index, insn) if names is not None and row.kind in (Kind.CALL, Kind.LDDW) else None
    if name is not None and row.kind is Kind.LDDW:
        return f"r{insn.dst} = {name}"
    upper = insns[index + 1].imm if row.slots == 2 else 0
    return row.text.format(
        dst=insn.dst,
        src=insn.src,
        off=insn.off,
        imm=insn.imm,
        uimm=insn.imm & 0xFFFFFFFF,
        next=upper & 0xFFFFFFFF,
        imm64=insn.imm & 0xFFFFFFFF | (upper & 0xFFFFFFFF) << 32,
        high=insn.imm >> 16 & 0xFFFF,
        low=insn.imm & 0xFFFF,
        name=name or ("kfunc" if insn.src == PseudoCall.KFUNC else "unknown"),
    )


def disassemble(insns: Sequence[Insn], *, names: Names | None = None) -> Iterator[str]:
    """One line per instruction, ``12: (07) r2 += -8``; the number is the slot, the hexadecimal digits are the opcode."""
    index = 0
    while index < len(insns):
        row = printable(insns, index)
        yield f"{index}: ({insns[index].code:02x}) {format_insn(insns, index, names=names)}"
        index += row.slots if row is not None else 1


def printable(insns: Sequence[Insn], index: int) -> Opcode | None:
    """The row of the instruction at a slot, or None where the kernel's text cannot express it."""
    insn = insns[index]
    row = lookup(insn)
    if row is None or insn.code != LDDW:
        return row
    if index + 1 >= len(insns):
        return None
    half = insns[index + 1]
    if half.code or half.dst or half.src or half.off or (half.imm and insn.src not in _NO_ZERO_HALF):
        return None
    return row
