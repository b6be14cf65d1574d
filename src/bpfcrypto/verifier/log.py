"""The log in the kernel's form: instructions with what they changed, source lines, and the words of the verdict.

Most of what is noted is never read: a path that ends well takes its lines with it, and an accepted program's log says next to
nothing. So an entry only keeps the values that its text needs, which are immutable, and the text is made when somebody asks.

Source: verbose_linfo, print_insn_state and do_check of kernel/bpf/{log,verifier}.c in 6.18.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfcrypto.abi.helpers import name as helper_name
from bpfcrypto.isa.disasm import format_insn
from bpfcrypto.isa.opcode import CALL, PseudoCall
from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef
from bpfcrypto.verifier.regtext import format_state
from bpfcrypto.verifier.state import NOT_INIT, Frame, State

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import LineInfo, ProgramSpec
    from bpfcrypto.verifier.state import Reference, Reg, Slot

_COLUMN: Final = 40
_STEP: Final = 8
INSN_LIMIT: Final = 1_000_000


class _Line(NamedTuple):
    """An instruction of another source line than the one before is about to be executed."""

    at: int
    line: LineInfo


# What an instruction left in what it touched: the instruction; its frame, of which only what never changes is read later; the registers
# as a mask and their values; the stack, and the slots as a mask; the references. A plain tuple, for one is made at every instruction.
_Change = tuple[int, Frame, int, tuple["Reg", ...], tuple["Slot", ...], int, tuple["Reference", ...]]


class _Whole(NamedTuple):
    """A whole frame, with words before it."""

    words: str
    state: State
    frameno: int


_Entry = int | _Line | _Change | _Whole | str
"""A number is an instruction that is about to be executed."""


class Trace:
    """The log of one verification.

    Args:
        program: what is verified.
        insns: its instructions.
        lines: its source lines by start; empty where it has none.
        level: 0 notes nothing, 1 keeps the lines of the path that fails, 2 keeps all.
    """

    def __init__(self, program: ProgramSpec, insns: Sequence[Insn], lines: Sequence[LineInfo], level: int) -> None:
        self._program = program
        self._insns = insns
        self._lines = _by_instruction(lines, len(insns))
        self._level = level
        self._line: LineInfo | None = None
        self._entries: list[_Entry] = []
        self._text: tuple[int, str] | None = None

    @property
    def position(self) -> int:
        """Where the log ends now."""
        return len(self._entries)

    def reset(self, position: int) -> None:
        """Take back what was noted since; at level 2 nothing is taken back."""
        if self._level < 2:
            del self._entries[position:]

    def restart(self) -> None:
        """Another function is verified: its first source line counts as new."""
        self._line = None

    def note(self, text: str) -> None:
        """One or more lines of text."""
        if self._level:
            self._entries.append(text)

    def insn(self, index: int) -> None:
        """An instruction is about to be executed."""
        line = self._lines[index]
        before = self._line
        if line is not None and line is not before:
            self._line = line
            if before is None or before.line != line.line or before.file != line.file:
                self._entries.append(_Line(index, line))
                return
        self._entries.append(index)

    def change(self, state: State, index: int, regs: int, slots: int) -> None:
        """It has been executed and touched these registers and slots of the running frame."""
        frame = state.frames[-1]
        stack = tuple(frame.stack) if slots else ()
        self._entries.append((index, frame, regs, _picker(regs)(frame.regs), stack, slots, tuple(state.refs)))

    def covered(self, previous: int, index: int, *, resumed: bool) -> None:
        """The path ends here, covered by an earlier one."""
        self._entries.append(f"\nfrom {previous} to {index}: safe" if resumed else f"{index}: safe")

    def resumed(self, state: State, previous: int, index: int) -> None:
        """A path goes on that was put aside, or in the function that it has returned to."""
        if self._level >= 2:
            self.whole(f"\nfrom {previous} to {index}:", state, state.frame.frameno)

    def whole(self, words: str, state: State, frameno: int) -> None:
        """A whole frame of a state, with words before it."""
        if self._level:
            self._entries.append(_Whole(words, state.copy(), frameno))

    def text(self) -> str:
        """The log so far, every line with its newline."""
        if self._text is None or self._text[0] != len(self._entries):
            self._text = len(self._entries), "".join(f"{line}\n" for line in self._render())
        return self._text[1]

    def _render(self) -> Iterator[str]:
        pending: str | None = None
        for entry in self._entries:
            if type(entry) is tuple:
                shown = _changed(*entry)
                if pending is not None:
                    yield f"{pending}{' ' * _padding(len(pending) + 1)};{shown}"
                else:
                    yield f"{entry[0]}:{shown}"
                pending = None
                continue
            if pending is not None:
                yield pending
                pending = None
            if isinstance(entry, _Line):
                yield f"; {source_text(entry.line)}"
                entry = entry.at
            if isinstance(entry, int):
                pending = f"{entry}: {insn_text(self._program, self._insns, entry)}"
            elif isinstance(entry, _Whole):
                yield f"{entry.words}{format_state(entry.state, entry.frameno)}"
            elif isinstance(entry, str):
                yield entry
        if pending is not None:
            yield pending


@cache
def _numbers(mask: int) -> tuple[int, ...]:
    """The registers of a mask."""
    return tuple(regno for regno in range(11) if mask >> regno & 1)


@cache
def _picker(mask: int) -> Callable[[Sequence[Reg]], tuple[Reg, ...]]:
    """Takes the registers of a mask."""
    numbers = _numbers(mask)
    if len(numbers) > 1:
        return itemgetter(*numbers)
    return lambda regs: tuple([regs[regno] for regno in numbers])


def _changed(
    _: int,
    frame: Frame,
    mask: int,
    values: tuple[Reg, ...],
    stack: tuple[Slot, ...],
    slots: int,
    refs: tuple[Reference, ...],
) -> str:
    """The text of what an instruction left: that of a state which holds nothing else."""
    regs, numbers = [NOT_INIT] * 11, _numbers(mask)
    for regno, reg in zip(numbers, values, strict=True):
        regs[regno] = reg
    frames = [Frame(number, 0) for number in range(frame.frameno)]
    frames.append(
        Frame(
            frame.frameno,
            0,
            regs=regs,
            stack=list(stack),
            in_callback=frame.in_callback,
            in_async_callback=frame.in_async_callback,
        )
    )
    return format_state(State(frames, list(refs)), frame.frameno, numbers, slots)


def _padding(length: int) -> int:
    """Spaces between an instruction of that length, newline included, and its ``;`` (vlog_alignment)."""
    width = max(length + _STEP // 2, _COLUMN)
    return -(-width // _STEP) * _STEP - length - 1


def _by_instruction(lines: Sequence[LineInfo], size: int) -> list[LineInfo | None]:
    if not lines:
        return [None] * size
    starts = [line.index for line in lines]
    return [lines[at - 1] if (at := bisect_right(starts, index)) else None for index in range(size)]


def source_text(line: LineInfo) -> str:
    """A source line as the log shows it: ``int x = 0; @ file.c:12``."""
    return f"{line.text.lstrip()} @ {line.file.rpartition('/')[2]}:{line.line}"


def insn_text(program: ProgramSpec, insns: Sequence[Insn], index: int) -> str:
    """An instruction as the log shows it: ``(b7) r0 = 0``. Maps, which have no addresses here, are named."""

    def names(slot: int, insn: Insn) -> str | None:
        ref = program.refs.get(slot)
        if insn.code == CALL:
            if isinstance(ref, KfuncRef):
                return ref.name
            return helper_name(insn.imm) if insn.src == PseudoCall.HELPER else None
        if isinstance(ref, MapRef):
            return f"map[{ref.name}]"
        if isinstance(ref, MapValueRef):
            return f"map[{ref.name}][0]+{ref.offset}"
        return f"&{ref.name}" if isinstance(ref, KfuncRef) else None

    return f"({insns[index].code:02x}) {format_insn(insns, index, names=names)}"
