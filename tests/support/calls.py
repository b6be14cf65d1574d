"""Programs made of a list of calls, whose results are kept: a row of a table says what to call, engines say what comes of it.

A program calls each helper or kfunc in order and keeps r0 in the n-th 64-bit word of its memory. Arguments are integers, CTX, a place
on the stack (for dynptrs and iterators), constant text, or a place in the memory, which holds a known pattern. So a row needs no compiler and no
type information, and loads on every kernel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType, RunFlag
from bpfcrypto.errors import SyscallError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.spec import CollectionSpec, KfuncRef, MapSpec, MapValueRef, ProgramSpec

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine
    from bpfcrypto.spec import Ref

RESULTS = 512
MEMORY = 2048
STACK = 256
PATTERN = bytes((11 * i + 5) & 0xFF for i in range(MEMORY - RESULTS))
_MAP = ".bss"
_TEXTS = ".rodata"
_LDDW, _MOV, _ADD, _CALL, _EXIT = 0x18, 0xBF, 0x07, 0x85, 0x95
_WIDTHS = {"bool": 8, "int": 32, "__u32": 32}
_LOADS = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
_STORES = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}


class Keep(Enum):
    """What to keep of r0."""

    VALUE = auto()
    PRESENCE = auto()  # 1 for an address, 0 for NULL
    TARGET = auto()  # the 32-bit integer at the address, -1 for NULL


@dataclass(frozen=True, slots=True)
class Stack:
    """The address of the byte ``down`` bytes below the frame pointer."""

    down: int


@dataclass(frozen=True, slots=True)
class Mem:
    """The address of a byte of the patterned memory."""

    offset: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """The address of constant text, in a map that nobody can write; a NUL is put behind it."""

    value: bytes


class _Ctx:
    def __repr__(self) -> str:
        return "CTX"


CTX = _Ctx()
Argument = int | Stack | Mem | Text | _Ctx


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    ``load`` and ``store`` are no functions but accesses of the context: (offset, size[, value]). ``put`` stores an argument, such as
    an address, in eight bytes of the stack.
    """

    name: str
    args: tuple[Argument, ...]
    keep: Keep = Keep.VALUE


def call(name: str, *args: Argument, keep: Keep = Keep.VALUE) -> Call:
    return Call(name, args, keep)


@dataclass(frozen=True, slots=True)
class Row:
    """One program and its input."""

    name: str
    type: ProgType
    calls: tuple[Call, ...]
    data: bytes = b""
    ctx: bytes = b""
    repeat: int = 1
    frags: bool = False
    flags: RunFlag = RunFlag.NONE


class _Code:
    def __init__(self) -> None:
        self.insns: list[Insn] = []
        self.refs: dict[int, Ref] = {}
        self.texts = b""

    def add(self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.insns.append(Insn(code, dst, src, off, imm - (1 << 32) if imm >> 31 > 0 else imm))

    def lddw(self, dst: int, value: int) -> None:
        value &= (1 << 64) - 1
        self.add(_LDDW, dst, imm=value & 0xFFFFFFFF)
        self.add(0, imm=value >> 32)

    def memory(self, dst: int, offset: int, name: str = _MAP) -> None:
        self.refs[len(self.insns)] = MapValueRef(name, offset)
        self.lddw(dst, 0)

    def argument(self, dst: int, value: Argument) -> None:
        if isinstance(value, int):
            self.lddw(dst, value)
        elif isinstance(value, Mem):
            self.memory(dst, RESULTS + value.offset)
        elif isinstance(value, Text):
            self.memory(dst, len(self.texts), _TEXTS)
            self.texts += value.value + b"\0"
        elif isinstance(value, Stack):
            self.add(_MOV, dst, 10)
            self.add(_ADD, dst, imm=-value.down)
        else:
            self.add(_MOV, dst, 6)

    def call(self, one: Call) -> None:
        if one.name == "load":
            offset, size = (int(value) for value in one.args)  # type: ignore[call-overload]
            self.add(_LOADS[size], 0, 6, offset)
            return
        if one.name == "store":
            offset, size, value = (int(value) for value in one.args)  # type: ignore[call-overload]
            self.lddw(1, value)
            self.add(_STORES[size], 6, 1, offset)
            self.lddw(0, 0)
            return
        if one.name == "put":
            place, value = one.args
            assert isinstance(place, Stack)
            self.argument(1, value)
            self.add(_STORES[8], 10, 1, -place.down)
            self.lddw(0, 0)
            return
        for register, value in enumerate(one.args, 1):
            self.argument(register, value)
        if one.name in BY_NAME:
            self.add(_CALL, imm=BY_NAME[one.name].id)
            return
        self.refs[len(self.insns)] = KfuncRef(one.name)
        self.add(_CALL, src=2, imm=-1)
        # after a kfunc, only as many bits of r0 mean something as its result has
        if KFUNCS[one.name].result == "void":
            self.lddw(0, 0)
        width = _WIDTHS.get(KFUNCS[one.name].result)
        if width:
            self.add(0x67, imm=64 - width)
            self.add(0xC7 if width == 32 else 0x77, imm=64 - width)

    def keep(self, at: int, how: Keep) -> None:
        if how is Keep.PRESENCE:
            self.add(0x15, off=1)
            self.add(0xB7, imm=1)
        elif how is Keep.TARGET:
            self.add(0x55, off=2)
            self.add(0xB7, imm=-1)
            self.add(0x05, off=1)
            self.add(0x61, 0, 0)
        self.memory(1, 8 * at)
        self.add(0x7B, 1, 0)


def spec(row: Row) -> CollectionSpec:
    """The row as an object."""
    code = _Code()
    code.add(_MOV, 6, 1)
    if any(isinstance(value, Stack) for one in row.calls for value in one.args):
        for down in range(8, STACK + 1, 8):
            code.add(0x7A, 10, off=-down)
    for at, one in enumerate(row.calls):
        code.call(one)
        code.keep(at, one.keep)
    code.lddw(0, 7)
    code.add(_EXIT)
    flags = ProgFlag.SLEEPABLE if row.type is ProgType.SYSCALL else ProgFlag(0)
    if row.frags:
        flags |= ProgFlag.XDP_HAS_FRAGS
    program = ProgramSpec("row", row.type.name.lower(), row.type, tuple(code.insns), flags=flags, refs=code.refs)
    memory = MapSpec(_MAP, MapType.ARRAY, 4, MEMORY, 1, data=bytes(RESULTS) + PATTERN)
    maps = {_MAP: memory}
    if code.texts:
        size = -len(code.texts) % 8 + len(code.texts)
        data = code.texts.ljust(size, b"\0")
        maps[_TEXTS] = MapSpec(_TEXTS, MapType.ARRAY, 4, size, 1, flags=MapFlag.RDONLY_PROG, data=data, frozen=True)
    return CollectionSpec(f"<{row.name}>", "GPL", programs={"row": program}, maps=maps)


def play(engine: Engine, row: Row) -> dict[str, object]:
    """What a row gives on an engine: errno, or retval, results, packet, context and the memory where it changed."""
    with engine.load(spec(row)) as collection:
        try:
            result = collection.programs["row"].run(row.data, ctx=row.ctx, repeat=row.repeat, flags=row.flags)
        except SyscallError as error:
            return {"errno": error.errno}
        memory = collection.maps[_MAP].lookup(bytes(4))
    results = [int.from_bytes(memory[8 * at : 8 * at + 8], "little", signed=True) for at in range(len(row.calls))]
    changed = memory[RESULTS:]
    return {
        "retval": result.retval,
        "results": results,
        "data": _shown(result.data),
        "ctx": result.ctx.hex(),
        "memory": _delta(changed),
    }


def _shown(data: bytes) -> str:
    """Bytes as text: long ones by their size and digest."""
    return data.hex() if len(data) <= 256 else f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


def _delta(memory: bytes) -> str:
    """The changed bytes as ``offset:hex`` runs."""
    if memory == PATTERN:
        return ""
    runs: list[str] = []
    at = 0
    while at < len(memory):
        if memory[at] == PATTERN[at]:
            at += 1
            continue
        start = at
        while at < len(memory) and memory[at] != PATTERN[at]:
            at += 1
        runs.append(f"{start}:{memory[start:at].hex()}")
    return " ".join(runs)
