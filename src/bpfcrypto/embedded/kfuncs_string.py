"""kfuncs on NUL-terminated text (bpf_strcmp and the others in kernel/bpf/helpers.c, 6.17 and 6.18).

They read byte by byte and stop at the first answer, so that what lies behind it need not be readable. A text without an end is given
up after 65536 bytes (XATTR_SIZE_MAX) with E2BIG; a byte that cannot be read gives EFAULT, and an address that no kernel object has
ERANGE. Characters are signed, as in the C of x86.

Here a text ends where its memory does: in the kernel reading goes on into whatever is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import E2BIG, EFAULT, ENOENT, ERANGE
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error, signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

LIMIT = 65536  # XATTR_SIZE_MAX
_USER_END = 1 << 47


class _Failed(Exception):
    """A text cannot be read. ``errno`` is positive."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


class _Text:
    """The characters from an address on, as signed integers."""

    __slots__ = ("_bytes",)

    def __init__(self, run: RunState, address: int) -> None:
        try:
            region = run.memory.find(address)
        except AccessFault:
            raise _Failed(ERANGE if address < _USER_END else EFAULT) from None
        at = address - region.base
        end = at - at % region.stride + region.chunk if region.stride else region.size
        self._bytes = region.view[at:end].cast("b") if region.view is not None else memoryview(b"").cast("b")

    def __getitem__(self, index: int) -> int:
        if index < len(self._bytes):
            return self._bytes[index]
        raise _Failed(EFAULT)


def _char(register: int) -> int:
    """A ``char`` argument."""
    return signed(register, 8)


def _lower(char: int) -> int:
    """The lower-case letter of Latin-1 (tolower of the kernel), which leaves the multiplication sign alone."""
    byte = char & 0xFF
    upper = 0x41 <= byte <= 0x5A or (0xC0 <= byte <= 0xDE and byte != 0xD7)
    return signed(byte + 0x20, 8) if upper else char


def _compare(first: _Text, second: _Text, fold: Callable[[int], int]) -> int:
    for at in range(LIMIT):
        one, other = fold(first[at]), fold(second[at])
        if one != other:
            return -1 if one < other else 1
        if not one:
            return 0
    return -E2BIG


def _strcmp(run: RunState, first: int, second: int, *_: int) -> int:
    return _compare(_Text(run, first), _Text(run, second), lambda char: char)


def _strcasecmp(run: RunState, first: int, second: int, *_: int) -> int:
    return _compare(_Text(run, first), _Text(run, second), _lower)


def _find(text: _Text, wanted: int, count: int) -> int:
    for at in range(min(count, LIMIT)):
        found = text[at]
        if found == wanted:
            return at
        if not found:
            return -ENOENT
    return -E2BIG if count >= LIMIT else -ENOENT


def _strnchr(run: RunState, address: int, count: int, char: int, *_: int) -> int:
    return _find(_Text(run, address), _char(char), count)


def _strchr(run: RunState, address: int, char: int, *_: int) -> int:
    return _find(_Text(run, address), _char(char), LIMIT)


def _strchrnul(run: RunState, address: int, char: int, *_: int) -> int:
    text, wanted = _Text(run, address), _char(char)
    return next((at for at in range(LIMIT) if text[at] in (0, wanted)), -E2BIG)


def _strrchr(run: RunState, address: int, char: int, *_: int) -> int:
    text, wanted = _Text(run, address), signed(char, 32)
    last = -ENOENT
    for at in range(LIMIT):
        found = text[at]
        if found == wanted:
            last = at
        if not found:
            return last
    return -E2BIG


def _length(text: _Text, count: int) -> int:
    for at in range(min(count, LIMIT)):
        if not text[at]:
            return at
    return -E2BIG if count >= LIMIT else count


def _strnlen(run: RunState, address: int, count: int, *_: int) -> int:
    return _length(_Text(run, address), count)


def _strlen(run: RunState, address: int, *_: int) -> int:
    return _length(_Text(run, address), LIMIT)


def _span(run: RunState, address: int, set_address: int, *, within: bool) -> int:
    """How many characters come before the first that is not in a set, or is."""
    text, members = _Text(run, address), _Text(run, set_address)
    for at in range(LIMIT):
        found = text[at]
        if not found:
            return at
        place = next((index for index in range(LIMIT) if members[index] in (0, found)), None)
        if place is None:
            return -E2BIG
        if (members[place] == found) is not within:
            return at
    return -E2BIG


def _strspn(run: RunState, address: int, accept: int, *_: int) -> int:
    return _span(run, address, accept, within=True)


def _strcspn(run: RunState, address: int, reject: int, *_: int) -> int:
    return _span(run, address, reject, within=False)


def _search(text: _Text, wanted: _Text, count: int) -> int:
    """Where ``wanted`` starts within the first ``count`` characters."""
    for at in range(LIMIT):
        for index in range(LIMIT):
            if at + index > count:
                break
            char = wanted[index]
            if not char:
                return at
            if at + index == count:
                return -ENOENT
            found = text[at + index]
            if not found:
                return -ENOENT
            if found != char:
                break
        else:
            return -E2BIG
    return -E2BIG


def _strnstr(run: RunState, address: int, wanted: int, count: int, *_: int) -> int:
    return _search(_Text(run, address), _Text(run, wanted), count)


def _strstr(run: RunState, address: int, wanted: int, *_: int) -> int:
    return _search(_Text(run, address), _Text(run, wanted), LIMIT)


def _native(function: Native) -> Native:
    def native(run: RunState, *arguments: int) -> int:
        try:
            result = function(run, *arguments)
        except _Failed as failed:
            return error(failed.errno)
        return error(-result)

    return native


NATIVES: Mapping[str, Native] = {
    f"bpf_{function.__name__[1:]}": _native(function)
    for function in (
        _strcmp,
        _strcasecmp,
        _strlen,
        _strnlen,
        _strchr,
        _strrchr,
        _strchrnul,
        _strnchr,
        _strspn,
        _strcspn,
        _strstr,
        _strnstr,
    )
}
