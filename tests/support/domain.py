"""The verifier's domain against the kernel's, instruction by instruction.

The kernel loads a program with log level 2, which prints every instruction that it visits with the registers that it touched, and the
whole state where it turns to a path that it had put aside. The log also says which paths were pruned. That is enough to walk the same
paths in the same order with our own ALU and branch semantics, without a main loop, and to compare each register's text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.disasm import format_insn
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import EXIT, Kind, PseudoImm, lookup
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec
from bpfcrypto.verifier import alu, branch, cfg, liveness
from bpfcrypto.verifier.env import Environment, Options
from bpfcrypto.verifier.regtext import format_reg
from bpfcrypto.verifier.state import (
    FP,
    NOT_INIT,
    SCALAR_UNKNOWN,
    Flag,
    Frame,
    MapTarget,
    Reg,
    RegType,
    Rejected,
    State,
    scalar_const,
)

LOOKUP = 1  # bpf_map_lookup_elem; the other helper that programs here may call gives an unknown scalar

_CTX_LOADS = {76: RegType.PACKET, 80: RegType.PACKET_END, 140: RegType.PACKET_META}
"""Offsets in struct __sk_buff of what a load makes a packet pointer."""

_REGISTER = re.compile(r"(R\d+|fp-\d+)=")
_STEP = re.compile(r"(\d+): \([0-9a-f]{2}\) (.*)")
_AFTER = re.compile(r"(\d+): (R\d+=.*)")
"""The registers of a step whose line was cut off by a message."""

_BUG = "verifier bug: "
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


def _entry() -> State:
    frame = Frame(0, 0)
    frame.regs[1] = Reg(RegType.CTX)
    frame.regs[FP] = Reg(RegType.STACK)
    return State([frame])


class _Walker:
    def __init__(self, replay: Replay, target: MapSpec | None) -> None:
        self.replay = replay
        self.insns = replay.insns
        self.aside: list[tuple[int, int, State]] = []
        self.target = target
        self.state = _entry()
        self.next = 0
        program = ProgramSpec("t", "tc", ProgType.SCHED_CLS, self.insns)
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
        pairs = enumerate(zip(self.insns, self.env.rows, strict=True))
        uses = [liveness.use_and_def(program, insn, row, index) for index, (insn, row) in pairs]
        self.env.live_regs = liveness.live_registers(flow, uses)

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
            frame.regs[0] = self._lookup() if insn.imm == LOOKUP else SCALAR_UNKNOWN
            frame.regs[1:6] = [NOT_INIT] * 5
        elif row.kind is Kind.LDDW:
            high = self.insns[index + 1].imm & 0xFFFFFFFF
            constant = scalar_const(high << 32 | insn.imm & 0xFFFFFFFF)
            frame.regs[insn.dst] = constant if insn.src == PseudoImm.VALUE else self._map()
            self.next = index + 2
        elif row.kind is Kind.LOAD:
            frame.regs[insn.dst] = Reg(_CTX_LOADS[insn.off])
        elif row.kind not in (Kind.EXIT, Kind.STORE):
            alu.step(self.env, self.state, insn, row)
        if texts is not None:
            self.compare(f"{index}: {format_insn(self.insns, index)}", texts)

    def _map(self) -> Reg:
        assert self.target is not None
        return Reg(RegType.CONST_MAP, target=MapTarget(self.target))

    def _lookup(self) -> Reg:
        return self._map()._replace(type=RegType.MAP_VALUE, flags=Flag.MAYBE_NULL, id=self.env.new_id())

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

    def expect_note(self, line: str) -> None:
        """Check a message that the kernel logged during the last step."""
        self.replay.compared += 1
        ours = self.notes.pop(0) if self.notes else ""
        if ours != line:
            self.replay.mismatches.append(f"the kernel notes {line}, we {ours}")
            raise _LostError

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


def replay(insns: tuple[Insn, ...], target: MapSpec | None = None) -> Replay:
    """Load a program for the traffic classifier, and walk it with the kernel's log.

    Args:
        insns: ALU instructions, branches, ``lddw``, loads of packet pointers from the context, stores, calls of bpf_get_prandom_u32
            and of bpf_map_lookup_elem.
        target: the map of all ``lddw`` that name one.
    """
    request = LoadRequest(name="t", prog_type=ProgType.SCHED_CLS, insns=encode(insns), license="GPL")
    outcome = bpf.prog_load(request, log_level=2)
    if outcome.fd is not None:
        outcome.fd.close()
    result = Replay(insns, outcome.errno, outcome.log)
    walker = _Walker(result, target)
    lines = outcome.log.splitlines()
    last = max((number for number, line in enumerate(lines) if _STEP.match(line)), default=-1) if outcome.errno else -1
    try:
        for number, line in enumerate(lines):
            if match := _SWITCH.fullmatch(line):
                walker.switch(int(match[1]), int(match[2]), match[3])
            elif line.startswith(_BUG):
                walker.expect_note(line)
            elif (match := _AFTER.fullmatch(line)) and lines[number - 1].startswith(_BUG):
                walker.compare(line, _texts(match[2]))
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


def explore(insns: tuple[Insn, ...], target: MapSpec | None = None) -> tuple[int, str]:
    """Walk every path of a program without a kernel and without pruning: errno and message of the first rejection, or 0 and ""."""
    walker = _Walker(Replay(insns), target)
    try:
        while True:
            while insns[walker.next].code != EXIT:
                walker.step(walker.next, None)
            if not walker.aside:
                return 0, ""
            _, walker.next, walker.state = walker.aside.pop()
    except Rejected as rejected:
        return rejected.errno, rejected.message


def registers(insns: tuple[Insn, ...], target: MapSpec | None = None) -> list[str]:
    """The registers' texts at the end of the path that takes no branch, "" for those never written."""
    walker = _Walker(Replay(insns), target)
    while insns[walker.next].code != EXIT:
        walker.step(walker.next, None)
    return ["" if reg.type is RegType.NOT_INIT else format_reg(reg, 0) for reg in walker.state.regs]


def _expect_rejection(walker: _Walker, index: int, message: str) -> None:
    try:
        walker.step(index, None)
    except Rejected as rejected:
        ours = (rejected.errno, rejected.message)
    else:
        ours = (0, "")
    if ours != (walker.replay.errno, message):
        walker.replay.mismatches.append(f"{index}: the kernel says {message} ({walker.replay.errno}), we say {ours}")
