"""Routes to a virtual device that packets come back from: a table of its own, and one rule that leads there.

Sealed packets must find the way that they would have taken without us, and in transport mode they have the address that is routed to the
device. So the rule is for everybody but those that ask for a way out of the real interface (``not oif eth0``), which is what
bpf_redirect_neigh() does. In the main table the same works for IPv4 only: IPv6 takes the longest prefix before it looks at the interface
that is asked for, and then takes the peer for a neighbour (ip6_route_output without RT6_LOOKUP_F_IFACE, seen in Linux 6.18). And a peer
may be inside of a prefix that leads to it: with a rule of its own, the default route can go through a tunnel.

The main table stays as it is, and the routes of the other one go with the device. Everything here speaks of the calling thread's
namespace, and may be repeated.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfcrypto.errors import LinkError
from bpfcrypto.kernel import netconf
from bpfcrypto.kernel.devices import describe
from bpfcrypto.kernel.interfaces import explained, netlink

if TYPE_CHECKING:
    from pyroute2 import IPRoute

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PRIORITY = 50
"""Of the rule: before those of others, which the kernel numbers from 32765 down."""

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_INVERT = 2  # FIB_RULE_INVERT
_LINK, _NOWHERE = 253, 255  # RT_SCOPE_LINK; RT_SCOPE_NOWHERE: of any scope, when a route is deleted
_STRICT, _LOOSE = 1, 2  # Documentation/networking/ip-sysctl.rst, rp_filter


@dataclass(frozen=True, slots=True)
class Route:
    """A route to the device.

    Attributes:
        prefix: the addresses that are routed there.
        source: the address that this host's own packets get, if they have none; it must be one of this host's.
        mtu: the largest packet; None: as the device says.
    """

    prefix: Network
    source: Address | None = None
    mtu: int | None = None


def table_of(device: str) -> int:
    """The number of a device's table: from its name, so that it is known without a record."""
    return 0x80000000 | zlib.crc32(device.encode())


def add_route(route: Route, device: str, output: str) -> None:
    """Route to the device, in the place of an earlier route of that prefix.

    Args:
        route: what is routed.
        device: where to.
        output: the real interface, which packets leave by that have been there.

    Raises:
        LinkError: there is no such device or output, the source is not an address of this host, or the kernel has no routing rules.
        PrivilegeError: CAP_NET_ADMIN is missing.
    """
    fields: dict[str, Any] = {}
    if route.source is not None:
        fields["prefsrc"] = str(route.source)
    if route.mtu is not None:
        fields["metrics"] = {"mtu": route.mtu}
    if route.prefix.version == 4:
        fields["scope"] = _LINK
    with netlink() as request:
        index = describe(device).index
        describe(output)
        with explained(f"a route for {route.prefix} to '{device}'"):
            request.route("replace", **_key(route.prefix, device), oif=index, **fields)
        _lead(request, route.prefix.version, device, output)


def remove_route(prefix: Network, device: str) -> None:
    """Take a route away. Not an error if there is none."""
    with netlink() as request, _unless_gone(f"the route for {prefix} to '{device}'"):
        request.route("del", **_key(prefix, device), scope=_NOWHERE)


def routes(device: str) -> tuple[Route, ...]:
    """The routes of the device's table."""
    with netlink() as request:
        found = [
            _route(message)
            for family in _FAMILIES.values()
            for message in request.get_routes(family=family, table=table_of(device))
        ]
    return tuple(
        sorted(found, key=lambda each: (each.prefix.version, each.prefix.network_address, each.prefix.prefixlen))
    )


def remove_all(device: str) -> None:
    """Take all routes of a device away, and the rules that lead there. Not an error if there are none."""
    with netlink() as request:
        for version in _FAMILIES:
            for rule in _rules(request, version, device):
                _drop(request, version, device, rule.get_attr("FRA_OIFNAME"))
    for route in routes(device):
        remove_route(route.prefix, device)


def has_neighbours(prefix: Network, interface: str) -> bool:
    """Whether an interface has a subnet with addresses of that prefix, so that some of them need no router."""
    with netlink() as request:
        index = describe(interface).index
        for message in request.get_addr(family=_FAMILIES[prefix.version], index=index):
            address = message.get_attr("IFA_ADDRESS")  # of the other end, where it is one of two points
            subnet = ipaddress.ip_network(f"{address}/{message['prefixlen']}", strict=False)
            if subnet.overlaps(prefix):
                return True
    return False


def strict(interface: str) -> bool:
    """Whether the kernel wants IPv4 packets to come in where answers to them would leave (rp_filter).

    If so, and a neighbour on that interface is routed to the device, the kernel does not answer ARP requests of that neighbour.
    """
    return max(int(netconf.read(f"ipv4/conf/{each}/rp_filter") or 0) for each in ("all", interface)) == _STRICT


def loosen(interface: str) -> bool:
    """If an interface is strict, let it take IPv4 packets of any source that there is a route to.

    Returns:
        Whether that was to be done; ``tighten`` takes it back.
    """
    if not strict(interface):
        return False
    netconf.write(f"ipv4/conf/{interface}/rp_filter", _LOOSE)
    return True


def tighten(interface: str) -> None:
    """Make an interface strict again."""
    netconf.write(f"ipv4/conf/{interface}/rp_filter", _STRICT)


def _key(prefix: Network, device: str) -> dict[str, Any]:
    return {"family": _FAMILIES[prefix.version], "dst": str(prefix), "table": table_of(device)}


def _route(message: Any) -> Route:
    version = 4 if message["family"] == socket.AF_INET else 6
    address = message.get_attr("RTA_DST") or {4: "0.0.0.0", 6: "::"}[version]  # noqa: S104 (no server is bound to it)
    source = message.get_attr("RTA_PREFSRC")
    metrics = message.get_attr("RTA_METRICS")
    return Route(
        ipaddress.ip_network(f"{address}/{message['dst_len']}"),
        ipaddress.ip_address(source) if source else None,
        metrics.get_attr("RTAX_MTU") if metrics is not None else None,
    )


def _lead(request: IPRoute, version: int, device: str, output: str) -> None:
    """The rule of a family. A new one is there before an old one goes: in between, packets would leave in another way."""
    have = [rule.get_attr("FRA_OIFNAME") for rule in _rules(request, version, device)]
    if output not in have:
        with explained(f"the routing rule of '{device}'"):
            request.rule("add", **_rule(version, device, output))
    for other in have:
        if other != output:
            _drop(request, version, device, other)


def _drop(request: IPRoute, version: int, device: str, output: str) -> None:
    with _unless_gone(f"the routing rule of '{device}'"):
        request.rule("del", **_rule(version, device, output))


def _rules(request: IPRoute, version: int, device: str) -> list[Any]:
    rules = request.get_rules(family=_FAMILIES[version])
    return [rule for rule in rules if rule.get_attr("FRA_TABLE") == table_of(device)]


def _rule(version: int, device: str, output: str) -> dict[str, Any]:
    fields = {"priority": PRIORITY, "table": table_of(device), "oifname": output, "flags": _INVERT}
    return {"family": _FAMILIES[version], **fields}


@contextmanager
def _unless_gone(what: str) -> Iterator[None]:
    try:
        with explained(what):
            yield
    except LinkError as error:
        if error.errno not in (errno.ESRCH, errno.ENOENT, errno.ENODEV):
            raise
