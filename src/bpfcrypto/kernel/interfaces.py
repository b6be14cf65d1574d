"""Interfaces of a network namespace, asked over netlink (pyroute2, from the extra ``net``).

Everything here speaks of the calling thread's namespace; :func:`bpfcrypto.kernel.netns.within` chooses another.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfcrypto.abi.errno import text
from bpfcrypto.abi.hooks import Hook
from bpfcrypto.errors import LinkError, NotSupportedError, PrivilegeError
from bpfcrypto.kernel import privilege

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_PROGRAMS = {Hook.XDP: "IFLA_XDP_DRV_PROG_ID", Hook.XDP_GENERIC: "IFLA_XDP_SKB_PROG_ID"}


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface.

    Attributes:
        index, name: what it is called.
        xdp: the number of the XDP program in each mode that has one.
    """

    index: int
    name: str
    xdp: Mapping[Hook, int]


@contextmanager
def netlink() -> Iterator[IPRoute]:
    """A netlink socket.

    Raises:
        NotSupportedError: pyroute2 is not installed.
    """
    try:
        from pyroute2 import IPRoute
    except ImportError:
        raise NotSupportedError(
            "interfaces and network namespaces", requires="pyroute2", hint="pip install 'bpfcrypto[net]'"
        ) from None
    with IPRoute() as socket:
        yield socket


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What netlink refuses, as an error of ours.

    Args:
        what: was asked for, in words.

    Raises:
        PrivilegeError: CAP_NET_ADMIN is missing.
        LinkError: the kernel refuses for another reason.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code == errno.EPERM:
            hint = privilege.how_to_get(("CAP_NET_ADMIN",))
            raise PrivilegeError(f"{what}: CAP_NET_ADMIN is missing", hint=hint) from None
        raise LinkError(f"{what}: {text(error.code)}", errno=error.code) from None


def interfaces() -> tuple[Interface, ...]:
    """All interfaces, by their index."""
    with netlink() as socket:
        return tuple(sorted(map(_interface, socket.get_links()), key=lambda each: each.index))


def interface(name: str, where: str = "") -> Interface:
    """The interface of a name.

    Args:
        name: what it is called.
        where: the namespace in words, for the error.

    Raises:
        LinkError: there is none (ENODEV).
    """
    found = interfaces()
    for each in found:
        if each.name == name:
            return each
    have = ", ".join(f"'{each.name}'" for each in found) or "none"
    raise LinkError(
        f"no interface '{name}' in {where or 'this network namespace'}",
        errno=errno.ENODEV,
        hint=f"there are: {have}; --netns (netns=) names another namespace",
    )


def _interface(message: Any) -> Interface:
    xdp = message.get_attr("IFLA_XDP")
    programs = {hook: xdp.get_attr(name) for hook, name in _PROGRAMS.items()} if xdp is not None else {}
    return Interface(
        message["index"], message.get_attr("IFLA_IFNAME"), {hook: number for hook, number in programs.items() if number}
    )
