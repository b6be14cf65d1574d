"""Tests of crypto_packets.bpf.c. They need no root, no compiler and no kernel feature."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcrypto import Collection, open_engine

OBJECT = Path(__file__).with_name("crypto_packets.bpf.o")
TC_ACT_OK, TC_ACT_SHOT = 0, 2
KEY = bytes(range(16))
HEADERS = 14 + 20 + 8


@pytest.fixture
def collection() -> Iterator[Collection]:
    """The object, loaded afresh for each test."""
    with open_engine("embedded") as engine, engine.load(OBJECT) as loaded:
        yield loaded


def set_key(collection: Collection, key: bytes) -> int:
    """Make the crypto context; the status that the setup program leaves, 0 or a negative errno."""
    collection.variables["key"].value = key
    collection.variables["key_len"].value = len(key)
    collection.programs["setup"].run()
    return int(collection.variables["status"].value)


def udp_packet(payload: bytes) -> bytes:
    """An Ethernet frame with a UDP packet from 192.0.2.1 to 192.0.2.2."""
    ethernet = bytes.fromhex("020000000002 020000000001 0800")
    addresses = bytes.fromhex("c0000201 c0000202")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0) + addresses
    udp = struct.pack("!HHHH", 1234, 53, 8 + len(payload), 0)
    return ethernet + ip + udp + payload


def test_decrypt_undoes_encrypt(collection: Collection) -> None:
    """What went through encrypt and decrypt is the packet that it was; headers and length never change."""
    assert set_key(collection, KEY) == 0
    packet = udp_packet(b"attack at dawn, if it does not rain")

    encrypted = collection.programs["encrypt"].run(packet)
    decrypted = collection.programs["decrypt"].run(encrypted.data)

    assert encrypted.retval == decrypted.retval == TC_ACT_OK
    assert encrypted.data[:HEADERS] == packet[:HEADERS]
    assert b"attack" not in encrypted.data
    assert decrypted.data == packet


def test_without_a_key_nothing_leaves_in_the_clear(collection: Collection) -> None:
    """A packet that should be encrypted and cannot be is dropped."""
    result = collection.programs["encrypt"].run(udp_packet(bytes(32)))

    assert result.retval == TC_ACT_SHOT


def test_a_key_of_a_wrong_size_is_refused(collection: Collection) -> None:
    """AES has keys of 16, 24 and 32 bytes: the kernel answers EINVAL, and the status says so."""
    assert set_key(collection, KEY[:15]) == -22


def test_the_key_is_erased(collection: Collection) -> None:
    """Once the context is made, no map holds the key."""
    set_key(collection, KEY)

    assert collection.variables["key"].bytes == bytes(256)


def test_rotation_replaces_the_key(collection: Collection) -> None:
    """Under a new key the same packet becomes another one, and the old key's output no longer decrypts."""
    packet = udp_packet(bytes(32))
    set_key(collection, KEY)
    under_old_key = collection.programs["encrypt"].run(packet).data
    set_key(collection, KEY[::-1])

    under_new_key = collection.programs["encrypt"].run(packet).data

    assert under_new_key != under_old_key
    assert collection.programs["decrypt"].run(under_old_key).data != packet
    assert collection.programs["decrypt"].run(under_new_key).data == packet
