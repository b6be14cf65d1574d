"""Every BPF instruction as one row of one table: how it is encoded, what it does and how the kernel's log prints it.

An opcode byte alone does not say what an instruction does: ``r1 /= r2`` and ``r1 s/= r2`` differ in the offset field, the atomic
operations in the immediate, the kinds of ``call`` and ``lddw`` in the source register. A row therefore fixes, besides the opcode
byte, the value of every field that selects the operation or that is reserved (0); the fields that remain are its operands. An
instruction that matches no row is one that the kernel refuses with "unknown opcode" or "uses reserved fields".

The decoder, the assembler and the disassembler, the interpreter and the verifier all read this table. Sources: RFC 9669, and for
what Linux added after it (may_goto, load_acquire, store_release, addr_space_cast) include/uapi/linux/bpf.h and kernel/bpf/disasm.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from operator import attrgetter

from bpfcrypto.isa.insn import Insn


class Class(IntEnum):
    """Instruction class: the low three bits of the opcode."""

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    ALU = 0x04
    JMP = 0x05
    JMP32 = 0x06
    ALU64 = 0x07


class Source(IntEnum):
    """Second operand of ALU and JMP instructions: the immediate or the source register."""

    K = 0x00
    X = 0x08


class Mode(IntEnum):
    """Addressing mode of load and store instructions."""

    IMM = 0x00
    ABS = 0x20
    IND = 0x40
    MEM = 0x60
    MEMSX = 0x80
    ATOMIC = 0xC0


SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
"""Bytes of a memory access -> its size bits in the opcode (BPF_B, BPF_H, BPF_W, BPF_DW)."""

BITS = {Class.ALU: 32, Class.ALU64: 64, Class.JMP: 64, Class.JMP32: 32}
"""Operand width of the ALU and JMP classes."""


class PseudoImm(IntEnum):
    """Source register of ``lddw``: what its 64-bit immediate stands for."""

    VALUE = 0
    MAP_FD = 1
    MAP_VALUE = 2
    BTF_ID = 3
    FUNC = 4
    MAP_IDX = 5
    MAP_IDX_VALUE = 6


class PseudoCall(IntEnum):
    """Source register of ``call``: what its immediate stands for."""

    HELPER = 0
    BPF = 1
    KFUNC = 2


class Kind(Enum):
    """Instructions that are handled alike."""

    ALU = "alu"  # dst = dst op operand
    MOV = "mov"  # dst = operand, sign-extended from `size` bytes where size is not 0
    UNARY = "unary"  # dst = op dst: negation and byte order, of imm bits
    CAST = "cast"  # addr_space_cast
    LDDW = "lddw"
    LOAD = "load"
    LEGACY = "legacy"  # packet loads in network byte order
    STORE = "store"
    ATOMIC = "atomic"
    BRANCH = "branch"  # conditional jump
    GOTO = "goto"
    MAY_GOTO = "may_goto"
    CALL = "call"
    EXIT = "exit"

    # Members are looked up in sets for every instruction, and Enum's own hash is a function in Python.
    __hash__ = object.__hash__


class Op(StrEnum):
    """What an instruction does; the value is the kernel's name without prefix, in lower case."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    OR = "or"
    AND = "and"
    LSH = "lsh"
    RSH = "rsh"
    NEG = "neg"
    MOD = "mod"
    XOR = "xor"
    MOV = "mov"
    ARSH = "arsh"
    SDIV = "sdiv"
    SMOD = "smod"
    TO_LE = "to_le"
    TO_BE = "to_be"
    BSWAP = "bswap"
    CAST = "addr_space_cast"
    LDDW = "lddw"
    LOAD = "load"
    LOAD_SX = "load_sx"
    LOAD_ABS = "load_abs"
    LOAD_IND = "load_ind"
    STORE = "store"
    STORE_IMM = "store_imm"
    ATOMIC_ADD = "atomic_add"
    ATOMIC_OR = "atomic_or"
    ATOMIC_AND = "atomic_and"
    ATOMIC_XOR = "atomic_xor"
    XCHG = "xchg"
    CMPXCHG = "cmpxchg"
    LOAD_ACQUIRE = "load_acquire"
    STORE_RELEASE = "store_release"
    JEQ = "jeq"
    JNE = "jne"
    JGT = "jgt"
    JGE = "jge"
    JLT = "jlt"
    JLE = "jle"
    JSET = "jset"
    JSGT = "jsgt"
    JSGE = "jsge"
    JSLT = "jslt"
    JSLE = "jsle"
    JA = "ja"
    MAY_GOTO = "may_goto"
    CALL = "call"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Opcode:
    """One row: an instruction of the machine.

    Attributes:
        code: the opcode byte.
        kind: how it is handled.
        op: what it does.
        text: the kernel's text, with the operand fields in braces.
        bits: operand width of ALU and branch instructions, 0 elsewhere.
        size: bytes of a memory access; of MOV, the bytes to sign-extend from; 0 elsewhere.
        reg: whether the second operand is the source register (else the immediate).
        fixed: field name -> the only value it may have.
        slots: instruction slots, 2 for ``lddw``.
    """

    code: int
    kind: Kind
    op: Op
    text: str
    bits: int = 0
    size: int = 0
    reg: bool = False
    fixed: dict[str, int] = field(default_factory=dict)
    slots: int = 1
    _selectors: Callable[[Insn], object] = field(init=False, repr=False, compare=False)
    _selected: object = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A row always has a field that is fixed, by the opcode byte if by nothing else.
        names, values = zip(*({"code": self.code} | self.fixed).items(), strict=True)
        object.__setattr__(self, "_selectors", attrgetter(*names))
        object.__setattr__(self, "_selected", values if len(values) > 1 else values[0])

    def matches(self, insn: Insn) -> bool:
        """Whether an instruction is this row's."""
        return self._selectors(insn) == self._selected

    def writes(self, insn: Insn) -> int | None:
        """The register an instruction of this row writes besides those a call clobbers, or None."""
        if self.kind in _WRITES_DST or self.op is Op.LOAD_ACQUIRE:
            return insn.dst
        if self.op is Op.CMPXCHG or self.kind is Kind.LEGACY or self.kind is Kind.CALL:
            return 0
        return insn.src if self.op in COMBINING and insn.imm & FETCH else None


_WRITES_DST = frozenset({Kind.ALU, Kind.MOV, Kind.UNARY, Kind.CAST, Kind.LDDW, Kind.LOAD})

FETCH = 0x01
"""BPF_FETCH: an atomic operation gives the old value back."""

COMBINING = frozenset({Op.ATOMIC_ADD, Op.ATOMIC_OR, Op.ATOMIC_AND, Op.ATOMIC_XOR, Op.XCHG})
"""Atomic operations that combine memory with the source register, and with BPF_FETCH leave the old value in it."""

_ALU = {
    Op.ADD: (0x00, "+="),
    Op.SUB: (0x10, "-="),
    Op.MUL: (0x20, "*="),
    Op.DIV: (0x30, "/="),
    Op.OR: (0x40, "|="),
    Op.AND: (0x50, "&="),
    Op.LSH: (0x60, "<<="),
    Op.RSH: (0x70, ">>="),
    Op.MOD: (0x90, "%="),
    Op.XOR: (0xA0, "^="),
    Op.ARSH: (0xC0, "s>>="),
}
_SIGNED = {Op.SDIV: (0x30, "s/="), Op.SMOD: (0x90, "s%=")}
_MOV, _NEG, _END = 0xB0, 0x80, 0xD0
_BRANCH = {
    Op.JEQ: (0x10, "=="),
    Op.JGT: (0x20, ">"),
    Op.JGE: (0x30, ">="),
    Op.JSET: (0x40, "&"),
    Op.JNE: (0x50, "!="),
    Op.JSGT: (0x60, "s>"),
    Op.JSGE: (0x70, "s>="),
    Op.JLT: (0xA0, "<"),
    Op.JLE: (0xB0, "<="),
    Op.JSLT: (0xC0, "s<"),
    Op.JSLE: (0xD0, "s<="),
}
_ATOMIC = {
    Op.ATOMIC_ADD: (0x00, "+="),
    Op.ATOMIC_OR: (0x40, "|="),
    Op.ATOMIC_AND: (0x50, "&="),
    Op.ATOMIC_XOR: (0xA0, "^="),
}

_LDDW = {
    PseudoImm.VALUE: "{imm64:#x}",
    PseudoImm.MAP_FD: "map[fd:{imm}]",
    PseudoImm.MAP_VALUE: "map[fd:{imm}][0]+{next}",
    PseudoImm.BTF_ID: "btf_id[{imm}:{next}]",
    PseudoImm.FUNC: "subprog[{imm:+}]",
    PseudoImm.MAP_IDX: "map[idx:{imm}]",
    PseudoImm.MAP_IDX_VALUE: "map[idx:{imm}][0]+{next}",
}
"""What follows ``rN = `` in the text of an ``lddw``. The kernel prints addresses; these name what has none yet."""

LDDW = Class.LD | Mode.IMM | SIZES[8]
CALL = Class.JMP | 0x80
EXIT = Class.JMP | 0x90
GOTO = Class.JMP
GOTOL = Class.JMP32
MAY_GOTO = Class.JMP | 0xE0


def _alu() -> Iterator[Opcode]:
    for cls, r in ((Class.ALU, "w"), (Class.ALU64, "r")):
        bits = BITS[cls]
        dst, src = f"{r}{{dst}}", f"{r}{{src}}"
        for table, off in ((_ALU, 0), (_SIGNED, 1)):
            for op, (code, sign) in table.items():
                text = f"{dst} {sign} "
                yield Opcode(cls | code, Kind.ALU, op, text + "{imm}", bits, fixed={"src": 0, "off": off})
                yield Opcode(
                    cls | code | Source.X, Kind.ALU, op, text + src, bits, reg=True, fixed={"imm": 0, "off": off}
                )
        yield Opcode(cls | _MOV, Kind.MOV, Op.MOV, f"{dst} = {{imm}}", bits, fixed={"src": 0, "off": 0})
        for size in (0, 1, 2, 4):
            if size * 8 < bits:
                cast = f"(s{size * 8})" if size else ""
                fixed = {"imm": 0, "off": size * 8}
                yield Opcode(
                    cls | _MOV | Source.X, Kind.MOV, Op.MOV, f"{dst} = {cast}{src}", bits, size, reg=True, fixed=fixed
                )
        yield Opcode(cls | _NEG, Kind.UNARY, Op.NEG, f"{dst} = -{dst}", bits, fixed={"src": 0, "off": 0, "imm": 0})
    for code, op, name in (
        (Class.ALU | _END | Source.K, Op.TO_LE, "le"),
        (Class.ALU | _END | Source.X, Op.TO_BE, "be"),
        (Class.ALU64 | _END, Op.BSWAP, "bswap"),
    ):
        for bits in (16, 32, 64):
            fixed = {"src": 0, "off": 0, "imm": bits}
            yield Opcode(code, Kind.UNARY, op, f"r{{dst}} = {name}{bits} r{{dst}}", bits, fixed=fixed)
    text = "r{dst} = addr_space_cast(r{src}, {high}, {low})"
    yield Opcode(Class.ALU64 | _MOV | Source.X, Kind.CAST, Op.CAST, text, 64, reg=True, fixed={"off": 1})


def _memory() -> Iterator[Opcode]:
    for size, code in SIZES.items():
        bits = size * 8
        src, dst = f"*(u{bits} *)(r{{src}} {{off:+}})", f"*(u{bits} *)(r{{dst}} {{off:+}})"
        yield Opcode(Class.LDX | Mode.MEM | code, Kind.LOAD, Op.LOAD, f"r{{dst}} = {src}", size=size, fixed={"imm": 0})
        yield Opcode(
            Class.ST | Mode.MEM | code, Kind.STORE, Op.STORE_IMM, f"{dst} = {{imm}}", size=size, fixed={"src": 0}
        )
        yield Opcode(
            Class.STX | Mode.MEM | code,
            Kind.STORE,
            Op.STORE,
            f"{dst} = r{{src}}",
            size=size,
            reg=True,
            fixed={"imm": 0},
        )
        if size < 8:
            text = f"r{{dst}} = *(s{bits} *)(r{{src}} {{off:+}})"
            yield Opcode(Class.LDX | Mode.MEMSX | code, Kind.LOAD, Op.LOAD_SX, text, size=size, fixed={"imm": 0})
            text = f"r0 = *(u{bits} *)skb"
            fixed = {"dst": 0, "off": 0}
            yield Opcode(
                Class.LD | Mode.ABS | code,
                Kind.LEGACY,
                Op.LOAD_ABS,
                text + "[{imm}]",
                size=size,
                fixed=fixed | {"src": 0},
            )
            yield Opcode(
                Class.LD | Mode.IND | code,
                Kind.LEGACY,
                Op.LOAD_IND,
                text + "[r{src} + {imm}]",
                size=size,
                reg=True,
                fixed=fixed,
            )


def _atomics() -> Iterator[Opcode]:
    for size, code in SIZES.items():
        code |= Class.STX | Mode.ATOMIC
        cell, name = f"(u{size * 8} *)(r{{dst}} {{off:+}})", "atomic64" if size == 8 else "atomic"
        texts = {
            (Op.LOAD_ACQUIRE, 0x100): f"r{{dst}} = load_acquire((u{size * 8} *)(r{{src}} {{off:+}}))",
            (Op.STORE_RELEASE, 0x110): f"store_release({cell}, r{{src}})",
        }
        if size >= 4:
            for op, (imm, sign) in _ATOMIC.items():
                texts[op, imm] = f"lock *{cell} {sign} r{{src}}"
                texts[op, imm | FETCH] = f"r{{src}} = {name}_fetch_{op.removeprefix('atomic_')}({cell}, r{{src}})"
            texts[Op.XCHG, 0xE1] = f"r{{src}} = {name}_xchg({cell}, r{{src}})"
            texts[Op.CMPXCHG, 0xF1] = f"r0 = {name}_cmpxchg({cell}, r0, r{{src}})"
        for (op, imm), text in texts.items():
            yield Opcode(code, Kind.ATOMIC, op, text, size=size, reg=True, fixed={"imm": imm})
    for pseudo, text in _LDDW.items():
        fixed = {"src": int(pseudo), "off": 0}
        yield Opcode(LDDW, Kind.LDDW, Op.LDDW, f"r{{dst}} = {text}", size=8, fixed=fixed, slots=2)


def _jumps() -> Iterator[Opcode]:
    for cls, r in ((Class.JMP, "r"), (Class.JMP32, "w")):
        for op, (code, sign) in _BRANCH.items():
            test = f"if {r}{{dst}} {sign} "
            yield Opcode(cls | code, Kind.BRANCH, op, test + "{uimm:#x} goto pc{off:+}", BITS[cls], fixed={"src": 0})
            text = f"{test}{r}{{src}} goto pc{{off:+}}"
            yield Opcode(cls | code | Source.X, Kind.BRANCH, op, text, BITS[cls], reg=True, fixed={"imm": 0})
    plain = {"dst": 0, "src": 0}
    yield Opcode(GOTO, Kind.GOTO, Op.JA, "goto pc{off:+}", fixed=plain | {"imm": 0})
    yield Opcode(GOTOL, Kind.GOTO, Op.JA, "gotol pc{imm:+}", fixed=plain | {"off": 0})
    yield Opcode(MAY_GOTO, Kind.MAY_GOTO, Op.MAY_GOTO, "may_goto pc{off:+}", fixed=plain | {"imm": 0})
    call = {"dst": 0, "off": 0}
    yield Opcode(CALL, Kind.CALL, Op.CALL, "call {name}#{imm}", fixed=call | {"src": int(PseudoCall.HELPER)})
    yield Opcode(CALL, Kind.CALL, Op.CALL, "call pc{imm:+}", fixed=call | {"src": int(PseudoCall.BPF)})
    yield Opcode(CALL, Kind.CALL, Op.CALL, "call {name}#{imm}", fixed={"dst": 0, "src": int(PseudoCall.KFUNC)})
    yield Opcode(EXIT, Kind.EXIT, Op.EXIT, "exit", fixed=plain | {"imm": 0})


OPCODES: tuple[Opcode, ...] = (*_alu(), *_memory(), *_atomics(), *_jumps())
"""The table."""

_BY_CODE: dict[int, tuple[Opcode, ...]] = {
    code: tuple(row for row in OPCODES if row.code == code) for code in {row.code for row in OPCODES}
}


def lookup(insn: Insn) -> Opcode | None:
    """The row of an instruction; None for an unknown opcode or a reserved field that is not 0."""
    for row in _BY_CODE.get(insn.code, ()):
        if row.matches(insn):
            return row
    return None


def is_known(code: int) -> bool:
    """Whether an opcode byte belongs to any instruction."""
    return code in _BY_CODE
