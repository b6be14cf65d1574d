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

from bpfcrypto.abi.progs import ProgType, RunFlag
from bpfcrypto.embedded.jit.memory import MachineMemory
from bpfcrypto.embedded.jit.runs import Runs
from bpfcrypto.embedded.memory import Memory, Region
from bpfcrypto.embedded.outcome import end_round
from bpfcrypto.embedded.resilient import release_all
from bpfcrypto.embedded.state import RunState
from bpfcrypto.embedded.testrun import (
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

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine_world import World
    from bpfcrypto.embedded.interp import Interpreter
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.testrun import Interfaces
    from bpfcrypto.spec import ProgramSpec

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


_Runner = Callable[[EmbeddedProgram, RunState, bytes, bytes | bytearray, int, RunFlag], RunResult]

_RUNNERS: dict[ProgType, _Runner] = {
    ProgType.SCHED_CLS: EmbeddedProgram._run_skb,
    ProgType.SCHED_ACT: EmbeddedProgram._run_skb,
    ProgType.XDP: EmbeddedProgram._run_xdp,
    ProgType.SYSCALL: EmbeddedProgram._run_syscall,
}

PROG_TYPES = frozenset(_RUNNERS)
