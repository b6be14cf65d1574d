"""The bytes that machine code and Python share about a run (the first argument of every compiled function).

CPU, stack, the spin lock that is held, and how code in Python talks back: by asking for an end of the run (UNWIND), or by naming the code to
go on with (JUMP).
"""

from __future__ import annotations

import ctypes


class RunRecord(ctypes.Structure):
    """One run.

    Attributes:
        cpu: the CPU that it is on.
        unwind: not 0 where every function has to return at once.
        jump: address of the code that a tail call leads to, 0 where it led nowhere.
        stack: address above all of the program's stack.
        lock: address of the spin lock that it holds, 0 where it holds none.
        random: address of the state that its CPU's random numbers come from.
    """

    _fields_ = (
        ("cpu", ctypes.c_uint32),
        ("unwind", ctypes.c_uint32),
        ("jump", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("lock", ctypes.c_uint64),
        ("random", ctypes.c_uint64),
    )

    cpu: int
    unwind: int
    jump: int
    stack: int
    lock: int
    random: int


CPU = RunRecord.cpu.offset  # type: ignore[attr-defined]
UNWIND = RunRecord.unwind.offset  # type: ignore[attr-defined]
JUMP = RunRecord.jump.offset  # type: ignore[attr-defined]
STACK = RunRecord.stack.offset  # type: ignore[attr-defined]
