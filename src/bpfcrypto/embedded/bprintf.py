"""The kernel's printf for BPF programs, in its two steps (kernel/bpf/helpers.c: bpf_bprintf_prepare; lib/vsprintf.c: bstr_printf).

*Preparing* walks the format, refuses what is not allowed, and packs the arguments into a buffer of 512 bytes: numbers aligned to four
bytes, and strings, IP addresses and symbols as text, since the second step must not follow pointers. *Printing* walks the format again
and takes the arguments from the buffer in order. Two oddities follow, and programs can see them in what bpf_snprintf returns:

- letters and digits behind a pointer conversion belong to it and vanish: ``%pI4abc`` prints an address;
- text of ``%pI4`` and the like that no longer fits into the output is neither counted nor taken from the buffer, so that the
  conversions behind it read the wrong bytes.

Pointers print as hashes, as in the kernel, with a key of this process; ``%px`` prints the address itself.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EINVAL, ENOSPC
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory

MAX_ARGUMENTS = 12  # MAX_BPRINTF_VARARGS
BUFFER = 512  # MAX_BPRINTF_BIN_ARGS
_MAX_WIDTH = (1 << 23) - 1  # FIELD_WIDTH_MAX

# The kernel's character classes, which are those of Latin-1 (lib/ctype.c).
_SPACE = "\t\n\v\f\r \xa0"
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "".join(map(chr, range(0xA1, 0xC0))) + "\xd7\xf7"
_ALNUM = frozenset(chr(code) for code in range(0xC0, 0x100)) - {*"\xd7\xf7"} | frozenset(
    string.ascii_letters + string.digits
)
_END = f"(?=[{re.escape(_SPACE + _PUNCTUATION)}]|$)"

# What may follow a '%'. Strings and bare pointers must be followed by the end, a space or punctuation.
_SPECIFIER = re.compile(
    rf"%(?P<flags>[0+\- ]*)(?P<width>[1-9][0-9]*)?"
    rf"(?:(?P<string>s{_END})|(?P<char>c)|(?P<text>p[ku]s{_END}|p[iI][46]|pB)|(?P<pointer>p(?:[KxsS]|{_END}))"
    rf"|(?P<long>l{{0,2}})(?P<number>[diuxX]))",
    re.DOTALL,
)
_HASH_KEY = secrets.token_bytes(16)
_MASK64 = (1 << 64) - 1
_LAST_ERROR = _MASK64 - 4095  # addresses above it are errnos


class Refused(Exception):
    """The format or its arguments cannot be used.

    Attributes:
        errno: positive.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Prepared:
    """A format with its arguments packed.

    Attributes:
        parts: plain text, and conversions.
        packed: the arguments' bytes.
    """

    parts: tuple[str | re.Match[str], ...]
    packed: bytes


def prepare(text: bytes, arguments: Sequence[int], memory: Memory) -> Prepared:
    """Check a format and pack its arguments.

    Args:
        text: the format; everything up to its NUL counts.
        arguments: 64-bit integers, of which there may be more than the format takes.
        memory: where strings and addresses are read from; what cannot be read prints as nothing, or as zeros.

    Raises:
        Refused: EINVAL, or ENOSPC where the arguments need more than 512 bytes.
    """
    if b"\0" not in text:
        raise Refused(EINVAL)
    format_ = text.partition(b"\0")[0].decode("latin-1")
    parts: list[str | re.Match[str]] = []
    packed = bytearray()
    used = at = 0
    while at < len(format_):
        percent = format_.find("%", at)
        plain = format_[at : percent if percent >= 0 else None]
        if any((char < " " and char not in _SPACE) or char == "\x7f" for char in plain):
            raise Refused(EINVAL)
        parts.append(plain)
        if percent < 0:
            break
        if format_.startswith("%%", percent):
            parts.append("%")
            at = percent + 2
            continue
        match = _SPECIFIER.match(format_, percent)
        if used >= len(arguments) or match is None:
            raise Refused(EINVAL)
        _pack(packed, match, arguments[used], memory)
        used += 1
        parts.append(match)
        at = match.end()
    return Prepared(_swallow(parts), bytes(packed))


def _pack(packed: bytearray, match: re.Match[str], value: int, memory: Memory) -> None:
    """Append an argument to the buffer, which may end up longer than it is allowed to be by text alone."""
    room = BUFFER - len(packed)
    if match["number"] or match["pointer"]:
        packed += bytes(-len(packed) % 4)
        size = 8 if match["pointer"] or match["long"] else 4
        if BUFFER - len(packed) < size:
            raise Refused(ENOSPC)
        packed += (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    elif match["text"] and match["text"][1] in "iI":
        size = 4 if match["text"][2] == "4" else 16
        if room < size:
            raise Refused(ENOSPC)
        _append(packed, room, _address(_bytes(memory, value, size), match["text"][1]))
    elif match["text"] == "pB":
        _append(packed, room, f"{value:#x}".encode())
    elif room <= 0:
        raise Refused(ENOSPC)
    elif match["char"]:
        packed.append(value & 0xFF)
    else:
        _append(packed, room, _string(memory, value, room))


def _append(packed: bytearray, room: int, text: bytes) -> None:
    packed += text[: max(room - 1, 0)] + b"\0"


def _string(memory: Memory, address: int, room: int) -> bytes:
    try:
        return memory.string(address, room)
    except AccessFault:
        return b""


def _bytes(memory: Memory, address: int, size: int) -> bytes:
    try:
        return bytes(memory.span(address, size))
    except AccessFault:
        return bytes(size)


def _address(raw: bytes, kind: str) -> bytes:
    """An IP address: ``I`` as people write it, ``i`` with every digit and, of IPv6, without colons."""
    if len(raw) == 4:
        return ".".join(f"{byte:03d}" if kind == "i" else str(byte) for byte in raw).encode()
    groups = [raw[at : at + 2].hex() for at in range(0, 16, 2)]
    return ("" if kind == "i" else ":").join(groups).encode()


def _swallow(parts: Sequence[str | re.Match[str]]) -> tuple[str | re.Match[str], ...]:
    """Without the letters and digits that follow a pointer conversion."""
    kept: list[str | re.Match[str]] = []
    for part in parts:
        before = kept[-1] if kept else ""
        if isinstance(part, str) and isinstance(before, re.Match) and (before["text"] or before["pointer"]):
            part = part[next((at for at, char in enumerate(part) if char not in _ALNUM), len(part)) :]
        kept.append(part)
    return tuple(kept)


class _Reader:
    """Takes arguments from the packed bytes, as the second step does."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed + bytes(2 * BUFFER)
        self._at = 0

    def number(self, size: int) -> int:
        self._at += -self._at % min(size, 4)
        self._at += size
        return int.from_bytes(self._packed[self._at - size : self._at], "little")

    def text(self) -> str:
        end = self._packed.index(b"\0", self._at)
        found = self._packed[self._at : end]
        self._at = end + 1
        return found.decode("latin-1")


def render(prepared: Prepared, size: int) -> tuple[bytes, int]:
    """Print.

    Args:
        prepared: what to print.
        size: bytes of the output, its NUL included.

    Returns:
        What fits into the output, without the NUL; and the number of characters that there would have been.
    """
    reader = _Reader(prepared.packed)
    printed = ""
    for part in prepared.parts:
        if isinstance(part, str):
            printed += part
        elif not part["text"] or len(printed) < size:
            printed += _convert(part, reader)
    return printed[: max(size - 1, 0)].encode("latin-1"), len(printed)


def _convert(match: re.Match[str], reader: _Reader) -> str:
    if match["text"]:
        return reader.text()
    if match["string"]:
        return _padded(match, reader.text())
    if match["char"]:
        return _padded(match, chr(reader.number(1)))
    if match["pointer"]:
        return _pointer(match, reader.number(8))
    bits = 64 if match["long"] else 32
    value = reader.number(bits // 8)
    if match["number"] in "di":
        value = signed(value, bits)
        sign = "-" if value < 0 else "+" if "+" in match["flags"] else " " if " " in match["flags"] else ""
        return _digits(match, sign, str(abs(value)))
    return _digits(match, "", f"{value:{match['number'].replace('u', 'd')}}")


def _pointer(match: re.Match[str], value: int) -> str:
    kind = match["pointer"][1:]
    if kind in ("s", "S"):
        return _padded(match, f"{value:#x}")
    if kind != "x" and 0 < value <= _LAST_ERROR:
        digest = hashlib.blake2s(value.to_bytes(8, "little"), digest_size=4, key=_HASH_KEY).digest()
        value = int.from_bytes(digest, "little")
    return _digits(match, "", f"{value:x}") if match["width"] else f"{value:016x}"


def _digits(match: re.Match[str], sign: str, digits: str) -> str:
    if "0" in match["flags"] and "-" not in match["flags"]:
        digits = digits.rjust(_width(match) - len(sign), "0")
    return _padded(match, sign + digits)


def _width(match: re.Match[str]) -> int:
    digits = match["width"] or "0"
    return int(digits) if len(digits) <= len(str(_MAX_WIDTH)) and int(digits) < _MAX_WIDTH else _MAX_WIDTH


def _padded(match: re.Match[str], text: str) -> str:
    width = _width(match)
    return text.ljust(width) if "-" in match["flags"] else text.rjust(width)
