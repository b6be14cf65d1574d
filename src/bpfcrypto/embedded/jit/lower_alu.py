"""Arithmetic and tests as LLVM IR: one entry for each operation, for 32 and 64 bits.

BPF's operations are total where LLVM's are not: division by zero gives 0, modulo by zero the dividend, the one signed quotient that
does not fit wraps, and a shift uses as many bits of its count as the width needs (RFC 9669 section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit.text import Text, Value
from bpfcrypto.isa.opcode import Op

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode

Binary = Callable[[Text, int, str, str], str]

_MASK64 = (1 << 64) - 1


def _plain(name: str) -> Binary:
    return lambda text, bits, a, b: text.emit(f"{name} i{bits} {a}, {b}")


def _shift(name: str) -> Binary:
    def emit(text: Text, bits: int, a: str, b: str) -> str:
        if b[0] != "%":
            return text.emit(f"{name} i{bits} {a}, {int(b) & bits - 1}")
        return text.emit(f"{name} i{bits} {a}, {text.emit(f'and i{bits} {b}, {bits - 1}')}")

    return emit


def _divide(name: str, *, remainder: bool) -> Binary:
    signed = name[0] == "s"

    def emit(text: Text, bits: int, a: str, b: str) -> str:
        if b[0] != "%":
            divisor = int(b) & (1 << bits) - 1
            if divisor == 0:
                return a if remainder else "0"
            if signed and divisor == (1 << bits) - 1:
                return "0" if remainder else text.emit(f"sub i{bits} 0, {a}")
            return text.emit(f"{name} i{bits} {a}, {b}")
        zero = text.emit(f"icmp eq i{bits} {b}, 0")
        safe = text.emit(f"select i1 {zero}, i{bits} 1, i{bits} {b}")
        if not signed:
            result = text.emit(f"{name} i{bits} {a}, {safe}")
            return text.emit(f"select i1 {zero}, i{bits} {a if remainder else '0'}, i{bits} {result}")
        minus = text.emit(f"icmp eq i{bits} {b}, -1")
        safer = text.emit(f"select i1 {minus}, i{bits} 1, i{bits} {safe}")
        result = text.emit(f"{name} i{bits} {a}, {safer}")
        negated = "0" if remainder else text.emit(f"sub i{bits} 0, {a}")
        signed_result = text.emit(f"select i1 {minus}, i{bits} {negated}, i{bits} {result}")
        return text.emit(f"select i1 {zero}, i{bits} {a if remainder else '0'}, i{bits} {signed_result}")

    return emit


_BINARY: Mapping[Op, Binary] = {
    Op.ADD: _plain("add"),
    Op.SUB: _plain("sub"),
    Op.MUL: _plain("mul"),
    Op.OR: _plain("or"),
    Op.AND: _plain("and"),
    Op.XOR: _plain("xor"),
    Op.LSH: _shift("shl"),
    Op.RSH: _shift("lshr"),
    Op.ARSH: _shift("ashr"),
    Op.DIV: _divide("udiv", remainder=False),
    Op.MOD: _divide("urem", remainder=True),
    Op.SDIV: _divide("sdiv", remainder=False),
    Op.SMOD: _divide("srem", remainder=True),
}

TESTS: Mapping[Op, str] = {
    Op.JEQ: "eq",
    Op.JNE: "ne",
    Op.JGT: "ugt",
    Op.JGE: "uge",
    Op.JLT: "ult",
    Op.JLE: "ule",
    Op.JSGT: "sgt",
    Op.JSGE: "sge",
    Op.JSLT: "slt",
    Op.JSLE: "sle",
}


def arithmetic(text: Text, insn: Insn, row: Opcode) -> None:
    """``dst = dst op operand``."""
    if row.bits == 32:
        operand = text.low(insn.src) if row.reg else str(insn.imm)
        text.set_low(insn.dst, _BINARY[row.op](text, 32, text.low(insn.dst), operand))
        return
    left, right = text.value(insn.dst), text.value(insn.src) if row.reg else Value(str(insn.imm))
    if row.op in (Op.ADD, Op.SUB) and left.is_pointer != right.is_pointer:
        moved = _moved(text, row.op, left, right)
        if moved is not None:
            text.set_pointer(insn.dst, moved)
            return
    text.set(insn.dst, _BINARY[row.op](text, 64, text.as_integer(left), text.as_integer(right)))


def _moved(text: Text, op: Op, left: Value, right: Value) -> str | None:
    """A pointer plus or minus an integer; None for an integer minus a pointer."""
    pointer, amount = (left, right.text) if left.is_pointer else (right, left.text)
    if op is Op.ADD:
        return text.offset(pointer.text, amount)
    if pointer is right:
        return None
    return text.offset(pointer.text, -int(amount) if amount[0] != "%" else text.emit(f"sub i64 0, {amount}"))


def move(text: Text, insn: Insn, row: Opcode) -> None:
    """``dst = operand``."""
    if not row.reg:
        text.set(insn.dst, str(insn.imm & ((1 << row.bits) - 1)))
    elif row.size:
        narrow = _cut(text, text.integer(insn.src), row.size * 8)
        text.set(insn.dst, _extended(text, narrow, row.size * 8, row.bits))
    elif row.bits == 64:
        text.registers[insn.dst] = text.registers[insn.src]
    else:
        text.set_low(insn.dst, text.low(insn.src))


def _cut(text: Text, value: str, bits: int) -> str:
    return text.emit(f"trunc i64 {value} to i{bits}")


def _extended(text: Text, narrow: str, size: int, bits: int) -> str:
    """A narrow value with its sign spread to ``bits``, as an i64."""
    wide = text.emit(f"sext i{size} {narrow} to i{bits}")
    return wide if bits == 64 else text.emit(f"zext i32 {wide} to i64")


def unary(text: Text, insn: Insn, row: Opcode) -> None:
    """Negation and byte order; the machine is little-endian, so to_le only cuts."""
    if row.op is Op.NEG:
        if row.bits == 32:
            text.set_low(insn.dst, text.emit(f"sub i32 0, {text.low(insn.dst)}"))
        else:
            text.set(insn.dst, text.emit(f"sub i64 0, {text.integer(insn.dst)}"))
        return
    value, bits = text.integer(insn.dst), row.bits
    narrow = value if bits == 64 else _cut(text, value, bits)
    if row.op is not Op.TO_LE:
        narrow = text.emit(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {narrow})")
    text.set(insn.dst, narrow if bits == 64 else text.emit(f"zext i{bits} {narrow} to i64"))


def test(text: Text, insn: Insn, row: Opcode) -> str:
    """Whether a conditional jump is taken, an i1."""
    if row.bits == 32:
        left, right, kind = text.low(insn.dst), text.low(insn.src) if row.reg else str(insn.imm), "i32"
    else:
        a, b = text.value(insn.dst), text.value(insn.src) if row.reg else Value(str(insn.imm))
        if row.op is not Op.JSET and a.is_pointer and (b.is_pointer or b.text == "0"):
            left, right, kind = a.text, text.as_pointer(b), "ptr"
        else:
            left, right, kind = text.as_integer(a), text.as_integer(b), "i64"
    if row.op is Op.JSET:
        return text.emit(f"icmp ne {kind} {text.emit(f'and {kind} {left}, {right}')}, 0")
    return text.emit(f"icmp {TESTS[row.op]} {kind} {left}, {right}")
