"""Programs as filters of the clsact qdisc, for kernels without TCX (before Linux 6.6).

A filter belongs to its interface, not to a process: it stays until somebody takes it off, so it is as good as a pinned link, and there is
none without a pin. The pin's path is the filter's name, and no file. Qdisc and filter go to the kernel in one message, which it works off
before a signal can end the process: both are there or neither. A qdisc goes with its last filter.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bpfcrypto.abi.errno import text
from bpfcrypto.abi.hooks import HOOKS, Hook
from bpfcrypto.abi.progs import AttachType, ProgType
from bpfcrypto.errors import LinkError, NotSupportedError, SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import Netns, names, within
from bpfcrypto.kernel.probe import EMPTY

if TYPE_CHECKING:
    from bpfcrypto.kernel.interfaces import Interface
    from bpfcrypto.kernel.program import KernelProgram
    from bpfcrypto.link import Order

_HANDLE = 1
_FIRST_PRIORITY = 0x4000  # room on both sides
_PRIORITIES = range(1, 0x10000)
_TCA_BPF_ID = 11
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_HOOKS = (Hook.INGRESS, Hook.EGRESS)


@functools.cache
def has_tcx() -> bool:
    """Whether this kernel has TCX: asked to attach to no interface, one that has it misses the interface (ENODEV), others the hook."""
    outcome = bpf.prog_load(LoadRequest(ProgType.SCHED_CLS, EMPTY))
    if outcome.fd is None:
        return False
    with outcome.fd as program:
        try:
            bpf.link_create(program, 0, AttachType.TCX_INGRESS).close()
        except SyscallError as error:
            return error.errno == errno.ENODEV
    return True


@dataclass(frozen=True, slots=True)
class Filter:
    """A BPF filter of clsact.

    Attributes:
        ifindex, hook: where it is.
        priority: lower ones run first.
        handle: its number among those of its priority.
        program: the program's number.
        pinned: its name, where that is a path.
    """

    ifindex: int
    hook: Hook
    priority: int
    handle: int
    program: int
    pinned: Path | None


def filters(ifindex: int) -> tuple[Filter, ...]:
    """The BPF filters of an interface of the calling thread's namespace, those of each hook in the order in which they run."""
    with netlink() as request:
        if not any(each.get_attr("TCA_KIND") == "clsact" for each in request.get_qdiscs(index=ifindex)):
            return ()
        found = [
            _filter(message, hook)
            for hook in _HOOKS
            for message in request.get_filters(index=ifindex, parent=HOOKS[hook].parent)
            if message.get_attr("TCA_KIND") == "bpf" and message.get_attr("TCA_OPTIONS")
        ]
    return tuple(sorted(found, key=lambda each: (_HOOKS.index(each.hook), each.priority)))


def _filter(message: Any, hook: Hook) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    name = options.get_attr("TCA_BPF_NAME") or ""
    return Filter(
        message["index"],
        hook,
        message["info"] >> 16,
        message["handle"],
        _program(options),
        Path(name) if name.startswith("/") else None,
    )


def _program(options: Any) -> int:
    """TCA_BPF_ID, which pyroute2 has no name for: an attribute is its length, its type and its value."""
    for name, value in options["attrs"]:
        if name == "UNKNOWN":
            size, kind, number = struct.unpack_from("=HHI", value.data, value.offset)
            if (size, kind) == (8, _TCA_BPF_ID):
                return int(number)
    return 0


class FilterLink:
    """A program that a filter of clsact runs. It stays when this is closed.

    Args:
        netns: the namespace.
        where: the filter.
    """

    def __init__(self, netns: Netns, where: Filter) -> None:
        self._netns = netns
        self._where = where

    def __repr__(self) -> str:
        return f"<FilterLink at {self._where.hook}, '{self._where.pinned}'>"

    @property
    def id(self) -> int:
        """The number of its program: filters have none."""
        return self._where.program

    @property
    def where(self) -> Filter:
        """The filter, as it was when this was made."""
        return self._where

    @property
    def attached(self) -> bool:
        """Whether the filter is still there."""
        return self._where in within(self._netns, lambda: filters(self._where.ifindex))

    @property
    def pinned(self) -> Path | None:
        """The filter's name, which stands in for a pin."""
        return self._where.pinned

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Refuse: a filter has its name from the start.

        Raises:
            LinkError: always.
        """
        raise LinkError(f"the link is pinned as '{self.pinned}' already, not as '{path}'", errno=errno.EEXIST)

    def detach(self) -> None:
        """Take the filter off, and with the last one the qdisc."""
        within(self._netns, self._remove)

    def _remove(self) -> None:
        there = filters(self._where.ifindex)
        if self._where not in there:
            return
        if len(there) == 1 and not _others(self._where.ifindex):
            _send([("del", {"kind": "clsact", "index": self._where.ifindex})])
        else:
            _send([("del-filter", _address(self._where.ifindex, self._where.hook, self._where.priority))])

    def close(self) -> None:
        """Nothing to give up: no descriptor holds a filter."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(
    program: KernelProgram,
    target: Interface,
    hook: Hook,
    *,
    netns: Netns,
    pinned: Path | None,
    order: Order | None,
    replace: bool,
) -> FilterLink:
    """Put a program on an interface of the calling thread's namespace.

    Raises:
        NotSupportedError: there is no ``pinned``.
        LinkError: the name is taken, or the kernel refuses.
    """
    if pinned is None:
        raise NotSupportedError(
            f"a link at hook '{hook}' that goes with its process",
            requires="Linux >= 6.6 (TCX)",
            hint="--pin (pin=) makes it one that stays",
        )
    there = filters(target.index)
    old = next((each for each in there if each.pinned == pinned and each.hook is hook), None)
    if old is not None and not replace:
        raise taken(pinned)
    beside = [each for each in there if each.hook is hook]
    priority = old.priority if old is not None else _priority(beside, order)
    rule = _address(target.index, hook, priority) | {
        "fd": program.fd.fileno(),
        "name": os.fspath(pinned),
        "direct_action": True,
    }
    requests: list[tuple[str, dict[str, Any]]] = [("replace-filter" if old is not None else "add-filter", rule)]
    fresh = not _has_qdisc(target.index)
    if fresh:
        requests.insert(0, ("add", {"kind": "clsact", "index": target.index}))
    try:
        _send(requests)
    except LinkError:
        if fresh and _has_qdisc(target.index) and not filters(target.index):
            _send([("del", {"kind": "clsact", "index": target.index})])
        raise
    return FilterLink(netns, Filter(target.index, hook, priority, _HANDLE, program.id, pinned))


def taken(pinned: Path) -> LinkError:
    """The error for a pin that is there."""
    return LinkError(
        f"'{pinned}' is a link already",
        errno=errno.EEXIST,
        hint="--replace (replace=True) puts the program in its place; 'bpfcrypto detach' takes it off",
    )


def find(pinned: Path, netns: Netns = None) -> FilterLink | None:
    """The filter of that name, in a namespace, the caller's own, or one that has a name."""
    for place in dict.fromkeys((netns, None, *names())):
        try:
            found = within(place, lambda: _named(pinned))
        except LinkError:
            if place == netns:
                raise
            continue  # it went
        if found is not None:
            return FilterLink(place, found)
    return None


def _named(pinned: Path) -> Filter | None:
    with netlink() as request:
        present = [message["index"] for message in request.get_links()]
    return next((each for index in present for each in filters(index) if each.pinned == pinned), None)


def _address(ifindex: int, hook: Hook, priority: int) -> dict[str, Any]:
    return {"kind": "bpf", "index": ifindex, "parent": HOOKS[hook].parent, "prio": priority, "handle": _HANDLE}


def _has_qdisc(ifindex: int) -> bool:
    with netlink() as request:
        return any(each.get_attr("TCA_KIND") == "clsact" for each in request.get_qdiscs(index=ifindex))


def _others(ifindex: int) -> bool:
    """Whether there are filters of other kinds, which the qdisc has to stay for."""
    with netlink() as request:
        return any(
            message.get_attr("TCA_KIND") != "bpf"
            for hook in _HOOKS
            for message in request.get_filters(index=ifindex, parent=HOOKS[hook].parent)
        )


def _priority(beside: Sequence[Filter], order: Order | None) -> int:
    """A free priority where the order says."""
    used = [each.priority for each in beside]
    if order is not None and order.link is not None:
        if not isinstance(order.link, FilterLink) or order.link.where.priority not in used:
            raise LinkError("the link that it is to stand next to is not at this hook", errno=errno.ENOENT)
        wanted = order.link.where.priority + (-1 if order.before else 1)
    elif order is not None and order.before:
        wanted = min(used, default=_FIRST_PRIORITY + 1) - 1
    else:
        wanted = max(used, default=_FIRST_PRIORITY - 1) + 1
    if wanted in used or wanted not in _PRIORITIES:
        raise LinkError(
            f"no priority is free there: {wanted} is taken or out of range",
            errno=errno.ERANGE,
            hint="detach the neighbour and attach both anew, or choose another order",
        )
    return wanted


def _send(requests: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Have the kernel work off some requests at once.

    Raises:
        LinkError: it refuses one; those before it are done.
    """
    for what, number in _answers(_compiled(requests), len(requests)):
        if number:
            raise LinkError(f"clsact: {requests[what][0]}: {text(number)}", errno=number)


def _compiled(requests: Sequence[tuple[str, dict[str, Any]]]) -> bytes:
    from pyroute2.iproute.linux import IPBatch

    with IPBatch() as batch:
        for command, values in requests:
            batch.tc(command, **values)
        return bytes(batch.batch)


def _answers(messages: bytes, count: int) -> Iterator[tuple[int, int]]:
    """The number of each request with its errno, 0 for success."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        kernel.send(messages)
        got = 0
        while got < count:
            data = kernel.recv(1 << 16)
            while len(data) >= _HEADER.size:
                size, kind, *_ = _HEADER.unpack_from(data)
                if kind == _NLMSG_ERROR:
                    yield got, -struct.unpack_from("=i", data, _HEADER.size)[0]
                    got += 1
                data = data[(size + 3) & ~3 :]
