"""The network of the ESP tests works before there is any ESP in it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from bpfcrypto.kernel.netns import names
from support.esp_lab import HOSTS, OUTER, VERSIONS, EspLab, esp_lab
from support.traffic import MARK, open_socket, ping, transfer, udp

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def network() -> Iterator[EspLab]:
    with esp_lab() as made:
        yield made


@pytest.mark.parametrize("version", VERSIONS)
def test_packets_pass_the_router(network: EspLab, version: int) -> None:
    """Both hosts reach each other, and the router sees what they say."""
    with network.captured() as capture:
        assert ping(network.ends(version), MARK) == MARK
        assert udp(network.ends(version), [MARK]) == [MARK]

    assert capture.shows() == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_super_packets_are_made(network: EspLab, version: int) -> None:
    """TCP hands over more than one segment at a time, as it does on a machine that nobody has tuned."""
    with network.captured() as capture:
        transfer(network.ends(version), 1_000_000)

    assert max(map(len, capture.frames)) > 1514


@pytest.mark.parametrize("version", VERSIONS)
def test_the_router_does_not_know_inner_addresses(network: EspLab, version: int) -> None:
    """Nothing reaches them in the clear."""
    with network.captured("right") as capture, pytest.raises((TimeoutError, OSError)):
        ping(network.ends(version, inner=True), MARK, timeout=0.3)

    assert capture.shows() == 0


def test_packets_can_be_forged(network: EspLab) -> None:
    """What is sent to a host from the router's side comes in at its interface."""
    datagram = struct.pack("!HHHH", 5, 7776, 8 + len(MARK), 0) + MARK
    source, target = (bytes(map(int, OUTER[side][4].split("."))) for side in HOSTS)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0) + source + target
    total = sum(struct.unpack("!10H", header))
    total = ~(total + (total >> 16)) & 0xFFFF
    with open_socket(network.right, socket.SOCK_DGRAM) as server:
        server.bind((OUTER["right"][4], 7776))
        network.send("right", [header[:10] + struct.pack("!H", total) + header[12:] + datagram])

        assert server.recvfrom(100) == (MARK, (OUTER["left"][4], 5))


def test_nothing_is_left_behind() -> None:
    """Its namespaces are gone when it is, whatever went wrong inside."""
    made = []

    def fail() -> None:
        with esp_lab() as network:
            made.extend([network.left, network.router, network.right])
            assert set(made) <= set(names())
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert not set(made) & set(names())
