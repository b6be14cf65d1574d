"""Programs on the records of capture files (runtime/capture.bpf.c), from Python's side."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import runtime
from bpfcrypto.embedded.jit.arena import DURATION
from bpfcrypto.records import Stop, Stretch

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.arena import Arena
    from bpfcrypto.embedded.jit.driver import Driver
    from bpfcrypto.records import RecordFormat

_WORD = ctypes.c_uint64
_RUN = ctypes.CFUNCTYPE(_WORD, _WORD, _WORD)
_TALLIES = 64
_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
_COUNTERS = ("packets", "bytes", "changed", "written", "dropped", "refused")


class _Interface(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("usable", "snaplen", "longest", "unused"))

    longest: int


class _Stream(ctypes.Structure):
    """struct stream."""

    _fields_ = tuple(
        (name, _WORD)
        for name in (
            "arena", "source", "source_end", "target", "target_end", "swapped", "resolution", "interfaces", "interface_count", "tallies",
            "tally_count", "drop_refused", *_COUNTERS,
        )
    )  # fmt: skip

    source: int
    target: int


class MachineRecordRunner:
    """Runs a program on records (:class:`bpfcrypto.records.RecordRunner`).

    Args:
        driver: of the program.
        records: their format.
        cpu: where it runs; None for any.
        drop_refused: whether packets that no run takes are dropped.
    """

    def __init__(self, driver: Driver, records: RecordFormat, cpu: int | None, *, drop_refused: bool = False) -> None:
        self._driver = driver
        self._cpu = cpu
        self._function = _RUN(runtime.address(f"run_{records.name}"))
        self._interfaces = (_Interface * max(len(records.interfaces), 1))(
            *(_Interface(each.usable, each.snaplen) for each in records.interfaces)
        )
        self._tallies = (_WORD * (2 * _TALLIES))()
        self._known = {
            "swapped": records.order != _NATIVE_ORDER,
            "resolution": records.resolution,
            "interfaces": ctypes.addressof(self._interfaces),
            "interface_count": len(records.interfaces),
            "tallies": ctypes.addressof(self._tallies),
            "drop_refused": drop_refused,
        }

    def run(self, source: memoryview, target: memoryview | None) -> Stretch:
        """Run the program on each packet; as :meth:`bpfcrypto.records.RecordRunner.run`."""
        with self._driver.hold(self._cpu) as arena:
            return self._go(source, target, arena)

    def skip(self, source: memoryview) -> Stretch:
        """Go over the records."""
        return self._go(source, None, None)

    def _go(self, source: memoryview, target: memoryview | None, arena: Arena | None) -> Stretch:
        for interface in self._interfaces:
            interface.longest = 0
        stream = _Stream(**self._known)
        stream.source, stream.source_end = start, _ = _borders(source)
        made = 0
        if target is not None:
            stream.target, stream.target_end = made, _ = _borders(target)
        stop, duration, raised = 0, 0, None
        if arena is None:
            stop = self._function(0, ctypes.addressof(stream))
        else:
            stream.arena = arena.address
            arena.words[DURATION] = 0
            arena.all_effects = {}
            try:
                stop = self._driver.call(arena, self._function, ctypes.addressof(stream))
            except Exception as error:
                raised = error
            duration = arena.words[DURATION]
        pairs = range(0, 2 * stream.tally_count, 2)
        return Stretch(
            Stop(stop),
            stream.source - start,
            stream.target - made,
            retvals={self._tallies[at]: self._tallies[at + 1] for at in pairs},
            duration_ns=duration,
            longest=tuple(each.longest for each in self._interfaces),
            raised=raised,
            **{name: getattr(stream, name) for name in _COUNTERS},
        )


def _borders(view: memoryview) -> tuple[int, int]:
    """Where memory that can be written begins and ends."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
    return start, start + len(view)
