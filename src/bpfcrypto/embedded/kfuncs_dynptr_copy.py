"""kfuncs that fill dynptrs: from each other, with one byte, from memory (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c).

Where both sides are contiguous, bytes move at once, as by memmove. Where neither is, they go through a buffer of 256 bytes, one piece
after another, and overlapping ranges give what the pieces give. Between a side that is and one that is not, the kernel copies fragment
by fragment with memcpy, so that overlapping ranges give anything; here they give what memmove would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import E2BIG, EFAULT, EINVAL, ERANGE
from typing import TYPE_CHECKING

from bpfcrypto.embedded.dynptr import Dynptr
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_PIECE = 256
_USER_END = 1 << 47


def dynptr_copy(run: RunState, dst: int, dst_offset: int, src: int, src_offset: int, size: int) -> int:
    """Copy a range of one dynptr into another."""
    dst_offset, src_offset, size = dst_offset & _U32, src_offset & _U32, size & _U32
    target, source = Dynptr.load(run.memory, dst), Dynptr.load(run.memory, src)
    to = None if target.rdonly else target.pointer(run, dst_offset, size)
    begin = source.pointer(run, src_offset, size)
    if to is not None or begin is not None:
        data = source.read(run, src_offset, size)
        return error(data if isinstance(data, int) else target.write(run, dst_offset, data))
    if target.range_error(dst_offset, size) or source.range_error(src_offset, size):
        return error(E2BIG)
    for at in range(0, size, _PIECE):
        data = source.read(run, src_offset + at, min(_PIECE, size - at))
        failed = data if isinstance(data, int) else target.write(run, dst_offset + at, data)
        if failed:
            return error(failed)
    return 0


def dynptr_memset(run: RunState, address: int, offset: int, size: int, value: int, *_: int) -> int:
    """Fill a range of a dynptr with one byte."""
    offset, size = offset & _U32, size & _U32
    dynptr = Dynptr.load(run.memory, address)
    if not dynptr.is_null and dynptr.rdonly:
        return error(EINVAL)
    if failed := dynptr.range_error(offset, size):
        return error(failed)
    for at in range(0, size, _PIECE):
        if failed := dynptr.write(run, offset + at, bytes([value & 0xFF]) * min(_PIECE, size - at)):
            return error(failed)
    return 0


Source = Callable[["RunState", int, int], bytes | int]
"""Reads at most so many bytes from an address: the bytes, or a positive errno."""


def _bytes(run: RunState, address: int, size: int) -> bytes | int:
    """Exactly that many bytes (copy_from_kernel_nofault)."""
    if not _is_mapped(run, address):
        return _unreadable(address)
    try:
        return bytes(run.memory.span(address, size))
    except AccessFault:
        return EFAULT


def _text(run: RunState, address: int, size: int) -> bytes | int:
    """Text up to its NUL, cut to size with a NUL at the end (strncpy_from_kernel_nofault)."""
    if not size:
        return b""
    try:
        found = run.memory.string(address, size)
    except AccessFault:
        return _unreadable(address)
    return found[: size - 1] + b"\0"


def _unreadable(address: int) -> int:
    """The errno of an address without memory: the kernel tells what cannot be its own from what is not there."""
    return ERANGE if address < _USER_END else EFAULT


def _is_mapped(run: RunState, address: int) -> bool:
    try:
        run.memory.find(address)
    except AccessFault:
        return False
    return True


def _probe(read: Source, *, text: bool) -> Native:
    def native(run: RunState, dst: int, offset: int, size: int, address: int, *_: int) -> int:
        offset, size = offset & _U32, size & _U32
        dynptr = Dynptr.load(run.memory, dst)
        if failed := dynptr.range_error(offset, size):
            return error(failed)
        if not size and dynptr.pointer(run, offset, 0) is None:
            return 0
        data = read(run, address, size)
        if isinstance(data, int):
            return error(data)
        failed = dynptr.write(run, offset, data)
        return error(failed) if failed or not text else len(data)

    return native


NATIVES: Mapping[str, Native] = {
    "bpf_dynptr_copy": dynptr_copy,
    "bpf_dynptr_memset": dynptr_memset,
    "bpf_probe_read_kernel_dynptr": _probe(_bytes, text=False),
    "bpf_probe_read_kernel_str_dynptr": _probe(_text, text=True),
}
