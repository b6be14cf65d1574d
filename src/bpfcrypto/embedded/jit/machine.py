"""A program as machine code: linked, with its way back into Python, and runnable like an interpreter.

Compiled code holds no lock of Python while it runs; helpers that are not machine code take it for as long as they last. What they raise
cannot pass through compiled frames: it is kept, the record asks for the end of the run, and it is raised when the frames are gone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.interp import TailCall, Thrown
from bpfcrypto.embedded.jit.compile import Unit
from bpfcrypto.embedded.jit.links import SYMBOL, Link
from bpfcrypto.embedded.jit.memory import MachineMemory
from bpfcrypto.embedded.jit.names import MAIN, REQUESTS_FROM, symbol
from bpfcrypto.embedded.jit.runs import Running, Runs
from bpfcrypto.embedded.memory import MASK64, AccessFault
from bpfcrypto.embedded.state import signed

if TYPE_CHECKING:
    from bpfcrypto.embedded.interp import Interpreter
    from bpfcrypto.embedded.jit.build import Built
    from bpfcrypto.embedded.state import Native, RunState

_WORD = ctypes.c_uint64
_FUNCTION = ctypes.CFUNCTYPE(_WORD, *[_WORD] * 6)
_MAIN = ctypes.CFUNCTYPE(_WORD, _WORD, _WORD)
_PYTHON = ctypes.CFUNCTYPE(_WORD, *[_WORD] * 7)


class _Unwinding(Exception):
    """Raised by a callback into compiled code that came back because the run is to end."""


def _load(run: RunState, address: int, size: int, *_: int) -> int:
    """A load from an object of the kernel."""
    return run.memory.load(address, size)


def _store(run: RunState, address: int, size: int, value: int, *_: int) -> int:
    """A store to an object that may not be there."""
    run.memory.store(address, size, value)
    return 0


def _packet(run: RunState, context: int, offset: int, size: int, *_: int) -> int:
    """A packet load in network byte order; negative where the packet has no such bytes."""
    packet = run.packet
    if packet is None or context != packet.handle:
        raise AccessFault("a packet load needs the context in r6")
    at = signed(offset, 32)
    if at < 0:
        raise AccessFault(f"packet loads at special offsets ({at}) are not supported by the embedded engine")
    data = packet.load(at, size)
    return MASK64 if data is None else int.from_bytes(data, "big")


def _null(_run: RunState, *_: int) -> int:
    """A call gave NULL where the verifier's rules say that it cannot, as they do of a count that has just reached 0."""
    raise AccessFault(
        "this call gave NULL, which the verifier takes for impossible: the kernel would go on with it and fault"
    )


REQUESTS: Mapping[str, Native] = {"load": _load, "store": _store, "packet": _packet, "null": _null}
"""What compiled code asks of Python besides helpers and kfuncs."""


class MachineCode:
    """The compiled form of an interpreter's program.

    Attributes:
        interpreter: the same program to interpret.
        main: address of the function that a run begins with.
        entry: address of the program itself, which tail calls go to.
        runs: the collection's runs.
        shared: where the order of its packets shows, in words.

    Args:
        interpreter: the program.
        built: its code.
        natives: slot of a helper or kfunc call -> the function that runs it.
        runs: the collection's runs.
        resolve: the address behind an entry of the code's table.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        built: Built,
        natives: Mapping[int, Native],
        runs: Runs,
        resolve: Callable[[Link], int],
    ) -> None:
        self.interpreter = interpreter
        self.shared = built.shared
        self._natives = {**natives, **{slot: REQUESTS[name] for slot, name in built.requests.items()}}
        self.runs = runs
        self._unit = Unit(built.image, (SYMBOL, MAIN, *map(symbol, built.exports)))
        self._functions = {slot: _FUNCTION(self._unit.address(symbol(slot))) for slot in built.exports}
        self.entry = self._unit.address(symbol(0))
        self.main = self._unit.address(MAIN)
        self._main = _MAIN(self.main)
        self._python = _PYTHON(self._from_code)
        table = (_WORD * max(len(built.links), 1)).from_address(self._unit.address(SYMBOL))
        for number, link in enumerate(built.links):
            table[number] = self._address(link, resolve)

    def _address(self, link: Link, resolve: Callable[[Link], int]) -> int:
        if link.kind == "python":
            return ctypes.cast(self._python, ctypes.c_void_p).value or 0
        return resolve(link)

    def run(self, state: RunState, context: int) -> int:
        """Run the program once; as :meth:`Interpreter.run`."""
        running = self.runs.start(state.cpu, state)
        address = running.address
        state.tail_calls = 0
        assert isinstance(state.memory, MachineMemory)
        state.memory.record = running.record
        try:
            retval: int = self._main(address, context)
            return retval if running.pending is None else self.end(running, address)
        finally:
            self.runs.end(running)

    def end(self, running: Running, address: int) -> int:
        """The run was ended from Python: by an exception of the program's, which gives its result, or by one of ours."""
        assert running.pending is not None
        raised, code = running.pending
        if not isinstance(raised, Thrown):
            raise raised
        callback = code.interpreter.exception_callback
        if callback is None:
            return raised.cookie
        running.record.unwind, running.pending = 0, None
        retval: int = code._functions[callback](address, raised.cookie, 0, 0, 0, 0)
        return retval if running.pending is None else self.end(running, address)

    def _from_code(self, address: int, slot: int, *arguments: int) -> int:
        """Run a helper in Python for compiled code."""
        running = self.runs.by_address[address]
        state = running.seen()

        def call(callback: int, *given: int) -> int:
            function = self._functions.get(callback)
            if function is None:
                raise AccessFault(f"{callback:#x} is not the address of a subprogram")
            result: int = function(address, *(*given, 0, 0, 0, 0, 0)[:5])
            if running.record.unwind:
                raise _Unwinding
            return result

        state.call = call
        try:
            return self._natives[slot](state, *arguments) & MASK64
        except TailCall as jump:
            running.record.jump = jump.program.machine_entry()
            return 0
        except _Unwinding:
            return 0
        except AccessFault as fault:
            running.pending = self.interpreter.trap(str(fault), slot % REQUESTS_FROM), self
        except BaseException as raised:  # it may not pass through compiled code
            running.pending = raised, self
        running.record.unwind = 1
        return 0
