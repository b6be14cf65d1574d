"""Ordinary traffic on a real link, in every mode: it arrives as it was, the network sees nothing but ESP, and what does not fit is told so."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bpfcrypto.kernel import offloads
from bpfcrypto.kernel.netns import within
from bpfcrypto.programs.esp.config import load_config
from bpfcrypto.programs.esp.deployment import Deployment
from support.esp_lab import HOSTS, INNER, LAN, esp_lab, lan
from support.esp_link import SUITE_NAMES, EspLink, Options, esp_link, what_is_left, write_config
from support.esp_witness import SOURCE, witnessed
from support.traffic import MARK, Ends, keep_whole, open_socket, ping, tcp, transfer, udp

pytestmark = pytest.mark.kernel

ROUTED = [
    Options(suite=suite, mode=mode, version=version)
    for suite in SUITE_NAMES
    for mode in ("tunnel", "transport")
    for version in (4, 6)
]
# Two CPUs may come to overtake each other by more than a replay window. Without ESN what comes too late is called so; with it, its number is
# taken for one of the next 2^32, and it is not authentic.
LARGE = [Options(suite=suite, esn=False) for suite in SUITE_NAMES]
EGRESS = [
    Options(suite="aes-128-ccm-16", mode="transport", version=4, send="egress"),
    Options(suite="chacha20-poly1305", mode="transport", version=6, send="egress"),
    Options(suite="chacha20-poly1305", mode="tunnel", version=4, send="egress"),
    Options(suite="chacha20-poly1305", mode="tunnel", version=6, send="egress"),
]
ECHO_HEADER, UDP_HEADER = 8, 8
IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}
WRONG = {"TOO_BIG", "SUPER_PACKET", "CHECKSUM", "BAD_TAG", "REPLAY", "NESTED", "MALFORMED"}
SIZES = (0, 1, 2, 3, 100, 1000)


def messages(sizes: tuple[int, ...]) -> list[bytes]:
    return [(MARK * (size // len(MARK) + 1))[:size] for size in sizes]


@contextmanager
def nothing_in_the_clear(link: EspLink, compiled: bytes) -> Iterator[None]:
    """The router sees ESP and what hosts need to find each other; the text is in none of it."""
    with witnessed(compiled, link.network) as witness:
        with link.network.captured("left") as left, link.network.captured("right") as right:
            yield
        assert len(left.frames) > 10
        assert (left.shows(), right.shows()) == (0, 0)
        assert (witness.clear, witness.repeated, witness.missed) == (0, 0, 0)


def too_large(ends: Ends, size: int) -> bool:
    """Whether the kernel says that a ping of that many bytes does not fit; TimeoutError where nobody says anything."""
    try:
        ping(ends, bytes(size), timeout=2.0, whole=True)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return True
    return False


@pytest.mark.parametrize("options", ROUTED, ids=str)
def test_everything_arrives(
    compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path, options: Options
) -> None:
    """Pings, datagrams of many sizes and streams of super-packets, both ways, in the families that the link carries."""
    with esp_link(tmp_path, bpf_directory, options) as link:
        with nothing_in_the_clear(link, compile_bpf(SOURCE)):
            for version in options.versions:
                for ends in (link.ends(version), link.back(version)):
                    room = options.largest - IP_HEADER[ends.family]
                    assert ping(ends, MARK) == MARK
                    assert not too_large(ends, room - ECHO_HEADER)
                    assert too_large(ends, room - ECHO_HEADER + 1)
                    largest = room - UDP_HEADER
                    sizes = (*SIZES, *range(largest - 4, largest + 1))
                    fragmented = (largest + 1, 4000, 30_000) if options.inner else ()
                    expected = messages((*sizes, *fragmented))
                    assert udp(ends, expected) == expected
                text = MARK * 20_000
                assert tcp(link.ends(version), text) == text
        for side in link.sides:
            assert not WRONG & set(side.verdicts())


@pytest.mark.parametrize("options", LARGE, ids=str)
def test_a_large_transfer(bpf_directory: Path, tmp_path: Path, options: Options) -> None:
    """A hundred megabytes by TCP, in super-packets that the kernel cuts, come as they were."""
    size = 100_000_000
    with esp_link(tmp_path, bpf_directory, options) as link:
        took = transfer(link.ends(), size, timeout=60)
        print(f"{size * 8 / took / 1e9:.2f} Gb/s")
        for side in link.sides:
            assert not WRONG & set(side.verdicts())


def test_fragments_in_transport_mode(bpf_directory: Path, tmp_path: Path) -> None:
    """A datagram that the stack has cut is dropped and counted; one that must stay whole is refused."""
    for version in (4, 6):
        with esp_link(tmp_path / str(version), bpf_directory, Options(mode="transport", version=version)) as link:
            ends = link.ends()
            with pytest.raises(TimeoutError):
                udp(ends, [bytes(4000)], timeout=0.3)
            slot, _ = link.left.sending()
            assert link.left.verdicts(slot)["FRAGMENT"] == 3

            with open_socket(ends.client, socket.SOCK_DGRAM, family=ends.family) as client:
                keep_whole(client)
                with pytest.raises(OSError, match="Message too long") as caught:
                    client.sendto(bytes(4000), (ends.target, 7777))
                assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("version", [4, 6])
def test_a_network_behind_a_host(bpf_directory: Path, tmp_path: Path, version: int) -> None:
    """What is forwarded is protected as well, super-packets included, and who sends too much is told how much fits."""
    options = Options(version=version)
    with esp_link(tmp_path, bpf_directory, options) as link, lan(link.network, "left") as behind:
        for inner in options.versions:
            ends = Ends(behind, link.network.right, INNER["right"][inner], LAN["left"][inner])
            room = options.largest - IP_HEADER[ends.family] - ECHO_HEADER
            assert ping(ends, MARK) == MARK
            assert not too_large(ends, room)
            assert too_large(ends, room + 1)
            assert mtu_of_path(ends) == options.largest
            transfer(ends, 5_000_000)
            back = Ends(ends.server, ends.client, LAN["left"][inner], ends.target)
            transfer(back, 5_000_000)
            sizes = (100, 4000, 20_000)
            assert udp(ends, messages(sizes)) == messages(sizes)


def mtu_of_path(ends: Ends) -> int:
    """What the client's kernel knows of it."""
    with open_socket(ends.client, socket.SOCK_DGRAM, family=ends.family) as client:
        client.connect((ends.target, 7777))
        if ends.family == socket.AF_INET6:
            return client.getsockopt(socket.IPPROTO_IPV6, 24)  # IPV6_MTU
        return client.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU


@pytest.mark.parametrize("options", EGRESS, ids=str)
def test_at_the_egress(
    compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path, options: Options
) -> None:
    """The same without a device of our own: unfinished checksums are finished, and nobody on the way finishes them again."""
    with esp_link(tmp_path, bpf_directory, options) as link:
        for side in HOSTS:
            within(link.network.router, lambda side=side: offloads.turn_off(side, is_checksum))
        with nothing_in_the_clear(link, compile_bpf(SOURCE)):
            for version in options.versions:
                for ends in (link.ends(version), link.back(version)):
                    room = options.largest - IP_HEADER[ends.family]
                    assert ping(ends, MARK) == MARK
                    assert not too_large(ends, room - ECHO_HEADER)
                    assert too_large(ends, room - ECHO_HEADER + 1)
                    sizes = (*SIZES, room - UDP_HEADER)
                    assert udp(ends, messages(sizes)) == messages(sizes)
                text = MARK * 20_000
                assert tcp(link.ends(version), text) == text
        transfer(link.ends(), 1_000_000)
        for side in link.sides:
            assert not WRONG & set(side.verdicts())


def is_checksum(offload: str) -> bool:
    """Whether an interface without this offload finishes checksums in software, so that two bytes of whoever has lied are lost."""
    return offload.startswith("tx-checksum")


def test_super_packets_at_the_egress(bpf_directory: Path, tmp_path: Path) -> None:
    """They cannot be cut there, so that they are dropped and counted."""
    with esp_link(tmp_path, bpf_directory, Options(mode="transport", send="egress")) as link:
        ends = link.ends()
        slot, _ = link.left.sending()
        with (
            open_socket(ends.client, socket.SOCK_DGRAM) as client,
            open_socket(ends.server, socket.SOCK_DGRAM, timeout=0.2) as server,
        ):
            server.bind((ends.target, 7777))
            client.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
            with suppress(OSError):
                client.sendto(bytes(5000), (ends.target, 7777))
            with pytest.raises(TimeoutError):
                server.recv(1 << 16)
        assert link.left.verdicts(slot)["SUPER_PACKET"] == 1


@pytest.mark.parametrize("send", ["routed", "egress"])
def test_the_first_packets(compile_bpf: Callable[..., bytes], bpf_directory: Path, tmp_path: Path, send: str) -> None:
    """Who comes up alone greets the other end at once, and by ESP."""
    options = Options(send=send)
    with esp_lab() as network, witnessed(compile_bpf(SOURCE), network, ["left"]) as witness:
        config = load_config(write_config(tmp_path, "left", bpf_directory, bytes(32), options))
        deployment, events = Deployment.up(config, network.left)
        deployment.close()
        try:
            assert [str(each) for each in events] == ["right: begins with epoch 1"]
            until = time.monotonic() + 5
            while not witness.sealed and time.monotonic() < until:  # the router has to be found first
                time.sleep(0.01)
            assert (witness.sealed, witness.clear) == (1, 0)
        finally:
            Deployment.down(config, network.left)
        assert what_is_left(config, network.left) == []
