"""Key schedules in machine code, and the memory that holds them."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path

import pytest

from bpfcrypto.crypto.skcipher import ALGORITHMS, Algorithm
from bpfcrypto.embedded.jit import aes_layout, native_key
from bpfcrypto.embedded.jit.aes_native import NativeAes
from bpfcrypto.embedded.jit.native_key import NativeKey
from support.native_aes import ALL_WAYS, NEEDS_AES, native, runnable

pytestmark = NEEDS_AES

ECB, CBC = ALGORITHMS["ecb(aes)"], ALGORITHMS["cbc(aes)"]

# FIPS 197 appendix A: the key, and the last word of its expansion
EXPANSIONS = {
    "A.1": ("2b7e151628aed2a6abf7158809cf4f3c", 10, "b6630ca6"),
    "A.2": ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", 12, "01002202"),
    "A.3": ("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 14, "706c631e"),
}


def read(key: NativeKey, offset: int, size: int) -> bytes:
    return ctypes.string_at(key.address + offset, size)


@pytest.mark.parametrize(("key", "rounds", "last"), EXPANSIONS.values(), ids=EXPANSIONS)
@ALL_WAYS
def test_expansion(way: str, key: str, rounds: int, last: str) -> None:
    """The schedules of the standard: first words are the key, the last one is known; those of decryption mirror them."""
    expanded = NativeKey(native(way), ECB, bytes.fromhex(key))
    encrypt = read(expanded, aes_layout.ENCRYPT_KEYS, 16 * (rounds + 1))
    decrypt = read(expanded, aes_layout.DECRYPT_KEYS, 16 * (rounds + 1))

    assert encrypt[: len(key) // 2].hex() == key
    assert encrypt[-4:].hex() == last
    assert (decrypt[:16], decrypt[-16:]) == (encrypt[-16:], encrypt[:16])
    assert read(expanded, aes_layout.SCRATCH, 32) == bytes(32)


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize(("algorithm", "mode", "siv"), [(ECB, 0, 0), (CBC, 1, 16)])
def test_head(algorithm: Algorithm, mode: int, siv: int, partial: bool) -> None:
    """The fields before the keys say what the context is for."""
    key = NativeKey(native(runnable()[0]), algorithm, bytes(24), partial_blocks=partial)

    assert aes_layout.HEAD.unpack(read(key, 0, aes_layout.HEAD.size)) == (12, mode, siv, partial)
    assert key.address % 16 == 0


@pytest.mark.parametrize("size", [0, 1, 15, 17, 23, 31, 33, 256])
def test_other_sizes(size: int) -> None:
    """AES has keys of three sizes."""
    with pytest.raises(ValueError, match=f"takes no key of {size} bytes"):
        NativeKey(native(runnable()[0]), ECB, bytes(size))


class Watched:
    """The native AES, with what the page held at the end of each wipe."""

    def __init__(self, aes: NativeAes) -> None:
        self.expand, self._aes, self.left = aes.expand, aes, []

    def wipe(self, context: int) -> None:
        assert any(ctypes.string_at(context, aes_layout.SIZE))
        self._aes.wipe(context)
        self.left.append(ctypes.string_at(context, aes_layout.SIZE))


@ALL_WAYS
def test_wipe(way: str) -> None:
    """Nothing is left of a key once it is wiped; the address is gone too, and a second time does no harm."""
    watched = Watched(native(way))
    key = NativeKey(watched, CBC, bytes(range(32)))  # type: ignore[arg-type]
    key.wipe()
    key.wipe()

    assert watched.left == [bytes(aes_layout.SIZE)]
    assert key.address == 0


def test_forgotten_key_is_wiped() -> None:
    """A key that nobody holds any more is wiped like any other."""
    watched = Watched(native(runnable()[0]))
    key = NativeKey(watched, CBC, bytes(range(32)))  # type: ignore[arg-type]
    del key
    gc.collect()

    assert watched.left == [bytes(aes_layout.SIZE)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_page_is_hidden() -> None:
    """The page is locked and no part of a core dump."""
    key = NativeKey(native(runnable()[0]), ECB, bytes(16))
    flags = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if area := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(area[1], 16) <= key.address < int(area[2], 16)
        elif line.startswith("VmFlags:") and inside:
            flags = line.split()[1:]

    assert flags is not None
    assert {"dd", "lo"} <= set(flags)


def test_locking_may_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory cannot be locked, or the C library has no such call, keys work all the same."""
    for calls in ((lambda *_: -1, lambda *_: -1), (None, None)):
        monkeypatch.setattr(native_key, "_libc", lambda calls=calls: calls)
        key = NativeKey(native(runnable()[0]), ECB, bytes(16))
        assert read(key, 0, 4) == b"\x0a\0\0\0"
        key.wipe()


def test_repr_has_no_key() -> None:
    """A key shows where it is, and nothing else."""
    assert re.fullmatch(r"<NativeKey at 0x[0-9a-f]+>", repr(NativeKey(native(runnable()[0]), ECB, b"sixteen byte key")))
