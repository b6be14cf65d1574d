"""Sealing and opening on the embedded engine is machine code from end to end: no call of a packet's leads back into Python."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.programs.esp.keys import KeyMaterial
from bpfcrypto.programs.esp.policies import Action, Row
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, Association, EspProgram, spec
from bpfcrypto.programs.esp.suites import SUITES, Mode
from support.natives import calls_into_python
from support.packets import ipv4, ipv6, payload, udp

V4 = ip_address("192.0.2.1"), ip_address("198.51.100.1")
V6 = ip_address("2001:db8::1"), ip_address("2001:db8::2")
INNER = ip_network("10.0.0.1/32"), ip_network("10.0.0.2/32"), ip_network("fd00::1/128"), ip_network("fd00::2/128")
SIZES = (0, 1, 18, 100, 500, 1300)


@pytest.fixture
def program() -> Iterator[EspProgram]:
    with (
        EmbeddedEngine(jit=True) as engine,
        engine.load(spec(), programs=(*CONTROL_PROGRAMS, "seal", "open")) as collection,
    ):
        yield EspProgram(engine, collection)


def policies(program: EspProgram, *, sends: bool) -> None:
    """The first address of each version is ours, the second the peer's; or the other way round."""
    local = [number % 2 == (0 if sends else 1) for number in range(len(INNER))]
    program.set_policies(
        Row(network, Action.LOCAL if ours else Action.PROTECT, 0 if ours else 1, "")
        for network, ours in zip(INNER, local, strict=True)
    )


@pytest.mark.parametrize("outer", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("suite_name", SUITES)
def test_tunnel(
    program: EspProgram, suite_name: str, outer: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]
) -> None:
    """Packets of both versions through a tunnel of either come out as they went in."""
    suite = SUITES[suite_name]
    programs = program.collection.programs
    for slot, outbound in ((1, True), (2, False)):
        association = Association(0x101, 1, suite.cipher, Mode.TUNNEL, True, outbound, *outer, mtu=1500)
        program.install(slot, association, KeyMaterial(bytearray(range(suite.key_size)), bytes(suite.salt_size)))
    program.send(1, 1)
    program.receive(0x101, 2)
    packets = [make(udp(payload(size)), 17) for size in SIZES for make in (ipv4, ipv6)]
    policies(program, sends=True)
    with calls_into_python(programs["seal"]) as calls:
        sealed = [programs["seal"].run(data).data for data in packets]
        policies(program, sends=False)
        opened = [programs["open"].run(data).data for data in sealed]
    assert opened == packets
    assert not set(sealed) & set(packets)
    assert program.tally(1).packets.keys() == {"SEALED"}
    assert program.tally(2).packets.keys() == {"OPENED"}
    assert calls.number == 0
