"""Memory as helpers in Python see it while machine code runs: the collection's regions, what it keeps for machine code
alone, and the stack of compiled functions.

Compiled functions keep a program's stack on the thread's own, wherever that is. Its record says where it begins; the part below that
compiled frames can take up counts as the program's.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault, Memory, Region

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.record import RunRecord

DEPTH = 1 << 16
"""Bytes of stack that compiled frames may take: eight frames for each of 33 tail calls stay far below."""


class MachineMemory(Memory):
    """An address space with the stack of the compiled functions that run in it.

    Attributes:
        record: the run's record; None before it starts.
    """

    def __init__(self, parent: Memory) -> None:
        super().__init__(parent)
        self._shared = parent
        self.record: RunRecord | None = None
        self._stack: Region | None = None

    def find(self, address: int, size: int = 1) -> Region:
        """The region that holds the bytes; AccessFault where there is none."""
        try:
            return super().find(address, size)
        except AccessFault:
            for region in self._shared.machine_regions:
                if region.holds(address, size):
                    return region
            if self.record is None or not 0 < self.record.stack - address <= DEPTH:
                raise
        if self._stack is None:
            low = self.record.stack - DEPTH
            self._stack = Region((ctypes.c_char * DEPTH).from_address(low), name="stack")
        return self._stack
