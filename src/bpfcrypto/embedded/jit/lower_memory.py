"""Loads, stores and atomic operations as LLVM IR.

What the base register points to decides: a field of a packet's context lies in its record (:mod:`bpfcrypto.embedded.packet_record`),
an object of the kernel is asked of Python, and all else is memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bpfcrypto.abi.ctx import LAYOUTS, SK_BUFF, XDP_MD, CtxLayout, Field, FieldKind
from bpfcrypto.embedded.jit.text import Text, Value
from bpfcrypto.embedded.packet_record import BEHIND, DATA, END, START, words_offset
from bpfcrypto.embedded.packet_skb import NO_QUEUE_MAPPING, STORED_MASKS
from bpfcrypto.errors import InternalError
from bpfcrypto.isa.opcode import FETCH, Op
from bpfcrypto.verifier.branch import is_not_null
from bpfcrypto.verifier.state import Flag, Reg, RegType

if TYPE_CHECKING:
    from bpfcrypto.abi.progs import ProgType
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode

_KERNEL_OBJECTS = frozenset(
    {RegType.BTF_ID, RegType.SOCKET, RegType.SOCK_COMMON, RegType.TCP_SOCK, RegType.XDP_SOCK, RegType.CONST_MAP}
)

_ATOMIC = {
    Op.ATOMIC_ADD: "add",
    Op.ATOMIC_OR: "or",
    Op.ATOMIC_AND: "and",
    Op.ATOMIC_XOR: "xor",
    Op.XCHG: "xchg",
}

_POINTER_WORDS = {
    SK_BUFF.struct: {FieldKind.DATA: START, FieldKind.DATA_META: START, FieldKind.DATA_END: END},
    XDP_MD.struct: {FieldKind.DATA: DATA, FieldKind.DATA_META: START, FieldKind.DATA_END: END},
}


class Site(Protocol):
    """What a memory access needs to know of the instruction that makes it."""

    slot: int
    insn: Insn
    row: Opcode

    @property
    def prog_type(self) -> ProgType: ...

    def fact(self, register: int) -> Reg: ...

    def gives_pointer(self, register: int) -> bool: ...

    def ask_python(self, name: str, *arguments: str) -> str: ...


def is_foreign(reg: Reg) -> bool:
    """Whether a register points to what only Python knows how to access: an object of the kernel, or one that may not be there."""
    if reg.type is RegType.MEM:
        return bool(reg.flags & Flag.UNTRUSTED)
    return reg.type in _KERNEL_OBJECTS and not (reg.flags & Flag.ALLOC and is_not_null(reg))


def load(text: Text, site: Site) -> None:
    """``dst = *(size *)(src + off)``, zero- or sign-extended."""
    insn, size = site.insn, site.row.size
    base = site.fact(insn.src)
    if base.type is RegType.CTX and site.prog_type in LAYOUTS:
        value = _context_load(text, LAYOUTS[site.prog_type], text.pointer(insn.src), insn.off, size)
    elif is_foreign(base):
        value = Value(site.ask_python("load", _address(text, insn.src, insn.off), str(size)))
    else:
        value = _memory_load(text, text.offset(text.pointer(insn.src), insn.off), size, site)
    if site.row.op is Op.LOAD_SX:
        narrow = text.emit(f"trunc i64 {text.as_integer(value)} to i{size * 8}")
        text.set(insn.dst, text.emit(f"sext i{size * 8} {narrow} to i64"))
    elif value.is_pointer:
        text.set_pointer(insn.dst, value.text)
    else:
        text.set_typed(insn.dst, value.text, pointer=site.gives_pointer(insn.dst))


def _address(text: Text, register: int, offset: int) -> str:
    address = text.integer(register)
    return text.emit(f"add i64 {address}, {offset}") if offset else address


def _memory_load(text: Text, address: str, size: int, site: Site) -> Value:
    if size == 8:
        if site.gives_pointer(site.insn.dst):
            return Value(text.emit(f"load ptr, ptr {address}, align 1"), True)
        return Value(text.emit(f"load i64, ptr {address}, align 1"))
    narrow = text.emit(f"load i{size * 8}, ptr {address}, align 1")
    return Value(text.emit(f"zext i{size * 8} {narrow} to i64"))


def _word(text: Text, layout: CtxLayout, record: str, number: int) -> str:
    return text.offset(record, words_offset(layout) + 8 * number)


def _context_load(text: Text, layout: CtxLayout, record: str, offset: int, size: int) -> Value:
    field = _field(layout, offset, size, write=False)
    if field.kind.is_packet:
        word = _word(text, layout, record, _POINTER_WORDS[layout.struct][field.kind])
        return Value(text.emit(f"load ptr, ptr {word}, align 8"), True)
    if field.kind is FieldKind.SCRATCH:
        return Value(_plain_load(text, record, offset, size))
    whole = (
        _length(text, layout, record) if field.name == "len" else _plain_load(text, record, field.offset, field.size)
    )
    shift = field.shift(offset, size)
    if shift:
        whole = text.emit(f"lshr i64 {whole}, {shift}")
    return Value(whole if size >= field.size else text.emit(f"and i64 {whole}, {(1 << 8 * size) - 1}"))


def _plain_load(text: Text, record: str, offset: int, size: int) -> str:
    value = text.emit(f"load i{size * 8}, ptr {text.offset(record, offset)}, align 1")
    return value if size == 8 else text.emit(f"zext i{size * 8} {value} to i64")


def _length(text: Text, layout: CtxLayout, record: str) -> str:
    start, end, behind = (
        text.emit(f"load i64, ptr {_word(text, layout, record, number)}, align 8") for number in (START, END, BEHIND)
    )
    return text.emit(f"add i64 {text.emit(f'sub i64 {end}, {start}')}, {behind}")


def _field(layout: CtxLayout, offset: int, size: int, *, write: bool) -> Field:
    field = layout.find(offset, size, write=write)
    if field is None:
        raise InternalError(
            f"struct {layout.struct} has no access of {size} bytes at offset {offset}, yet it was accepted"
        )
    return field


def store(text: Text, site: Site) -> None:
    """``*(size *)(dst + off) = operand``."""
    insn, size = site.insn, site.row.size
    base = site.fact(insn.dst)
    value = text.value(insn.src) if site.row.reg else Value(str(insn.imm))
    if base.type is RegType.CTX and site.prog_type in LAYOUTS:
        _context_store(text, LAYOUTS[site.prog_type], text.pointer(insn.dst), insn.off, size, text.as_integer(value))
        return
    if is_foreign(base):
        site.ask_python("store", _address(text, insn.dst, insn.off), str(size), text.as_integer(value))
        return
    address = text.offset(text.pointer(insn.dst), insn.off)
    if size == 8 and value.is_pointer:
        text.do(f"store ptr {value.text}, ptr {address}, align 1")
        return
    _plain_store(text, address, text.as_integer(value), size)


def _plain_store(text: Text, address: str, value: str, size: int) -> None:
    if size == 8:
        narrow = value
    elif value[0] != "%":
        narrow = str(int(value) & (1 << 8 * size) - 1)
    else:
        narrow = text.emit(f"trunc i64 {value} to i{size * 8}")
    text.do(f"store i{size * 8} {narrow}, ptr {address}, align 1")


def _context_store(text: Text, layout: CtxLayout, record: str, offset: int, size: int, value: str) -> None:
    field = _field(layout, offset, size, write=True)
    mask = STORED_MASKS.get(field.name)
    if mask is not None:
        value = text.emit(f"and i64 {value}, {mask}")
    elif field.name == "queue_mapping":
        low = text.emit(f"and i64 {value}, {0xFFFFFFFF}")
        fits = text.emit(f"icmp ult i64 {low}, {NO_QUEUE_MAPPING}")
        value = text.emit(f"select i1 {fits}, i64 {low}, i64 {_plain_load(text, record, offset, size)}")
    _plain_store(text, text.offset(record, offset), value, size)


def atomic(text: Text, site: Site) -> None:
    """Read-modify-write, compare-and-exchange, load-acquire and store-release."""
    insn, op, bits = site.insn, site.row.op, site.row.size * 8
    if op is Op.LOAD_ACQUIRE:
        address = text.offset(text.pointer(insn.src), insn.off)
        old = text.emit(f"load atomic i{bits}, ptr {address} acquire, align {bits // 8}")
        text.set_typed(insn.dst, _widened(text, old, bits), pointer=bits == 64 and site.gives_pointer(insn.dst))
        return
    address = text.offset(text.pointer(insn.dst), insn.off)
    operand = _narrowed(text, text.integer(insn.src), bits)
    if op is Op.STORE_RELEASE:
        text.do(f"store atomic i{bits} {operand}, ptr {address} release, align {bits // 8}")
    elif op is Op.CMPXCHG:
        expected = _narrowed(text, text.integer(0), bits)
        pair = text.emit(f"cmpxchg ptr {address}, i{bits} {expected}, i{bits} {operand} seq_cst seq_cst")
        text.set(0, _widened(text, text.emit(f"extractvalue {{ i{bits}, i1 }} {pair}, 0"), bits))
    else:
        old = text.emit(f"atomicrmw {_ATOMIC[op]} ptr {address}, i{bits} {operand} seq_cst")
        if insn.imm & FETCH:
            text.set(insn.src, _widened(text, old, bits))


def _narrowed(text: Text, value: str, bits: int) -> str:
    if bits == 64:
        return value
    return str(int(value) & (1 << bits) - 1) if value[0] != "%" else text.emit(f"trunc i64 {value} to i{bits}")


def _widened(text: Text, value: str, bits: int) -> str:
    return value if bits == 64 else text.emit(f"zext i{bits} {value} to i64")
