"""Real traffic through attached programs: what one end encrypts the other decrypts, and the wire in between shows nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, takewhile
from pathlib import Path

import pytest

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.kernel import clsact
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.links import KernelLink
from support.lab import ADDRESSES, Lab, lab
from support.traffic import MARK, captured, open_socket, ping, tcp, udp

pytestmark = pytest.mark.kernel

OBJECT = Path(__file__).parents[2] / "examples/encrypted_link.bpf.o"
UDP_SEGMENT = 103  # uapi/linux/udp.h: the kernel cuts a datagram into several
RECEIVERS = {Hook.INGRESS: "receive", Hook.XDP: "xdp_receive", Hook.XDP_GENERIC: "xdp_receive"}


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab() as made:
        yield made


def load(engine: KernelEngine, key: bytes, *programs: str) -> KernelCollection:
    """The example with a key."""
    collection = engine.load(OBJECT, programs=["setup", *programs])
    collection.variables["key"].value = key.ljust(32, b"\0")
    collection.variables["key_len"].value = len(key)
    collection.programs["setup"].run()
    assert collection.variables["status"].value == 0
    return collection


@contextmanager
def encrypted(network: Lab, hook: Hook) -> Iterator[dict[str, KernelCollection]]:
    """Both directions of the link encrypted, with a key each; the collections by direction and end."""
    with KernelEngine() as engine, ExitStack() as stack:
        loaded = {}
        for source, target in (("left", "right"), ("right", "left")):
            key = os.urandom(16)
            for side, program, where in ((source, "send", Hook.EGRESS), (target, RECEIVERS[hook], hook)):
                collection = stack.enter_context(load(engine, key, program))
                stack.enter_context(collection.programs[program].attach("eth", where, netns=network.end(side)))
                loaded[f"{program} {side}"] = collection
        yield loaded


def drops(loaded: dict[str, KernelCollection]) -> dict[str, int]:
    """Packets that were dropped for want of anything but IPv4 (the kernel sends some IPv6 by itself)."""
    found = {}
    for name, collection in loaded.items():
        for verdict in range(3, 7):
            counted = sum(collection.maps["counters"].typed[verdict])
            if counted:
                found[f"{name} {verdict}"] = counted
    return found


def text(size: int) -> bytes:
    return (MARK * (size // len(MARK) + 1))[:size]


def test_the_wire_shows_what_is_not_encrypted(network: Lab) -> None:
    """Without programs the capture sees the text: the tests below can fail."""
    with captured(network.wire, "left") as capture:
        assert ping(network.ends, text(100)) == text(100)

    assert capture.shows() == 2


@pytest.mark.parametrize("hook", RECEIVERS)
def test_payloads_arrive_whole_and_unseen(network: Lab, hook: Hook) -> None:
    """Ping, UDP and TCP of many sizes go through, and no frame on the wire has any of the text."""
    sizes = [*range(17), 31, 32, 33, 1000, 1471, 1472]
    stream = text(1_000_000)

    with encrypted(network, hook) as loaded:
        with captured(network.wire, "left") as capture:
            for number, size in enumerate(sizes):
                assert ping(network.ends, text(size), number=number) == text(size)
            assert udp(network.ends, [text(size) for size in sizes]) == [text(size) for size in sizes]
            assert tcp(network.ends, stream) == stream

        assert drops(loaded) == {}
    assert len(capture.ip()) > 4 * len(sizes) + 2 * len(stream) // 1500
    assert capture.shows() == 0
    assert capture.shows(MARK[:4]) == 0


@pytest.mark.parametrize("hook", RECEIVERS)
def test_fragments_are_encrypted_each_for_itself(network: Lab, hook: Hook) -> None:
    """What is too long for the link goes through in fragments, unseen as well."""
    with encrypted(network, hook), captured(network.wire, "left") as capture:
        assert udp(network.ends, [text(4000)]) == [text(4000)]

    assert len(capture.ip()) == 6
    assert capture.shows() == 0


def test_another_key_gets_nothing(network: Lab) -> None:
    """What arrives encrypted with one key is noise to a receiver with another: no answer comes."""
    with (
        KernelEngine() as engine,
        load(engine, bytes(16), "send") as sender,
        load(engine, bytes(15) + b"1", "receive") as receiver,
        sender.programs["send"].attach("eth", netns=network.left),
        receiver.programs["receive"].attach("eth", netns=network.right),
        pytest.raises(TimeoutError),
    ):
        ping(network.ends, text(100), timeout=0.5)


def test_without_a_key_nothing_leaves(network: Lab) -> None:
    """A link that has no key yet drops, and never sends in the clear."""
    with (
        KernelEngine() as engine,
        engine.load(OBJECT, programs=["send"]) as loaded,
        loaded.programs["send"].attach("eth", netns=network.left),
        captured(network.wire, "left") as capture,
        pytest.raises(OSError, match=r"buffer|timed"),  # ENOBUFS is how a sender sees the drop
    ):
        ping(network.ends, text(100), timeout=0.5)

    assert capture.ip() == []


def test_super_packets_are_dropped_and_counted(network: Lab) -> None:
    """A super-packet would be cut up behind the program, where the other end could not decrypt the pieces."""
    with encrypted(network, Hook.INGRESS) as loaded, open_socket(network.left, socket.SOCK_DGRAM) as client:
        assert udp(network.ends, [text(10)]) == [text(10)]
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        with captured(network.wire, "left") as capture:
            client.sendto(text(10_000), (ADDRESSES["right"], 7779))

        assert drops(loaded) == {"send left 4": 1}
    assert capture.ip() == []


@pytest.mark.parametrize("hook", [Hook.INGRESS, Hook.XDP])
def test_replacing_under_load_loses_and_shows_nothing(network: Lab, bpf_directory: Path, hook: Hook) -> None:
    """Both programs are replaced again and again, by ones with the same key, while datagrams pass: each meets one of them."""
    key, enough, rounds = os.urandom(16), threading.Event(), 0
    messages = takewhile(lambda _: not enough.is_set(), cycle([text(size) for size in range(100, 1400, 3)]))
    places = [("send", "left", Hook.EGRESS), (RECEIVERS[hook], "right", hook)]
    with (
        KernelEngine() as engine,
        ExitStack() as stack,
        captured(network.wire, "left") as capture,
        ThreadPoolExecutor(1) as pool,
    ):
        turns = []
        for program, side, where in places:
            old, new = (stack.enter_context(load(engine, key, program)).programs[program] for _ in range(2))
            pin = bpf_directory / side
            link = stack.enter_context(old.attach("eth", where, netns=network.end(side), pin=pin))
            assert isinstance(link, KernelLink)
            stack.callback(link.detach)
            turns.append((link, cycle((new, old))))
        sending = pool.submit(send_all, network, messages)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for link, programs in turns:
                link.replace(next(programs))
            rounds += 1
        enough.set()
        sent = sending.result()

    assert min(rounds, sent) > 20
    assert len(capture.ip()) >= sent
    assert capture.shows() == 0


def send_all(network: Lab, messages: Iterable[bytes]) -> int:
    """Datagrams from left to right, each of which must arrive as it is before the next one leaves; how many."""
    sent = 0
    with (
        open_socket(network.right, socket.SOCK_DGRAM) as server,
        open_socket(network.left, socket.SOCK_DGRAM) as client,
    ):
        server.bind((ADDRESSES["right"], 7778))
        client.connect((ADDRESSES["right"], 7778))
        for message in messages:
            client.send(message)
            assert server.recv(1 << 16) == message
            sent += 1
    return sent


def test_filters_of_clsact_encrypt_as_well(network: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no TCX, the same programs do the same as filters."""
    monkeypatch.setattr(clsact, "has_tcx", lambda: False)
    with KernelEngine() as engine, ExitStack() as stack:
        for source, target in (("left", "right"), ("right", "left")):
            key = os.urandom(16)
            for side, program, where in ((source, "send", Hook.EGRESS), (target, "receive", Hook.INGRESS)):
                loaded = stack.enter_context(load(engine, key, program))
                pin = f"/sys/fs/bpf/bpfcrypto-{program}-{side}"
                link = loaded.programs[program].attach("eth", where, netns=network.end(side), pin=pin)
                stack.callback(link.detach)
        with captured(network.wire, "left") as capture:
            assert ping(network.ends, text(1001)) == text(1001)
            assert tcp(network.ends, text(100_000)) == text(100_000)

    assert len(capture.ip()) > 140
    assert capture.shows() == 0
