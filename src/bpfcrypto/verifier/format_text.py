"""The format strings that bpf_snprintf checks when a program is loaded (bpf_bprintf_prepare of kernel/bpf/helpers.c in 6.18)."""

from __future__ import annotations

from string import punctuation, whitespace
from typing import Final

# The kernel's character classes are those of Latin-1 (lib/ctype.c); of what is not ASCII, everything counts as text.
_SPACES: Final = whitespace + "\xa0"
_PUNCTUATION: Final = punctuation + "".join(map(chr, range(0xA1, 0xC0))) + "\xd7\xf7"
_PRINTABLE: Final = frozenset(chr(code) for code in (*range(32, 127), *range(0x80, 0x100))) | set(_SPACES)
_FLAGS: Final = "0+- "
_INTEGERS: Final = "diuxX"


def is_valid(text: str, count: int) -> bool:
    """Whether a format string is one that the kernel takes, for so many arguments.

    Args:
        text: without the final NUL.
        count: arguments that are given; fewer may be used.
    """
    used = 0
    i = 0
    if not _PRINTABLE.issuperset(text):
        return False
    while i < len(text):
        if text[i] != "%":
            i += 1
            continue
        if text[i + 1 : i + 2] == "%":
            i += 2
            continue
        end = _conversion(text, i + 1)
        if used >= count or end is None:
            return False
        used += 1
        i = end
    return True


def _conversion(text: str, i: int) -> int | None:
    """The index behind a conversion whose ``%`` stands before ``i``; None where it is not one."""
    while text[i : i + 1] and text[i] in _FLAGS:
        i += 1
    if text[i : i + 1] in tuple("123456789"):
        while text[i : i + 1].isdigit():
            i += 1
    if text[i : i + 1] == "p":
        return _pointer(text, i)
    if text[i : i + 1] == "s":
        return i + 1 if _ends(text, i + 1) else None
    if text[i : i + 1] == "c":
        return i + 1
    for _ in range(2):
        if text[i : i + 1] == "l":
            i += 1
    return i + 1 if text[i : i + 1] and text[i] in _INTEGERS else None


def _pointer(text: str, i: int) -> int | None:
    if _ends(text, i + 1):
        return i + 1
    following = text[i + 1 : i + 3]
    if following in ("ks", "us"):
        return i + 3 if _ends(text, i + 3) else None
    if following[0] in "KxsSB":
        return i + 2
    return i + 3 if len(following) == 2 and following[0] in "iI" and following[1] in "46" else None


def _ends(text: str, i: int) -> bool:
    """Whether a conversion may end here: at the end of the text, a space or a punctuation mark."""
    return i >= len(text) or text[i] in _SPACES or text[i] in _PUNCTUATION
