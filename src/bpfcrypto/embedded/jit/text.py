"""One LLVM function in the making: lines of IR, and which SSA value each BPF register holds.

A register's value is an ``i64`` or a ``ptr``. Pointers stay pointers as long as they can: only then does LLVM know what they may
alias, and only then are its loops vectorised. A conversion is made where somebody asks for the other form, and kept for the rest of
the block. The low half of a value is kept likewise.
"""

from __future__ import annotations

from typing import NamedTuple

REGISTERS = 11
FRAME_POINTER = 10
_LOW = 0xFFFFFFFF


class Value(NamedTuple):
    """An SSA value or constant, as text, and whether it is a ``ptr``."""

    text: str
    is_pointer: bool = False


ZERO = Value("0")


class Text:
    """A function's lines and registers.

    Attributes:
        lines: of the block that is being written.
        label: of that block.
        registers: what each BPF register holds; None for nothing.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.label = ""
        self.registers: list[Value | None] = [None] * REGISTERS
        self._count = 0
        self._other: dict[str, str] = {}
        self._low: dict[str, str] = {}

    def begin(self, label: str, lines: list[str], registers: list[Value | None]) -> None:
        """Go on in a block of the program, whose lines are given."""
        self.lines, self.label, self.registers = lines, label, registers
        self._other.clear()
        self._low.clear()

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"%v{self._count}"

    def fresh_label(self) -> str:
        """A label that no block has yet."""
        self._count += 1
        return f"L{self._count}"

    def emit(self, text: str) -> str:
        """An instruction with a result; the result's name."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def open(self, label: str) -> None:
        """Begin another LLVM block within the block of the program.

        What was converted before is forgotten: that may have been in a block which does not always run.
        """
        self.lines.append(f"{label}:")
        self.label = label
        self._other.clear()
        self._low.clear()

    # --- registers

    def value(self, register: int) -> Value:
        """What a register holds; 0 where no path gave it anything."""
        return self.registers[register] or ZERO

    def integer(self, register: int) -> str:
        """A register as an i64."""
        return self.as_integer(self.value(register))

    def pointer(self, register: int) -> str:
        """A register as a ptr."""
        return self.as_pointer(self.value(register))

    def low(self, register: int) -> str:
        """The low half of a register, an i32."""
        text = self.integer(register)
        if text[0] != "%":
            return str(int(text) & _LOW)
        known = self._low.get(text)
        if known is None:
            known = self._low[text] = self.emit(f"trunc i64 {text} to i32")
        return known

    def as_integer(self, value: Value) -> str:
        """A value as an i64."""
        if not value.is_pointer:
            return value.text
        known = self._other.get(value.text)
        if known is None:
            known = self._other[value.text] = self.emit(f"ptrtoint ptr {value.text} to i64")
        return known

    def as_pointer(self, value: Value) -> str:
        """A value as a ptr."""
        if value.is_pointer:
            return value.text
        if value.text == "0":
            return "null"
        known = self._other.get(value.text)
        if known is None:
            known = self._other[value.text] = self.emit(f"inttoptr i64 {value.text} to ptr")
        return known

    def set(self, register: int, text: str) -> None:
        """Give a register an i64."""
        self.registers[register] = Value(text)

    def set_pointer(self, register: int, text: str) -> None:
        """Give a register a ptr."""
        self.registers[register] = Value(text, True)

    def set_low(self, register: int, text: str) -> None:
        """Give a register an i32, whose upper half is zero."""
        if text[0] != "%":
            self.registers[register] = Value(str(int(text) & _LOW))
            return
        wide = self.emit(f"zext i32 {text} to i64")
        self._low[wide] = text
        self.registers[register] = Value(wide)

    def set_typed(self, register: int, text: str, *, pointer: bool) -> None:
        """Give a register an i64 that is known to be an address, or not."""
        if pointer and text != "0":
            self.registers[register] = Value(self.emit(f"inttoptr i64 {text} to ptr"), True)
        else:
            self.registers[register] = Value(text)

    def offset(self, pointer: str, amount: str | int) -> str:
        """A ptr so many bytes further on."""
        if amount in (0, "0"):
            return pointer
        return self.emit(f"getelementptr i8, ptr {pointer}, i64 {amount}")
