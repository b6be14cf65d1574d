"""A capture through a program in whole chunks: where the engine can run programs on records themselves.

The engine goes over a chunk and comes back where something is Python's: the end of the chunk, a full output, or a record that it leaves
to the readers and writers of this package. These take over at the very same byte, and it goes on behind what they took. So both see one
file, and there is no third opinion of what a capture looks like.

With several jobs, a chunk is first cut where its last whole record ends; then each job runs the program on chunks of its own, and what they
give is taken in the order of the chunks. Whatever is Python's waits until all chunks before it are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from bpfcrypto.capture.pcap import PcapReader, PcapWriter
from bpfcrypto.capture.pcapng import PcapngReader
from bpfcrypto.capture.pcapng_writer import PcapngWriter
from bpfcrypto.capture.stream import CHUNK
from bpfcrypto.errors import InternalError
from bpfcrypto.records import RecordProgram, Stop, Stretch

if TYPE_CHECKING:
    from bpfcrypto.capture.files import Capture
    from bpfcrypto.capture.packet import CaptureWriter, Packet
    from bpfcrypto.engine import Program
    from bpfcrypto.records import RecordFormat, RecordRunner

_TARGET = CHUNK + (1 << 20)  # more than a chunk, for packets that grow

Writer = PcapWriter | PcapngWriter


def chunked(
    program: Program,
    capture: Capture,
    output: CaptureWriter | None,
    jobs: int = 1,
    *,
    drop_refused: bool = False,
) -> Iterator[Stretch | Packet] | None:
    """What becomes of the packets of a capture, in order; None where program or output have to be given them one by one.

    Args:
        program: a packet program.
        capture: where its packets come from.
        output: where stretches are written to; a packet that is given is the caller's to run and to write.
        jobs: how many threads run the program, each on a CPU of its own; no more than there are CPUs.
        drop_refused: whether packets that no test run takes are dropped, and not copied.
    """
    if not isinstance(program, RecordProgram):
        return None
    if output is not None and not _fits(output, capture.reader):
        return None
    assert output is None or isinstance(output, Writer)
    runner = program.on_records(capture.reader.records(capture.link_type))
    if runner is None:
        return None
    jobs = min(jobs, program.cpus)
    if jobs <= 1:
        return _Chunks(program, capture, output, drop_refused).parts()
    return _ParallelChunks(program, capture, output, drop_refused, jobs).parts()


def _fits(output: CaptureWriter, reader: PcapReader | PcapngReader) -> bool:
    """Whether the output takes records as the reader has them."""
    if isinstance(output, PcapWriter):
        return isinstance(reader, PcapReader) and output.takes_records(reader)
    return isinstance(output, PcapngWriter) and isinstance(reader, PcapngReader) and output.takes_records(reader)


def one_job(program: Program, *, any_order: bool = False) -> str:
    """Why a program has to see the packets of a capture one after another, in words; "" where it need not.

    Args:
        program: a packet program.
        any_order: whether its packets may see each other's traces in any order.
    """
    if not isinstance(program, RecordProgram):
        return "this engine runs one packet at a time"
    if not program.is_machine_code:
        return "the program is interpreted"
    shared = "" if any_order else " and ".join(program.shared_state)
    return shared and f"the order of its packets shows in {shared}"


def most_jobs(program: Program) -> int:
    """How many threads can run a program at the same time."""
    return program.cpus if isinstance(program, RecordProgram) else 1


class _Chunks:
    """One job: this thread."""

    def __init__(self, program: RecordProgram, capture: Capture, output: Writer | None, drop_refused: bool) -> None:
        self._program = program
        self._drop_refused = drop_refused
        self._capture = capture
        self._reader = capture.reader
        self._source = capture.reader.source
        self._output = output

    def parts(self) -> Iterator[Stretch | Packet]:
        """Stretches that are done and written, and between them packets that are not."""
        if isinstance(self._reader, PcapngReader):
            self._reader.start()
        packets = iter(self._capture)
        records = self._records()
        self._begin(records)
        while True:
            stop = yield from self._stretch()
            if stop is Stop.MORE and self._source.fill():
                continue
            if stop is Stop.FULL:
                continue
            yield from self._settle()
            packet = next(packets, None)  # what is left over at the end is damage, which the reader has words for
            if packet is None:
                return
            yield packet
            if self._records() != records:
                records = self._records()
                self._begin(records)

    def _records(self) -> RecordFormat:
        return self._reader.records(self._capture.link_type)

    def _begin(self, records: RecordFormat) -> None:
        """Records are of this format from here on."""
        self._target = None if self._output is None else memoryview(bytearray(_TARGET))
        self._runner = self._new_runner(records)

    def _new_runner(self, records: RecordFormat, cpu: int | None = None) -> RecordRunner:
        runner = self._program.on_records(records, cpu=cpu, drop_refused=self._drop_refused)
        assert runner is not None
        return runner

    def _stretch(self) -> Generator[Stretch, None, Stop]:
        """Go over what has been read."""
        part = self._runner.run(self._source.window, self._target)
        self._take(part)
        yield from self._finish(part, self._target)
        return part.stop

    def _settle(self) -> Iterator[Stretch]:
        """Finish what has been begun."""
        return iter(())

    def _take(self, part: Stretch) -> None:
        self._source.skip(part.taken)
        self._reader.number += part.packets

    def _finish(self, part: Stretch, target: memoryview | None) -> Iterator[Stretch]:
        if self._output is not None and target is not None and part.made:
            self._output.write_records(target[: part.made], part.longest)
        yield part
        if part.raised is not None:
            raise part.raised


class _Job:
    """A thread's part.

    Attributes:
        runner: runs the program on the job's CPU.
    """

    def __init__(self, cpu: int, *, writes: bool) -> None:
        self.cpu = cpu
        self.runner: RecordRunner | None = None
        self._source = memoryview(bytearray(CHUNK))
        self._target = memoryview(bytearray(_TARGET)) if writes else None
        self._size = 0

    def load(self, data: memoryview) -> None:
        """Take whole records."""
        if len(data) > len(self._source):
            self._source = memoryview(bytearray(len(data)))
        self._source[: len(data)] = data
        self._size = len(data)

    def work(self) -> list[tuple[Stretch, memoryview | None]]:
        """Run the program on them; stretches, each with what it wrote to."""
        assert self.runner is not None
        done: list[tuple[Stretch, memoryview | None]] = []
        at = 0
        while True:
            part = self.runner.run(self._source[at : self._size], self._target)
            at += part.taken
            if at == self._size or part.raised is not None:
                return [*done, (part, self._target)]
            if part.stop is not Stop.FULL or not part.taken:
                raise InternalError("a runner stops at a record that it has passed before", state=repr(part))
            kept = None if self._target is None else memoryview(bytes(self._target[: part.made]))
            done.append((part, kept))


class _ParallelChunks(_Chunks):
    """Several jobs, each a thread with a CPU of its own."""

    def __init__(
        self, program: RecordProgram, capture: Capture, output: Writer | None, drop_refused: bool, jobs: int
    ) -> None:
        super().__init__(program, capture, output, drop_refused)
        self._idle = deque(_Job(cpu, writes=output is not None) for cpu in range(jobs))
        self._threads = ThreadPoolExecutor(jobs)
        self._working: deque[tuple[_Job, Future[list[tuple[Stretch, memoryview | None]]]]] = deque()

    def parts(self) -> Iterator[Stretch | Packet]:
        """As of one job."""
        try:
            yield from super().parts()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _begin(self, records: RecordFormat) -> None:
        self._runner = self._new_runner(records)
        for job in self._idle:
            job.runner = self._new_runner(records, job.cpu)

    def _stretch(self) -> Generator[Stretch, None, Stop]:
        part = self._runner.skip(self._source.window)
        if part.taken:
            if not self._idle:
                yield from self._oldest()
            job = self._idle.popleft()
            job.load(self._source.window[: part.taken])
            self._working.append((job, self._threads.submit(job.work)))
            self._take(part)
        return part.stop

    def _settle(self) -> Iterator[Stretch]:
        while self._working:
            yield from self._oldest()

    def _oldest(self) -> Iterator[Stretch]:
        job, future = self._working.popleft()
        for part, target in future.result():
            yield from self._finish(part, target)
        self._idle.append(job)
