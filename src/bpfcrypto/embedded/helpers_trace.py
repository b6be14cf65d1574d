"""Helpers that print: bpf_trace_printk, bpf_trace_vprintk, bpf_snprintf (kernel/trace/bpf_trace.c, kernel/bpf/helpers.c).

A text that the kernel refuses gives its errno and prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.bprintf import MAX_ARGUMENTS, Refused, prepare, render
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

MAX_TEXT = 1024  # MAX_BPRINTF_BUF
_MAX_FORMAT = 1 << 16
_U32 = 0xFFFFFFFF


def _array(run: RunState, address: int, size: int) -> list[int] | None:
    """The 64-bit arguments in memory; None for a size that is none."""
    if size % 8 or size > 8 * MAX_ARGUMENTS or (size and not address):
        return None
    raw = run.memory.span(address, size)
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, size, 8)]


def _trace(run: RunState, text: bytes, arguments: Sequence[int]) -> int:
    try:
        shown, count = render(prepare(text, arguments, run.memory), MAX_TEXT)
    except Refused as refused:
        return error(refused.errno)
    run.trace(shown.removesuffix(b"\n").decode("utf-8", "replace"))
    return count


def trace_printk(run: RunState, address: int, size: int, *arguments: int) -> int:
    """Print a line with at most three arguments; the number of characters of it."""
    return _trace(run, bytes(run.memory.span(address, size & _U32)), arguments[:3])


def trace_vprintk(run: RunState, address: int, size: int, data: int, data_size: int, *_: int) -> int:
    """Print a line with up to twelve arguments from an array; the number of characters of it."""
    arguments = _array(run, data, data_size & _U32)
    return error(EINVAL) if arguments is None else _trace(run, bytes(run.memory.span(address, size & _U32)), arguments)


def snprintf(run: RunState, target: int, size: int, text: int, data: int, data_size: int) -> int:
    """Print into memory; how many bytes the whole text and its NUL take, whether they fit or not."""
    size &= _U32
    arguments = _array(run, data, data_size & _U32)
    if arguments is None:
        return error(EINVAL)
    try:
        shown, count = render(prepare(run.memory.string(text, _MAX_FORMAT) + b"\0", arguments, run.memory), size)
    except Refused as refused:
        return error(refused.errno)
    if size:
        run.memory.span(target, size, write=True)[: len(shown) + 1] = shown + b"\0"
    return count + 1


NATIVES: Mapping[str, Native] = {
    "bpf_trace_printk": trace_printk,
    "bpf_trace_vprintk": trace_vprintk,
    "bpf_snprintf": snprintf,
}
