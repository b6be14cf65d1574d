"""bpf_trace_printk: the kernel's subset of printf, with its refusals (bpf_bprintf_prepare in kernel/bpf/helpers.c).

A format takes at most three arguments. Text that the kernel refuses gives EINVAL and prints nothing. Pointers are printed as the
addresses they are, where the kernel prints a hash or the name of a symbol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error, signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.state import RunState

MAX_TEXT = 1024  # MAX_BPRINTF_BUF
_MAX_STRING = 512
_U32 = 0xFFFFFFFF
_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_SPACE = " \t\n\v\f\r"

# What may follow a '%'. Strings and bare pointers must be followed by the end, a space or punctuation.
_END = f"(?=[{_SPACE}{_PUNCTUATION}]|$)"
_SPECIFIER = re.compile(
    rf"%(?:(?P<percent>%)|(?P<flags>[0+\- ]*)(?P<width>[1-9][0-9]*)?"
    rf"(?:(?P<string>(?:s|p[ku]s){_END})|(?P<ip>p[iI][46])|(?P<pointer>p(?:[KxsSB]|{_END}))|(?P<char>c)"
    rf"|(?P<long>l{{0,2}})(?P<number>[diuxX])))",
    re.DOTALL,
)


def _number(match: re.Match[str], value: int) -> str:
    bits = 64 if match["long"] else 32
    kind = match["number"]
    value = signed(value, bits) if kind in "di" else value & ((1 << bits) - 1)
    digits = f"{abs(value):{kind}}" if kind in "xX" else str(abs(value))
    sign = ""
    if kind in "di":
        sign = "-" if value < 0 else "+" if "+" in match["flags"] else " " if " " in match["flags"] else ""
    if "0" in match["flags"] and "-" not in match["flags"]:
        digits = digits.rjust(int(match["width"] or 0) - len(sign), "0")
    return _padded(match, sign + digits)


def _padded(match: re.Match[str], text: str) -> str:
    width = int(match["width"] or 0)
    return text.ljust(width) if "-" in match["flags"] else text.rjust(width)


def _string(memory: Memory, address: int) -> str:
    try:
        return memory.string(address, _MAX_STRING).decode("latin-1")
    except AccessFault:
        return ""  # as a failed probe read


def _address(memory: Memory, kind: str, address: int) -> str:
    size = 4 if kind.endswith("4") else 16
    try:
        raw = bytes(memory.span(address, size))
    except AccessFault:
        raw = bytes(size)
    if size == 4:
        return ".".join(f"{byte:03d}" if "i" in kind else str(byte) for byte in raw)
    return ("" if "i" in kind else ":").join(raw[at : at + 2].hex() for at in range(0, 16, 2))


def _convert(memory: Memory, match: re.Match[str], value: int) -> str:
    if match["number"]:
        return _number(match, value)
    if match["char"]:
        return _padded(match, chr(value & 0xFF))
    if match["string"]:
        return _padded(match, _string(memory, value))
    return _address(memory, match["ip"], value) if match["ip"] else f"{value:016x}"


def format_text(text: str, arguments: Iterator[int], convert: Callable[[re.Match[str], int], str]) -> str:
    """Format ``text``; ``convert`` writes one argument.

    Raises:
        ValueError: the kernel refuses the format, or it takes more arguments than there are.
    """
    if any((char < " " and char not in _SPACE) or char == "\x7f" for char in text):
        raise ValueError("a format holds no control characters but white space")
    parts = []
    at = 0
    while (percent := text.find("%", at)) >= 0:
        match = _SPECIFIER.match(text, percent)
        value = 0 if match is None or match["percent"] else next(arguments, None)
        if match is None or value is None:
            raise ValueError(f"no conversion is known for '{text[percent:]}', or no argument is left for it")
        parts += [text[at:percent], "%" if match["percent"] else convert(match, value)]
        at = match.end()
    return "".join([*parts, text[at:]])


def trace_printk(run: RunState, address: int, size: int, *arguments: int) -> int:
    """Print a line; the number of characters of it."""
    raw = bytes(run.memory.span(address, size & _U32))
    text, end, _ = raw.partition(b"\0")
    if not end:
        return error(EINVAL)
    try:
        line = format_text(
            text.decode("latin-1"), iter(arguments[:3]), lambda match, value: _convert(run.memory, match, value)
        )
    except ValueError:
        return error(EINVAL)
    shown = line[: MAX_TEXT - 1].removesuffix("\n").encode("latin-1")
    run.trace(shown.decode("utf-8", "replace"))
    return len(line)


NATIVES: Mapping[str, Native] = {"bpf_trace_printk": trace_printk}
