"""Random programs without loops for comparing the verifier's domain with the kernel's (see ``domain``)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from bpfcrypto.isa.disasm import format_insn
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import OPCODES, Kind, Op, Opcode, PseudoImm, lookup

FP = 10
CALL_RANDOM = Insn(0x85, imm=7)  # bpf_get_prandom_u32: r0 becomes an unknown scalar, r1..r5 are gone
CALL_LOOKUP = Insn(0x85, imm=1)
EXIT = Insn(0x95)

_ALU = tuple(row for row in OPCODES if row.kind in (Kind.ALU, Kind.MOV, Kind.UNARY))
_BRANCHES = tuple(row for row in OPCODES if row.kind is Kind.BRANCH)
_EDGES = (0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF)


def _immediate(rng: random.Random) -> int:
    choice = rng.random()
    if choice < 0.5:
        value = rng.choice(_EDGES)
    elif choice < 0.8:
        value = rng.getrandbits(rng.randrange(1, 32))
    else:
        value = (1 << rng.randrange(31)) - rng.randrange(2)
    return -value if rng.random() < 0.35 else value


def _alu(rng: random.Random, registers: int, pointers: bool) -> Insn:
    row = rng.choice(_ALU)
    if row.op in (Op.DIV, Op.MOD, Op.SDIV, Op.SMOD, Op.MUL) and rng.random() < 0.7:
        row = rng.choice(_ALU)
    fields = dict(row.fixed)
    imm = fields.get("imm", 0) if row.reg or row.kind is Kind.UNARY else _immediate(rng)
    if row.op in (Op.LSH, Op.RSH, Op.ARSH) and not row.reg:
        imm = rng.randrange(row.bits)
    elif row.op in (Op.DIV, Op.MOD, Op.SDIV, Op.SMOD) and not row.reg and not imm:
        imm = 1
    dst = rng.randrange(registers)
    src = rng.randrange(registers) if row.reg else 0
    if pointers and row.reg and rng.random() < 0.1:
        src = FP
    return Insn(row.code, dst, src, fields.get("off", 0), imm)


def _wide(rng: random.Random, registers: int) -> tuple[Insn, Insn]:
    value = rng.getrandbits(64) if rng.random() < 0.4 else (1 << rng.randrange(64)) - rng.randrange(2)
    if rng.random() < 0.3:
        value = -value & (1 << 64) - 1
    low, high = value & 0xFFFFFFFF, value >> 32
    return (
        Insn(0x18, rng.randrange(registers), imm=(low ^ 1 << 31) - (1 << 31)),
        Insn(0, imm=(high ^ 1 << 31) - (1 << 31)),
    )


def random_program(
    rng: random.Random, length: int = 24, registers: int = 5, *, pointers: bool = False
) -> tuple[Insn, ...]:
    """A program without loops over r0..r(registers-1), which start unknown, narrowed at random; r6.. keep copies across calls."""
    code: list[Insn] = []
    for number in range(6, 10):
        code += [CALL_RANDOM, Insn(0xBF, number, 0)]
    code.append(CALL_RANDOM)
    code += [Insn(0xBF, number, 5 + number) for number in range(1, registers)]
    starts = []
    while len(code) < length + 9 + registers:
        starts.append(len(code))
        choice = rng.random()
        if choice < 0.35:
            row = rng.choice(_BRANCHES)
            imm = 0 if row.reg else _immediate(rng)
            src = rng.randrange(registers) if row.reg else 0
            code.append(Insn(row.code, rng.randrange(registers), src, rng.randrange(1, 4), imm))
        elif choice < 0.45:
            code += _wide(rng, registers)
        else:
            code.append(_alu(rng, registers, pointers))
    return _closed(code, starts)


def _closed(code: Sequence[Insn], starts: Sequence[int]) -> tuple[Insn, ...]:
    """The program with an end, and its branches landing on ``starts`` or there."""
    end = len(code)
    landings = {*starts, end}
    closed = list(code)
    for index, insn in enumerate(code):
        row = lookup(insn)
        if row is not None and row.kind is Kind.BRANCH:
            target = min(index + 1 + insn.off, end)
            while target not in landings:  # within a sequence
                target += 1
            closed[index] = Insn(insn.code, insn.dst, insn.src, target - index - 1, insn.imm)
    return (*closed, Insn(0xB7, 0), EXIT)


def _pointer_step(rng: random.Random) -> list[Insn]:
    """Something to do with the pointers in r0..r4 and r6..r8, where r9 is an unknown scalar and r5 is free."""
    dst = rng.randrange(5)
    choice = rng.random()
    if choice < 0.3:
        return [
            Insn(
                0xBF,
                dst,
                rng.choice((0, 1, 2, 3, 4, 6, 6, 6, 6, 8, 8, 8)) if rng.random() < 0.97 else rng.choice((7, FP)),
            )
        ]
    if choice < 0.5:
        return [Insn(rng.choice((0x07, 0x07, 0x17)), dst, imm=rng.choice((0, 1, 2, 8, 14, 20, 40, 64, 0xFFFF)))]
    if choice < 0.65:
        narrow = [Insn(0xBF, 5, 9), Insn(0x57, 5, imm=rng.choice((1, 7, 12, 0xFF, 0xFFF, 0xFFFF, 0x1FFFF)))]
        if rng.random() < 0.3:
            narrow.append(Insn(0x07, 5, imm=rng.choice((-300, -8, 4, 60))))
        if rng.random() < 0.15:
            return [*narrow, Insn(0x0F, 5, dst), Insn(0xBF, dst, 5)]
        return [*narrow, Insn(rng.choice((0x0F, 0x0F, 0x0F, 0x1F)), dst, 5)]
    if choice < 0.7:
        return [Insn(rng.choice((0x15, 0x55)), dst, off=rng.randrange(1, 6))]
    if choice < 0.76:
        return [Insn(rng.choice((0x1D, 0x5D)), dst, rng.choice((0, 1, 2, 3, 4, 6, 7, 8)), rng.randrange(1, 6))]
    ends = (dst, rng.choice((6, 7, 7, 7, 7, 8)))
    left, right = ends if rng.random() < 0.5 else ends[::-1]
    return [Insn(rng.choice((0x2D, 0x3D, 0xAD, 0xBD)), left, right, rng.randrange(1, 6))]


def random_pointer_program(rng: random.Random, map_fd: int, length: int = 20) -> tuple[Insn, ...]:
    """A program without loops over packet pointers, what a map lookup gave, and copies of them.

    Args:
        rng: the source.
        map_fd: a map with keys of four bytes whose lookups may fail.
        length: steps after the prologue, which leaves data in r6, data_end in r7, data_meta or a lookup's result in r8.
    """
    code = [
        Insn(0x61, 6, 1, 76),
        Insn(0x61, 7, 1, 80),
        Insn(0x61, 8, 1, 140),
        CALL_RANDOM,
        Insn(0xBF, 9, 0),
        Insn(0x62, FP, 0, -4, 0),
        Insn(0x18, 1, PseudoImm.MAP_FD, imm=map_fd),
        Insn(0),
        Insn(0xBF, 2, FP),
        Insn(0x07, 2, imm=-4),
        CALL_LOOKUP,
    ]
    if rng.random() < 0.8:  # checked: not NULL, or data instead
        code += [Insn(0x55, 0, off=1), Insn(0xBF, 0, 6)]
    starts = [len(code)]
    if rng.random() < 0.5:
        code.append(Insn(0xBF, 8, 0))
    code += [Insn(0xBF, number, rng.choice((0, 6, 6, 8))) for number in range(1, 5)]
    for _ in range(length):
        starts.append(len(code))
        code += _pointer_step(rng)
    return _closed(code, starts)


def disassembled(insns: tuple[Insn, ...]) -> Iterator[str]:
    """The program's text, for a failing test."""
    index = 0
    while index < len(insns):
        row = lookup(insns[index])
        yield f"{index}: {format_insn(insns, index)}"
        index += row.slots if isinstance(row, Opcode) else 1
