"""Many packets in one call: how they are given, and what came of them (``Program.run_many``)."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from errno import E2BIG, EINVAL, ENOMEM
from typing import TYPE_CHECKING, TypeAlias, overload

from bpfcrypto.errors import SyscallError

if TYPE_CHECKING:
    from bpfcrypto.engine import Effect, Program

Bytes: TypeAlias = "bytes | bytearray | memoryview"

REFUSED_PACKET = frozenset({EINVAL, ENOMEM, E2BIG})
"""What BPF_PROG_TEST_RUN answers to packets of a size that it does not take."""


class PacketBuffer:
    """Packets that lie behind one another in memory.

    Args:
        packets: bytes-like objects; or one object with a buffer of two dimensions, such as a numpy array of uint8, each row a packet.

    Attributes:
        total: bytes of all of them.
        longest: bytes of the longest.
        size: bytes of each, where all have as many, and ``sizes_address`` is 0.
        address: where they are.
        sizes_address: where the sizes are, 32 bits each.

    Raises:
        TypeError: it is neither.
    """

    def __init__(self, packets: Iterable[Bytes] | object) -> None:
        self.size, self.sizes_address = 0, 0
        self._sizes = array("I")
        rows = _rows(packets)
        if rows is not None:
            self._count, self.size = rows.shape or (0, 0)
            self._view = rows.cast("B", (rows.nbytes,)) if rows.nbytes else memoryview(b"")
            self.longest = self.size
        else:
            if isinstance(packets, (bytes, bytearray, str)) or not isinstance(packets, Iterable):
                raise TypeError(f"run_many takes a sequence of packets, not {type(packets).__name__}")
            each = packets if isinstance(packets, (list, tuple)) else list(packets)
            self._view = memoryview(b"".join(each))
            self._count = len(each)
            self._sizes = array("I", map(len, each))
            if sum(self._sizes) != len(self._view):  # items of more than one byte
                self._sizes = array("I", (memoryview(packet).nbytes for packet in each))
            self.sizes_address = self._sizes.buffer_info()[0]
            self.longest = max(self._sizes, default=0)
        self.total = len(self._view)
        self.address, self._kept = _address(self._view)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for size in self._sizes or [self.size] * self._count:
            yield bytes(self._view[at : at + size])
            at += size


def _rows(packets: object) -> memoryview | None:
    """The buffer of an object that has one of two dimensions."""
    try:
        view = memoryview(packets)  # type: ignore[arg-type]
    except TypeError:
        return None
    if view.ndim != 2:
        return None
    if view.itemsize != 1 or not view.c_contiguous:
        raise TypeError("run_many takes a buffer of two dimensions only if it is contiguous and its items are bytes")
    return view


def _address(view: memoryview) -> tuple[int, object]:
    """Where bytes are, and what keeps them there. Those that cannot be written are copied."""
    if view.readonly:
        data = view.obj if isinstance(view.obj, bytes) and len(view.obj) == len(view) else bytes(view)
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, data
    place = (ctypes.c_char * len(view)).from_buffer(view)
    return ctypes.addressof(place), place


class Packets(Sequence[memoryview]):
    """The packets that came out; each is a view of one buffer, made when it is asked for."""

    __slots__ = ("_data", "_lengths", "_offsets")

    def __init__(self, data: memoryview, offsets: Sequence[int], lengths: Sequence[int]) -> None:
        self._data = data
        self._offsets = offsets
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, index: int) -> memoryview: ...

    @overload
    def __getitem__(self, index: slice) -> Packets: ...

    def __getitem__(self, index: int | slice) -> memoryview | Packets:
        if isinstance(index, slice):
            return Packets(self._data, self._offsets[index], self._lengths[index])
        at = self._offsets[index]
        return self._data[at : at + self._lengths[index]]


class RunResults:
    """What the runs of a program on many packets gave, by the packet's number.

    Attributes:
        retvals: r0 of each run as an unsigned 32-bit integer; 0 where there was none.
        lengths: bytes of each packet after its run; 0 where there was none.
        errnos: 0, or the errno that BPF_PROG_TEST_RUN refuses the packet with: such a packet was not run.
        packets: the packets after their runs.
        duration_ns: nanoseconds that all runs took together, with what they need around them.
        effects: what runs have done to the world outside, of those that have done anything.
    """

    __slots__ = ("duration_ns", "effects", "errnos", "lengths", "packets", "retvals")

    def __init__(
        self,
        retvals: Sequence[int],
        lengths: Sequence[int],
        errnos: Sequence[int],
        packets: Packets,
        duration_ns: int = 0,
        effects: Mapping[int, tuple[Effect, ...]] | None = None,
    ) -> None:
        self.retvals = retvals
        self.lengths = lengths
        self.errnos = errnos
        self.packets = packets
        self.duration_ns = duration_ns
        self.effects: Mapping[int, tuple[Effect, ...]] = effects or {}

    def __len__(self) -> int:
        return len(self.retvals)

    def __repr__(self) -> str:
        return f"<RunResults of {len(self)} packets in {self.duration_ns} ns>"


def run_each(program: Program, packets: PacketBuffer, *, cpu: int | None = None) -> RunResults:
    """Run a program on packets by one call for each."""
    retvals, lengths, errnos, offsets = array("I"), array("I"), array("I"), array("Q")
    effects: dict[int, tuple[Effect, ...]] = {}
    data = bytearray()
    duration = 0
    for number, packet in enumerate(packets):
        offsets.append(len(data))
        try:
            result = program.run(packet, cpu=cpu)
        except SyscallError as error:
            if error.errno not in REFUSED_PACKET:
                raise
            for column, value in ((retvals, 0), (lengths, 0), (errnos, error.errno)):
                column.append(value)
            continue
        for column, value in ((retvals, result.retval), (lengths, len(result.data)), (errnos, 0)):
            column.append(value)
        data += result.data
        duration += result.duration_ns
        if result.effects:
            effects[number] = result.effects
    return RunResults(retvals, lengths, errnos, Packets(memoryview(data), offsets, lengths), duration, effects)
