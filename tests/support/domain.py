"""The verifier's domain against the kernel's, instruction by instruction.

The kernel loads a program with log level 2, which prints every instruction that it visits with the registers that it touched, and the
whole state where it turns to a path that it had put aside. The log also says which paths were pruned. That is enough to walk the same
paths in the same order with our own ALU and branch semantics, without a main loop, and to compare each register's text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.disasm import format_insn
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import OPCODES, Kind, Op, Opcode, lookup
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.spec import CollectionSpec, ProgramSpec
from bpfcrypto.verifier import alu, branch, cfg, liveness
from bpfcrypto.verifier.env import Environment, Options
from bpfcrypto.verifier.regtext import format_reg
from bpfcrypto.verifier.state import FP, NOT_INIT, SCALAR_UNKNOWN, Frame, Reg, RegType, Rejected, State, scalar_const

CALL_RANDOM = Insn(0x85, imm=7)  # bpf_get_prandom_u32: r0 becomes an unknown scalar, r1..r5 are gone
EXIT = Insn(0x95)

_REGISTER = re.compile(r"(R\d+|fp-\d+)=")
_STEP = re.compile(r"(\d+): \([0-9a-f]{2}\) (.*)")
_SWITCH = re.compile(r"from (\d+) to (\d+): ?(.*)")


@dataclass
class Replay:
    """One program on both sides.

    Attributes:
        insns: the program.
        errno, log: the kernel's answer.
        mismatches: what differs, as text.
        compared: register texts that were compared.
    """

    insns: tuple[Insn, ...]
    errno: int = 0
    log: str = ""
    mismatches: list[str] = field(default_factory=list)
    compared: int = 0


def _texts(line: str) -> dict[str, str]:
    """``R0=1 R1=scalar(...)`` taken apart."""
    parts = _REGISTER.split(line)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def _entry(program: ProgType) -> State:
    frame = Frame(0, 0)
    frame.regs[1] = Reg(RegType.CTX)
    frame.regs[FP] = Reg(RegType.STACK)
    return State([frame])


class _Walker:
    def __init__(self, replay: Replay, kind: ProgType) -> None:
        self.replay = replay
        self.insns = replay.insns
        self.aside: list[tuple[int, int, State]] = []
        self.state = _entry(kind)
        self.next = 0
        program = ProgramSpec("t", "tc", kind, self.insns)
        self.notes: list[str] = []
        self.env = Environment(
            program=program,
            spec=CollectionSpec("<test>", license="GPL", programs={"t": program}),
            insns=self.insns,
            rows=tuple(lookup(insn) for insn in self.insns),
            kernel_types=None,
            options=Options(log_level=2),
            mark_precise=lambda *_: None,
            push_branch=self._push,
            push_history=lambda *_: None,
            note=self.notes.append,
        )
        flow = cfg.find_subprograms(program, self.insns)
        cfg.build_flow(flow, program, self.insns)
        self.env.live_regs = liveness.live_registers(program, flow, self.insns, self.env.rows)

    def _push(self, state: State, index: int, source: int) -> State:
        copy = state.copy()
        self.aside.append((source, index, copy))
        return copy

    def step(self, index: int, texts: dict[str, str] | None) -> None:
        """Execute what the kernel executed, and compare the registers it printed."""
        if index != self.next:
            self.replay.mismatches.append(f"the kernel is at {index}, we are at {self.next}")
            raise _LostError
        insn, row = self.insns[index], self.env.rows[index]
        assert row is not None
        frame = self.state.frames[-1]
        self.env.index, self.next = index, index + 1
        if row.kind is Kind.BRANCH:
            self.next = branch.step(self.env, self.state, insn, row, index)
        elif row.kind is Kind.GOTO:
            self.next = index + 1 + insn.off
        elif row.kind is Kind.CALL:
            frame.regs[0] = SCALAR_UNKNOWN
            frame.regs[1:6] = [NOT_INIT] * 5
        elif row.kind is Kind.LDDW:
            high = self.insns[index + 1].imm & 0xFFFFFFFF
            frame.regs[insn.dst] = scalar_const(high << 32 | insn.imm & 0xFFFFFFFF)
            self.next = index + 2
        elif row.kind is not Kind.EXIT:
            alu.step(self.env, self.state, insn, row)
        if texts is not None:
            self.compare(f"{index}: {format_insn(self.insns, index)}", texts)

    def switch(self, source: int, target: int, rest: str) -> None:
        if not self.aside:
            self.replay.mismatches.append(f"the kernel goes from {source} to {target}, we have nothing left")
            raise _LostError
        ours = self.aside.pop()
        if ours[:2] != (source, target):
            self.replay.mismatches.append(f"the kernel goes from {source} to {target}, we from {ours[0]} to {ours[1]}")
            raise _LostError
        self.state, self.next = ours[2], target
        if rest != "safe":
            self.compare(f"from {source} to {target}", _texts(rest))

    def compare(self, where: str, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            if not name.startswith("R"):
                continue
            reg = self.state.frames[-1].regs[int(name[1:])]
            ours = format_reg(reg, 0)
            self.replay.compared += 1
            if ours != text.removeprefix("P"):
                self.replay.mismatches.append(f"{where}: {name} is {text} for the kernel, {ours} for us")
                raise _LostError


class _LostError(Exception):
    """The two sides have parted; what follows says nothing."""


def replay(insns: tuple[Insn, ...], kind: ProgType = ProgType.SCHED_CLS) -> Replay:
    """Load a program of ALU instructions, branches, lddw and calls of bpf_get_prandom_u32, and walk it with the kernel's log."""
    request = LoadRequest(name="t", prog_type=kind, insns=encode(insns), license="GPL")
    outcome = bpf.prog_load(request, log_level=2)
    if outcome.fd is not None:
        outcome.fd.close()
    result = Replay(insns, outcome.errno, outcome.log)
    walker = _Walker(result, kind)
    lines = outcome.log.splitlines()
    last = max((number for number, line in enumerate(lines) if _STEP.match(line)), default=-1) if outcome.errno else -1
    try:
        for number, line in enumerate(lines):
            if match := _SWITCH.fullmatch(line):
                walker.switch(int(match[1]), int(match[2]), match[3])
            elif match := _STEP.match(line):
                _text, _, after = match[2].partition(" ; ")
                if number == last:
                    _expect_rejection(walker, int(match[1]), lines[-2])
                    break
                walker.step(int(match[1]), _texts(after) if after else None)
    except _LostError:
        pass
    except Rejected as rejected:
        result.mismatches.append(f"we reject: {rejected.message}")
    return result


def _expect_rejection(walker: _Walker, index: int, message: str) -> None:
    try:
        walker.step(index, None)
    except Rejected as rejected:
        ours = (rejected.errno, rejected.message)
    else:
        ours = (0, "")
    if ours != (walker.replay.errno, message):
        walker.replay.mismatches.append(f"{index}: the kernel says {message} ({walker.replay.errno}), we say {ours}")


# -- random programs -------------------------------------------------------------------------------------------------------------

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
    end = len(code)
    landings = {*starts, end}
    for index, insn in enumerate(code):
        row = lookup(insn)
        if row is not None and row.kind is Kind.BRANCH:
            target = min(index + 1 + insn.off, end)
            while target not in landings:  # the middle of an lddw
                target += 1
            code[index] = Insn(insn.code, insn.dst, insn.src, target - index - 1, insn.imm)
    return (*code, Insn(0xB7, 0), EXIT)


def disassembled(insns: tuple[Insn, ...]) -> Iterator[str]:
    """The program's text, for a failing test."""
    index = 0
    while index < len(insns):
        row = lookup(insns[index])
        yield f"{index}: {format_insn(insns, index)}"
        index += row.slots if isinstance(row, Opcode) else 1


__all__ = ["Replay", "disassembled", "random_program", "replay"]
