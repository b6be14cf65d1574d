"""What runs a program on the records of capture files themselves, in memory: between a capture, which knows files, and an engine.

Not every engine has it. Who has a capture asks the program for a :class:`RecordRunner`, and goes packet by packet where it gets None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stop(IntEnum):
    """Why a runner came back.

    MORE: what is left of the source is not a whole record. FULL: what the next packet may become does not fit the rest of the target.
    ODD: the next record is one that a runner leaves to others.
    """

    MORE = 0
    FULL = 1
    ODD = 2


@dataclass(frozen=True, slots=True)
class RecordInterface:
    """What a runner has to know of an interface.

    Attributes:
        usable: whether programs can run on its packets.
        snaplen: longest captured length in bytes; 0 for no limit.
    """

    usable: bool
    snaplen: int


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """The records of a capture from one place on.

    Attributes:
        name: ``pcap`` or ``pcapng``.
        order: byte order, ``<`` or ``>``.
        resolution: ticks per second of a pcap's times.
        interfaces: those of the section; of a pcap one.
    """

    name: str
    order: str
    resolution: int
    interfaces: tuple[RecordInterface, ...]


@dataclass(slots=True)
class Stretch:
    """What became of the records that a runner has been through.

    Attributes:
        stop: why it ended.
        taken: bytes of the source.
        made: bytes of the target.
        packets, bytes: how many there were, and what they held.
        changed, written, dropped, refused: as in :class:`~bpfcrypto.capture.ReplayTotals`.
        retvals: how often the program returned what.
        duration_ns: how long all of it took.
        longest: by interface, the longest packet that was written.
        raised: what the program's run on the packet behind them raised, which has ended it.
    """

    stop: Stop
    taken: int
    made: int = 0
    packets: int = 0
    bytes: int = 0
    changed: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    retvals: Mapping[int, int] = field(default_factory=dict)
    duration_ns: int = 0
    longest: tuple[int, ...] = ()
    raised: BaseException | None = None


class RecordRunner(Protocol):
    """Runs a program on records of one format. One call at a time."""

    def run(self, source: memoryview, target: memoryview | None) -> Stretch:
        """Run the program on each packet, as :meth:`~bpfcrypto.engine.Program.run` does without a context.

        Args:
            source: whole records and perhaps a part of one; writable memory.
            target: where the records of packets that go on are written to; None for nowhere.
        """
        ...

    def skip(self, source: memoryview) -> Stretch:
        """Go over the records without running anything; only ``stop``, ``taken`` and ``packets`` say something."""
        ...


@runtime_checkable
class RecordProgram(Protocol):
    """A program that may have such a runner."""

    def on_records(
        self, records: RecordFormat, *, cpu: int | None = None, drop_refused: bool = False
    ) -> RecordRunner | None:
        """A runner for records of a format; None where there is none.

        Args:
            records: which.
            cpu: where the program runs; None for any.
            drop_refused: whether packets that no run takes are dropped, and not copied.
        """
        ...

    @property
    def cpus(self) -> int:
        """How many CPUs it may run on at the same time."""
        ...

    @property
    def is_machine_code(self) -> bool:
        """Whether it runs as machine code."""
        ...

    @property
    def shared_state(self) -> tuple[str, ...]:
        """Where the order of packets shows, in words; empty where it does not matter."""
        ...
