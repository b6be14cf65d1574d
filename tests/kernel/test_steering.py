"""Routes to a device that packets come back from: they go there once, and then find the way that they would have taken without it.

The programs here do to packets what matters for their way: they become something that only the other host's program understands.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.errors import LinkError
from bpfcrypto.kernel import netconf, steering
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.devices import describe, make_pair, remove_pair
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.interfaces import netlink
from bpfcrypto.kernel.netns import within
from bpfcrypto.kernel.steering import Route, add_route, has_neighbours, remove_all, remove_route, routes
from support.esp_lab import FAMILIES, HOSTS, OUTER, ROUTER, SUBNET, VERSIONS, EspLab, esp_lab
from support.lab import ADDRESSES, lab
from support.traffic import MARK, Ends, ping, transfer, udp

pytestmark = pytest.mark.kernel

DISGUISE = r"""
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define DROP 2 /* TCX_DROP */
#define NEXT -1

u32 output, deliver;
u8 deliver_mac[6];
u64 super_packets, sent, came;

/* The number of the protocol with another highest bit; the header's checksum changes with it. 1: not IP. */
static int disguise(struct __sk_buff *skb, bool undo)
{
	bool four = skb->protocol == bpf_htons(0x0800);
	u16 old, new;

	if (!four && skb->protocol != bpf_htons(0x86dd))
		return 1;
	/* IPv4: time to live and protocol; IPv6: protocol and hop limit */
	if (bpf_skb_load_bytes(skb, four ? 22 : 20, &old, sizeof(old)))
		return 1;
	new = old ^ (four ? bpf_htons(0x0080) : bpf_htons(0x8000));
	if (undo == !(old & (four ? bpf_htons(0x0080) : bpf_htons(0x8000))))
		return 1;
	if (four && bpf_l3_csum_replace(skb, 24, old, new, sizeof(old)))
		return 1;
	return bpf_skb_store_bytes(skb, four ? 22 : 20, &new, sizeof(new), 0);
}

SEC("tc")
int out(struct __sk_buff *skb)
{
	if (skb->gso_size) {
		super_packets++;
		return DROP;
	}
	if (disguise(skb, false))
		return DROP;
	sent++;
	return bpf_redirect_neigh(output, NULL, 0, 0);
}

SEC("tc")
int in(struct __sk_buff *skb)
{
	if (disguise(skb, true))
		return NEXT;
	came++;
	bpf_skb_store_bytes(skb, 0, deliver_mac, sizeof(deliver_mac), 0);
	return bpf_redirect(deliver, BPF_F_INGRESS);
}

char _license[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def disguise(compile_bpf: Callable[..., bytes]) -> bytes:
    return compile_bpf(DISGUISE)


@pytest.fixture(scope="module")
def network() -> Iterator[EspLab]:
    with esp_lab() as made:
        yield made


@contextmanager
def steered(disguise: bytes, host: str, output: str, source: str, target: str) -> Iterator[KernelCollection]:
    """A host that sends what is for an address by the device."""
    width = 128 if ":" in target else 32
    route = Route(ip_network(f"{target}/{width}"), ip_address(source))
    with KernelEngine() as engine, engine.load(disguise) as loaded:
        device = within(host, lambda: make_pair("esp0", 1400))
        loaded.variables["output"].value = within(host, lambda: describe(output).index)
        loaded.variables["deliver"].value = device.index
        loaded.variables["deliver_mac"].value = device.mac
        with (
            loaded.programs["out"].attach("esp0-in", Hook.INGRESS, netns=host),
            loaded.programs["in"].attach(output, Hook.INGRESS, netns=host),
        ):
            within(host, lambda: add_route(route, "esp0", output))
            try:
                yield loaded
            finally:
                within(host, lambda: remove_all("esp0"))
                within(host, lambda: remove_pair("esp0"))


@contextmanager
def both(disguise: bytes, network: EspLab, version: int) -> Iterator[list[KernelCollection]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                steered(disguise, network.host(side), "eth0", OUTER[side][version], OUTER[other][version])
            )
            for side, other in (HOSTS, HOSTS[::-1])
        ]


@pytest.mark.parametrize("version", VERSIONS)
def test_packets_find_the_router(disguise: bytes, network: EspLab, version: int) -> None:
    """The address that is routed to the device is reached through the router, and answers come in by the device."""
    ends = network.ends(version)
    chosen = Ends(ends.client, ends.server, ends.target)  # without a source: the route gives it
    with both(disguise, network, version) as loaded, network.captured() as capture:
        assert ping(ends, MARK) == MARK
        assert udp(chosen, [MARK]) == [MARK]
        transfer(ends, 1_000_000)
        assert [each.variables["super_packets"].value for each in loaded] == [0, 0]

    packets = [frame[14:] for frame in capture.frames if not is_housekeeping(frame)]
    assert max(map(len, packets)) == 1400
    assert all(packet[9 if version == 4 else 6] & 0x80 for packet in packets)


def is_housekeeping(frame: bytes) -> bool:
    """Whether a frame is to a group, or belongs to ARP or IPv6 neighbour discovery (RFC 4861)."""
    if frame[0] & 1 or frame[12:14] == b"\x08\x06":
        return True
    return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and 133 <= frame[54] <= 137


@pytest.mark.parametrize("version", VERSIONS)
def test_a_router_that_has_a_route_of_its_own(disguise: bytes, network: EspLab, version: int) -> None:
    """The same with a specific route in place of the default."""

    def route(command: str, side: str) -> None:

        other = next(each for each in HOSTS if each != side)
        subnet = ip_network(f"{OUTER[other][version]}/{SUBNET[version]}", strict=False)
        with netlink() as request:
            request.route(command, family=FAMILIES[version], dst=str(subnet), gateway=ROUTER[side][version])

    for side in HOSTS:
        within(network.host(side), partial(route, "add", side))
    try:
        with both(disguise, network, version):
            assert ping(network.ends(version), MARK) == MARK
    finally:
        for side in HOSTS:
            within(network.host(side), partial(route, "del", side))


def test_neighbours_of_a_strict_interface(disguise: bytes) -> None:
    """A host that is strict does not answer ARP of a neighbour that is routed elsewhere, until it is loosened."""
    with lab() as network, ExitStack() as stack:
        hosts = (network.left, network.right)
        for host in hosts:
            within(host, lambda: netconf.write("ipv4/conf/eth/rp_filter", 1))
        pairs = list(ADDRESSES.values())
        for host, source, target in zip(hosts, pairs, reversed(pairs), strict=True):
            stack.enter_context(steered(disguise, host, "eth", source, target))
        with pytest.raises(TimeoutError):
            ping(network.ends, MARK, timeout=0.3)

        assert [within(host, lambda: steering.loosen("eth")) for host in hosts] == [True, True]
        assert ping(network.ends, MARK, timeout=5) == MARK
        assert [within(host, lambda: steering.loosen("eth")) for host in hosts] == [False, False]

        within(network.left, lambda: steering.tighten("eth"))
        assert within(network.left, lambda: steering.strict("eth"))


def test_who_is_a_neighbour(network: EspLab) -> None:
    """An interface has neighbours in a prefix that its subnets overlap."""
    near = {
        "192.0.2.7/32": True,
        "198.51.100.1/32": False,
        "0.0.0.0/0": True,
        "2001:db8:1::7/128": True,
        "2001:db8:2::/48": False,
    }

    found = {each: within(network.left, lambda each=each: has_neighbours(ip_network(each), "eth0")) for each in near}

    assert found == near


WANTED = (
    Route(ip_network("0.0.0.0/0")),
    Route(ip_network("198.51.100.1/32"), ip_address("192.0.2.1"), 1300),
    Route(ip_network("::/0")),
    Route(ip_network("2001:db8:2::1/128"), ip_address("2001:db8:1::1"), 1290),
)


def rules(host: str) -> list[tuple[int, int, str]]:
    """Family, table and output of each rule that is ours."""

    def ask() -> list[Any]:
        with netlink() as request:
            return [each for each in request.get_rules() if each.get_attr("FRA_OIFNAME")]

    return [(each["family"], each.get_attr("FRA_TABLE"), each.get_attr("FRA_OIFNAME")) for each in within(host, ask)]


def test_routes_are_kept_apart_and_taken_away(network: EspLab) -> None:
    """Each call may be repeated; the last of them leaves nothing."""
    host = network.left
    within(host, lambda: make_pair("esp0", 1400))
    for route in (*WANTED, *WANTED):
        within(host, lambda route=route: add_route(route, "esp0", "eth0"))

    assert within(host, lambda: routes("esp0")) == WANTED
    table = steering.table_of("esp0")
    assert rules(host) == [(2, table, "eth0"), (10, table, "eth0")]

    other = Route(WANTED[1].prefix)
    within(host, lambda: add_route(other, "esp0", "lo"))
    assert within(host, lambda: routes("esp0")) == (WANTED[0], other, *WANTED[2:])
    assert rules(host) == [(2, table, "lo"), (10, table, "eth0")]

    for route in (WANTED[0], WANTED[0], WANTED[3], WANTED[3]):
        within(host, lambda route=route: remove_route(route.prefix, "esp0"))
    assert within(host, lambda: routes("esp0")) == (other, WANTED[2])

    for _ in range(2):
        within(host, lambda: remove_all("esp0"))
    assert within(host, lambda: routes("esp0")) == ()
    assert rules(host) == []

    within(host, lambda: add_route(WANTED[0], "esp0", "eth0"))
    within(host, lambda: remove_pair("esp0"))
    assert within(host, lambda: routes("esp0")) == ()
    within(host, lambda: remove_all("esp0"))


def test_what_cannot_be_routed(network: EspLab) -> None:
    """The error says what is missing, and no rule is left behind."""
    host = network.left
    with pytest.raises(LinkError, match="no interface 'esp0'"):
        within(host, lambda: add_route(WANTED[0], "esp0", "eth0"))
    within(host, lambda: make_pair("esp0", 1400))
    try:
        with pytest.raises(LinkError, match="no interface 'eth1'"):
            within(host, lambda: add_route(WANTED[0], "esp0", "eth1"))
        foreign = Route(WANTED[1].prefix, ip_address("192.0.2.77"))
        with pytest.raises(LinkError, match=r"a route for 198.51.100.1/32 to 'esp0': EINVAL") as caught:
            within(host, lambda: add_route(foreign, "esp0", "eth0"))
        assert caught.value.errno == errno.EINVAL
        assert rules(host) == []
    finally:
        within(host, lambda: remove_pair("esp0"))
