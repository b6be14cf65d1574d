"""How often machine code goes back into Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.runs import Running


class _Counted(dict[int, "Running"]):
    """The runs in progress, which every call from machine code begins by looking into."""

    calls = 0

    def __getitem__(self, address: int) -> Running:
        self.calls += 1
        return super().__getitem__(address)


class Calls:
    """What was counted.

    Attributes:
        number: calls of Python by machine code.
    """

    number = 0


@contextmanager
def calls_into_python(program: Any) -> Iterator[Calls]:
    """Count the calls that machine code of the program's collection makes into Python; known at the end."""
    runs = program.machine.runs
    before, runs.by_address = runs.by_address, _Counted(runs.by_address)
    calls = Calls()
    try:
        yield calls
    finally:
        calls.number = runs.by_address.calls
        before.clear()
        before.update(runs.by_address)
        runs.by_address = before
