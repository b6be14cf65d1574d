"""A live program: test runs, on machine code or on the interpreter."""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EBADF
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import LAYOUTS
from bpfcrypto.abi.progs import ProgType, RunFlag
from bpfcrypto.embedded.jit.memory import MachineMemory
from bpfcrypto.embedded.jit.runs import Runs
from bpfcrypto.embedded.memory import Memory, Region
from bpfcrypto.embedded.outcome import end_round
from bpfcrypto.embedded.resilient import release_all
from bpfcrypto.embedded.state import RunState
from bpfcrypto.embedded.testrun import (
    ELEMENTS,
    LOOPBACK,
    check_attach_type,
    check_flags,
    check_sum,
    check_syscall,
    make_skb,
    make_xdp,
    refuse,
    skb_ctx,
    xdp_ctx,
)
from bpfcrypto.embedded.usermem import UserMemory
from bpfcrypto.engine import RunResult
from bpfcrypto.many import PacketBuffer, RunResults, run_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpfcrypto.embedded.engine_world import World
    from bpfcrypto.embedded.interp import Interpreter
    from bpfcrypto.embedded.jit.driver import Driver
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.testrun import Interfaces
    from bpfcrypto.many import Bytes
    from bpfcrypto.records import RecordFormat, RecordRunner
    from bpfcrypto.spec import ProgramSpec

_NO_FLAGS = RunFlag.NONE
_numbers = itertools.count(1)


@dataclass(slots=True)
class Surface:
    """What the programs of one collection run on.

    Attributes:
        world: the engine's memory, RCU and CPUs.
        interfaces: interface index -> number of receive queues.
        trace: takes the lines of bpf_trace_printk.
        skb_linear: bytes of an skb that are linear; None for all.
        user: what bpf_copy_from_user reads.
        closed: whether the collection is gone.
        runs: those that are in progress on machine code.
    """

    world: World
    interfaces: Interfaces
    trace: Callable[[str], None]
    skb_linear: int | None = None
    user: UserMemory = field(default_factory=UserMemory)
    closed: bool = False
    runs: Runs = field(default_factory=Runs)


class EmbeddedProgram:
    """A program ready to run, in any number of threads.

    Args:
        interpreter: its code.
        surface: what it runs on.
        compile_: makes its machine code, when it first runs; None where it is interpreted.
        ctx_size: bytes of a syscall program's context that it accesses, 0 where the verifier has not said.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        surface: Surface,
        compile_: Callable[[], MachineCode] | None = None,
        *,
        ctx_size: int = 0,
    ) -> None:
        self.interpreter = interpreter
        self._ctx_size = ctx_size
        self.id = next(_numbers)
        self._surface = surface
        self._compile = compile_
        self._compiling = threading.Lock()
        self._machine: MachineCode | None = None
        self._runner = _RUNNERS[interpreter.spec.type]
        self._driver: Driver | None = None
        self._drivable = compile_ is not None and is_drivable(interpreter.spec, surface)

    def __repr__(self) -> str:
        return f"<EmbeddedProgram '{self.name}': {self.type.name}>"

    @property
    def spec(self) -> ProgramSpec:
        return self.interpreter.spec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def type(self) -> ProgType:
        return self.spec.type

    @property
    def memory(self) -> Memory:
        """The address space that it runs in, its packets and stack apart."""
        return self._surface.world.memory

    @property
    def home(self) -> object:
        """What only the programs and maps of its collection have in common."""
        return self._surface

    @property
    def machine(self) -> MachineCode | None:
        """Its machine code, which is made now if it was not yet; None where it is interpreted."""
        if self._machine is None and self._compile is not None:
            with self._compiling:
                if self._machine is None:
                    self._machine = self._compile()
        return self._machine

    def machine_entry(self) -> int:
        """The address of its machine code, for tail calls from machine code."""
        machine = self.machine
        assert machine is not None
        return machine.entry

    def run(
        self,
        data: bytes = b"",
        *,
        ctx: bytes | bytearray = b"",
        repeat: int = 1,
        cpu: int | None = None,
        flags: RunFlag = RunFlag.NONE,
    ) -> RunResult:
        """Run the program once, or ``repeat`` times on the same packet, which is not reset in between.

        Args:
            data: the packet, from its Ethernet header; nothing for syscall programs.
            ctx: struct __sk_buff, struct xdp_md, or a syscall program's context. A syscall program works on a bytearray itself,
                of which no copy is made.
            repeat: 0 or 1 is one run; syscall programs take no more.
            cpu: where it runs; the call waits while another run is there. None takes the lowest CPU that is free.
            flags: CHECKSUM_COMPLETE, for skbs.

        Returns:
            What the run gave; ``ctx`` is filled only when one was given that is not the caller's own memory.

        Raises:
            SyscallError: the kernel would refuse the arguments; ``errno`` is what it answers. EBADF: the collection is closed.
                ENXIO: there is no such CPU. EBADMSG: the program broke the known sum.
            RunError: the program broke a rule while running.
        """
        # a flag's truth is a call of Python, its identity is not
        if (
            self._drivable
            and not ctx
            and flags is _NO_FLAGS
            and (cpu is None or 0 <= cpu < self._surface.world.cpus.count)
        ):
            driver = self._driver or self._make_driver()
            result = driver.run(data if type(data) is bytes else bytes(data), repeat if repeat > 1 else 1, cpu)
            if result is not None:
                return result
        return self._run_by_hand(data, ctx, repeat, cpu, flags)

    def run_many(self, packets: Iterable[Bytes] | object, *, cpu: int | None = None) -> RunResults:
        """Run the program once on each packet, in order, as :meth:`run` does without a context.

        Args:
            packets: bytes-like objects; or one object with a contiguous buffer of two dimensions, such as a numpy array of uint8,
                whose rows are the packets.
            cpu: as of :meth:`run`.

        Returns:
            What came of each; a packet of a size that no test run takes is not run, and has its errno there.

        Raises:
            SyscallError: the kernel would refuse the runs for another reason.
            RunError: the program broke a rule while running.
            TypeError: ``packets`` is neither.
        """
        given = PacketBuffer(packets)
        results = None
        if self._drivable and (cpu is None or 0 <= cpu < self._surface.world.cpus.count):
            results = (self._driver or self._make_driver()).run_many(given, cpu)
        return run_each(self, given, cpu=cpu) if results is None else results

    @property
    def cpus(self) -> int:
        """How many CPUs it may run on at the same time."""
        return self._surface.world.cpus.count

    @property
    def is_machine_code(self) -> bool:
        """Whether it runs as machine code."""
        return self._compile is not None

    @property
    def shared_state(self) -> tuple[str, ...]:
        """Where the order of packets shows, in words; empty where it does not matter."""
        machine = self.machine
        return ("a program that is interpreted",) if machine is None else machine.shared

    def on_records(
        self, records: RecordFormat, *, cpu: int | None = None, drop_refused: bool = False
    ) -> RecordRunner | None:
        """What runs the program on the records of a capture in machine code; None where it is interpreted, or its runs need Python."""
        if not self._drivable:
            return None
        from bpfcrypto.embedded.jit.records import MachineRecordRunner

        return MachineRecordRunner(self._driver or self._make_driver(), records, cpu, drop_refused=drop_refused)

    def _make_driver(self) -> Driver:
        from bpfcrypto.embedded.jit.driver import Driver

        machine = self.machine
        assert machine is not None
        with self._compiling:
            if self._driver is None:
                self._driver = Driver(machine, self._surface, self._run_on)
            return self._driver

    def _run_on(self, data: bytes, cpu: int) -> RunResult:
        return self._run_by_hand(data, b"", 1, cpu, RunFlag.NONE)

    def _run_by_hand(
        self, data: bytes, ctx: bytes | bytearray, repeat: int, cpu: int | None, flags: RunFlag
    ) -> RunResult:
        """Every run that needs more than machine code."""
        with self._surface.world.cpus.hold(cpu, user=self._surface) as held:
            if self._surface.closed:
                raise refuse(EBADF, f"program '{self.name}': its collection is closed")
            check_flags(self.type, flags)
            check_attach_type(self.spec)
            surface = self._surface
            shared = surface.world.memory
            memory = Memory(shared) if self.machine is None else MachineMemory(shared)
            state = RunState(
                memory, self.spec, held, trace=surface.trace, interfaces=surface.interfaces, user=surface.user
            )
            try:
                return self._runner(self, state, data, ctx, repeat, flags)
            finally:
                if state.lock is not None:
                    state.lock.release(state)
                release_all(state)

    def _run_skb(self, state: RunState, data: bytes, ctx: bytes | bytearray, repeat: int, flags: RunFlag) -> RunResult:
        skb = make_skb(state.memory, data, ctx, self._surface.interfaces, linear=self._surface.skb_linear)
        if flags & RunFlag.CHECKSUM_COMPLETE:
            skb.checksum.complete(skb.to_bytes()[skb.network_offset :])
        state.packet = skb
        retval, duration = self._repeat(state, skb.handle, repeat)
        if flags & RunFlag.CHECKSUM_COMPLETE:
            check_sum(skb)
        return RunResult(retval, skb.to_bytes(), skb_ctx(skb, ctx), duration, tuple(state.effects))

    def _run_xdp(self, state: RunState, data: bytes, ctx: bytes | bytearray, repeat: int, _flags: RunFlag) -> RunResult:
        frame = make_xdp(state.memory, data, ctx, self._surface.interfaces)
        state.packet = frame
        retval, duration = self._repeat(state, frame.handle, repeat)
        return RunResult(retval, frame.to_bytes(), xdp_ctx(frame, ctx), duration, tuple(state.effects))

    def _run_syscall(
        self, state: RunState, data: bytes, ctx: bytes | bytearray, repeat: int, _flags: RunFlag
    ) -> RunResult:
        check_syscall(data, ctx, repeat, self._ctx_size)
        buffer = ctx if isinstance(ctx, bytearray) else bytearray(ctx)
        region = None
        if buffer:
            storage = (ctypes.c_char * len(buffer)).from_buffer(buffer)
            region = state.memory.map(Region(storage, name="syscall ctx"))
        retval, _ = self._repeat(state, region.base if region is not None else 0, 1)
        after = b"" if buffer is ctx else bytes(buffer)
        return RunResult(retval, ctx=after, effects=tuple(state.effects))

    def _repeat(self, state: RunState, ctx_address: int, repeat: int) -> tuple[int, int]:
        """The last run's retval and the average nanoseconds of all."""
        rounds = max(repeat, 1)
        retval = 0
        code = self.machine or self.interpreter
        start = time.perf_counter_ns()
        for _ in range(rounds):
            with self._surface.world.rcu.reading():
                retval = code.run(state, ctx_address)
            end_round(state, retval)
        return retval & 0xFFFFFFFF, (time.perf_counter_ns() - start) // rounds


def is_drivable(spec: ProgramSpec, surface: Surface) -> bool:
    """Whether machine code can drive the runs of a program that have no context: it makes skbs that are linear, from the loopback device."""
    if spec.type not in LAYOUTS or spec.attach_type in ELEMENTS:
        return False
    return spec.type is ProgType.XDP or (surface.skb_linear is None and LOOPBACK in surface.interfaces)


_Runner = Callable[[EmbeddedProgram, RunState, bytes, bytes | bytearray, int, RunFlag], RunResult]

_RUNNERS: dict[ProgType, _Runner] = {
    ProgType.SCHED_CLS: EmbeddedProgram._run_skb,
    ProgType.SCHED_ACT: EmbeddedProgram._run_skb,
    ProgType.XDP: EmbeddedProgram._run_xdp,
    ProgType.SYSCALL: EmbeddedProgram._run_syscall,
}

PROG_TYPES = frozenset(_RUNNERS)
