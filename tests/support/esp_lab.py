"""Two hosts with a router between them, for ESP: IPv4 and IPv6, super-packets, and inner addresses that the router knows nothing of.

The hosts are strict about the way that packets come in (rp_filter), since that is the harder case.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bpfcrypto.kernel import devices, netconf
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from support.lab import namespaces
from support.traffic import Capture, Ends, captured, send_frames

HOSTS = ("left", "right")
OUTER = {
    "left": {4: "192.0.2.1", 6: "2001:db8:1::1"},
    "right": {4: "198.51.100.1", 6: "2001:db8:2::1"},
}
ROUTER = {
    "left": {4: "192.0.2.254", 6: "2001:db8:1::fe"},
    "right": {4: "198.51.100.254", 6: "2001:db8:2::fe"},
}
INNER = {
    "left": {4: "10.1.0.1", 6: "fd00:1::1"},
    "right": {4: "10.2.0.1", 6: "fd00:2::1"},
}
LAN = {
    "left": {4: "10.1.9.1", 6: "fd00:1:9::1"},
    "right": {4: "10.2.9.1", 6: "fd00:2:9::1"},
}
"""Of a host behind a host, where there is one."""
GATEWAY = {
    "left": {4: "10.1.9.254", 6: "fd00:1:9::fe"},
    "right": {4: "10.2.9.254", 6: "fd00:2:9::fe"},
}
SUBNET = {4: 24, 6: 64}
WHOLE = {4: 32, 6: 128}
VERSIONS = (4, 6)

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_INDEX = 100  # a veth whose index is its peer's, in another namespace, comes up a second later
_PATIENCE = 5.0
_SETTINGS = {
    "ipv6/conf/all/accept_dad": 0,  # addresses are there at once
    "ipv6/conf/default/accept_dad": 0,
    "ipv4/conf/all/rp_filter": 1,
    "ipv4/tcp_congestion_control": "reno",  # bbr waits for a clock that these links do not follow
}
_FORWARDING = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


@dataclass(frozen=True)
class EspLab:
    """The network: three namespaces. A host's interface is ``eth0``; the router's has the name of the host."""

    left: str
    router: str
    right: str

    def host(self, side: str) -> str:
        return str(getattr(self, side))

    def ends(self, version: int = 4, *, inner: bool = False) -> Ends:
        """From left to right, by their outer or their inner addresses."""
        address = INNER if inner else OUTER
        return Ends(self.left, self.right, address["right"][version], address["left"][version])

    def captured(self, side: str = "left") -> AbstractContextManager[Capture]:
        """What passes the router's interface to a host."""
        return captured(self.router, side)

    def send(self, side: str, packets: Iterable[bytes]) -> None:
        """Send IP packets to a host as if they came from the router."""
        target = within(self.host(side), lambda: devices.describe("eth0").mac)
        source = within(self.router, lambda: devices.describe(side).mac)
        frames = (target + source + struct.pack("!H", _ETHERTYPES[packet[0] >> 4]) + packet for packet in packets)
        send_frames(self.router, side, frames)


@contextmanager
def esp_lab() -> Iterator[EspLab]:
    """Make the network, and take it away."""
    with namespaces(HOSTS[0], "router", HOSTS[1]) as made:
        network = EspLab(*made)
        for name in made:
            within(name, lambda: _configure(_SETTINGS))
        within(network.router, lambda: _configure(_FORWARDING))
        within(network.router, lambda: _join(network))
        for side in HOSTS:
            within(network.host(side), lambda side=side: _host(side))
        for name in made:
            within(name, _settle)
        yield network


@contextmanager
def lan(network: EspLab, side: str) -> Iterator[str]:
    """One more host, behind one of the two, which forwards for it; it has an interface ``eth0``, and so has the other one a ``lan0``."""

    def join() -> None:
        with netlink() as host:
            index = _INDEX + len(HOSTS)
            host.link("add", ifname="lan0", index=index, kind="veth", peer={"ifname": "eth0", "net_ns_fd": name})
            for version in VERSIONS:
                _address(host, "lan0", GATEWAY[side][version], SUBNET[version])
            host.link("set", index=index, state="up")

    def enter() -> None:
        with netlink() as host:
            host.link("set", index=_index(host, "eth0"), state="up")
            for version in VERSIONS:
                _address(host, "eth0", LAN[side][version], SUBNET[version])
                host.route("add", family=FAMILIES[version], dst="default", gateway=GATEWAY[side][version])

    with namespaces("lan") as (name,):
        within(name, lambda: _configure(_SETTINGS))
        within(network.host(side), lambda: _configure(_FORWARDING))
        within(network.host(side), join)
        within(name, enter)
        for each in (name, network.host(side)):
            within(each, _settle)
        yield name


def _configure(settings: dict[str, int | str]) -> None:
    for name, value in settings.items():
        netconf.write(name, value)


def _join(network: EspLab) -> None:
    with netlink() as router:
        for number, side in enumerate(HOSTS):
            peer = {"ifname": "eth0", "net_ns_fd": network.host(side)}
            router.link("add", ifname=side, index=_INDEX + number, kind="veth", peer=peer)
            for version in VERSIONS:
                _address(router, side, ROUTER[side][version], SUBNET[version])
            router.link("set", index=_INDEX + number, state="up")


def _host(side: str) -> None:
    with netlink() as host:
        for name in ("lo", "eth0"):
            host.link("set", index=_index(host, name), state="up")
        for version in VERSIONS:
            _address(host, "eth0", OUTER[side][version], SUBNET[version])
            _address(host, "lo", INNER[side][version], WHOLE[version])
            host.route("add", family=FAMILIES[version], dst="default", gateway=ROUTER[side][version])


def _address(request, name: str, address: str, length: int) -> None:
    request.addr("add", index=_index(request, name), address=address, prefixlen=length)


def _index(request, name: str) -> int:
    return request.link_lookup(ifname=name)[0]


def _settle() -> None:
    """Wait until all interfaces are in use: the kernel learns of a carrier some time after it is there."""
    until = time.monotonic() + _PATIENCE
    with netlink() as request:
        while any(link.get_attr("IFLA_OPERSTATE") == "DOWN" and link["flags"] & 1 for link in request.get_links()):
            assert time.monotonic() < until, "an interface does not come up"
            time.sleep(0.005)
