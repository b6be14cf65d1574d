"""The place where packets take turns when machine code drives a program: one record and one buffer for each CPU, made once.

Machine code puts a packet there, calls the program and takes the result out (runtime/driver.h). A helper in Python works on an skb or
xdp frame; that object is made over the same bytes when the first helper of a run is called, and goes when the run ends. What it
replaces (a buffer that has to grow) it replaces in the record, and the next packet begins with the place's own buffer again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import LAYOUTS, SK_BUFF, XDP_MD, CtxLayout
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.abi.verdicts import goes_on
from bpfcrypto.embedded.jit.memory import MachineMemory
from bpfcrypto.embedded.jit.native_call import runner
from bpfcrypto.embedded.outcome import end_round
from bpfcrypto.embedded.packet import CACHE_LINE, PAGE_SIZE, align
from bpfcrypto.embedded.packet_record import BUFFER, DATA, END, ROOM, START, Place, Record
from bpfcrypto.embedded.packet_skb import HEADROOM as SKB_HEADROOM
from bpfcrypto.embedded.packet_skb import MAX_SIZE, SkBuff, begin
from bpfcrypto.embedded.packet_xdp import HEADROOM as XDP_HEADROOM
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.resilient import release_all
from bpfcrypto.embedded.state import RunState
from bpfcrypto.embedded.testrun import LOOPBACK
from bpfcrypto.errors import SyscallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.engine_program import Surface
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.engine import Effect, RunResult

_WORDS = (
    "xdp", "entry", "context", "fresh", "buffer", "finish", "whole", "touched", "stopped", "left", "number", "retval", "out", "out_size",
    "duration", "forwards", "others",
)  # fmt: skip
TOUCHED, STOPPED, LEFT, NUMBER, RETVAL, OUT, OUT_SIZE, DURATION = (
    _WORDS.index(name) for name in ("touched", "stopped", "left", "number", "retval", "out", "out_size", "duration")
)
"""Numbers of the words of struct arena."""

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_U32 = 0xFFFFFFFF
_SOCKET_BYTES = 8
_COMMON = 64  # verdicts from here on are all alike
_BUFFERS: Mapping[CtxLayout, tuple[int, int]] = {
    SK_BUFF: (SKB_HEADROOM, SKB_HEADROOM + align(MAX_SIZE, CACHE_LINE)),
    XDP_MD: (XDP_HEADROOM, PAGE_SIZE),
}
"""Headroom and bytes of the buffer. An skb may grow there to all that it may become."""


class Arena:
    """One CPU's place for the packets of one program.

    Args:
        code: the program.
        surface: what it runs on.
        cpu: the CPU.
        run_whole: runs a packet on the ordinary path, where it does not fit here.

    Attributes:
        running: its run, over all packets.
        address: of struct arena.
        words: struct arena.
        buffer, buffer_address: what packets lie in.
        token: the run as a reader of RCU.
        result: the packet after a run that Python took part in.
        effects: what that run has done.
        all_effects: the same by the packet's number, for all runs since it was emptied, where there were any.
        raised: what has stopped the work.
        run: runs the program on a packet so many times.
    """

    def __init__(
        self, code: MachineCode, surface: Surface, cpu: int, run_whole: Callable[[bytes, int], RunResult]
    ) -> None:
        self._code = code
        self._surface = surface
        self._run_whole = run_whole
        self._cpu = cpu
        spec = code.interpreter.spec
        layout = LAYOUTS[spec.type]
        headroom, size = _BUFFERS[layout]
        storage = ctypes.create_string_buffer(size)
        self._place = Place(Record(layout), storage, ctypes.create_string_buffer(_SOCKET_BYTES))
        self._fresh = _fresh(layout, self._place, headroom)
        self.buffer = memoryview(storage).cast("B")
        self.buffer_address = ctypes.addressof(storage)
        self.running = surface.runs.start(cpu, begin=self._begin)
        self._struct = (ctypes.c_uint64 * len(_WORDS))()
        self.address = ctypes.addressof(self._struct)
        self.words = memoryview(self._struct).cast("B").cast("Q")
        self._callbacks = CALLBACK(self._finish), CALLBACK(self._whole)
        finish, whole = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in self._callbacks)
        place = self._place.record
        known = {
            "xdp": spec.type is ProgType.XDP,
            "entry": code.main,
            "context": ctypes.addressof(place.storage) + place.offset,
            "fresh": ctypes.addressof(self._fresh.storage) + self._fresh.offset,
            "buffer": self.buffer_address,
            "finish": finish,
            "whole": whole,
            "forwards": sum(1 << verdict for verdict in range(_COMMON) if goes_on(spec.type, verdict)),
            "others": goes_on(spec.type, _U32),
        }
        for name, value in known.items():
            self.words[_WORDS.index(name)] = value
        self.token = 0
        self.result = b""
        self.effects: tuple[Effect, ...] = ()
        self.all_effects: dict[int, tuple[Effect, ...]] = {}
        self.raised: BaseException | None = None
        self.run = runner(self)

    @property
    def record_address(self) -> int:
        """Address of the run's record."""
        return self.running.address

    def raise_pending(self) -> None:
        """Raise what has stopped the work, if anything has."""
        raised, self.raised = self.raised, None
        self.words[STOPPED] = 0
        if raised is not None:
            raise raised

    def _begin(self) -> RunState:
        """The first helper of a run is called."""
        surface = self._surface
        memory = MachineMemory(surface.world.memory)
        memory.record = self.running.record
        spec = self._code.interpreter.spec
        state = RunState(memory, spec, self._cpu, trace=surface.trace, interfaces=surface.interfaces, user=surface.user)
        state.packet = (XdpFrame if spec.type is ProgType.XDP else SkBuff)(memory, self._place)
        self.words[TOUCHED] = 1
        return state

    def _finish(self, _record: int, _arena: int) -> int:
        """A run, or one repetition of it, that Python took part in has ended."""
        running, words = self.running, self.words
        state = running.seen()
        last = not words[LEFT]
        try:
            if running.pending is not None:
                words[RETVAL] = self._code.end(running, self.running.address) & _U32
            end_round(state, words[RETVAL])
            before, self.token = self.token, self._surface.world.rcu.enter()
            self._surface.world.rcu.leave(before)  # what this run has freed may go
            state.tail_calls = 0
            if last:
                assert state.packet is not None
                self._keep(state.packet.to_bytes(), tuple(state.effects))
        except BaseException as raised:  # it may not pass through compiled code
            self.raised, last = raised, True
            words[STOPPED] = 1
        if last:
            if state.lock is not None:
                state.lock.release(state)
            release_all(state)
            running.state = None
        running.pending = None
        running.record.unwind = 0
        return 0

    def _keep(self, data: bytes, effects: tuple[Effect, ...]) -> None:
        words = self.words
        self.result, self.effects = data, effects
        words[OUT], words[OUT_SIZE] = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data)
        if effects:
            self.all_effects[words[NUMBER]] = effects

    def _whole(self, _record: int, _arena: int) -> int:
        """A packet that is no place for here; 0, or the errno that its test run is refused with."""
        words = self.words
        try:
            result = self._run_whole(ctypes.string_at(words[OUT], words[OUT_SIZE]), self._cpu)
        except SyscallError as error:
            return error.errno or 0
        except BaseException as raised:  # it may not pass through compiled code
            self.raised = raised
            words[STOPPED] = 1
            return 0
        words[RETVAL] = result.retval
        self._keep(result.data, result.effects)
        return 0


def _fresh(layout: CtxLayout, place: Place, headroom: int) -> Record:
    """The record as each packet begins with it: all but what depends on the packet's bytes."""
    fresh = Record(layout)
    buffer = ctypes.addressof(place.storage)
    fresh.words[START] = fresh.words[END] = buffer + headroom
    fresh.words[BUFFER] = buffer
    if layout is XDP_MD:
        fresh.words[DATA] = buffer + headroom
        fresh.put(XDP_MD.field("ingress_ifindex"), LOOPBACK)
    else:
        fresh.words[ROOM] = buffer + ctypes.sizeof(place.storage)
        begin(fresh.words)
        fresh.put(SK_BUFF.field("ifindex"), LOOPBACK)
        fresh.put(SK_BUFF.field("sk"), ctypes.addressof(place.socket))
    return fresh
