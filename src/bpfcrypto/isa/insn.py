"""One BPF instruction as a value.

Programs are sequences in which the **index is the slot number**: ``lddw`` takes two slots and so two entries, the second with
code 0 and the upper half of the immediate. Jump offsets, line_info and the kernel's log count the same way, so no translation
is ever needed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Insn:
    """Eight bytes of BPF code (struct bpf_insn).

    Attributes:
        code: opcode byte, 0..255.
        dst: destination register, 0..10 (0..15 can be encoded).
        src: source register or a pseudo-source value, 0..15.
        off: signed 16-bit offset.
        imm: signed 32-bit immediate.
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
