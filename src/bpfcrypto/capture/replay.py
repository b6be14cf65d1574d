"""Running a program over all packets of a capture.

Each packet is one test run. What the program's return value means for the packet is the kernel's table: a packet that would be
dropped is left out of the output and counted.

Where the program can be given whole chunks of a capture, it is (:mod:`bpfcrypto.capture.chunks`); this module goes packet by packet, which is
what the chunks must be equal to, and which takes the records that they leave over.

A test run takes no packet shorter than its network header, and no more than about 3.7 KB for tc programs. Such packets cannot be
given to the program on either engine; they are copied as they are and counted as refused, so that nothing is lost in silence. Where what
the program does not see must not pass, as with encryption, they are dropped instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.abi.verdicts import VERDICT_NAMES, goes_on
from bpfcrypto.capture.chunks import chunked
from bpfcrypto.capture.files import Capture
from bpfcrypto.capture.packet import CaptureWriter, Packet
from bpfcrypto.engine import Program, RunResult
from bpfcrypto.errors import NotSupportedError, SyscallError
from bpfcrypto.many import REFUSED_PACKET
from bpfcrypto.records import Stretch


@dataclass(slots=True)
class ReplayTotals:
    """What happened to the packets of a capture.

    Attributes:
        packets, bytes: read from the input.
        changed: packets that came out of the program with other bytes.
        written: packets written (or that would have been, without an output).
        dropped: packets left out by the program's verdict, and those that were refused and not copied.
        refused: packets that no test run takes.
        verdicts: how often the program returned what.
        duration_ns: sum of the engine's run times; where it was given whole chunks, with the reading and writing of records.
    """

    packets: int = 0
    bytes: int = 0
    changed: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    duration_ns: int = 0

    def add(self, part: Stretch, kind: ProgType) -> None:
        """Count the packets of a stretch."""
        self.packets += part.packets
        self.bytes += part.bytes
        self.changed += part.changed
        self.written += part.written
        self.dropped += part.dropped
        self.refused += part.refused
        self.duration_ns += part.duration_ns
        for retval, count in part.retvals.items():
            self.verdicts[verdict_name(kind, retval)] += count


def verdict_name(kind: ProgType, retval: int) -> str:
    """``TC_ACT_SHOT``, ``XDP_PASS``, or the number as text where the kernel has no name for it."""
    return VERDICT_NAMES.get(kind, {}).get(retval, str(retval))


def replay(
    program: Program,
    packets: Iterable[Packet],
    output: CaptureWriter | None = None,
    *,
    ctx: bytes = b"",
    on_packet: Callable[[Packet, RunResult | None], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    totals: ReplayTotals | None = None,
    jobs: int = 1,
    drop_refused: bool = False,
) -> ReplayTotals:
    """Run ``program`` on each packet and write what comes out.

    Args:
        program: a tc, action or xdp program.
        packets: an open capture, or any packets.
        output: where packets go that the program lets pass; None only counts.
        ctx: the context of each run (struct __sk_buff or struct xdp_md).
        on_packet: called after each packet with the packet as read, and the run's result, None for a refused packet.
        on_progress: called now and then, with the number of packets so far.
        totals: counters to add to; they keep what was done when an error ends the work.
        jobs: how many threads run the program, each on a CPU of its own, where the engine has that; the output is in the
            order of the input all the same. Programs whose packets see each other then do so in no order (:func:`~bpfcrypto.capture.one_job` tells).
        drop_refused: whether packets that no test run takes are dropped, and not copied.

    Returns:
        The counters.

    Raises:
        CaptureError: the input is damaged, or the output cannot be written; everything before is written and counted.
        NotSupportedError: the program takes no packets.
        SyscallError: the engine refuses a run for another reason than the packet's size.
        RunError: the program broke a rule (embedded engine).
    """
    if program.type not in VERDICT_NAMES:
        raise NotSupportedError(
            f"a capture as input of program '{program.name}' of type {program.type.name}",
            requires="a tc, action or xdp program",
        )
    totals = ReplayTotals() if totals is None else totals
    step = _Step(program, output, ctx, totals, drop_refused)
    parts: Iterable[Packet | Stretch] | None = None
    if isinstance(packets, Capture) and on_packet is None and not ctx:
        parts = chunked(program, packets, output, jobs, drop_refused=drop_refused)
    for part in packets if parts is None else parts:
        if isinstance(part, Stretch):
            totals.add(part, program.type)
        else:
            result = step(part)
            if on_packet is not None:
                on_packet(part, result)
        if on_progress is not None:
            on_progress(totals.packets)
    return totals


class _Step:
    """What is done with one packet."""

    def __init__(
        self, program: Program, output: CaptureWriter | None, ctx: bytes, totals: ReplayTotals, drop_refused: bool
    ) -> None:
        self._program = program
        self._output = output
        self._ctx = ctx
        self._totals = totals
        self._drop_refused = drop_refused

    def __call__(self, packet: Packet) -> RunResult | None:
        totals, kind = self._totals, self._program.type
        result = _run(self._program, packet.data, self._ctx)
        totals.packets += 1
        totals.bytes += len(packet.data)
        if result is None:
            totals.refused += 1
            outgoing = packet
        else:
            totals.verdicts[verdict_name(kind, result.retval)] += 1
            totals.duration_ns += result.duration_ns
            outgoing = packet.with_data(_frame(kind, result))
        if not self._drop_refused if result is None else goes_on(kind, result.retval):
            totals.changed += outgoing is not packet
            totals.written += 1
            if self._output is not None:
                self._output.write(outgoing)
        else:
            totals.dropped += 1
        return result


def _run(program: Program, data: bytes, ctx: bytes) -> RunResult | None:
    try:
        return program.run(data, ctx=ctx)
    except SyscallError as error:
        # A context that is refused is refused for every packet; a size only for this one.
        if ctx or error.errno not in REFUSED_PACKET:
            raise
        return None


def _frame(kind: ProgType, result: RunResult) -> bytes:
    """The frame of a result. XDP metadata stands in front of it; ``data`` of struct xdp_md says how much."""
    if kind is not ProgType.XDP or len(result.ctx) < 4:
        return result.data
    return result.data[int.from_bytes(result.ctx[:4], "little") :]
