"""Helpers that find a CPU's copy of a per-CPU object: bpf_per_cpu_ptr and bpf_this_cpu_ptr (kernel/bpf/helpers.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.embedded.objects import PercpuObject
from bpfcrypto.embedded.state import Native

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def _object(run: RunState, handle: int) -> PercpuObject:
    owner = run.memory.owner(handle)
    if not isinstance(owner, PercpuObject):
        raise AccessFault(f"address {handle:#x} is not that of a per-CPU object")
    return owner


def per_cpu_ptr(run: RunState, handle: int, cpu: int, *_: int) -> int:
    """The copy of a CPU, or NULL where there is no such CPU."""
    return _object(run, handle).on(cpu & _U32)


def this_cpu_ptr(run: RunState, handle: int, *_: int) -> int:
    """The copy of the CPU that the run is on."""
    return _object(run, handle).on(run.cpu)


NATIVES: Mapping[str, Native] = {
    "bpf_per_cpu_ptr": per_cpu_ptr,
    "bpf_this_cpu_ptr": this_cpu_ptr,
}
