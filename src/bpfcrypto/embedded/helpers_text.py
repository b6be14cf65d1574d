"""Helpers that read text: bpf_strncmp, bpf_strtol, bpf_strtoul (kernel/bpf/helpers.c, lib/kstrtox.c)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from errno import EINVAL, ERANGE
from typing import TYPE_CHECKING

from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_MAX = (1 << 64) - 1
_MAX_SIGNED = (1 << 63) - 1
_BASE = 0x1F  # BPF_STRTOX_BASE_MASK
_MAX_DIGITS = 63  # the helper looks at as many characters of a number
_SPACE = re.compile(rb"[\t\n\v\f\r \xa0]*")
_DIGITS = {8: re.compile(rb"[0-7]*"), 10: re.compile(rb"[0-9]*"), 16: re.compile(rb"[0-9a-fA-F]*")}
_HEX_PREFIX = re.compile(rb"0[xX](?=[0-9a-fA-F])")


def strncmp(run: RunState, left: int, size: int, right: int, *_: int) -> int:
    """Compare up to ``size`` bytes of a text with a constant one: -1, 0 or 1."""
    size &= _U32
    one = bytes(run.memory.span(left, size)).split(b"\0", 1)[0]
    other = run.memory.string(right, size)[:size]
    return error(1) if one < other else int(one > other)


def _leading(pattern: re.Pattern[bytes], text: bytes) -> bytes:
    match = pattern.match(text)
    return match.group() if match else b""


def _parse(text: bytes, flags: int) -> tuple[int, bool, int] | int:
    """The magnitude, whether there is a minus, and the number of characters; or a positive errno (__bpf_strtoull)."""
    base = flags & _BASE
    if base not in (0, *_DIGITS) or flags & ~_BASE:
        return EINVAL
    start = len(_leading(_SPACE, text))
    negative = text[start : start + 1] == b"-"
    start += negative
    digits = text[start : start + _MAX_DIGITS]
    prefix = _HEX_PREFIX.match(digits)
    if base == 0:
        base = 16 if prefix else 8 if digits[:1] == b"0" else 10
    skip = 2 if base == 16 and digits[:2].lower() == b"0x" else 0
    number = _leading(_DIGITS[base], digits[skip:])
    if not number:
        return EINVAL
    value = int(number, base)
    return ERANGE if value > _MAX else (value, negative, start + skip + len(number))


def strtol(run: RunState, buffer: int, size: int, flags: int, result: int, *_: int) -> int:
    """Read a signed number; the number of characters that it takes. A failure gives the number 0."""
    run.memory.store(result, 8, 0)
    parsed = _parse(bytes(run.memory.span(buffer, size & _U32)), flags)
    if isinstance(parsed, int):
        return error(parsed)
    value, negative, count = parsed
    if value > _MAX_SIGNED + negative:
        return error(ERANGE)
    run.memory.store(result, 8, -value if negative else value)
    return count


def strtoul(run: RunState, buffer: int, size: int, flags: int, result: int, *_: int) -> int:
    """Read an unsigned number; the number of characters that it takes. A failure, such as a minus, gives the number 0."""
    run.memory.store(result, 8, 0)
    parsed = _parse(bytes(run.memory.span(buffer, size & _U32)), flags)
    if isinstance(parsed, int):
        return error(parsed)
    value, negative, count = parsed
    if negative:
        return error(EINVAL)
    run.memory.store(result, 8, value)
    return count


NATIVES: Mapping[str, Native] = {
    "bpf_strncmp": strncmp,
    "bpf_strtol": strtol,
    "bpf_strtoul": strtoul,
}
