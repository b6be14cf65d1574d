"""bpf_perf_event_output (net/core/filter.c, kernel/trace/bpf_trace.c) and the spin lock helpers (kernel/bpf/helpers.c)."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded.field_owner import field_owner
from bpfcrypto.embedded.helpers_map import map_of
from bpfcrypto.embedded.map_perf import PerfEventArrayMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.spinlock import SpinLock
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_INDEX = 0xFFFFFFFF  # BPF_F_INDEX_MASK; all ones are BPF_F_CURRENT_CPU
_PACKET_BYTES = 0xFFFFF << 32  # BPF_F_CTXLEN_MASK
_LOCK_SIZE = 4


def perf_event_output(run: RunState, ctx: int, handle: int, flags: int, data: int, size: int) -> int:
    """Give user space a sample: some bytes, and as many of the packet as the flags ask for."""
    target = map_of(run, handle, PerfEventArrayMap)
    packet = run.packet
    if packet is None or packet.handle != ctx:
        raise AccessFault(f"{ctx:#x} is not the packet of this run")
    if flags & ~(_INDEX | _PACKET_BYTES):
        return error(EINVAL)
    appended = packet.load(0, (flags & _PACKET_BYTES) >> 32)
    if appended is None:
        return error(EFAULT)
    index = flags & _INDEX
    sample = target.output(
        run.cpu if index == _INDEX else index, run.cpu, bytes(run.memory.span(data, size & 0xFFFFFFFF)) + appended
    )
    if isinstance(sample, int):
        return error(sample)
    run.effects.append(sample)
    return 0


def _lock(run: RunState, address: int) -> SpinLock:
    return field_owner(run.memory, address, _LOCK_SIZE).spin_lock(address)


def spin_lock(run: RunState, address: int, *_: int) -> int:
    """Wait for the lock in a map's value and take it."""
    _lock(run, address).acquire(run)
    return 0


def spin_unlock(run: RunState, address: int, *_: int) -> int:
    """Give the lock back."""
    _lock(run, address).release(run)
    return 0


NATIVES: Mapping[str, Native] = {
    "bpf_perf_event_output": perf_event_output,
    "bpf_spin_lock": spin_lock,
    "bpf_spin_unlock": spin_unlock,
}
