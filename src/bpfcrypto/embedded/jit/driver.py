"""Runs of a packet program that machine code drives: one packet at a time with as few steps of Python as can be, or many in one call.

What a run gives is what the ordinary path gives (:mod:`bpfcrypto.embedded.engine_program`). It takes over whatever is more than a packet that
fits the arena: a context, flags, a packet that is refused.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBADF, EDEADLK, ENXIO
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import runtime
from bpfcrypto.embedded.jit.arena import DURATION, RETVAL, STOPPED, Arena
from bpfcrypto.embedded.testrun import refuse
from bpfcrypto.engine import RunResult
from bpfcrypto.many import Packets, RunResults

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.engine_program import Surface
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.many import PacketBuffer

_WORD = ctypes.c_uint64
_RUN_MANY = ctypes.CFUNCTYPE(_WORD, _WORD, _WORD)
_TOUCHED = 1  # of runtime/driver.bpf.c
_LARGEST = 0x20000  # what may come out of one packet, for which there must be room


class Batch(ctypes.Structure):
    """struct batch of runtime/driver.bpf.c."""

    _fields_ = tuple(
        (name, _WORD)
        for name in (
            "arena", "source", "sizes", "size", "next", "count", "out", "out_end", "first", "offsets", "lengths", "retvals", "errnos",
        )
    )  # fmt: skip

    arena: int
    source: int
    sizes: int
    size: int
    next: int
    count: int
    out: int
    out_end: int
    first: int
    offsets: int
    lengths: int
    retvals: int
    errnos: int


class Driver:
    """What drives one program.

    Args:
        code: the program.
        surface: what it runs on.
        run_whole: runs a packet on the ordinary path, on the CPU that this thread holds.
    """

    def __init__(self, code: MachineCode, surface: Surface, run_whole: Callable[[bytes, int], RunResult]) -> None:
        self._code = code
        self._surface = surface
        self._run_whole = run_whole
        self._cpus = surface.world.cpus
        self._users = (surface,)
        self._take, self._give = self._cpus.take, self._cpus.give
        self._enter, self._leave = surface.world.rcu.enter, surface.world.rcu.leave
        self._arenas: list[Arena | None] = [None] * surface.world.cpus.count
        self._run_batch = _RUN_MANY(runtime.address("run_batch"))

    def arena(self, cpu: int) -> Arena:
        """The place of a CPU that this thread holds."""
        arena = self._arenas[cpu]
        if arena is None:
            arena = self._arenas[cpu] = Arena(self._code, self._surface, cpu, self._run_whole)
        return arena

    def run(self, data: bytes, repeat: int, wanted: int | None) -> RunResult | None:
        """Run the program on a packet; None where the ordinary path has to, and nothing was run.

        Args:
            data: the packet.
            repeat: how often.
            wanted: the CPU, which exists; None for any.
        """
        cpu = self._take(wanted, self._users)
        if cpu is None:
            return None
        try:
            if self._surface.closed:
                return None
            arena = self._arenas[cpu] or self.arena(cpu)
            arena.token = self._enter()
            try:
                how = arena.run(data, repeat)
            finally:
                self._leave(arena.token)
            if type(how) is RunResult:
                return how
            if how != _TOUCHED:
                return None
            words = arena.words
            if words[STOPPED]:
                arena.raise_pending()
            return RunResult(words[RETVAL], arena.result, b"", words[DURATION] // repeat, arena.effects)
        finally:
            self._give(cpu)

    def run_many(self, packets: PacketBuffer, wanted: int | None) -> RunResults | None:
        """Run the program once on each packet, in order; None where the ordinary path has to, and nothing was run."""
        cpu = self._cpus.take(wanted, self._users)
        if cpu is None:
            return None
        try:
            if self._surface.closed:
                return None
            return self._batch(self.arena(cpu), packets)
        finally:
            self._cpus.give(cpu)

    def _batch(self, arena: Arena, packets: PacketBuffer) -> RunResults:
        count = len(packets)
        offsets, lengths, retvals, errnos = (
            array("Q", bytes(8 * count)),
            *(array("I", bytes(4 * count)) for _ in range(3)),
        )
        batch = Batch(
            arena=arena.address, source=packets.address, sizes=packets.sizes_address, size=packets.size, count=count
        )
        batch.offsets, batch.lengths, batch.retvals, batch.errnos = (
            each.buffer_info()[0] for each in (offsets, lengths, retvals, errnos)
        )
        room = bytearray(packets.total + packets.longest + _LARGEST)
        arena.words[DURATION] = 0
        arena.all_effects = {}
        used = 0
        while True:
            place = (ctypes.c_char * len(room)).from_buffer(room)
            batch.first = ctypes.addressof(place)
            batch.out, batch.out_end = batch.first + used, batch.first + len(room)
            self.call(arena, self._run_batch, ctypes.addressof(batch))
            used = batch.out - batch.first
            if batch.next == count:
                break
            del place
            room += bytes(len(room) + packets.longest)
        out = Packets(memoryview(room)[:used], offsets, lengths)
        return RunResults(retvals, lengths, errnos, out, arena.words[DURATION], arena.all_effects)

    @contextmanager
    def hold(self, wanted: int | None) -> Iterator[Arena]:
        """The place of a CPU, for work that nothing else of this thread's can be in the middle of.

        Raises:
            SyscallError: EDEADLK, this thread is in a run; ENXIO, there is no such CPU; EBADF: the collection is closed.
        """
        name = self._code.interpreter.spec.name
        if wanted is not None and not 0 <= wanted < self._cpus.count:
            raise refuse(ENXIO, f"there is no CPU {wanted}")
        cpu = self._cpus.take(wanted, self._users)
        if cpu is None:
            raise refuse(EDEADLK, f"program '{name}' on a capture inside a run", "start it after the other")
        try:
            if self._surface.closed:
                raise refuse(EBADF, f"program '{name}': its collection is closed")
            yield self.arena(cpu)
        finally:
            self._cpus.give(cpu)

    def call(self, arena: Arena, function: Callable[[int, int], int], argument: int) -> int:
        """Call a function of the runtime that runs programs; raise what a run has raised."""
        arena.token = self._enter()
        try:
            result = function(arena.record_address, argument)
        finally:
            self._leave(arena.token)
        if arena.words[STOPPED]:
            arena.raise_pending()
        return result
