"""The interpreter: runs BPF code one instruction after another and checks every access to memory.

It is the reference that everything faster is compared with, and it may be given any bytes as a program: whatever they are, the
result is a value or a RunError, never harm to the process. What a verified program cannot observe is defined like this:

- The stack of a frame reads as zero until written, and so do r6 to r9 in a subprogram and the registers that carry no argument.
- Calls leave r1 to r5 as they were.
- The address that ``lddw`` takes of a subprogram is the number of its first slot.
- Division, shifts and the rest are total, as RFC 9669 has them, also where the verifier refuses the immediate.

A frame's stack is memory only while the frame lives, and frames do not touch: an access that runs off one is caught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.embedded.interp_code import DONE, Block, Malformed, translate
from bpfcrypto.embedded.memory import AccessFault, Region, allocate
from bpfcrypto.errors import RunError
from bpfcrypto.isa.disasm import format_insn
from bpfcrypto.isa.opcode import CALL, PseudoCall
from bpfcrypto.spec import EXCEPTION_CALLBACK

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import Native, RunState
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

MAX_FRAMES = 8
"""Frames of one program's call stack (MAX_CALL_FRAMES), callbacks included; a tail call starts a new program."""

MAX_TAIL_CALLS = 33
"""Tail calls of one run (MAX_TAIL_CALL_CNT), wherever in its frames they are made."""

STACK_SIZE = 512
"""Bytes of a frame's stack (MAX_BPF_STACK)."""

MAX_LOOPS = 8 << 20
"""Times that the may_goto instructions of one frame go on (BPF_MAX_LOOPS) before they jump."""

STEP_LIMIT = 100_000_000
"""Instructions of one run. Beyond it (half a minute) a loop is taken for endless; the kernel's own loops, bpf_loop and may_goto, end
after eight million rounds and fit a body of a dozen instructions."""

_FRAME_STRIDE = 2 * STACK_SIZE  # half of it is the gap to the next frame
_NOWHERE = Region(allocate(1)[0], name="nowhere", size=0)


class Callee(Protocol):
    """A program that a tail call leads to."""

    @property
    def interpreter(self) -> Interpreter: ...

    def machine_entry(self) -> int: ...


class TailCall(Exception):
    """Raised by a native: the innermost frame goes on with another program, which gets r1 and returns to the frame's caller.

    So does the kernel where programs with subprograms make tail calls: the program is as deep in the stack as the frame was.
    """

    def __init__(self, program: Callee) -> None:
        super().__init__()
        self.program = program


class Thrown(Exception):
    """Raised by a native: the program ends, whatever frames it has, with the cookie or what its exception callback makes of it."""

    def __init__(self, cookie: int) -> None:
        super().__init__()
        self.cookie = cookie


class Interpreter:
    """A program ready to run, in any number of threads at once.

    Args:
        spec: the program; for its name, kfunc names and source lines.
        insns: its instructions with every reference resolved: an ``lddw`` holds a plain address (or, of a subprogram, the relative
            slot), calls of subprograms are relative.
        natives: slot of a helper or kfunc call -> the function that runs it.
        step_limit: instructions after which a run is stopped.
        at_once: whether the code is translated now; otherwise when it first runs, for programs that are known to be well formed and may
            never be interpreted.

    Raises:
        RunError: an instruction cannot be run: unknown opcode or register, reserved field, target outside the code, missing native.
    """

    def __init__(
        self,
        spec: ProgramSpec,
        insns: tuple[Insn, ...],
        natives: Mapping[int, Native],
        *,
        step_limit: int = STEP_LIMIT,
        at_once: bool = True,
    ) -> None:
        self.spec = spec
        self.insns = insns
        self.step_limit = step_limit
        self.exception_callback = _exception_callback(spec)
        self._natives = natives
        if at_once:
            _ = self._code

    @cached_property
    def _code(self) -> tuple[dict[int, Block], frozenset[int]]:
        try:
            return translate(self.insns, self._natives)
        except Malformed as error:
            raise self.trap(str(error), error.index) from None

    @property
    def blocks(self) -> dict[int, Block]:
        """Its blocks by their first slot."""
        return self._code[0]

    @property
    def subprograms(self) -> frozenset[int]:
        """The slots where its subprograms start."""
        return self._code[1]

    def run(self, state: RunState, ctx_address: int) -> int:
        """Run the program once.

        Args:
            state: the run; its ``memory`` gets the stack, its ``call`` is set for callbacks.
            ctx_address: what r1 holds at the start.

        Returns:
            r0, an unsigned 64-bit integer.

        Raises:
            RunError: the program accessed memory that is not its own, called too deep, or passed the step limit.
        """
        machine = _Machine(self, state)
        state.call = machine.call
        state.tail_calls = 0
        return machine.start(ctx_address)

    def trap(self, message: str, index: int, registers: Sequence[int] = ()) -> RunError:
        """The error of the instruction at slot ``index``."""
        where = format_insn(self.insns, index, names=self._name) if index < len(self.insns) else ""
        line = next((line for line in reversed(self.spec.lines) if line.index <= index), None)
        if line is not None:
            where += f"\n  at {line.file}:{line.line}: {line.text.strip()}"
        return RunError(message, program=self.spec.name, insn=index, where=where, registers=tuple(registers[:11]))

    def _name(self, index: int, insn: Insn) -> str | None:
        ref = self.spec.refs.get(index)
        if ref is not None:
            return ref.name
        is_helper = insn.code == CALL and insn.src == PseudoCall.HELPER and insn.imm in HELPERS
        return HELPERS[insn.imm].name if is_helper else None


def _exception_callback(spec: ProgramSpec) -> int | None:
    """The slot of the subprogram that a program names as its exception callback."""
    names = [tag.removeprefix(EXCEPTION_CALLBACK) for tag in spec.tags if tag.startswith(EXCEPTION_CALLBACK)]
    return next((func.index for func in spec.funcs if func.name in names), None)


class _Machine:
    """One run: its frames, its step budget, and where each instruction last found its bytes."""

    __slots__ = ("_base", "_budget", "_code", "_depth", "_stacks", "_storage", "memory", "recent", "state")

    def __init__(self, code: Interpreter, state: RunState) -> None:
        self.state = state
        self.memory = state.memory
        self.recent = [_NOWHERE] * len(code.insns)
        self._code = code
        self._budget = code.step_limit
        self._depth = 0
        self._base = 0  # depth of the frame in which the program that runs began
        self._stacks: list[Region] = []
        self._storage = allocate(MAX_FRAMES * _FRAME_STRIDE, align=16)

    def locate(self, slot: int, address: int, size: int) -> Region:
        """The region of an access by the instruction at ``slot``; most find theirs where they found it last."""
        region = self.recent[slot]
        if not region.holds(address, size):
            region = self.recent[slot] = self.memory.find(address, size)
        return region

    def start(self, ctx_address: int) -> int:
        """Run the program's own frame."""
        try:
            return self.enter(0, (ctx_address, 0, 0, 0, 0))
        finally:
            for stack in self._stacks:
                self.memory.unmap(stack)

    def call(self, slot: int, *arguments: int) -> int:
        """Run a subprogram for a native (RunState.call)."""
        if slot not in self._code.subprograms:
            raise AccessFault(f"{slot:#x} is not the address of a subprogram")
        return self.enter(slot, (*arguments, 0, 0, 0, 0, 0)[:5])

    def enter(self, slot: int, arguments: Sequence[int]) -> int:
        """Run the code at ``slot`` in a new frame, up to its exit; gives its r0.

        Args:
            slot: where the subprogram starts.
            arguments: r1 to r5.
        """
        if self._depth - self._base == MAX_FRAMES:
            raise AccessFault(f"the call stack is deeper than {MAX_FRAMES} frames")
        if self._depth == len(self._stacks):
            self._add_stack()
        stack = self._stacks[self._depth]
        code = caller = self._code
        base, self._depth = self._base, self._depth + 1
        stack.set_live(True)
        try:
            while True:
                stack.clear()
                registers = [0, *arguments, 0, 0, 0, 0, stack.base + STACK_SIZE, MAX_LOOPS]
                try:
                    return self._execute(code, slot, registers)
                except TailCall as jump:
                    code = self._code = jump.program.interpreter
                    self._base = self._depth - 1
                    self.recent += [_NOWHERE] * (len(code.insns) - len(self.recent))
                    slot, arguments = 0, (registers[1], 0, 0, 0, 0)
                except Thrown as thrown:
                    if slot:
                        raise
                    callback = code.exception_callback
                    return thrown.cookie if callback is None else self.enter(callback, (thrown.cookie, 0, 0, 0, 0))
        finally:
            stack.set_live(False)
            self._depth -= 1
            self._code = caller
            self._base = base

    def _add_stack(self) -> None:
        place = self._depth % MAX_FRAMES
        if self._depth and not place:
            self._storage = allocate(MAX_FRAMES * _FRAME_STRIDE, align=16)
        storage, offset = self._storage
        stack = Region(
            storage,
            name="stack" if self._depth == 0 else f"stack of frame {self._depth}",
            offset=offset + place * _FRAME_STRIDE,
            size=STACK_SIZE,
        )
        self._stacks.append(self.memory.map(stack))

    def _execute(self, code: Interpreter, slot: int, registers: list[int]) -> int:
        blocks = code.blocks
        at = slot
        try:
            while slot != DONE:
                block = blocks[slot]
                self._budget -= block.length
                if self._budget < 0:
                    at = slot
                    raise AccessFault(f"the run passed its limit of {code.step_limit} instructions")
                for at, step in block.body:  # noqa: B007 - a fault names it
                    step(registers, self)
                at = block.last
                slot = block.end(registers, self)
        except AccessFault as fault:
            raise code.trap(str(fault), at, registers) from None
        return registers[0]
