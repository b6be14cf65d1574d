"""Helpers that read clocks (kernel/bpf/helpers.c). Where the system has no such clock, the nearest one stands for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.state import Native

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

HZ = 250  # CONFIG_HZ of most kernels
_TICK = 1_000_000_000 // HZ
_FIRST_JIFFY = (1 << 32) - 300 * HZ  # INITIAL_JIFFIES: the low 32 bits wrap five minutes after boot

_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TAI_CLOCK: int = getattr(time, "CLOCK_TAI", time.CLOCK_REALTIME)

CLOCKS: Mapping[int, int] = {1: time.CLOCK_MONOTONIC, 7: _BOOT_CLOCK, 11: _TAI_CLOCK}
"""The number that Linux has for a clock -> the number that this system has."""


def ktime_get_ns(_run: RunState, *_: int) -> int:
    """Nanoseconds of the monotonic clock."""
    return time.monotonic_ns()


def ktime_get_boot_ns(_run: RunState, *_: int) -> int:
    """Nanoseconds since boot, those in suspend included."""
    return time.clock_gettime_ns(_BOOT_CLOCK)


def ktime_get_coarse_ns(_run: RunState, *_: int) -> int:
    """Nanoseconds of the monotonic clock at the last timer tick."""
    now = time.monotonic_ns()
    return now - now % _TICK


def ktime_get_tai_ns(_run: RunState, *_: int) -> int:
    """Nanoseconds of international atomic time since 1970."""
    return time.clock_gettime_ns(_TAI_CLOCK)


def jiffies64(_run: RunState, *_: int) -> int:
    """Timer ticks."""
    return _FIRST_JIFFY + time.monotonic_ns() // _TICK


NATIVES: Mapping[str, Native] = {
    "bpf_ktime_get_ns": ktime_get_ns,
    "bpf_ktime_get_boot_ns": ktime_get_boot_ns,
    "bpf_ktime_get_coarse_ns": ktime_get_coarse_ns,
    "bpf_ktime_get_tai_ns": ktime_get_tai_ns,
    "bpf_jiffies64": jiffies64,
}
