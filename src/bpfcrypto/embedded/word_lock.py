"""Locks that Python and machine code share: a word in memory, 0 where nobody holds it.

Among themselves Python's threads take a lock of Python's first, so that at most one of them is after the word. Against machine code, which
does not stop for the interpreter's lock, the word has to be compared and exchanged in one step. Only machine code can do that: it says
how once it is in the process (:func:`meet_machine_code`). Until then nobody else looks at the word, and a plain store will do.

Whoever holds a map's word in machine code needs nothing of Python's before it is given back. The holder of a program's spin lock may:
so waiting here lets other threads run.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

Word = Callable[[int], object]
"""Does something with the word at an address."""

_FIRST_PAUSE = 1e-6
_LONGEST_PAUSE = 5e-4


def _take_alone(address: int) -> bool:
    word = ctypes.c_uint32.from_address(address)
    taken = not word.value
    word.value = 1
    return taken


def _give_alone(address: int) -> None:
    ctypes.c_uint32.from_address(address).value = 0


class _Words:
    """How words are taken and given in this process."""

    try_take: Word = staticmethod(_take_alone)
    give: Word = staticmethod(_give_alone)
    order: Callable[[], object] | None = None


def meet_machine_code(try_take: Word, give: Word, order: Callable[[], object] | None) -> None:
    """Use the operations of machine code from now on.

    Args:
        try_take: 0 to 1 in one step; whether it was 0.
        give: store 0, after all that was stored before.
        order: make what was stored before visible before what is stored afterwards; None where the processor does so anyway.
    """
    _Words.give = staticmethod(give)
    _Words.order = None if order is None else staticmethod(order)
    _Words.try_take = staticmethod(try_take)


def order_stores() -> None:
    """What was stored before becomes visible to machine code before what is stored afterwards."""
    if _Words.order is not None:
        _Words.order()


def take_word(address: int) -> None:
    """Wait for the word at an address and take it. The caller keeps other threads of Python off."""
    pause = _FIRST_PAUSE
    while not _Words.try_take(address):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def give_word(address: int) -> None:
    """Give the word back."""
    _Words.give(address)


class WordLock:
    """A lock of a map against threads of Python, which may take it again, and against machine code.

    Args:
        address: of the word.
    """

    __slots__ = ("_address", "_depth", "_threads")

    def __init__(self, address: int) -> None:
        self._address = address
        self._threads = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        if not self._depth and not _Words.try_take(self._address):
            take_word(self._address)
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            _Words.give(self._address)
        self._threads.release()
