"""programs.esp.keys and secret_files: keys from secrets and files, and what is refused."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto import ConfigError
from bpfcrypto.programs.esp.config import SecretFile, SecretFolder
from bpfcrypto.programs.esp.keys import KeyMaterial, derive, fingerprint, read_key
from bpfcrypto.programs.esp.secret_files import opened_secret, secret_files, secret_of
from bpfcrypto.programs.esp.suites import SUITES, Mode, Suite
from bpfcrypto.programs.esp.wire import Address, epoch_of, packed, peer_of, spi_of

SECRET = bytes(range(100, 148))
LEFT, RIGHT = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1")
WAY = {"mode": Mode.TUNNEL, "esn": True}
SUITE = SUITES["aes-256-ccm-16"]
CHACHA = SUITES["chacha20-poly1305"]

suites = st.sampled_from(list(SUITES.values()))
addresses = st.ip_addresses()


def hkdf(secret: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, sections 2.2 and 2.3, step by step; without a salt, the key of the extraction is 32 zeros."""
    key = hmac.digest(bytes(32), secret, hashlib.sha256)
    block, result = b"", b""
    for number in range(1, 256):
        block = hmac.digest(key, block + info + bytes([number]), hashlib.sha256)
        result += block
        if len(result) >= size:
            break
    return result[:size]


def test_our_hkdf_is_that_of_the_rfc() -> None:
    """RFC 5869, A.3: SHA-256 without salt and info."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"

    assert hkdf(b"\x0b" * 22, b"", 42).hex() == expected


@given(
    suites,
    st.integers(1, (1 << 24) - 1),
    st.integers(1, 255),
    addresses,
    addresses,
    st.binary(min_size=32),
    st.sampled_from(Mode),
    st.booleans(),
)
def test_derived_keys_are_as_documented(
    suite: Suite, epoch: int, peer: int, source: Address, target: Address, secret: bytes, mode: Mode, esn: bool
) -> None:
    """Key and salt are what HKDF gives for the info of docs/internals/esp.md."""
    info = (
        b"bpfcrypto esp 1\0"
        + suite.name.encode("ascii")
        + b"\0"
        + (b"\1" if mode is Mode.TUNNEL else b"\0")
        + (b"\1" if esn else b"\0")
        + epoch.to_bytes(3, "big")
        + bytes([peer])
        + IPv6Address(mapped(source)).packed
        + IPv6Address(mapped(target)).packed
    )
    expected = hkdf(secret, info, suite.key_size + suite.salt_size)

    found = derive(secret, suite, spi_of(epoch, peer), source, target, mode=mode, esn=esn)

    assert bytes(found.key) + found.salt == expected
    assert (len(found.key), len(found.salt)) == (suite.key_size, suite.salt_size)


def mapped(address: Address) -> str:
    return f"::ffff:{address}" if address.version == 4 else str(address)


def test_one_known_answer() -> None:
    """So that no release derives other keys than the one before."""
    found = derive(SECRET, CHACHA, spi_of(1, 7), LEFT, RIGHT, **WAY)

    assert found.key.hex() == "15643fcf0d88fb219f29bbc7fa776aa8f698f8eff91f73940c999d9d75a83264"
    assert found.salt.hex() == "ad162dc9"


def test_every_input_counts() -> None:
    """Another secret, suite, epoch, peer, direction, mode or kind of numbers gives another key and another salt."""
    first = (SECRET, SUITE, spi_of(1, 1), LEFT, RIGHT)
    inputs = [
        (first, WAY),
        ((SECRET[1:], *first[1:]), WAY),
        ((SECRET, SUITES["aes-256-ccm-8"], *first[2:]), WAY),
        ((SECRET, SUITE, spi_of(2, 1), LEFT, RIGHT), WAY),
        ((SECRET, SUITE, spi_of(1, 2), LEFT, RIGHT), WAY),
        ((SECRET, SUITE, spi_of(1, 1), RIGHT, LEFT), WAY),
        (first, {"mode": Mode.TRANSPORT, "esn": True}),
        (first, {"mode": Mode.TUNNEL, "esn": False}),
    ]
    found = [derive(*each, **way) for each, way in inputs]

    assert len({bytes(each.key) for each in found}) == len({each.salt for each in found}) == len(inputs)
    assert len({each.fingerprint() for each in found}) == len(inputs)


def test_both_ends_derive_the_same() -> None:
    """What one end sends with is what the other one receives with."""
    ours, theirs = (derive(SECRET, SUITE, spi_of(9, 1), LEFT, RIGHT, **WAY) for _ in range(2))

    assert (ours.key, ours.salt) == (theirs.key, theirs.salt)


def test_keys_are_wiped_and_never_shown() -> None:
    """At the end of the block the key is zero; repr has its length only, and a wiped key has no fingerprint."""
    with derive(SECRET, SUITE, spi_of(1, 1), LEFT, RIGHT, **WAY) as material:
        key = material.key
        assert any(key)
        assert repr(material) == "KeyMaterial(32 bytes of key, 3 of salt)"
        assert key.hex() not in f"{material} {material!r}"

    assert key == bytes(32)
    with pytest.raises(ValueError, match="the key is wiped"):
        material.fingerprint()


def test_without_derive_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older ``cryptography`` gives the same keys."""
    from cryptography.hazmat.primitives.kdf import hkdf as module

    class Old:
        def __init__(self, **keywords: object) -> None:
            self._real = real(**keywords)  # type: ignore[arg-type]

        def derive(self, secret: bytes) -> bytes:
            return self._real.derive(secret)

    real = module.HKDF
    expected = derive(SECRET, SUITE, spi_of(1, 1), LEFT, RIGHT, **WAY)
    monkeypatch.setattr(module, "HKDF", Old)

    assert derive(SECRET, SUITE, spi_of(1, 1), LEFT, RIGHT, **WAY).key == expected.key


def test_fingerprints() -> None:
    """16 digits that are the same for the same key and salt, whatever made them, and are no part of key or secret."""
    material = KeyMaterial(bytearray(range(32)), b"abc")

    assert material.fingerprint() == hkdf(bytes(range(32)) + b"abc", b"bpfcrypto esp key id 1\0", 8).hex()
    assert fingerprint(SECRET) == hkdf(SECRET, b"bpfcrypto esp secret id 1\0", 8).hex()
    assert fingerprint(SECRET) == fingerprint(memoryview(bytearray(SECRET)))
    assert KeyMaterial(bytearray(range(32)), b"abd").fingerprint() != material.fingerprint()


@pytest.mark.parametrize(
    ("secret", "spi", "message"),
    [
        (SECRET[:31], 256, "31 bytes is too short: at least 32"),
        (SECRET, 255, "SPI 0xff is"),
        (SECRET, 1 << 32, "SPI 0x1"),
    ],
)
def test_what_nothing_is_derived_from(secret: bytes, spi: int, message: str) -> None:
    """Short secrets, and SPIs that are reserved or too large."""
    with pytest.raises(ValueError, match=message):
        derive(secret, SUITE, spi, LEFT, RIGHT, **WAY)


def test_spis() -> None:
    """An SPI is epoch and peer, both within their ranges."""
    assert spi_of(1, 1) == 0x101
    assert spi_of((1 << 24) - 1, 255) == 0xFFFFFFFF
    assert (epoch_of(0x12345678), peer_of(0x12345678)) == (0x123456, 0x78)
    for epoch, peer in ((0, 1), (1 << 24, 1), (1, 0), (1, 256)):
        with pytest.raises(ValueError, match="is not within 1 to"):
            spi_of(epoch, peer)
    assert packed(LEFT) == IPv6Address("::ffff:192.0.2.1").packed


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_explicit_keys(tmp_path: Path, suite: Suite) -> None:
    """A file holds the key and behind it the salt."""
    data = bytes(range(1, suite.material_size + 1))

    with read_key(put(tmp_path / "key", data), suite) as found:
        assert (bytes(found.key), found.salt) == (data[: suite.key_size], data[suite.key_size :])


@pytest.mark.parametrize(
    ("data", "mode", "message", "hint"),
    [
        (b"x" * 34, 0o600, "key file of 34 bytes: aes-256-ccm-16 takes 32 of key and 3 of salt", "not in hexadecimal"),
        (b"ab" * 35, 0o600, "key file of 70 bytes", "openssl rand -out '.*' 35"),
        (b"", 0o600, "key file of 0 bytes", "openssl"),
        (b"x" * 5000, 0o600, "more than 4096 bytes are no key", ""),
        (bytes(35), 0o600, "a key of zeros is no key", "openssl"),
        (b"x" * 35, 0o640, "key file can be used by others: its mode is 0640", "chmod 600"),
        (b"x" * 35, 0o604, "its mode is 0604", "chmod 600"),
        (b"x" * 35, 0o620, "its mode is 0620", "chmod 600"),
    ],
)
def test_key_files_that_are_refused(tmp_path: Path, data: bytes, mode: int, message: str, hint: str) -> None:
    """Wrong sizes, keys that are none, and files that others can read; nothing of the content is told."""
    path = put(tmp_path / "key", data, mode)

    with pytest.raises(ConfigError, match=message) as caught:
        read_key(path, SUITE)

    assert caught.value.source == str(path)
    assert data[:4] == b"" or data[:4].decode() not in str(caught.value).replace(str(path), "")
    assert re.search(hint, caught.value.hint or "")


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nothing, a folder, and a pipe, which nobody waits for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, message in (
        ("nothing", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("pipe", "not a file that"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_key(tmp_path / name, SUITE)


def test_secrets_are_wiped(tmp_path: Path) -> None:
    """The memory that a secret was read into is zero afterwards, whatever happened."""
    path = put(tmp_path / "right.secret", SECRET)
    seen: list[memoryview] = []

    def use() -> None:
        with opened_secret(SecretFile(path), 5) as secret:
            seen.append(memoryview(secret.obj))
            assert secret == SECRET
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert not any(seen[0])


@pytest.mark.parametrize(("size", "message"), [(31, "31 bytes is too short: at least 32"), (4097, "more than 4096")])
def test_secrets_that_are_refused(tmp_path: Path, size: int, message: str) -> None:
    """A secret has 32 to 4096 bytes."""
    path = put(tmp_path / "right.secret", b"x" * size)

    with pytest.raises(ConfigError, match=message), opened_secret(SecretFile(path), 1):
        pass


def test_secrets_of_epochs(tmp_path: Path) -> None:
    """The secret of an epoch is in the file of the highest number that is not above it."""
    for number in ("1", "10", "9", "0200"):
        put(tmp_path / f"{number}.secret", number.encode() * 40)
    put(tmp_path / "notes.txt", b"")
    put(tmp_path / ".11.secret", b"")

    assert list(secret_files(tmp_path)) == [1, 9, 10, 200]
    for epoch, number in ((1, "1"), (8, "1"), (9, "9"), (10, "10"), (199, "10"), (200, "0200"), (1 << 23, "0200")):
        assert secret_of(tmp_path, epoch) == tmp_path / f"{number}.secret"
        with opened_secret(SecretFolder(tmp_path), epoch) as secret:
            assert secret == number.encode() * 40


def test_folders_that_are_refused(tmp_path: Path) -> None:
    """No folder, no secret for an epoch, names that are no epochs, two files of one, and a folder that others can write in."""
    with pytest.raises(ConfigError, match="folder of secrets cannot be read: No such file"):
        secret_files(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no secret for epoch 1: there are no secrets"):
        secret_of(tmp_path, 1)
    put(tmp_path / "5.secret", b"")
    with pytest.raises(ConfigError, match=r"no secret for epoch 4: the first is '5\.secret'"):
        secret_of(tmp_path, 4)
    put(tmp_path / "05.secret", b"")
    with pytest.raises(ConfigError, match=r"'5\.secret' and '05\.secret' are for one epoch"):
        secret_files(tmp_path)
    (tmp_path / "05.secret").unlink()
    for name in ("five", "0", "16777216", "-1", "٣"):
        put(tmp_path / f"{name}.secret", b"")
        with pytest.raises(ConfigError, match=rf"'{name}\.secret' is not <number>\.secret"):
            secret_files(tmp_path)
        (tmp_path / f"{name}.secret").unlink()
    tmp_path.chmod(0o720)
    with pytest.raises(ConfigError, match="others can put secrets there") as caught:
        secret_files(tmp_path)
    assert "chmod go-w" in (caught.value.hint or "")
