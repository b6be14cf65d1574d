"""AES keys: chains that follow each other on one object, threads, and wiping."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bpfcrypto.crypto.provider import AesKey


def cbc(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(data)


def test_chains_are_independent() -> None:
    """Any sequence of chains on one key gives what a fresh cipher gives for each."""
    rng = random.Random(1)
    for size in (16, 24, 32):
        raw = rng.randbytes(size)
        key = AesKey(raw)
        for _ in range(50):
            iv, data = rng.randbytes(16), rng.randbytes(16 * rng.randrange(1, 9))
            expected = cbc(raw, iv, data)

            assert key.encrypt_chain(iv, data) == expected
            assert key.decrypt_chain(iv, expected) == data
            assert key.decrypt_blocks(key.encrypt_blocks(data)) == data


def test_threads() -> None:
    """Chains on one key from several threads do not mix."""
    raw = bytes(range(32))
    key = AesKey(raw)
    jobs = [(bytes([i]) * 16, bytes([i, 255 - i]) * 64) for i in range(64)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda job: key.encrypt_chain(*job), jobs * 4))

    assert results == [cbc(raw, *job) for job in jobs] * 4


def test_wipe_and_repr() -> None:
    """A wiped key refuses to work; a key never shows itself."""
    key = AesKey(b"sixteen byte key")
    assert repr(key) == "<AesKey 128 bits>"

    key.wipe()

    with pytest.raises(ValueError, match="wiped"):
        key.encrypt_blocks(bytes(16))
    with pytest.raises(ValueError, match="wiped"):
        key.decrypt_chain(bytes(16), bytes(16))


def test_key_can_be_wiped() -> None:
    """The schedules do not depend on the bytes that they were made from."""
    raw = bytearray(range(16))
    key = AesKey(raw)
    raw[:] = bytes(16)
    expected = cbc(bytes(range(16)), bytes(16), bytes(32))

    assert key.encrypt_chain(bytes(16), bytes(32)) == expected
    assert key.decrypt_blocks(key.encrypt_blocks(bytes(16))) == bytes(16)
    assert key.encrypt_blocks(bytes(16)) == expected[:16]
