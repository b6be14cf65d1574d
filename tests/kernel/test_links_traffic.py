"""Real traffic through attached programs: what one end encrypts the other decrypts, and the wire in between shows nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine
from support.lab import MARK, Lab, captured, lab, ping, tcp, udp

pytestmark = pytest.mark.kernel

OBJECT = Path(__file__).parents[2] / "examples/encrypted_link.bpf.o"
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
    with captured(network) as capture:
        assert ping(network, text(100)) == text(100)

    assert capture.shows() == 2


@pytest.mark.parametrize("hook", RECEIVERS)
def test_payloads_arrive_whole_and_unseen(network: Lab, hook: Hook) -> None:
    """Ping, UDP and TCP of many sizes go through, and no frame on the wire has any of the text."""
    sizes = [*range(17), 31, 32, 33, 1000, 1471, 1472]
    stream = text(1_000_000)

    with encrypted(network, hook) as loaded:
        with captured(network) as capture:
            for number, size in enumerate(sizes):
                assert ping(network, text(size), number=number) == text(size)
            assert udp(network, [text(size) for size in sizes]) == [text(size) for size in sizes]
            assert tcp(network, stream) == stream

        assert drops(loaded) == {}
    assert len(capture.ip()) > 4 * len(sizes) + 2 * len(stream) // 1500
    assert capture.shows() == 0
    assert capture.shows(MARK[:4]) == 0


@pytest.mark.parametrize("hook", RECEIVERS)
def test_fragments_are_encrypted_each_for_itself(network: Lab, hook: Hook) -> None:
    """What is too long for the link goes through in fragments, unseen as well."""
    with encrypted(network, hook), captured(network) as capture:
        assert udp(network, [text(4000)]) == [text(4000)]

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
        ping(network, text(100), timeout=0.5)


def test_without_a_key_nothing_leaves(network: Lab) -> None:
    """A link that has no key yet drops, and never sends in the clear."""
    with (
        KernelEngine() as engine,
        engine.load(OBJECT, programs=["send"]) as loaded,
        loaded.programs["send"].attach("eth", netns=network.left),
        captured(network) as capture,
        pytest.raises(OSError, match=r"buffer|timed"),  # ENOBUFS is how a sender sees the drop
    ):
        ping(network, text(100), timeout=0.5)

    assert capture.ip() == []


def test_super_packets_are_dropped_and_counted() -> None:
    """A super-packet would be cut up behind the program, where the other end could not decrypt the pieces."""
    with lab(segments=64) as network, encrypted(network, Hook.INGRESS) as loaded:
        with captured(network) as capture, pytest.raises(OSError, match=r"timed|Broken|reset"):
            tcp(network, text(200_000), timeout=1)

        assert loaded["send left"].maps["counters"].typed[4]
    assert capture.shows() == 0
