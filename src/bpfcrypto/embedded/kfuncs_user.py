"""kfuncs that read the memory of a process: text, and into dynptrs (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c).

What there is to be read are the buffers that the engine was given; text has to end in its buffer. Those that may sleep give up with
EFAULT and zeros in place of bytes; those that may not, with EFAULT alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.dynptr import Dynptr
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_WORD = 8
_PAD_ZEROS = 1  # BPF_F_PAD_ZEROS


def _text(run: RunState, address: int, limit: int) -> tuple[int, bytes] | None:
    """At most ``limit`` bytes of text (strncpy_from_user).

    Returns:
        How long it is without its NUL, and what is stored: words of eight bytes as long as there is room for them, in the last of which
        zeros follow the text. None where it cannot be read.
    """
    found = b""
    while len(found) < limit:
        word = run.user.read(address + len(found), _WORD) if limit - len(found) >= _WORD else None
        part = word if word is not None else run.user.read(address + len(found), 1)
        if part is None:
            return None
        text, end, _ = part.partition(b"\0")
        found += text
        if end:
            return len(found), found + bytes(len(part) - len(text))
    return len(found), found


def copy_from_user_str(run: RunState, target: int, size: int, address: int, flags: int, *_: int) -> int:
    """Copy text, cut to the target and always ended; the number of bytes with the NUL."""
    size &= _U32
    if flags & ~_PAD_ZEROS:
        return error(EINVAL)
    if not size:
        return 0
    memory = run.memory.span(target, size, write=True)
    found = _text(run, address, size - 1)
    if found is None:
        if flags:
            memory[:] = bytes(size)
        return error(EFAULT)
    length, stored = found
    memory[: len(stored)] = stored
    memory[length : size if flags else length + 1] = bytes(size - length if flags else 1)
    return length + 1


_Read = Callable[["RunState", int, int], tuple[bytes, int]]
"""Reads at most so many bytes from an address: what is to be stored, and the result."""


def _bytes_sleepable(run: RunState, address: int, size: int) -> tuple[bytes, int]:
    data = run.user.read(address, size)
    return (bytes(size), error(EFAULT)) if data is None else (data, 0)


def _bytes_nofault(run: RunState, address: int, size: int) -> tuple[bytes, int]:
    data = run.user.read(address, size)
    return (b"", error(EFAULT)) if data is None else (data, 0)


def _text_with_end(run: RunState, address: int, size: int) -> tuple[bytes, int]:
    """Text that is cut where its NUL has no room."""
    if not size:
        return b"", 0
    found = _text(run, address, size)
    if found is None:
        return b"", error(EFAULT)
    length, stored = found
    return (stored, length + 1) if length < size else (stored[:-1] + b"\0", size)


def _into_dynptr(read: _Read) -> Native:
    def native(run: RunState, dst: int, offset: int, size: int, address: int, *_: int) -> int:
        offset, size = offset & _U32, size & _U32
        dynptr = Dynptr.load(run.memory, dst)
        if failed := dynptr.range_error(offset, size):
            return error(failed)
        if not size and dynptr.pointer(run, offset, 0) is None:
            return 0
        data, result = read(run, address, size)
        failed = dynptr.write(run, offset, data)
        return error(failed) if failed else result

    return native


NATIVES: Mapping[str, Native] = {
    "bpf_copy_from_user_str": copy_from_user_str,
    "bpf_copy_from_user_dynptr": _into_dynptr(_bytes_sleepable),
    "bpf_copy_from_user_str_dynptr": _into_dynptr(_text_with_end),
    "bpf_probe_read_user_dynptr": _into_dynptr(_bytes_nofault),
    "bpf_probe_read_user_str_dynptr": _into_dynptr(_text_with_end),
}
