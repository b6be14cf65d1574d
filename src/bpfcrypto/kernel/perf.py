"""Buffers of perf events, as bpf_perf_event_output fills them (kernel/events/core.c, include/uapi/linux/perf_event.h).

One event for each CPU, with a ring that it shares with us: a header page, in which the kernel moves the head and we the tail, and data
pages. A record is a header of 8 bytes, and in a sample the length and bytes of what the program gave.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bpfcrypto.engine import PerfEvent
from bpfcrypto.errors import KeyNotFoundError, NotSupportedError, PrivilegeError, SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.fd import Fd

if TYPE_CHECKING:
    from bpfcrypto.kernel.maps import KernelMap

# __NR_perf_event_open, by the machine name of uname(2).
NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "ppc64le": 319}

_PAGES = 64  # of data, a power of two
_HEAD, _TAIL = 1024, 1032  # offsets in struct perf_event_mmap_page
_SOFTWARE, _BPF_OUTPUT, _RAW = 1, 10, 1 << 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT, PERF_SAMPLE_RAW
_CLOSE_ON_EXEC = 8
_LOST, _SAMPLE = 2, 9
_ATTR = struct.Struct(
    "<IIQQQQQII"
)  # type, size, config, sample_period, sample_type, read_format, bits, wakeup_events, bp_type
_ATTR_SIZE = 64  # PERF_ATTR_SIZE_VER0
_RECORD = struct.Struct("<IHH")
_WORD = struct.Struct("<I")
_COUNTERS = struct.Struct("<QQ")


def online_cpus() -> tuple[int, ...]:
    """The CPUs that run now."""
    found: list[int] = []
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def open_event(cpu: int) -> Fd:
    """An event that receives the samples of programs on one CPU.

    Raises:
        SyscallError: perf_event_open failed.
        PrivilegeError: CAP_PERFMON is missing.
        NotSupportedError: the system call's number is not known for this architecture.
    """
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        raise NotSupportedError("perf_event_open", requires=f"its number on {os.uname().machine}")
    attr = ctypes.create_string_buffer(_ATTR.pack(_SOFTWARE, _ATTR_SIZE, _BPF_OUTPUT, 1, _RAW, 0, 0, 1, 0), _ATTR_SIZE)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ulong]
    result = call(number, ctypes.addressof(attr), -1, cpu, -1, _CLOSE_ON_EXEC)
    if result >= 0:
        return Fd(result)
    failed = ctypes.get_errno()
    if failed in (errno.EPERM, errno.EACCES):
        error = PrivilegeError(f"perf_event_open on CPU {cpu}: CAP_PERFMON is missing", hint="run as root")
        error.errno = failed
        raise error
    raise SyscallError("perf_event_open", failed, detail=f"CPU {cpu}")


class _Buffer:
    """The ring of one event."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.fd = open_event(cpu)
        self._size = _PAGES * mmap.PAGESIZE
        try:
            self._ring = mmap.mmap(self.fd.fileno(), mmap.PAGESIZE + self._size)
        except OSError:
            self.fd.close()
            raise

    def drain(self) -> tuple[list[bytes], int]:
        """Samples that have come, and how many found no room."""
        head, tail = _COUNTERS.unpack_from(self._ring, _HEAD)
        samples: list[bytes] = []
        lost = 0
        while tail < head:
            kind, _, size = _RECORD.unpack(self._bytes(tail, _RECORD.size))
            body = self._bytes(tail + _RECORD.size, size - _RECORD.size)
            if kind == _SAMPLE:
                samples.append(body[_WORD.size : _WORD.size + _WORD.unpack_from(body)[0]])
            elif kind == _LOST:
                lost += _COUNTERS.unpack_from(body)[1]
            tail += size
        struct.pack_into("<Q", self._ring, _TAIL, tail)
        return samples, lost

    def _bytes(self, position: int, size: int) -> bytes:
        at = position % self._size
        start = mmap.PAGESIZE + at
        first = self._ring[start : start + min(size, self._size - at)]
        return first + self._ring[mmap.PAGESIZE : mmap.PAGESIZE + size - len(first)]

    def close(self) -> None:
        self._ring.close()
        self.fd.close()


class KernelEvents:
    """The buffers of all CPUs (engine.Events).

    Args:
        home: the map, whose slots they fill.

    Attributes:
        lost: how many samples found no room so far.
    """

    def __init__(self, home: KernelMap) -> None:
        self.lost = 0
        self._home = home
        self._buffers: list[_Buffer] = []
        entries = home.info.max_entries
        with ExitStack() as undo:
            undo.callback(self.close)
            for cpu in online_cpus():
                if cpu < entries:
                    self._buffers.append(_Buffer(cpu))
                    bpf.map_update(home.fd, cpu.to_bytes(4, "little"), _WORD.pack(self._buffers[-1].fd.fileno()))
            undo.pop_all()

    def read(self) -> tuple[PerfEvent, ...]:
        """What has come since the last time, CPU after CPU."""
        found: list[PerfEvent] = []
        for buffer in self._buffers:
            samples, lost = buffer.drain()
            self.lost += lost
            found += (PerfEvent(self._home.name, buffer.cpu, sample) for sample in samples)
        return tuple(found)

    def close(self) -> None:
        """Empty the slots and drop the buffers; what was not read is lost."""
        while self._buffers:
            buffer = self._buffers.pop()
            if not self._home.fd.closed:
                with suppress(KeyNotFoundError):  # somebody else has emptied the slot
                    self._home.delete(buffer.cpu.to_bytes(4, "little"))
            buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
