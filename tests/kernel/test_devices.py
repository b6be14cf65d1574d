"""The pair of devices that cuts packets to size: how it is made, made again after a crash, and taken away."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from bpfcrypto.errors import LinkError
from bpfcrypto.kernel import devices, netconf, offloads
from bpfcrypto.kernel.devices import Device, describe, make_pair, remove_pair
from bpfcrypto.kernel.interfaces import interfaces, netlink
from bpfcrypto.kernel.netns import within
from bpfcrypto.kernel.steering import Route, add_route
from support.lab import namespaces, veth
from support.traffic import captured, open_socket

pytestmark = pytest.mark.kernel

MTU = 1400
TARGET = "192.0.2.1"
UDP_SEGMENT = 103  # uapi/linux/udp.h: the kernel cuts a datagram into several


@pytest.fixture
def host() -> Iterator[str]:
    """A namespace with nothing in it."""
    with namespaces("host") as (name,):
        yield name


def make(host: str, mtu: int = MTU) -> Device:
    return within(host, lambda: make_pair("esp0", mtu))


def link(host: str, name: str) -> Any:
    def ask() -> Any:
        with netlink() as request:
            return next(each for each in request.get_links() if each.get_attr("IFLA_IFNAME") == name)

    return within(host, ask)


def routed(host: str) -> list[str]:
    """The prefixes that the kernel itself has routed to the pair."""

    def ask() -> list[str]:
        with netlink() as request:
            ends = {each.index for each in interfaces() if each.name.startswith("esp0")}
            found = [each for each in request.get_routes() if each.get_attr("RTA_OIF") in ends]
            return [f"{each.get_attr('RTA_DST')}/{each['dst_len']}" for each in found]

    return within(host, ask)


def assert_right(host: str, mtu: int = MTU) -> None:
    """The pair is as it should be."""
    for name, size in (("esp0", mtu), ("esp0-in", 65535)):
        found = link(host, name)
        assert found.get_attr("IFLA_MTU") == size
        assert found.get_attr("IFLA_OPERSTATE") == "UP"
        assert found["flags"] & 0x80, "IFF_NOARP"
        assert not found["flags"] & 0x1000, "IFF_MULTICAST"
    assert not [each for each in within(host, lambda: offloads.active("esp0")) if each.startswith("tx-")]
    assert "rx-gro" not in within(host, lambda: offloads.active("esp0-in"))
    assert within(host, lambda: netconf.read("ipv6/conf/esp0/disable_ipv6")) == "0"
    assert routed(host) == []

    def addresses() -> list[Any]:
        with netlink() as request:
            return list(request.get_addr())

    assert within(host, addresses) == []


def test_a_pair_is_made(host: str) -> None:
    """It is up, has the MTU, no offloads, and nothing that the kernel would send on its own account."""
    made = make(host)

    assert made.name == "esp0"
    assert made.mtu == MTU
    assert made.mac == bytes.fromhex(link(host, "esp0").get_attr("IFLA_ADDRESS").replace(":", ""))
    assert made == within(host, lambda: describe("esp0"))
    assert_right(host)


def test_a_pair_that_is_there_stays(host: str) -> None:
    """It is the same device afterwards, with another MTU if that was asked for."""
    first = make(host)
    second = make(host, 1300)

    assert (second.index, second.mac) == (first.index, first.mac)
    assert_right(host, 1300)


def test_a_pair_that_somebody_has_changed_is_mended(host: str) -> None:
    """Whatever can be set wrong is set right."""
    first = make(host)

    def spoil() -> None:
        with netlink() as request:
            for end in ("esp0", "esp0-in"):
                index = request.link_lookup(ifname=end)[0]
                request.link("set", index=index, state="down")
                request.link("set", index=index, mtu=1500, flags=0x1000, change=0x1080)
        for command in (0x17, 0x19, 0x1F, 0x24):  # ETHTOOL_STXCSUM, SSG, STSO, SGSO
            with socket.socket() as device:
                offloads._ask(device, "esp0", struct.pack("=II", command, 1))

    within(host, spoil)
    assert "tx-tcp-segmentation" in within(host, lambda: offloads.active("esp0"))

    assert make(host).index == first.index
    assert_right(host)


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(9))
def test_a_crash_at_any_step_is_mended(host: str, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """After each step that changes something, the process may end; the next one completes the work."""
    left = iter(range(step, -1, -1))

    def stopping(call: Callable[..., Any]) -> Callable[..., Any]:
        def stop(*arguments: Any) -> Any:
            if next(left) == 0:
                raise Stopped
            return call(*arguments)

        return stop

    with monkeypatch.context() as patch:
        for module, name in (
            (netconf, "write"),
            (offloads, "turn_off"),
            (devices, "_set"),
            (devices, "_settle"),
            (devices, "_leave_groups"),
        ):
            patch.setattr(module, name, stopping(getattr(module, name)))
        with pytest.raises(Stopped):
            make(host)
    make(host)

    assert_right(host)


def test_it_is_gone_and_that_twice(host: str) -> None:
    """Taking it away leaves nothing, and is no error where there is nothing."""
    make(host)
    for _ in range(2):
        within(host, lambda: remove_pair("esp0"))

    assert [each.name for each in within(host, interfaces)] == ["lo"]


@pytest.mark.parametrize("name", ["a", "lo"])
@pytest.mark.parametrize("call", [lambda name: make_pair(name, MTU), remove_pair])
def test_other_devices_are_left_alone(name: str, call: Callable[[str], object]) -> None:
    """A name that belongs to something else is an error that says so, whatever was to be done."""
    with veth() as host:
        before = within(host, interfaces)
        with pytest.raises(LinkError, match=f"the interface '{name}' is there and is not one end of a pair") as caught:
            within(host, lambda: call(name))

        assert caught.value.errno == errno.EEXIST
        assert within(host, interfaces) == before


def test_a_name_that_its_other_end_has_no_room_for(host: str) -> None:
    """The error comes before anything is made."""
    with pytest.raises(LinkError, match="'abcdefghijklm' is too long: 'abcdefghijklm-in' has more than 15 characters"):
        within(host, lambda: make_pair("abcdefghijklm", MTU))


def test_a_device_that_is_not_there(host: str) -> None:
    """Asking for it says that there is none."""
    for ask in (describe, offloads.active):
        with pytest.raises(LinkError) as caught:
            within(host, lambda ask=ask: ask("esp0"))
        assert caught.value.errno == errno.ENODEV


def test_offloads_that_stay_on_are_named(host: str) -> None:
    """What the device does not let go of is an error."""
    make(host)
    with pytest.raises(LinkError, match=r"offloads of 'lo' stay on: .*tx-checksum-ip-generic"):
        within(host, lambda: offloads.turn_off("lo", lambda name: name.startswith("tx-")))


def complete(datagram: bytes) -> bool:
    """Whether the checksum of a UDP datagram over IPv4 is right."""
    pseudo = datagram[12:20] + struct.pack("!HH", 17, len(datagram) - 20)
    words = pseudo + datagram[20:] + bytes(len(datagram) % 2)
    return sum(struct.unpack(f"!{len(words) // 2}H", words)) % 0xFFFF == 0


def test_packets_come_out_cut_and_complete(host: str) -> None:
    """A super-packet leaves the other end as packets of the right size, with checksums."""
    make(host)
    within(host, lambda: add_route(Route(ip_network(f"{TARGET}/32")), "esp0", "lo"))
    with captured(host, "esp0-in") as capture, open_socket(host, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        client.sendto(bytes(10_000), (TARGET, 7777))

    packets = [frame[14:] for frame in capture.ip()]
    assert [len(packet) for packet in packets] == [1028] * 10
    assert all(map(complete, packets))


def test_the_mtu_is_told(host: str) -> None:
    """Who does not let packets be cut hears that one is too big; others' are cut into fragments."""
    make(host)
    within(host, lambda: add_route(Route(ip_network(f"{TARGET}/32")), "esp0", "lo"))
    with captured(host, "esp0-in") as capture, open_socket(host, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        client.sendto(bytes(MTU - 28), (TARGET, 7777))
        with pytest.raises(OSError, match="too long") as caught:
            client.sendto(bytes(MTU - 27), (TARGET, 7777))
        client.setsockopt(socket.IPPROTO_IP, 10, 0)
        client.sendto(bytes(3000), (TARGET, 7777))

    assert caught.value.errno == errno.EMSGSIZE
    assert [len(frame) - 14 for frame in capture.ip()] == [MTU, 1396, 1396, 276]
