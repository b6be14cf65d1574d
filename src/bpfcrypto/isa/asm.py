"""Text to instructions: the kernel log's form, with labels.

The grammar is the opcode table read backwards. A row's text and a line of input are cut into the same tokens; with registers and
numbers blanked out, the tokens of a line are the key that finds the row, and the blanked values are its operands. Several rows may
share a key (``r1 = 5`` is a move, ``r1 = 0x5`` an ``lddw``): the first whose numbers are spelled the same way and fit wins, then the
first whose numbers fit.

Besides an instruction a line may hold a label (``again:``), a slot number and opcode as the disassembler prints them (``12: (07)``,
ignored) and a comment (from ``;`` or ``//``). A label stands wherever a jump, a call or ``subprog[..]`` takes a distance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from bpfcrypto.errors import AssembleError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import OPCODES, Kind, Opcode, PseudoCall

_TOKEN = re.compile(
    r"""(?P<slot>^\s*\d+:(?:\s*\([0-9a-f]{2}\))?)
    | (?P<space>\s+)
    | (?P<operator>s?>>=|<<=|s?/=|s?%=|[-+*|&^]=|s?[<>]=|[=!]=|s[<>])
    | (?P<register>(?P<file>[rw])(?:(?P<number>\d+)\b|\{(?P<operand>\w+)\}))
    | (?P<value>(?P<sign>\+?\s*-?)\s*(?:(?P<digits>0[xX][0-9a-fA-F]+|\d+)\b|\{(?P<field>\w+)(?::(?P<spec>[^}]*))?\}))
    | (?P<word>\.?[A-Za-z_][\w.]*)
    | (?P<other>.)""",
    re.VERBOSE,
)
_LABEL = re.compile(r"\s*([A-Za-z_][\w.]*)\s*:")
_COMMENT = re.compile(r";|//")

_NUMBER, _NAME = "<number>", "<name>"
_RAW = (".insn", _NUMBER, ",", _NUMBER, ",", _NUMBER, ",", _NUMBER, ",", _NUMBER)
_RAW_RANGES = {"code": (0, 255), "dst": (0, 15), "src": (0, 15), "off": (-(1 << 15), (1 << 15) - 1)}
_RANGES = {
    "dst": (0, 15),  # what the encoding holds; the verifier and the interpreter refuse r11 and up
    "src": (0, 15),
    "off": (-(1 << 15), (1 << 15) - 1),
    "imm": (-(1 << 31), (1 << 31) - 1),
    "uimm": (-(1 << 31), (1 << 32) - 1),
    "next": (-(1 << 31), (1 << 32) - 1),
    "imm64": (-(1 << 63), (1 << 64) - 1),
    "high": (0, 0xFFFF),
    "low": (0, 0xFFFF),
}


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of text.

    Attributes:
        blank: what stands for it in a key.
        value: a number, a word, or in a row's text the name of an operand field.
        first, last: its columns, from 1.
        hexadecimal: how a number is spelled.
    """

    blank: str
    value: int | str
    first: int
    last: int
    hexadecimal: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with an instruction: its number, text and tokens, and the slot of the instruction."""

    number: int
    text: str
    tokens: list[_Token]
    slot: int

    def error(self, message: str, token: _Token | None = None, *, hint: str | None = None) -> AssembleError:
        first, last = (token, token) if token else (self.tokens[0], self.tokens[-1])
        return AssembleError(message, span=(self.number, first.first, last.last), line=self.text, hint=hint)


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        first, last, piece = match.start() + 1, match.end(), match[0]
        if match["slot"] or match["space"]:
            continue
        if match["register"]:
            found.append(
                _Token(match["file"], int(match["number"]) if match["number"] else match["operand"], first, last)
            )
        elif match["field"] == "name":
            found.append(_Token(_NAME, "name", first, last))
        elif match["value"]:
            hexadecimal = "x" in (match["digits"] or match["spec"] or "").lower()
            value = match["field"] or int(match["digits"], 16 if hexadecimal else 10) * (
                -1 if "-" in match["sign"] else 1
            )
            found.append(_Token(_NUMBER, value, first, last, hexadecimal))
        else:
            found.append(
                _Token(_NAME if found and found[-1].blank == "call" and piece != "pc" else piece, piece, first, last)
            )
    return found


def _key(tokens: Iterable[_Token]) -> tuple[str, ...]:
    return tuple(token.blank for token in tokens)


@cache
def _grammar() -> Mapping[tuple[str, ...], list[tuple[Opcode, list[_Token]]]]:
    grammar: dict[tuple[str, ...], list[tuple[Opcode, list[_Token]]]] = {}
    for row in OPCODES:
        tokens = _tokens(row.text)
        grammar.setdefault(_key(tokens), []).append((row, tokens))
    return grammar


class _Assembler:
    """One text on its way to instructions: first the lines and labels, then the code."""

    def __init__(self, text: str, helpers: Mapping[str, int], kfuncs: Mapping[str, int]) -> None:
        self._helpers = helpers
        self._kfuncs = kfuncs
        self._labels: dict[str, int] = {}
        self._lines: list[_Line] = []
        slot = 0
        for number, raw in enumerate(text.splitlines(), 1):
            text = _COMMENT.split(raw, maxsplit=1)[0]
            while label := _LABEL.match(text):
                self._label(label[1], slot, (number, label.start(1) + 1, label.end(1)), raw)
                text = " " * label.end() + text[label.end() :]
            if tokens := _tokens(text):
                self._lines.append(_Line(number, raw, tokens, slot))
                self._refuse_blanks(self._lines[-1])
                slot += 2 if self._is_wide(self._lines[-1]) else 1

    def _refuse_blanks(self, line: _Line) -> None:
        """Operands in braces stand in the table of instructions, and nowhere else."""
        for token in line.tokens:
            if token.blank == _NUMBER and not isinstance(token.value, int):
                raise line.error(f"'{{{token.value}}}' is no operand", token)

    def _label(self, name: str, slot: int, span: tuple[int, int, int], line: str) -> None:
        if name in self._labels:
            raise AssembleError(f"label '{name}' is defined twice", span=span, line=line)
        self._labels[name] = slot

    def _is_wide(self, line: _Line) -> bool:
        tokens = list(self._resolve(line, dict.fromkeys((str(t.value) for t in line.tokens), line.slot)))
        return _key(tokens) != _RAW and self._select(line, tokens)[0].slots == 2

    def _resolve(self, line: _Line, labels: Mapping[str, int]) -> Iterator[_Token]:
        """The line's tokens with distances in the place of labels."""
        keys = ["", "", *_key(line.tokens), ""]
        for at, token in enumerate(line.tokens):
            two_before, before, after = keys[at], keys[at + 1], keys[at + 3]
            relative = token.value == "pc"
            jump = before in ("goto", "gotol", "may_goto") and not relative
            call = before == "call" and token.value in labels and after != "#" and not relative
            function = (two_before, before) == ("subprog", "[") and token.blank != _NUMBER
            if not (jump or call or function):
                yield token
                continue
            if token.value not in labels:
                raise line.error(f"no label '{token.value}'", token)
            if not function:
                yield _Token("pc", "pc", token.first, token.last)
            yield _Token(_NUMBER, labels[str(token.value)] - line.slot - 1, token.first, token.last)

    def _select(self, line: _Line, tokens: list[_Token]) -> tuple[Opcode, dict[str, int]]:
        """The row of a line and its operands."""
        call = tokens[0].blank == "call" and tokens[-1].blank == _NAME
        if call:
            tokens = [*tokens, *self._number_of(line, tokens[-1])]
        rows = _grammar().get(_key(tokens))
        if rows is None:
            raise line.error(
                "this is no BPF instruction", hint="the form is that of the kernel's log: r0 = *(u64 *)(r1 +8)"
            )
        candidates: list[tuple[bool, int, Opcode, dict[str, int], _Token | None]] = []
        for row, template in rows:
            if row.kind is Kind.CALL and "name" in row.text:
                is_kfunc = tokens[1].value == "kfunc" or tokens[1].value in self._kfuncs
                if is_kfunc != (row.fixed["src"] == PseudoCall.KFUNC):
                    continue
            found, wrong, alike = _operands(row, template, tokens)
            if wrong is None and alike:
                return row, found
            candidates.append((wrong is not None, len(candidates), row, found, wrong))
        _, _, row, found, wrong = min(candidates, key=lambda candidate: candidate[:2])
        if wrong is not None:
            form = re.sub(r"\{(\w+)[^}]*\}", r"<\1>", row.text)
            raise line.error(f"'{line.text[wrong.first - 1 : wrong.last]}' does not fit: {form}", wrong)
        return row, found

    def _number_of(self, line: _Line, name: _Token) -> Iterator[_Token]:
        number = self._kfuncs.get(str(name.value), self._helpers.get(str(name.value)))
        if number is None:
            raise line.error(f"'{name.value}' is no label and no known function", name, hint="write call name#number")
        yield _Token("#", "#", name.first, name.last)
        yield _Token(_NUMBER, number, name.first, name.last)

    def code(self) -> Iterator[Insn]:
        """The instructions."""
        for line in self._lines:
            tokens = list(self._resolve(line, self._labels))
            if _key(tokens) == _RAW:
                yield _raw(line, tokens)
                continue
            row, found = self._select(line, tokens)
            yield from _encode(row, found)


def _operands(row: Opcode, template: list[_Token], tokens: list[_Token]) -> tuple[dict[str, int], _Token | None, bool]:
    """A row's operands in a line, the first token that does not fit, and whether all numbers are spelled as in the row."""
    found: dict[str, int] = {}
    alike = True
    for expected, token in zip(template, tokens, strict=True):
        if expected.blank not in (_NUMBER, "r", "w"):
            continue
        value = token.value
        assert isinstance(value, int)
        if isinstance(expected.value, int):
            fits = value == expected.value
        else:
            low, high = _RANGES[expected.value]
            if expected.value == "imm" and (row.bits == 32 or (row.kind is Kind.STORE and row.size <= 4)):
                high = (1 << 32) - 1
            fits = low <= value <= high and found.setdefault(expected.value, value) == value
        if not fits:
            return found, token, False
        alike = alike and token.hexadecimal == expected.hexadecimal
    return found, None, alike


def _signed32(value: int) -> int:
    return ((value & 0xFFFFFFFF) ^ (1 << 31)) - (1 << 31)


def _encode(row: Opcode, found: Mapping[str, int]) -> Iterator[Insn]:
    imm = found.get("imm", found.get("uimm", row.fixed.get("imm", 0)))
    upper = found.get("next", 0)
    if "imm64" in found:
        imm, upper = found["imm64"], found["imm64"] >> 32
    if "high" in found:
        imm = found["high"] << 16 | found["low"]
    yield Insn(
        row.code,
        found.get("dst", row.fixed.get("dst", 0)),
        found.get("src", row.fixed.get("src", 0)),
        found.get("off", row.fixed.get("off", 0)),
        _signed32(imm),
    )
    if row.slots == 2:
        yield Insn(0, imm=_signed32(upper))


def _raw(line: _Line, tokens: list[_Token]) -> Insn:
    numbers = [token for token in tokens if token.blank == _NUMBER]
    for token, (name, (low, high)) in zip(numbers, [*_RAW_RANGES.items(), ("imm", _RANGES["uimm"])], strict=True):
        if not low <= int(token.value) <= high:
            raise line.error(f"{name} must be {low} to {high}", token)
    code, dst, src, off, imm = (int(token.value) for token in numbers)
    return Insn(code, dst, src, off, _signed32(imm))


def assemble(
    text: str, *, helpers: Mapping[str, int] | None = None, kfuncs: Mapping[str, int] | None = None
) -> tuple[Insn, ...]:
    """The instructions of an assembly text.

    Args:
        text: one instruction per line, in the form that :func:`~bpfcrypto.isa.disasm.format_insn` prints.
        helpers: name -> number, for ``call name`` without ``#number``.
        kfuncs: name -> BTF id; also what makes ``call name#number`` a kfunc call, which the kernel's text does not show.

    Raises:
        AssembleError: a line is no instruction, a number does not fit, or a label is missing; ``span`` says where.
    """
    return tuple(_Assembler(text, helpers or {}, kfuncs or {}).code())
