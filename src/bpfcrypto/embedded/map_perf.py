"""PERF_EVENT_ARRAY (kernel/bpf/arraymap.c, kernel/trace/bpf_trace.c): where bpf_perf_event_output puts samples.

A slot is empty, and output to it fails, until user space listens: then each CPU has a buffer in the slot of its number. A sample is
kept for the listeners, and recorded in the run's effects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from errno import E2BIG, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING, Self

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.embedded.map_base import Surroundings
from bpfcrypto.embedded.map_objects import ObjectArray, descriptor_errno
from bpfcrypto.engine import PerfEvent

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec


class EmbeddedEvents:
    """The buffers of all CPUs, of which the oldest samples are read first (engine.Events).

    Args:
        home: the map, whose slots they fill.
    """

    lost = 0
    """The buffers have no end."""

    def __init__(self, home: PerfEventArrayMap) -> None:
        self._home = home
        self._samples: deque[PerfEvent] = deque()

    def add(self, sample: PerfEvent) -> None:
        """Keep a sample."""
        self._samples.append(sample)

    def read(self) -> tuple[PerfEvent, ...]:
        """What has come since the last time."""
        found = []
        while self._samples:
            found.append(self._samples.popleft())
        return tuple(found)

    def close(self) -> None:
        """Empty the slots; what was not read is lost."""
        self._home.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PerfEventArrayMap(ObjectArray[EmbeddedEvents]):
    """Buffers by CPU."""

    takes_objects = False

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self.cpus = around.cpus

    def listen(self) -> EmbeddedEvents:
        """Put a buffer into the slot of every CPU, in place of those that are there."""
        events = EmbeddedEvents(self)
        for cpu in range(min(self.cpus, self._spec.max_entries)):
            errno = self._store(cpu.to_bytes(4, "little"), events, 0)
            if errno:
                self._fail("update", cpu.to_bytes(4, "little"), errno)
        return events

    def forget(self, events: EmbeddedEvents) -> None:
        """Empty the slots that have these buffers."""
        with self._lock:
            self._held = {index: held for index, held in self._held.items() if held is not events}

    def output(self, index: int, cpu: int, data: Bytes) -> PerfEvent | int:
        """A sample from a program on ``cpu`` to the slot ``index``, or an errno."""
        if index >= self._spec.max_entries:
            return E2BIG
        events = self._held.get(index)
        if events is None:
            return ENOENT
        if index != cpu:
            return EOPNOTSUPP  # the buffer is another CPU's
        size = (len(data) + 4 + 7 & ~7) - 4
        sample = PerfEvent(self.name, cpu, bytes(data).ljust(size, b"\0"))
        events.add(sample)
        return sample

    def _accept(self, value: object) -> EmbeddedEvents | int:
        if isinstance(value, EmbeddedEvents):
            return value
        return descriptor_errno(value)

    def _id(self, _held: EmbeddedEvents) -> int:
        return 0

    def _read(self, _key: bytes) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        return (index.to_bytes(4, "little") for index in range(self._spec.max_entries))
