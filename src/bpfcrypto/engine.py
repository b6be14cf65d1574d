"""What an engine is: the protocols that the embedded and the kernel engine both satisfy, and the values they exchange.

No code outside an engine's package knows which one runs. What only one of them can do (attach a program to an interface) is a
protocol of its own, so that no method exists only to raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from bpfcrypto.abi.maps import UpdateFlag
    from bpfcrypto.abi.progs import ProgType
    from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec
    from bpfcrypto.views import TypedMap, Variable

Source = str | PathLike[str] | bytes
"""An object to load: a path, or the bytes of an ELF file."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one test run of a program gave (BPF_PROG_TEST_RUN).

    Attributes:
        retval: the program's r0 as an unsigned 32-bit integer.
        data: the packet after the last repetition; b"" for syscall programs.
        ctx: the context after the run; for syscall programs the bytes of the given ctx as the program left them.
        duration_ns: average nanoseconds per repetition; 0 for syscall programs.
    """

    retval: int
    data: bytes = b""
    ctx: bytes = b""
    duration_ns: int = 0


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
    """

    program: str
    section: str
    type: ProgType
    accepted: bool
    errno: int = 0
    message: str = ""
    insns_processed: int = 0
    log: str = ""


class Map(Protocol):
    """A live map. Keys and values are bytes of exactly ``spec.key_size`` and ``value_bytes`` bytes.

    Errors: :class:`~bpfcrypto.errors.MapError` and its kinds, with the kernel's errno on both engines.
    """

    @property
    def spec(self) -> MapSpec: ...

    @property
    def name(self) -> str: ...

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

    def update(self, key: bytes, value: bytes, flags: UpdateFlag = ...) -> None:
        """Store ``value``. A context kept in the element is dropped, as in the kernel."""
        ...

    def delete(self, key: bytes) -> None: ...

    def keys(self) -> Iterator[bytes]: ...


class Program(Protocol):
    """A live program."""

    @property
    def spec(self) -> ProgramSpec: ...

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> ProgType: ...

    def run(self, data: bytes = b"", *, ctx: bytes = b"", repeat: int = 1, cpu: int | None = None) -> RunResult:
        """Run the program once, or ``repeat`` times on the same packet, which is not reset in between.

        Args:
            data: the packet, from its Ethernet header; nothing for syscall programs.
            ctx: struct __sk_buff, struct xdp_md, or a syscall program's context.
            repeat: 0 or 1 is one run; syscall programs take no more.
            cpu: where it runs, counted from 0; None for any.

        Raises:
            SyscallError: the kernel would refuse the arguments; ``errno`` is what it answers.
            RunError: the program broke a rule while running (embedded engine, unverified programs).
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

    def load(self, source: Source | CollectionSpec, *, programs: Iterable[str] | None = None) -> Collection:
        """Load an object's programs with the maps they use.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to load; None loads every one that is marked for loading.

        Raises:
            ObjectError: the object cannot be used.
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


class Link(Protocol):
    """A program attached to something; closing it detaches the program unless the link is pinned."""

    def close(self) -> None: ...


@runtime_checkable
class Attachable(Protocol):
    """A program that can be attached to an interface."""

    def attach(self, interface: str) -> Link: ...
