"""Helpers on ring buffers (kernel/bpf/ringbuf.c).

A record is named by the address of its payload. The region at that address belongs to the reservation, and so a record that is
submitted twice, or an address that is none, is an AccessFault.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import E2BIG, EAGAIN, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.ringbuf import FORCE_WAKEUP, NO_WAKEUP
from bpfcrypto.embedded.dynptr import DYNPTR_SIZE, MAX_SIZE, NULL, Dynptr, DynptrKind
from bpfcrypto.embedded.helpers_map import map_of
from bpfcrypto.embedded.map_ringbuf import Reservation, RingBufMap
from bpfcrypto.embedded.map_user_ringbuf import UserRingBufMap
from bpfcrypto.embedded.memory import MASK64, AccessFault
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF
_WAKEUPS = NO_WAKEUP | FORCE_WAKEUP


def ringbuf_output(run: RunState, handle: int, data: int, size: int, flags: int, *_: int) -> int:
    """Append a copy of memory."""
    target = map_of(run, handle, RingBufMap)
    payload = bytes(run.memory.span(data, size))
    if flags & ~_WAKEUPS:
        return error(EINVAL)
    record = target.reserve(run.memory, size)
    if not record:
        return error(EAGAIN)
    run.memory.span(record, size, write=True)[:] = payload
    _commit(run, record, flags, discard=False)
    return 0


def ringbuf_reserve(run: RunState, handle: int, size: int, flags: int, *_: int) -> int:
    """Begin a record: the address of its payload, or NULL."""
    target = map_of(run, handle, RingBufMap)
    return 0 if flags else target.reserve(run.memory, size)


def _commit(run: RunState, record: int, flags: int, *, discard: bool) -> None:
    owner = run.memory.owner(record)
    if not isinstance(owner, Reservation):
        raise AccessFault(f"{record:#x} is not a reserved record of a ring buffer")
    owner.map.commit(owner, flags, discard=discard)


def ringbuf_submit(run: RunState, record: int, flags: int, *_: int) -> int:
    """Finish a record."""
    _commit(run, record, flags, discard=False)
    return 0


def ringbuf_discard(run: RunState, record: int, flags: int, *_: int) -> int:
    """Finish a record that the reader is to skip."""
    _commit(run, record, flags, discard=True)
    return 0


def ringbuf_query(run: RunState, handle: int, flags: int, *_: int) -> int:
    """A number that describes the ring."""
    return map_of(run, handle, RingBufMap).query(flags)


def ringbuf_reserve_dynptr(run: RunState, handle: int, size: int, flags: int, result: int, *_: int) -> int:
    """Begin a record as a dynptr; a failure leaves a null dynptr, which has to be submitted or discarded all the same."""
    target = map_of(run, handle, RingBufMap)
    size &= _U32
    failed = EINVAL if flags else E2BIG if size > MAX_SIZE else 0
    record = 0 if failed else target.reserve(run.memory, size)
    (Dynptr(DynptrKind.RINGBUF, record, size) if record else NULL).store(run.memory, result)
    return error(failed if failed or record else EINVAL)


def _commit_dynptr(run: RunState, address: int, flags: int, *, discard: bool) -> int:
    dynptr = Dynptr.load(run.memory, address)
    if dynptr.is_null:
        return 0
    if dynptr.kind is not DynptrKind.RINGBUF:
        raise AccessFault(f"the dynptr at {address:#x} is not one of a ring buffer")
    _commit(run, dynptr.data, flags, discard=discard)
    NULL.store(run.memory, address)
    return 0


def ringbuf_submit_dynptr(run: RunState, address: int, flags: int, *_: int) -> int:
    """Finish a record; the dynptr becomes null."""
    return _commit_dynptr(run, address, flags, discard=False)


def ringbuf_discard_dynptr(run: RunState, address: int, flags: int, *_: int) -> int:
    """Finish a record that the reader is to skip; the dynptr becomes null."""
    return _commit_dynptr(run, address, flags, discard=True)


def user_ringbuf_drain(run: RunState, handle: int, callback: int, context: int, flags: int, *_: int) -> int:
    """Call ``callback(dynptr, context)`` for each sample of user space, until it returns anything but 0; how many there were."""
    target = map_of(run, handle, UserRingBufMap)
    if flags & ~_WAKEUPS:
        return error(EINVAL)
    holder = run.memory.new(DYNPTR_SIZE, "dynptr of a sample")

    def deliver(address: int, size: int) -> int:
        Dynptr(DynptrKind.LOCAL, address, size).store(run.memory, holder.base)
        return run.call(callback, holder.base, context)

    try:
        return target.drain(run.memory, deliver) & MASK64
    finally:
        run.memory.unmap(holder)


NATIVES: Mapping[str, Native] = {
    "bpf_ringbuf_output": ringbuf_output,
    "bpf_ringbuf_reserve": ringbuf_reserve,
    "bpf_ringbuf_submit": ringbuf_submit,
    "bpf_ringbuf_discard": ringbuf_discard,
    "bpf_ringbuf_query": ringbuf_query,
    "bpf_ringbuf_reserve_dynptr": ringbuf_reserve_dynptr,
    "bpf_ringbuf_submit_dynptr": ringbuf_submit_dynptr,
    "bpf_ringbuf_discard_dynptr": ringbuf_discard_dynptr,
    "bpf_user_ringbuf_drain": user_ringbuf_drain,
}
