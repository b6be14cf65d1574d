"""The runs of a collection that are in progress on machine code."""

from __future__ import annotations

import ctypes
import secrets
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit.record import RunRecord
from bpfcrypto.embedded.word_lock import give_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.state import RunState


class Running:
    """A run on compiled code.

    Args:
        cpu: where it is.
        random: address of the CPU's state for random numbers.
        state: what helpers see of it; None until the first of them is called.
        begin: makes that.

    Attributes:
        record: what compiled code sees of it.
        address: of the record.
        pending: what a helper raised, and the code that had called it.
    """

    __slots__ = ("address", "begin", "pending", "record", "state")

    def __init__(self, cpu: int, random: int, state: RunState | None, begin: Callable[[], RunState] | None) -> None:
        self.state = state
        self.begin = begin
        self.record = RunRecord(cpu=cpu, random=random)
        self.address = ctypes.addressof(self.record)
        self.pending: tuple[BaseException, MachineCode] | None = None

    def seen(self) -> RunState:
        """What helpers see of it."""
        if self.state is None:
            assert self.begin is not None
            self.state = self.begin()
        elif self.state.packet is not None:
            self.state.packet.follow()
        return self.state


class Runs:
    """The runs of one collection that are in progress, by the address of their record.

    Every CPU has a state of its own for random numbers. It begins with bits of the system's, and no two runs are on one CPU at a time.
    """

    def __init__(self) -> None:
        self.by_address: dict[int, Running] = {}
        self._random: dict[int, ctypes.c_uint64] = {}

    def start(self, cpu: int, state: RunState | None = None, *, begin: Callable[[], RunState] | None = None) -> Running:
        """A run that is about to begin.

        Args:
            cpu: where.
            state: what helpers see of it; None to have it made by ``begin`` when the first of them is called.
            begin: see above.
        """
        random = self._random.get(cpu)
        if random is None:
            random = self._random[cpu] = ctypes.c_uint64(secrets.randbits(64))
        running = Running(cpu, ctypes.addressof(random), state, begin)
        self.by_address[running.address] = running
        return running

    def end(self, running: Running) -> None:
        """The run is over. A spin lock that it left behind, because Python ended it, is given back."""
        del self.by_address[running.address]
        if running.record.lock:
            give_word(running.record.lock)
