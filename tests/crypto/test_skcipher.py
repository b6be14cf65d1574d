"""Ciphers on live memory: published vectors, the order of checks, ragged lengths, and any overlap of source, destination and IV."""

from __future__ import annotations

import json
import random
from errno import EINVAL
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bpfcrypto.crypto.skcipher import ALGORITHMS, Buffer, Skcipher

FOLDER = Path(__file__).parents[1] / "vectors" / "crypto"
FILES = ("sp800_38a_ecb_cbc", "cavp_aes_mmt_ecb_cbc", "rfc3602_aes_cbc")
VECTORS = [
    pytest.param(vector, id=f"{name}-{vector['id']}")
    for name in FILES
    for vector in json.loads((FOLDER / f"{name}.json").read_text())["vectors"]
]


def buffer(data: bytes | bytearray, address: int) -> Buffer:
    return Buffer(address, memoryview(data))


@pytest.mark.parametrize("in_place", [False, True], ids=["copy", "in place"])
@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: dict[str, str], in_place: bool) -> None:
    """Both directions of every published vector, and the IV afterwards."""
    key, plain, secret = (bytes.fromhex(vector[name]) for name in ("key", "plaintext", "ciphertext"))
    cipher = Skcipher(ALGORITHMS[f"{vector['mode'].lower()}(aes)"], key)
    for method, given, expected in ((cipher.encrypt, plain, secret), (cipher.decrypt, secret, plain)):
        source, iv = bytearray(given), bytearray.fromhex(vector.get("iv", ""))
        target = source if in_place else bytearray(len(given))

        errno = method(buffer(source, 1000), buffer(target, 1000 if in_place else 5000), buffer(iv, 9000))

        assert (errno, bytes(target)) == (0, expected)
        assert bytes(iv) == (secret[-16:] if iv else b"")


CHECKS = {  # algorithm, bytes of source, destination and IV (None: a null dynptr) -> errno
    "ecb, no IV": ("ecb(aes)", 16, 16, None, 0),
    "ecb, empty IV": ("ecb(aes)", 16, 16, 0, 0),
    "ecb, IV": ("ecb(aes)", 16, 16, 16, EINVAL),
    "ecb, IV of 1": ("ecb(aes)", 16, 16, 1, EINVAL),
    "cbc": ("cbc(aes)", 16, 16, 16, 0),
    "cbc, no IV": ("cbc(aes)", 16, 16, None, EINVAL),
    "cbc, empty IV": ("cbc(aes)", 16, 16, 0, EINVAL),
    "cbc, IV of 15": ("cbc(aes)", 16, 16, 15, EINVAL),
    "cbc, IV of 32": ("cbc(aes)", 16, 16, 32, EINVAL),
    "empty source": ("ecb(aes)", 0, 16, None, EINVAL),
    "empty destination": ("ecb(aes)", 16, 0, None, EINVAL),
    "null source": ("ecb(aes)", None, 16, None, EINVAL),
    "null destination": ("ecb(aes)", 16, None, None, EINVAL),
    "destination shorter": ("ecb(aes)", 16, 15, None, EINVAL),
    "destination half": ("ecb(aes)", 32, 16, None, EINVAL),
    "destination longer": ("ecb(aes)", 16, 100, None, 0),
}


@pytest.mark.parametrize(("algorithm", "src", "dst", "iv", "errno"), CHECKS.values(), ids=CHECKS)
def test_checks(algorithm: str, src: int | None, dst: int | None, iv: int | None, errno: int) -> None:
    """A refusal is EINVAL and writes nothing; only as many bytes as the source has are ever written."""
    buffers = [None if size is None else bytearray(b"\xa5" * size) for size in (src, dst, iv)]
    views = [None if data is None else buffer(data, 1000 * i) for i, data in enumerate(buffers, 1)]
    cipher = Skcipher(ALGORITHMS[algorithm], bytes(16))
    for method in (cipher.encrypt, cipher.decrypt):
        assert method(*views) == errno
    if errno:
        assert all(set(data or b"\xa5") == {0xA5} for data in buffers)
    else:
        assert buffers[1] is not None
        assert set(buffers[1][src:]) <= {0xA5}


def test_read_only_destination() -> None:
    """Memory that cannot be written is refused."""
    cipher = Skcipher(ALGORITHMS["ecb(aes)"], bytes(16))

    assert cipher.encrypt(buffer(bytes(16), 1000), buffer(bytes(16), 2000), None) == EINVAL


@pytest.mark.parametrize(("size", "whole"), [(1, 0), (15, 0), (17, 16), (40, 32), (1420, 1408)])
@pytest.mark.parametrize("partial", [True, False])
def test_ragged_length(size: int, whole: int, partial: bool) -> None:
    """EINVAL after the whole blocks; the IV has moved on with them. Kernels with the AES library write nothing."""
    key, iv, data = bytes(range(16)), bytearray(range(16)), bytes(i & 0xFF for i in range(size))
    done = whole if partial else 0
    expected = Cipher(algorithms.AES(key), modes.CBC(bytes(iv))).encryptor().update(data[:done])
    cipher = Skcipher(ALGORITHMS["cbc(aes)"], key, partial_blocks=partial)
    target = bytearray(b"\xa5" * size)

    assert cipher.encrypt(buffer(data, 1000), buffer(target, 9000), buffer(iv, 90000)) == EINVAL

    assert bytes(target) == expected + b"\xa5" * (size - done)
    assert bytes(iv) == (expected[-16:] if done else bytes(range(16)))


def test_stream() -> None:
    """Two calls with one IV buffer are one CBC stream."""
    key, data = bytes(range(32)), bytes(range(96))
    cipher = Skcipher(ALGORITHMS["cbc(aes)"], key)
    whole, parts = bytearray(96), bytearray(96)
    cipher.encrypt(buffer(data, 1000), buffer(whole, 2000), buffer(bytearray(16), 3000))
    iv = bytearray(16)
    for start, end in ((0, 32), (32, 96)):
        view = memoryview(parts)[start:end]
        cipher.encrypt(buffer(data[start:end], 1000), Buffer(2000 + start, view), buffer(iv, 3000))

    assert parts == whole


class Naive:
    """The order of loads and stores written down once more, on one flat memory, byte by byte, with no shared code."""

    def __init__(self, memory: bytearray, key: bytes) -> None:
        self.memory = memory
        self.key = key

    def aes(self, data: bytes, encrypt: bool) -> bytes:
        cipher = Cipher(algorithms.AES(self.key), modes.ECB())
        return (cipher.encryptor() if encrypt else cipher.decryptor()).update(data)

    def load(self, at: int) -> bytes:
        return bytes(self.memory[at : at + 16])

    def store(self, at: int, data: bytes) -> None:
        self.memory[at : at + 16] = data

    def xor(self, at: int, other: int) -> None:
        for word in (0, 8):
            mixed = [self.memory[at + word + i] ^ self.memory[other + word + i] for i in range(8)]
            for i in range(8):
                self.memory[at + word + i] = mixed[i]

    def copy(self, to: int, start: int) -> None:
        for i in range(16):
            self.memory[to + i] = self.memory[start + i]

    def ecb(self, src: int, dst: int, blocks: int, encrypt: bool) -> None:
        for i in range(blocks):
            self.store(dst + 16 * i, self.aes(self.load(src + 16 * i), encrypt))

    def cbc_encrypt(self, src: int, dst: int, iv: int, blocks: int) -> None:
        for i in range(blocks):
            if src == dst:
                self.xor(dst + 16 * i, iv if i == 0 else dst + 16 * (i - 1))
                self.store(dst + 16 * i, self.aes(self.load(dst + 16 * i), True))
            else:
                self.xor(iv, src + 16 * i)
                self.store(dst + 16 * i, self.aes(self.load(iv), True))
                self.copy(iv, dst + 16 * i)
        if src == dst and blocks:
            self.copy(iv, dst + 16 * (blocks - 1))

    def cbc_decrypt(self, src: int, dst: int, iv: int, blocks: int) -> None:
        if not blocks:
            return
        last = src + 16 * (blocks - 1)
        saved = self.load(last)
        order = range(blocks - 1, -1, -1) if src == dst else range(blocks)
        for i in order:
            self.store(dst + 16 * i, self.aes(self.load(src + 16 * i), False))
            self.xor(dst + 16 * i, iv if i == 0 else src + 16 * (i - 1))
        if src == dst:
            self.store(iv, saved)
        else:
            self.copy(iv, last)


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypt", "decrypt"])
@pytest.mark.parametrize("mode", ["ecb", "cbc"])
def test_overlap(mode: str, encrypt: bool) -> None:
    """500 random overlaps of source, destination and IV, lengths 1 to 129, leave the memory that the naive model leaves."""
    rng = random.Random(f"{mode} {encrypt}")
    key = rng.randbytes(rng.choice((16, 24, 32)))
    cipher = Skcipher(ALGORITHMS[f"{mode}(aes)"], key)
    for _ in range(500):
        size = rng.choice((rng.randrange(1, 130), 16 * rng.randrange(1, 9)))
        src = rng.randrange(160)
        dst = src if rng.random() < 0.2 else rng.randrange(160)
        iv = src if rng.random() < 0.05 else rng.randrange(300)
        memory = rng.randbytes(400)
        live, expected = bytearray(memory), bytearray(memory)
        view, base, blocks = memoryview(live), 0x1000, size // 16
        naive = Naive(expected, key)
        if mode == "ecb":
            naive.ecb(src, dst, blocks, encrypt)
        else:
            (naive.cbc_encrypt if encrypt else naive.cbc_decrypt)(src, dst, iv, blocks)

        errno = (cipher.encrypt if encrypt else cipher.decrypt)(
            Buffer(base + src, view[src : src + size]),
            Buffer(base + dst, view[dst : dst + size]),
            Buffer(base + iv, view[iv : iv + 16]) if mode == "cbc" else None,
        )

        assert errno == (EINVAL if size % 16 else 0)
        assert live == expected, (src, dst, iv, size)


def test_same_block_everywhere() -> None:
    """Source, destination and IV in one block: encrypting gives E(0), decrypting changes nothing."""
    cipher = Skcipher(ALGORITHMS["cbc(aes)"], bytes(16))
    zero = Cipher(algorithms.AES(bytes(16)), modes.ECB()).encryptor().update(bytes(16))
    live = bytearray(range(16))
    place = buffer(live, 1000)

    assert cipher.decrypt(place, place, place) == 0
    assert live == bytes(range(16))
    assert cipher.encrypt(place, place, place) == 0
    assert live == zero


def test_repr_has_no_key() -> None:
    """A cipher shows its name only."""
    assert repr(Skcipher(ALGORITHMS["ecb(aes)"], b"sixteen byte key")) == "<Skcipher 'ecb(aes)'>"
