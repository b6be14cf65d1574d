"""A pair of virtual devices that cuts packets to size: what is routed to ``esp0`` comes out of ``esp0-in``, one packet at a time.

A program at the egress of a real interface meets super-packets and unfinished checksums. Here the kernel has finished both before the
program at the ingress of ``esp0-in`` runs, because the offloads of ``esp0`` are off. Where no program runs, nothing passes: frames that
come out of ``esp0-in`` are addressed to ``esp0``, and the kernel drops what is addressed to somebody else.

Everything here speaks of the calling thread's namespace, and may be repeated: each step is left out where its result is there, so that a
process that was killed between two of them has done no harm.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfcrypto.errors import LinkError
from bpfcrypto.kernel import netconf, offloads
from bpfcrypto.kernel.interfaces import explained, netlink

if TYPE_CHECKING:
    from pyroute2 import IPRoute

INNER = "-in"
_LONGEST = 15  # IFNAMSIZ, without the NUL
_UP, _NOARP, _MULTICAST = 1, 0x80, 0x1000  # include/uapi/linux/if.h
_LARGEST = 65535  # ETH_MAX_MTU
_LOCAL_TABLE = 255
_PATIENCE = 2.0  # seconds; the kernel looks at carriers once a second at least


@dataclass(frozen=True, slots=True)
class Device:
    """A device.

    Attributes:
        index, name: what it is called.
        mac: its address on the link layer.
        mtu: the largest IP packet that it takes.
    """

    index: int
    name: str
    mac: bytes
    mtu: int


def describe(name: str) -> Device:
    """A device by its name.

    Raises:
        LinkError: there is none (ENODEV).
    """
    with netlink() as request:
        return _device(_require(request, name))


def make_pair(name: str, inner_mtu: int) -> Device:
    """Make the pair, or bring the one that is there into this state.

    Args:
        name: what packets are routed to; its other end is ``name-in``.
        inner_mtu: the largest IP packet that fits into a sealed one. IPv6 needs 1280.

    Returns:
        The device that packets are routed to.

    Raises:
        LinkError: one of the two names belongs to something else, or the kernel refuses.
        PrivilegeError: CAP_NET_ADMIN is missing.
    """
    inner = name + INNER
    if len(inner) > _LONGEST:
        raise LinkError(f"'{name}' is too long: '{inner}' has more than {_LONGEST} characters", errno=errno.EINVAL)
    with netlink() as request, explained(f"the pair '{name}'"):
        if not _is_pair(request, name):
            request.link("add", ifname=name, kind="veth", peer={"ifname": inner})
        # Before they are up: an address of its own would make the kernel announce it, and multicast would be sent there.
        netconf.write(f"ipv6/conf/{name}/addr_gen_mode", 1)  # none
        netconf.write(f"ipv6/conf/{name}/accept_ra", 0)
        netconf.write(f"ipv6/conf/{inner}/disable_ipv6", 1)  # nothing is received there but by the program
        offloads.turn_off(name, lambda offload: offload.startswith("tx-"))
        offloads.turn_off(inner, lambda offload: offload.startswith("rx-") and "gro" in offload)
        for end, mtu in ((inner, _LARGEST), (name, inner_mtu)):  # the smaller one last: packets come when it is up
            _set(request, _require(request, end), mtu)
        _settle(request, (name, inner))
        _leave_groups(request, name)
        return _device(_require(request, name))


def remove_pair(name: str) -> None:
    """Take the pair away, and with it the routes to it. Not an error if there is none.

    Raises:
        LinkError: the name belongs to something else.
        PrivilegeError: CAP_NET_ADMIN is missing.
    """
    with netlink() as request, explained(f"the pair '{name}'"):
        if _is_pair(request, name):
            with suppress(LinkError), explained(""):  # somebody else was faster
                request.link("del", index=_require(request, name)["index"])


def _is_pair(request: IPRoute, name: str) -> bool:
    """Whether both ends are there; LinkError where a name belongs to something else."""
    outer, inner = _find(request, name), _find(request, name + INNER)
    if outer is None and inner is None:
        return False
    joined = (
        outer is not None
        and inner is not None
        and outer.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
        and outer.get_attr("IFLA_LINK_NETNSID") is None  # its peer is in another namespace
        and outer.get_attr("IFLA_LINK") == inner["index"]
    )
    if joined:
        return True
    taken = name if outer is not None else name + INNER
    raise LinkError(
        f"the interface '{taken}' is there and is not one end of a pair '{name}', '{name + INNER}'",
        errno=errno.EEXIST,
        hint="choose another name, or take that interface away",
    )


def _set(request: IPRoute, device: Any, mtu: int) -> None:
    """MTU and flags; no message where nothing changes, since the kernel tells everybody of each."""
    mask = _UP | _NOARP | _MULTICAST
    if device["flags"] & mask != _UP | _NOARP or device.get_attr("IFLA_MTU") != mtu:
        request.link("set", index=device["index"], mtu=mtu, flags=_UP | _NOARP, change=mask)


def _settle(request: IPRoute, names: Iterable[str]) -> None:
    """Wait until the kernel has seen that both ends are up; what it does then, it does once."""
    until = time.monotonic() + _PATIENCE
    while any(_require(request, each).get_attr("IFLA_OPERSTATE") != "UP" for each in names):
        if time.monotonic() > until:
            raise LinkError(f"one of {', '.join(names)} does not come up", errno=errno.ENETDOWN)
        time.sleep(0.005)


def _leave_groups(request: IPRoute, name: str) -> None:
    """Take away the route ff00::/8 that each device has: whoever sends to a group and does not say where might be sent here."""
    index = _require(request, name)["index"]
    for route in tuple(request.get_routes(family=socket.AF_INET6, table=_LOCAL_TABLE, oif=index)):
        with suppress(LinkError), explained(name):  # it went with its device
            request.route(
                "del", family=socket.AF_INET6, dst="ff00::/8", table=_LOCAL_TABLE, oif=index, type=route["type"]
            )


def _find(request: IPRoute, name: str) -> Any:
    return next((link for link in request.get_links() if link.get_attr("IFLA_IFNAME") == name), None)


def _require(request: IPRoute, name: str) -> Any:
    found = _find(request, name)
    if found is None:
        raise LinkError(f"no interface '{name}' in this network namespace", errno=errno.ENODEV)
    return found


def _device(link: Any) -> Device:
    mac = bytes.fromhex((link.get_attr("IFLA_ADDRESS") or "").replace(":", ""))
    return Device(link["index"], link.get_attr("IFLA_IFNAME"), mac, link.get_attr("IFLA_MTU"))
