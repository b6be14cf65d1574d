"""What an engine is: the protocols that the embedded and the kernel engine both satisfy, and the values they exchange.

No code outside an engine's package knows which one runs. What only one of them can do is a protocol of its own, so that no method exists
only to raise; for attaching programs to interfaces, see :mod:`bpfcrypto.link`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from bpfcrypto.errors import MapTypeError

if TYPE_CHECKING:
    from bpfcrypto.abi.maps import UpdateFlag
    from bpfcrypto.abi.progs import ProgType, RunFlag
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.many import Bytes, RunResults
    from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec
    from bpfcrypto.verifier.diag import Diagnostic
    from bpfcrypto.views import TypedMap, Variable

Source = str | PathLike[str] | bytes
"""An object to load: a path, or the bytes of an ELF file."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """A packet that a program sent elsewhere.

    The helpers but bpf_clone_redirect only choose the target; the packet goes when the program returns the verdict ``REDIRECT``, so
    there is none of these without it.

    Attributes:
        helper: which one, such as ``bpf_redirect_map``.
        ifindex: the interface; 0 for a CPU, and for a broadcast to every interface of the map.
        flags: as given, 64 bits.
        map: name of the map of bpf_redirect_map, else "".
        index: the index or key in that map (the CPU in a CPUMAP).
        data: the copy that bpf_clone_redirect sends; of the others the packet is the run's own.
    """

    helper: str
    ifindex: int
    flags: int = 0
    map: str = ""
    index: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class PerfEvent:
    """A sample of bpf_perf_event_output.

    Attributes:
        map: name of the PERF_EVENT_ARRAY.
        cpu: its index in there, which is the CPU that the program ran on.
        data: the program's bytes and then the packet's, if it asked for some, zeros behind them: perf makes it 4 bytes less than a
            multiple of 8.
    """

    map: str
    cpu: int
    data: bytes


Effect = Redirect | PerfEvent
"""What a run does to the world outside of its packet and maps."""


class RunResult(NamedTuple):
    """What one test run of a program gave (BPF_PROG_TEST_RUN).

    Attributes:
        retval: the program's r0 as an unsigned 32-bit integer.
        data: the packet after the last repetition; b"" for syscall programs.
        ctx: the context after the run; for syscall programs the bytes of the given ctx as the program left them.
        duration_ns: average nanoseconds per repetition; 0 for syscall programs.
        effects: what the embedded engine recorded instead of doing it, of all repetitions in order. Always empty on the kernel
            engine: the kernel delivers samples and sends clones, and does not tell; it sends no packet of a test run elsewhere.
    """

    retval: int
    data: bytes = b""
    ctx: bytes = b""
    duration_ns: int = 0
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do here, found by probing.

    Attributes:
        kfuncs: names of the kfuncs that programs can call.
        helpers: names of the helpers that programs can call.
        prog_types, map_types: kernel names without prefix, such as ``XDP`` and ``PERCPU_HASH``.
        can_attach: whether programs can be attached to interfaces.
        jit: whether programs run as machine code.
        why_not: what is missing -> why, in words for a person.
    """

    kfuncs: frozenset[str] = frozenset()
    helpers: frozenset[str] = frozenset()
    prog_types: frozenset[str] = frozenset()
    map_types: frozenset[str] = frozenset()
    can_attach: bool = False
    jit: bool = False
    why_not: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier said of one program.

    Attributes:
        program, section, type: which program.
        accepted: the verdict.
        errno: 0, or the positive errno of BPF_PROG_LOAD.
        message: the last line before "processed N insns"; "" for accepted programs.
        insns_processed: how many instructions the verifier visited.
        log: the whole log.
        diagnostic: why it was rejected, in words; None for accepted programs.
    """

    program: str
    section: str
    type: ProgType
    accepted: bool
    errno: int = 0
    message: str = ""
    insns_processed: int = 0
    log: str = ""
    diagnostic: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """An element of a DEVMAP, DEVMAP_HASH or CPUMAP to be stored, with the program that runs on packets that get there.

    Attributes:
        number: the interface index; in a CPUMAP the length of the CPU's queue.
        program: an XDP program of section ``xdp/devmap`` or ``xdp/cpumap``, or None; needs values of 8 bytes.
    """

    number: int
    program: Program | None = None


Storable: TypeAlias = "bytes | Map | Program | RedirectTarget"
"""What a map can be given as a value: bytes, or a live object where the map's elements are such objects."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of reading a map in batches.

    Attributes:
        elements: keys with their values.
        token: where the next step goes on; None after the last one.
    """

    elements: tuple[tuple[bytes, bytes], ...]
    token: bytes | None


def check_batch(operation: str, key_size: int, count: int, token: bytes | None) -> None:
    """What has to be true of a batch read before anyone is asked.

    Raises:
        MapTypeError: it would hold nothing, or the token is of another map.
    """
    if count < 1:
        raise MapTypeError(f"{operation}: a batch of {count} elements holds nothing")
    size = max(4, key_size)
    if token is not None and len(token) != size:
        raise MapTypeError(f"{operation}: a token of this map has {size} bytes, not {len(token)}")


class Map(Protocol):
    """A live map. Keys and values are bytes of exactly ``spec.key_size`` and ``value_bytes`` bytes.

    Elements that are live objects (inner maps, programs) are stored by giving the object and read as its ``id`` in 4 bytes.

    Errors: :class:`~bpfcrypto.errors.MapError` and its kinds, with the kernel's errno on both engines.
    """

    @property
    def spec(self) -> MapSpec: ...

    @property
    def name(self) -> str: ...

    @property
    def id(self) -> int:
        """The map's number, which is what a map of maps shows in place of it; unique on its engine."""
        ...

    @property
    def btf(self) -> Btf | None:
        """The types that ``spec.key_type`` and ``spec.value_type`` refer to; None where they are not known."""
        ...

    @property
    def value_bytes(self) -> int:
        """Bytes of a value as user space sees it: for per-CPU maps, 8-byte rounded value size times possible CPUs."""
        ...

    @property
    def typed(self) -> TypedMap:
        """The same map with keys and values as Python values, through BTF."""
        ...

    def lookup(self, key: bytes) -> bytes:
        """The value of ``key``; special fields (kptrs, locks) read as zero bytes."""
        ...

    def update(self, key: bytes, value: Storable, flags: UpdateFlag = ...) -> None:
        """Store ``value``. A context kept in the element is dropped, as in the kernel.

        Args:
            key: its bytes.
            value: its bytes; an inner map, a program, or a :class:`RedirectTarget` where the map's elements are such.
            flags: UpdateFlag.
        """
        ...

    def delete(self, key: bytes) -> None: ...

    def lookup_and_delete(self, key: bytes) -> bytes:
        """The value of ``key``, which is taken out; ENOTSUPP for a type that does not have it."""
        ...

    def keys(self) -> Iterator[bytes]: ...

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values."""
        ...

    def freeze(self) -> None:
        """Forbid writing from user space, for good; programs still can."""
        ...

    def lookup_batch(self, count: int, token: bytes | None = None) -> Batch:
        """Some elements, and where to go on (BPF_MAP_LOOKUP_BATCH).

        Which commands on many elements a type has is in ``abi.maps.RULES``; the others are ENOTSUPP.

        Args:
            count: the most elements to give, at least 1. A hash gives whole buckets, and so less where the next one does not fit.
            token: ``token`` of the batch before; None at the start.

        Raises:
            MapFullError: the first bucket alone holds more than ``count`` (ENOSPC).
        """
        ...

    def lookup_and_delete_batch(self, count: int, token: bytes | None = None) -> Batch:
        """As ``lookup_batch``, and takes the elements out."""
        ...

    def update_batch(self, elements: Iterable[tuple[bytes, bytes]], flags: UpdateFlag = ...) -> None:
        """Store many elements. The first that is refused ends it, and ``done`` of the error says how many were stored before.

        Args:
            elements: keys with their values.
            flags: ANY or LOCK; others are EINVAL.
        """
        ...

    def delete_batch(self, keys: Iterable[bytes]) -> None:
        """Take many elements out. The first that is refused ends it, and ``done`` of the error says how many went before."""
        ...


@dataclass(frozen=True, slots=True)
class HeldKptr:
    """What a kptr of an element holds.

    Attributes:
        offset: of the field within the value.
        cpu: whose copy of the value it is in, 0 in maps that are not per CPU.
        type_name: the struct that it points to.
        cipher: of a crypto context, the algorithm that it was made with; else "".
        references: of a crypto context, its reference count; else 0.
    """

    offset: int
    cpu: int
    type_name: str
    cipher: str = ""
    references: int = 0


@runtime_checkable
class Inspectable(Protocol):
    """A map that tells what its kptrs hold. The kernel does not: user space reads zero bytes, whether there is something or not."""

    def kptrs(self, key: bytes) -> tuple[HeldKptr, ...]:
        """The kptrs of an element that are not NULL, by CPU and offset; none where there is no such element."""
        ...


@runtime_checkable
class QueueMap(Map, Protocol):
    """A QUEUE, which gives its oldest value, or a STACK, which gives its newest.

    It has no keys; with b"" for a key, ``update`` pushes, ``lookup`` peeks and ``lookup_and_delete`` pops.
    """

    def push(self, value: bytes, flags: UpdateFlag = ...) -> None:
        """Add a value. EXIST: a full map drops its oldest one, where it else refuses the new one (E2BIG)."""
        ...

    def peek(self) -> bytes:
        """The next value; KeyNotFoundError where there is none."""
        ...

    def pop(self) -> bytes:
        """The next value, taken out; KeyNotFoundError where there is none."""
        ...


@runtime_checkable
class FilterMap(Map, Protocol):
    """A BLOOM_FILTER: a set that forgets nothing and lists nothing."""

    def push(self, value: bytes) -> None:
        """Add a value."""
        ...

    def contains(self, value: bytes) -> bool:
        """Whether the value may have been pushed; False is certain."""
        ...


@runtime_checkable
class RingMap(Map, Protocol):
    """A RINGBUF: programs append records, user space takes them out. One reader at a time."""

    def records(self) -> Iterator[bytes]:
        """Take out the finished records, oldest first, until there is none or one that a program is still writing.

        A record is gone from the ring when it is given; stop where you like, and call again for the rest.

        Raises:
            MapError: the map was frozen before it was first read (EPERM).
        """
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the ring is not empty; a program that asks for no wake-up lets the reader sleep on.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            Whether there is anything in the ring, be it unfinished.
        """
        ...


@runtime_checkable
class UserRingMap(Map, Protocol):
    """A USER_RINGBUF: user space appends samples, programs drain them with bpf_user_ringbuf_drain."""

    def submit(self, data: bytes) -> None:
        """Append a sample.

        Raises:
            MapFullError: it can never fit the ring (E2BIG), or does not fit now (ENOSPC).
            MapError: the map was frozen before it was first written (EPERM).
        """
        ...


class Events(Protocol):
    """The buffers that samples of a PERF_EVENT_ARRAY come into, one for each CPU, while they are open."""

    @property
    def lost(self) -> int:
        """How many samples found no room so far."""
        ...

    def read(self) -> tuple[PerfEvent, ...]:
        """What has come since the last time; in order for each CPU."""
        ...

    def close(self) -> None:
        """Empty the slots and drop the buffers; what was not read is lost."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class EventMap(Map, Protocol):
    """A PERF_EVENT_ARRAY: programs output samples, and get ENOENT until somebody listens."""

    def listen(self) -> Events:
        """Put a buffer into the slot of every CPU, in place of those that are there."""
        ...


@runtime_checkable
class MapOfMaps(Map, Protocol):
    """A map whose elements are maps (ARRAY_OF_MAPS, HASH_OF_MAPS)."""

    def new_inner(self, name: str = "", *, max_entries: int | None = None) -> Map:
        """A new map by the template in the object, which is in no slot yet; ``update`` puts it into one.

        A slot keeps its map alive: close the result once it is not needed from Python any more. Closing the collection closes what
        is left.

        Args:
            name: its name; the template's by default.
            max_entries: its size; the template's by default. An ARRAY must have the template's, unless that has
                MapFlag.INNER_MAP.
        """
        ...


class Program(Protocol):
    """A live program."""

    @property
    def spec(self) -> ProgramSpec: ...

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> ProgType: ...

    @property
    def id(self) -> int:
        """The program's number, which is what a program array shows in place of it; unique on its engine."""
        ...

    def run(
        self,
        data: bytes = b"",
        *,
        ctx: bytes | bytearray = b"",
        repeat: int = 1,
        cpu: int | None = None,
        flags: RunFlag = ...,
    ) -> RunResult:
        """Run the program once, or ``repeat`` times on the same packet, which is not reset in between.

        Args:
            data: the packet, from its Ethernet header; nothing for syscall programs.
            ctx: struct __sk_buff, struct xdp_md, or a syscall program's context. A syscall program works on a bytearray itself,
                of which no copy is made; the result's ``ctx`` is empty then.
            repeat: 0 or 1 is one run; syscall programs take no more.
            cpu: where it runs, counted from 0; None for any.
            flags: CHECKSUM_COMPLETE makes the sum of an skb known before the run and compares it with the packet afterwards:
                EBADMSG where the program changed bytes and did not say so.

        Raises:
            SyscallError: the kernel would refuse the arguments; ``errno`` is what it answers.
            RunError: the program broke a rule while running (embedded engine, unverified programs).
        """
        ...

    def run_many(self, packets: Iterable[Bytes] | object, *, cpu: int | None = None) -> RunResults:
        """Run the program once on each packet, in order, as :meth:`run` does without a context.

        Args:
            packets: bytes-like objects; or one object with a contiguous buffer of two dimensions, such as a numpy array of uint8,
                whose rows are the packets.
            cpu: where they run, counted from 0; None for any.

        Returns:
            What came of each; a packet of a size that no test run takes is not run, and has its errno there.

        Raises:
            SyscallError: the kernel would refuse the runs for another reason.
            RunError: the program broke a rule while running (embedded engine).
            TypeError: ``packets`` is neither.
        """
        ...


class Collection(Protocol):
    """The live objects of one object file. Closing it drops programs and maps, and so the contexts in them."""

    @property
    def spec(self) -> CollectionSpec: ...

    @property
    def programs(self) -> Mapping[str, Program]: ...

    @property
    def maps(self) -> Mapping[str, Map]: ...

    @property
    def variables(self) -> Mapping[str, Variable]: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and most likely not meant, such as a kptr that the kernel silently takes for plain bytes."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Engine(Protocol):
    """Loads objects and runs their programs."""

    @property
    def name(self) -> str:
        """``embedded`` or ``kernel``."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def load(
        self,
        source: Source | CollectionSpec,
        *,
        programs: Iterable[str] | None = None,
        maps: Mapping[str, Map] | None = None,
    ) -> Collection:
        """Load an object's programs with the maps they use.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to load; None loads every one that is marked for loading.
            maps: live maps of this engine that stand in for maps of the object, by name. They stay what they are, initial contents
                in the object are left alone, and closing the collection gives up no more than its own hold on them.

        Raises:
            ObjectError: the object cannot be used.
            MapTypeError: a live map is of another shape than the object's, or of another engine.
            VerifierError: a program breaks the rules.
            NotSupportedError: it needs something that this engine or kernel does not have.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Checker(Protocol):
    """An engine that can judge programs one by one without running them."""

    def check(self, source: Source | CollectionSpec, *, programs: Iterable[str] | None = None) -> tuple[Verdict, ...]:
        """The verifier's verdict on each program, in file order; a rejection is a result here, not an exception."""
        ...
