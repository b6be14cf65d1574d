"""The example of an encrypted link: the same bytes from both engines, and what one end encrypts the other decrypts."""

from __future__ import annotations

import struct

import pytest

from bpfcrypto.engine import Collection, Engine
from support.markdown import ROOT

OBJECT = ROOT / "examples/encrypted_link.bpf.o"
HEADERS = 14 + 20
NEXT, PASS = 0xFFFFFFFF, 2

SIZES = [1, 15, 16, 17, 31, 32, 33, 100, 1480]


def frame(payload: bytes, padding: int = 0) -> bytes:
    """An Ethernet frame with an IPv4 packet."""
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0x4000, 64, 17, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return bytes(12) + b"\x08\0" + ip + payload + bytes(padding)


def expected(key: bytes, plain: bytes) -> bytes:
    """What the program makes of a frame, computed apart from it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def block(data: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)

    payload = plain[HEADERS:]
    whole = len(payload) // 16 * 16
    digest = plain[26:34] + plain[18:22] + plain[16:18] + plain[23:24] + b"\0"
    iv = block(digest)
    blocks = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(payload[:whole])
    pad = block((iv + blocks)[-16:])
    return plain[:HEADERS] + blocks + bytes(a ^ b for a, b in zip(payload[whole:], pad, strict=False))


def with_key(collection: Collection, key: bytes) -> Collection:
    collection.variables["key"].value = key.ljust(32, b"\0")
    collection.variables["key_len"].value = len(key)
    collection.programs["setup"].run()
    assert collection.variables["status"].value == 0
    assert collection.variables["key"].value == bytes(32)
    return collection


@pytest.mark.parametrize("size", [16, 24, 32])
def test_round_trip(engine: Engine, size: int) -> None:
    """Every length of payload comes back, by tc and by XDP, and on the wire is what the construction says."""
    key = bytes(range(size))
    with with_key(engine.load(OBJECT), key) as collection:
        run = collection.programs
        for length in SIZES:
            plain = frame(bytes(i & 0xFF for i in range(length)))

            sent = run["send"].run(plain)

            assert (sent.retval, sent.data) == (NEXT, expected(key, plain))
            received = run["receive"].run(sent.data)
            assert (received.retval, received.data) == (NEXT, plain)
            by_xdp = run["xdp_receive"].run(sent.data)
            assert (by_xdp.retval, by_xdp.data) == (PASS, plain)


def test_padding_is_no_payload(engine: Engine) -> None:
    """What Ethernet adds to a short packet stays as it is."""
    with with_key(engine.load(OBJECT), bytes(16)) as collection:
        sent = collection.programs["send"].run(frame(b"short", padding=21))

    assert sent.data[-21:] == bytes(21)
    assert sent.data[:-21] == expected(bytes(16), frame(b"short"))


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (bytes(12) + b"\x86\xdd" + bytes(50), 2),
        (frame(b"")[:34], 3),
        (frame(bytes(20))[:40], 3),
        (frame(bytes(20)).replace(b"\x45\0", b"\x44\0", 1), 3),
    ],
    ids=["IPv6", "no payload", "cut off", "header too short"],
)
def test_what_is_not_encrypted_is_dropped(engine: Engine, packet: bytes, verdict: int) -> None:
    """Nothing but ARP goes in the clear, and the counters tell why."""
    with with_key(engine.load(OBJECT), bytes(16)) as collection:
        assert collection.programs["send"].run(packet).retval == 2
        assert collection.programs["xdp_receive"].run(packet).retval == 1
        assert sum(collection.maps["counters"].typed[verdict]) == 2

        arp = bytes(12) + b"\x08\x06" + bytes(28)
        assert collection.programs["send"].run(arp).retval == NEXT


def test_no_key_no_packet(engine: Engine) -> None:
    """Before setup every packet is dropped."""
    with engine.load(OBJECT) as collection:
        assert collection.programs["send"].run(frame(bytes(20))).retval == 2
        assert collection.programs["receive"].run(frame(bytes(20))).retval == 2
        assert collection.programs["xdp_receive"].run(frame(bytes(20))).retval == 1


def test_super_packets(engine: Engine) -> None:
    """A packet that will be cut into segments is dropped: its context says so."""
    with with_key(engine.load(OBJECT), bytes(16)) as collection:
        ctx = bytearray(192)
        struct.pack_into("=I", ctx, 176, 8)  # gso_size of struct __sk_buff
        result = collection.programs["send"].run(frame(bytes(100)), ctx=bytes(ctx))

        assert result.retval == 2
        assert sum(collection.maps["counters"].typed[4]) == 1
