"""What helpers and kfuncs see of the run that calls them.

A helper is a function ``(run, r1, r2, r3, r4, r5) -> r0`` on unsigned 64-bit integers; so is a kfunc. Errors that the kernel
reports to the program are negative errnos masked to 64 bits; what no verified program can do is an AccessFault.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import MASK64, Memory
from bpfcrypto.embedded.usermem import UserMemory

if TYPE_CHECKING:
    from bpfcrypto.embedded.kernel_object import KernelObject
    from bpfcrypto.embedded.packet import Packet
    from bpfcrypto.embedded.spinlock import SpinLock
    from bpfcrypto.engine import Effect, Redirect
    from bpfcrypto.spec import ProgramSpec

Native = Callable[["RunState", int, int, int, int, int], int]
"""A helper or kfunc as the interpreter calls it."""


@dataclass(slots=True)
class RunState:
    """One run of one program.

    Attributes:
        memory: the run's address space, on top of its collection's.
        program: what runs.
        cpu: the CPU that the run pretends to be on.
        packet: the skb or xdp frame, None for syscall programs.
        call: runs the subprogram at an instruction index with up to five arguments and returns its r0 (for callbacks).
        trace: takes a line of bpf_trace_printk.
        interfaces: indices of the network interfaces that exist.
        tail_calls: how many this repetition has made.
        redirect: where the packet goes if the program returns the verdict REDIRECT.
        effects: what the run has done to the world outside.
        lock: the spin lock that it holds.
        kernel_ctx: the kernel's object behind the context, once the program has asked for it.
        resilient: the resilient locks that it holds, the last one at the end.
        awaited: the resilient lock that it waits for.
        user: the memory of the process, for bpf_copy_from_user.
    """

    memory: Memory
    program: ProgramSpec
    cpu: int = 0
    packet: Packet | None = None
    call: Callable[..., int] = field(default=lambda *_: 0)
    trace: Callable[[str], None] = field(default=lambda _line: None)
    interfaces: Container[int] = frozenset({1})
    tail_calls: int = 0
    redirect: Redirect | None = None
    effects: list[Effect] = field(default_factory=list)
    lock: SpinLock | None = None
    kernel_ctx: KernelObject | None = None
    resilient: list[SpinLock] = field(default_factory=list)
    awaited: SpinLock | None = None
    user: UserMemory = field(default_factory=UserMemory)


def signed(value: int, bits: int = 64) -> int:
    """The two's-complement value of the low ``bits`` bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def error(errno: int) -> int:
    """A negative errno as a BPF register holds it."""
    return -errno & MASK64
