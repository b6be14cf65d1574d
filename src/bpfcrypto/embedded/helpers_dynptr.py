"""Helpers on dynptrs: bpf_dynptr_from_mem, _read, _write, _data (kernel/bpf/helpers.c)."""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded import helpers_skb
from bpfcrypto.embedded.dynptr import MAX_SIZE, NULL, Dynptr, DynptrKind
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_STORE_FLAGS = 3  # BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH, for skb dynptrs


def dynptr_from_mem(run: RunState, data: int, size: int, flags: int, result: int, *_: int) -> int:
    """Make a dynptr over memory; a failure leaves a null dynptr."""
    size &= _U32
    failed = E2BIG if size > MAX_SIZE else EINVAL if flags else 0
    if failed:
        NULL.store(run.memory, result)
        return error(failed)
    run.memory.span(data, size, write=True)
    Dynptr(DynptrKind.LOCAL, data, size).store(run.memory, result)
    return 0


def dynptr_read(run: RunState, dst: int, size: int, src: int, offset: int, flags: int) -> int:
    """Copy out of a dynptr."""
    size &= _U32
    dynptr = Dynptr.load(run.memory, src)
    if dynptr.is_null or flags:
        return error(EINVAL)
    data = dynptr.read(run, offset & _U32, size)
    if isinstance(data, int):
        if not dynptr.in_memory and not dynptr.range_error(offset & _U32, size):
            _clear(run, dynptr, dst, size)
        return error(data)
    run.memory.span(dst, size, write=True)[:] = data
    return 0


def _clear(run: RunState, dynptr: Dynptr, dst: int, size: int) -> None:
    """A failed read of an skb leaves zeros, as bpf_skb_load_bytes does."""
    if dynptr.kind is DynptrKind.SKB:
        run.memory.span(dst, size, write=True)[:] = bytes(size)


def dynptr_write(run: RunState, dst: int, offset: int, src: int, size: int, flags: int) -> int:
    """Copy into a dynptr."""
    size &= _U32
    dynptr = Dynptr.load(run.memory, dst)
    if dynptr.is_null or dynptr.rdonly:
        return error(EINVAL)
    if failed := dynptr.range_error(offset & _U32, size):
        return error(failed)
    if flags & ~_STORE_FLAGS if dynptr.kind is DynptrKind.SKB else flags:
        return error(EINVAL)
    data = bytes(run.memory.span(src, size))
    if dynptr.kind is DynptrKind.SKB:
        return helpers_skb.store(helpers_skb.find_skb(run, dynptr.data), dynptr.offset + (offset & _U32), data, flags)
    return error(dynptr.write(run, offset & _U32, data))


def dynptr_data(run: RunState, address: int, offset: int, size: int, *_: int) -> int:
    """The address of memory inside a dynptr; NULL for packets, whose bytes may lie anywhere."""
    dynptr = Dynptr.load(run.memory, address)
    if dynptr.rdonly or not dynptr.in_memory:
        return 0
    return dynptr.pointer(run, offset & _U32, size & _U32) or 0


NATIVES: Mapping[str, Native] = {
    "bpf_dynptr_from_mem": dynptr_from_mem,
    "bpf_dynptr_read": dynptr_read,
    "bpf_dynptr_write": dynptr_write,
    "bpf_dynptr_data": dynptr_data,
}
