"""Which programs may be elements of a map, or use it to reach one another (__bpf_prog_map_compatible in kernel/bpf/core.c).

The first program that is stored in such a map, or loaded with a reference to it, decides: all others must be like it in type and in
whether they take fragments; in a program array also in the expected attach type. That holds for good, also when it has gone.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfcrypto.abi.progs import ProgFlag, ProgType

if TYPE_CHECKING:
    from bpfcrypto.spec import ProgramSpec


@dataclass(frozen=True, slots=True)
class Likeness:
    """In what the programs of a map must agree; ``attach_type`` is 0 where it does not matter."""

    type: ProgType
    frags: bool
    attach_type: int

    def __str__(self) -> str:
        attach = f" with attach type {self.attach_type}" if self.attach_type else ""
        return f"{self.type.name}{' with fragments' if self.frags else ''}{attach}"


class Owner:
    """The kind of program that a map belongs to.

    Args:
        attach_type: whether the expected attach type counts.
    """

    def __init__(self, *, attach_type: bool) -> None:
        self._attach_type = attach_type
        self._lock = threading.Lock()
        self.likeness: Likeness | None = None

    def admits(self, program: ProgramSpec) -> bool:
        """Whether a program fits; the first one does, and decides."""
        attach = (program.attach_type or 0) if self._attach_type else 0
        given = Likeness(program.type, bool(program.flags & ProgFlag.XDP_HAS_FRAGS), int(attach))
        with self._lock:
            if self.likeness is None:
                self.likeness = given
        return self.likeness == given
