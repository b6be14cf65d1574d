"""Programs on interfaces: the protocols that only the kernel engine's programs satisfy."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from bpfcrypto.engine import Program

if TYPE_CHECKING:
    from pathlib import Path

    from bpfcrypto.abi.hooks import Hook


class Link(Protocol):
    """A program on a hook of an interface. Closing it takes the program off, unless it is pinned."""

    @property
    def id(self) -> int:
        """Its number, unique on its engine."""
        ...

    @property
    def attached(self) -> bool:
        """Whether the program is on the interface: not after ``detach()`` by anyone, nor after the interface went."""
        ...

    @property
    def pinned(self) -> Path | None:
        """The pin that keeps the program there without a process; None where there is none."""
        ...

    def pin(self, path: str | PathLike[str]) -> None:
        """Keep the program there when this process ends.

        Args:
            path: a path in a BPF file system; a name without a slash is one in /sys/fs/bpf.

        Raises:
            LinkError: it is pinned already.
            SyscallError: the path exists, its directory does not, or it is not in a BPF file system.
        """
        ...

    def detach(self) -> None:
        """Take the program off, and the pin away, for everybody who holds the link."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """A place among the programs of one hook, which run one behind the other; ``Order()`` is the first of all.

    Attributes:
        link: the neighbour, at the same hook; None: all of them.
        before: whether the new one runs before it.
    """

    link: Link | None = None
    before: bool = True


@runtime_checkable
class Attachable(Program, Protocol):
    """A program that can be attached to interfaces, where it meets every packet."""

    def attach(
        self,
        interface: str,
        hook: Hook | None = None,
        *,
        netns: str | PathLike[str] | None = None,
        pin: str | PathLike[str] | None = None,
        order: Order | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach the program.

        With ``pin`` it ends up attached and pinned or not at all, whatever happens meanwhile, SIGKILL included.

        Args:
            interface: its name.
            hook: where on the interface; None: as the program's section says.
            netns: the network namespace: a name as ``ip netns`` gives it, or a path such as ``/proc/1234/ns/net``; None is the
                caller's own. The caller's threads stay where they are.
            pin: keeps the program attached when this process ends: a path in a BPF file system; a name without a slash is one in
                /sys/fs/bpf.
            order: where it stands among other programs of the hook; None: behind them. XDP has one program in each mode.
            replace: where ``pin`` is a link to that hook already, put the program into its place; every packet meets the old one or
                the new one.

        Raises:
            LinkError: there is no such interface or namespace, the program's type does not fit, the hook or the pin is taken.
            NotSupportedError: the interface has no such hook, the program would corrupt packets there, or pyroute2 is missing.
            PrivilegeError: a capability is missing.
            SyscallError: ``pin`` is no place for a pin.
        """
        ...
