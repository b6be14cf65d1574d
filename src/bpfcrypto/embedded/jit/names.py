"""What a compiled module is known by from outside: the names of its functions, and the numbers that it calls Python with."""

from __future__ import annotations

MAIN = "main"
"""The name of the function that a run begins with."""

REQUESTS_FROM = 1 << 20
"""Numbers from here on are requests of compiled code, those below are slots of calls."""


def symbol(slot: int, program: str = "") -> str:
    """The name of the function at a slot; in a module of several programs, their names come first."""
    return f"{program}.f{slot}" if program else f"f{slot}"
