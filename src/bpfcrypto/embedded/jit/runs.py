"""The runs of a collection that are in progress on machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.state import RunState


class Running:
    """A run on compiled code.

    Args:
        cpu: where it is.
        state: what helpers see of it; None until the first of them is called.
        begin: makes that.

    Attributes:
        record: what compiled code sees of it.
        pending: what a helper raised, and the code that had called it.
    """

    __slots__ = ("begin", "pending", "record", "state")

    def __init__(self, cpu: int, state: RunState | None, begin: Callable[[], RunState] | None = None) -> None:
        self.state = state
        self.begin = begin
        self.record = RunRecord(cpu=cpu)
        self.pending: tuple[BaseException, MachineCode] | None = None

    def seen(self) -> RunState:
        """What helpers see of it."""
        if self.state is None:
            assert self.begin is not None
            self.state = self.begin()
        return self.state


class Runs:
    """The runs of one collection that are in progress, by the address of their record."""

    def __init__(self) -> None:
        self.by_address: dict[int, Running] = {}
