"""AES in machine code: published vectors, every size, the checks in their order; on every kind of instructions that this CPU has."""

from __future__ import annotations

import ctypes
import json
import mmap
from errno import EINVAL
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as Book
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.embedded.jit.compile import Passes
from support.native_aes import ALL_WAYS, NEEDS_AES, Cipher, native, runnable

pytestmark = NEEDS_AES

FOLDER = Path(__file__).parents[2] / "vectors" / "crypto"
VECTORS = [
    pytest.param(vector, id=f"{path.stem}-{vector['id']}")
    for path in sorted(FOLDER.glob("*.json"))
    for vector in json.loads(path.read_text())["vectors"]
    if vector.get("mode") in ("ECB", "CBC")
]
BLOCKS = range(1, 41)


def by_the_book(mode: str, key: bytes, iv: bytes, data: bytes, *, encrypt: bool) -> bytes:
    cipher = Book(algorithms.AES(key), modes.CBC(iv) if mode == "cbc" else modes.ECB())
    return (cipher.encryptor() if encrypt else cipher.decryptor()).update(data)


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: dict[str, str]) -> None:
    """Both directions of every published vector, copied and in place, and the IV afterwards."""
    key, plain, secret = (bytes.fromhex(vector[name]) for name in ("key", "plaintext", "ciphertext"))
    iv = bytes.fromhex(vector.get("iv", ""))
    for way in runnable():
        cipher = Cipher(native(way), vector["mode"].lower(), key)
        for encrypt, source, expected in ((True, plain, secret), (False, secret, plain)):
            for in_place in (False, True):
                result = cipher.on_bytes(source, iv, encrypt=encrypt, in_place=in_place)
                assert result == (0, expected, secret[-16:] if iv else b""), (way, encrypt, in_place)


@pytest.mark.parametrize("key_size", [16, 24, 32])
@pytest.mark.parametrize("mode", ["ecb", "cbc"])
@ALL_WAYS
def test_every_number_of_blocks(way: str, mode: str, key_size: int) -> None:
    """1 to 40 blocks, which are more than two of the largest step and every sum of the smaller ones."""
    key, iv = bytes(range(key_size)), bytes(range(16)) if mode == "cbc" else b""
    cipher = Cipher(native(way), mode, key)
    data = bytes(i * 7 & 0xFF for i in range(16 * BLOCKS[-1]))
    for blocks in BLOCKS:
        for encrypt in (True, False):
            source = data[: 16 * blocks]
            expected = by_the_book(mode, key, iv, source, encrypt=encrypt)
            last = (expected if encrypt else source)[-16:] if iv else b""
            for in_place in (True, False):
                result = cipher.on_bytes(source, iv, encrypt=encrypt, in_place=in_place)
                assert result == (0, expected, last), (blocks, encrypt, in_place)


@settings(max_examples=150, deadline=None)
@given(
    way=st.sampled_from(runnable() or [""]),
    mode=st.sampled_from(["ecb", "cbc"]),
    key=st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    iv=st.binary(min_size=16, max_size=16),
    data=st.binary(min_size=1, max_size=700),
    encrypt=st.booleans(),
    in_place=st.booleans(),
)
def test_any_bytes(way: str, mode: str, key: bytes, iv: bytes, data: bytes, encrypt: bool, in_place: bool) -> None:
    """Any key, IV and data of any length give what the book says of the whole blocks, and leave the rest alone."""
    iv = iv if mode == "cbc" else b""
    size = len(data) - len(data) % 16
    expected = by_the_book(mode, key, iv, data[:size], encrypt=encrypt)
    rest = data[size:] if in_place else bytes(len(data) - size)
    errno, output, vector = Cipher(native(way), mode, key).on_bytes(data, iv, encrypt=encrypt, in_place=in_place)

    assert errno == (EINVAL if rest else 0)
    assert output == expected + rest
    assert vector == ((expected if encrypt else data[:size])[-16:] if iv and size else iv)


CHECKS = {  # mode, bytes of source, destination and IV -> errno
    "ecb": ("ecb", 16, 16, 0, 0),
    "ecb, IV": ("ecb", 16, 16, 16, EINVAL),
    "ecb, IV of 1": ("ecb", 16, 16, 1, EINVAL),
    "cbc": ("cbc", 16, 16, 16, 0),
    "cbc, no IV": ("cbc", 16, 16, 0, EINVAL),
    "cbc, IV of 15": ("cbc", 16, 16, 15, EINVAL),
    "cbc, IV of 32": ("cbc", 16, 16, 32, EINVAL),
    "cbc, IV of 2^32 + 16": ("cbc", 16, 16, (1 << 32) + 16, EINVAL),
    "empty source": ("ecb", 0, 16, 0, EINVAL),
    "nothing at all": ("ecb", 0, 0, 0, EINVAL),
    "empty destination": ("ecb", 16, 0, 0, EINVAL),
    "less than a block": ("ecb", 15, 16, 0, EINVAL),
    "destination shorter": ("ecb", 16, 15, 0, EINVAL),
    "destination half": ("ecb", 32, 16, 0, EINVAL),
    "destination shorter, ragged": ("ecb", 17, 16, 0, EINVAL),
    "destination longer": ("ecb", 16, 64, 0, 0),
    "destination longer, several": ("cbc", 64, 96, 16, 0),
}


@pytest.mark.parametrize(("mode", "src", "dst", "iv", "errno"), CHECKS.values(), ids=CHECKS)
def test_checks(mode: str, src: int, dst: int, iv: int, errno: int) -> None:
    """A refusal of sizes is EINVAL and writes nothing; only as many bytes as the source has are ever written."""
    cipher = Cipher(native(runnable()[0]), mode, bytes(16))
    buffers = [ctypes.create_string_buffer(fill * 96, 96) for fill in (b"\xa5", b"\xa5", b"\x5a")]
    places = [ctypes.addressof(buffer) for buffer in buffers]
    for encrypt in (True, False):
        assert cipher.crypt(places[0], src, places[1], dst, places[2], iv, encrypt=encrypt) == errno
    written = 0 if errno else src
    assert buffers[0].raw == b"\xa5" * 96
    assert buffers[1].raw[written:] == b"\xa5" * (96 - written)
    assert (buffers[1].raw[:written] == b"\xa5" * written) == (not written)
    assert (buffers[2].raw == b"\x5a" * 96) == (errno != 0 or mode == "ecb")


def test_null_pointers() -> None:
    """Null dynptrs have no address and no bytes: refused as source and destination, and an IV that ecb takes."""
    cipher = Cipher(native(runnable()[0]), "ecb", bytes(16))
    block = ctypes.create_string_buffer(16)
    place = ctypes.addressof(block)

    assert cipher.crypt(None, 0, place, 16, None, 0, encrypt=True) == EINVAL
    assert cipher.crypt(place, 16, None, 0, None, 0, encrypt=True) == EINVAL
    assert cipher.crypt(place, 16, place, 16, None, 0, encrypt=True) == 0


@pytest.mark.parametrize(("size", "whole"), [(1, 0), (15, 0), (17, 16), (40, 32), (1420, 1408)])
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("encrypt", [True, False])
def test_ragged_length(size: int, whole: int, partial: bool, encrypt: bool) -> None:
    """EINVAL after the whole blocks, the IV moved on with them; or before anything, where the context says so."""
    key, iv, data = bytes(range(16)), bytes(range(16)), bytes(i & 0xFF for i in range(size))
    done = whole if partial else 0
    expected = by_the_book("cbc", key, iv, data[:done], encrypt=encrypt)
    cipher = Cipher(native(runnable()[0]), "cbc", key, partial_blocks=partial)

    errno, output, vector = cipher.on_bytes(data, iv, encrypt=encrypt)

    assert errno == EINVAL
    assert output == expected + bytes(size - done)
    assert vector == ((expected if encrypt else data[:done])[-16:] if done else iv)


@pytest.mark.parametrize("passes", [Passes.LIGHT, Passes.FULL])
def test_passes_change_nothing(passes: Passes) -> None:
    """The same code behind the optimiser's passes gives the same answers."""
    key, iv, data = bytes(range(32)), bytes(range(16)), bytes(range(256)) * 3
    for mode in ("ecb", "cbc"):
        plain, passed = (Cipher(native(runnable()[0], each), mode, key) for each in (Passes.NONE, passes))
        for encrypt in (True, False):
            vector = iv if mode == "cbc" else b""
            assert passed.on_bytes(data, vector, encrypt=encrypt) == plain.on_bytes(data, vector, encrypt=encrypt)


class Edge:
    """Memory between two pages that must not be touched: the process would die."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self._memory = mmap.mmap(-1, 3 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for forbidden in (start, start + 2 * page):
            assert protect(forbidden, page, 0) == 0
        self.first, self.end = start + page, start + 2 * page


@ALL_WAYS
def test_nothing_beyond_the_edges(way: str) -> None:
    """No byte before or behind source, destination and IV is read, not even to be thrown away."""
    edges = [Edge() for _ in range(3)]
    for mode, vector in (("ecb", 0), ("cbc", 16)):
        cipher = Cipher(native(way), mode, bytes(range(32)))
        for size in (16 * blocks for blocks in BLOCKS):
            for encrypt in (True, False):
                first = [edge.first for edge in edges]
                last = [edge.end - length for edge, length in zip(edges, (size, size, 16), strict=True)]
                for src, dst, iv in (first, last, (first[0] + 1, last[1], first[2])):
                    assert cipher.crypt(src, size, dst, size, iv, vector, encrypt=encrypt) == 0
