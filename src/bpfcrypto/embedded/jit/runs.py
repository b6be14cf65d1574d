"""The runs of a collection that are in progress on machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit.record import RunRecord

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.state import RunState


class Running:
    """A run on compiled code.

    Attributes:
        state: what helpers see of it.
        record: what compiled code sees of it.
        pending: what a helper raised, and the code that had called it.
    """

    __slots__ = ("pending", "record", "state")

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.record = RunRecord(cpu=state.cpu)
        self.pending: tuple[BaseException, MachineCode] | None = None


class Runs:
    """The runs of one collection that are in progress, by the address of their record."""

    def __init__(self) -> None:
        self.by_address: dict[int, Running] = {}
