"""bpf_crypto_params: every check, its errno, and which of two failing checks wins."""

from __future__ import annotations

import struct
from errno import EINVAL, ENOENT, EOPNOTSUPP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.crypto.params import DEFAULT_RELEASE, SIZE, Params, encode, parse

KEY = bytes(range(16))


def params(
    algo: bytes = b"ecb(aes)",
    *,
    kind: bytes = b"skcipher",
    reserved: bytes = bytes(2),
    key: bytes = KEY,
    key_len: int | None = None,
    authsize: int = 0,
) -> bytes:
    length = len(key) if key_len is None else key_len
    return struct.pack("<14s2s128s256sII", kind, reserved, algo, key, length, authsize)


def errno_of(data: bytes | None, size: int = SIZE, release: str = DEFAULT_RELEASE) -> int:
    result = parse(data, size, release=release)
    return result if isinstance(result, int) else 0


@pytest.mark.parametrize("size", [0, 1, 407, 409, 512])
def test_size(size: int) -> None:
    """Any size but 408 is refused, and before a bad type is."""
    assert errno_of(params(kind=b"bogus") + bytes(200), size) == EINVAL


def test_null_and_short_memory() -> None:
    """No parameters, or memory that ends within them, is a wrong size."""
    assert errno_of(None) == errno_of(None, 0) == errno_of(params()[:-1]) == EINVAL


@pytest.mark.parametrize("reserved", [b"\1\0", b"\0\1", b"\xff\xff"])
def test_reserved(reserved: bytes) -> None:
    """A reserved byte that is set is refused before the type is looked at."""
    assert errno_of(params(kind=b"bogus", reserved=reserved)) == EINVAL


TYPES = {
    b"skcipher": 0,
    b"skcipher\0junk!": 0,
    b"": ENOENT,
    b"SKCIPHER": ENOENT,
    b"skcipher ": ENOENT,
    b" skcipher": ENOENT,
    b"aead": ENOENT,
    b"lskcipher": ENOENT,
    b"hash": ENOENT,
    b"skcipherskciph": ENOENT,
}


@pytest.mark.parametrize(("kind", "errno"), TYPES.items())
def test_type(kind: bytes, errno: int) -> None:
    """The type is a C string and has to be exactly "skcipher"."""
    assert errno_of(params(kind=kind)) == errno


UNKNOWN = [
    "cbc(ecb(aes))",
    "cbc(ecb(aes-generic))",
    "cbc(cbc(aes))",
    "ecb(ecb(aes))",
    "ecb(cbc(aes))",
    "cipher_null",
    "aes",
    "arc4",
    "ecb(arc4)",
    "gcm(aes)",
    "ccm(aes)",
    "hmac(sha256)",
    "sha256",
    "authenc(hmac(sha256),cbc(aes))",
    "seqiv(gcm(aes))",
    "essiv(cbc(aes),sha256)",
    "adiantum(xchacha12,aes)",
    "chacha20",
    "pcbc(aes)",
    "lrw(aes)",
    "cfb(aes)",
    "ofb(aes)",
    "ecb(des3_ede)",
    "cbc(des3_ede)",
    "ecb(blowfish)",
    "",
    "ECB(AES)",
    "Ecb(Aes)",
    "CBC(aes)",
    " ecb(aes)",
    "ecb(aes) ",
    "ecb( aes)",
    "ecb (aes)",
    "cbc(aes)\n",
    "ecb(aes",
    "ecbaes",
    "ecb()",
    "ecb(aes))",
    "ecb(aes)x",
    "xts(ecb(aes))",
    "xts(aes-generic)",
    "cts(ctr(aes))",
    "ctr(cipher_null)",
]
ALGORITHMS = {
    **dict.fromkeys(("ecb(aes)", "cbc(aes)", "ecb(aes-fixed-time)", "cbc(aes-fixed-time)"), 0),
    **dict.fromkeys(("cbc(ecb(aes-fixed-time))", "ecb(aes-generic)", "cbc(aes-generic)"), 0),
    **dict.fromkeys(("ctr(aes)", "ctr(aes-fixed-time)", "xts(aes)", "xts(ecb(aes-fixed-time))"), EINVAL),
    **dict.fromkeys(("cts(cbc(aes))", "rfc3686(ctr(aes))", "ecb(cipher_null)", "cbc(cipher_null-generic)"), EINVAL),
    "ecb-cipher_null": ENOENT,
    "ecb(aes)\0garbage": 0,
    "\0ecb(aes)": EOPNOTSUPP,
    **dict.fromkeys(UNKNOWN, EOPNOTSUPP),
}


@pytest.mark.parametrize(("name", "errno"), ALGORITHMS.items())
def test_algorithm(name: str, errno: int) -> None:
    """What each name gives: a cipher, EINVAL for what is not linear, EOPNOTSUPP for what is unknown."""
    assert errno_of(params(name.encode())) == errno


@pytest.mark.parametrize("name", [b"a" * 127, b"ecb(aes)".ljust(128, b"x")])
def test_long_algorithm(name: bytes) -> None:
    """A name without a NUL runs on into the key; it is unknown, not a crash."""
    assert errno_of(params(name, key=b"x" * 256)) == EOPNOTSUPP


@pytest.mark.parametrize("name", [b"ecb(aes)", b"cbc(aes)", b"ecb(aes-generic)"])
def test_key_sizes(name: bytes) -> None:
    """AES takes 16, 24 and 32 bytes and nothing else."""
    sizes = {size for size in range(300) if not errno_of(params(name, key=bytes(256), key_len=size))}

    assert sizes == {16, 24, 32}


@pytest.mark.parametrize("key_len", [0, 257, 512, 1 << 31, (1 << 32) - 1])
def test_key_len_precedes_allocation(key_len: int) -> None:
    """A length outside the field is EINVAL even for a name whose allocation fails with ENOENT."""
    assert errno_of(params(b"ecb-cipher_null", key_len=key_len)) == EINVAL


ORDER = {
    "algorithm before authsize": (params(b"nope", authsize=16), EOPNOTSUPP),
    "algorithm before key_len": (params(b"nope", key_len=0), EOPNOTSUPP),
    "authsize before key_len": (params(authsize=1, key_len=257), EOPNOTSUPP),
    "authsize before allocation": (params(b"ctr(aes)", authsize=1), EOPNOTSUPP),
    "allocation before key": (params(b"ecb-cipher_null", key_len=5), ENOENT),
    "type before algorithm": (params(b"nope", kind=b"aead"), ENOENT),
}


@pytest.mark.parametrize(("data", "errno"), ORDER.values(), ids=ORDER)
def test_order(data: bytes, errno: int) -> None:
    """Where two checks fail, the earlier one answers."""
    assert errno_of(data) == errno


def test_result() -> None:
    """The key ends at key_len, the IV's size follows the mode, and the key is not shown."""
    result = parse(params(b"cbc(aes)", key=bytes(range(1, 65)), key_len=24), SIZE)

    assert isinstance(result, Params)
    assert (result.key, result.algorithm.mode, result.algorithm.siv_size) == (bytes(range(1, 25)), "cbc", 16)
    assert "\\x01\\x02" not in repr(result)


LIBRARY = {
    "unknown": (params(b"nope"), ENOENT),
    "driver": (params(b"ecb(aes-generic)"), ENOENT),
    "not linear": (params(b"ctr(aes)"), ENOENT),
    "type": (params(kind=b"aead"), ENOENT),
    "authsize": (params(authsize=4), EOPNOTSUPP),
    "empty key": (params(key_len=0), EINVAL),
    "ok": (params(b"cbc(aes)"), 0),
}


@pytest.mark.parametrize(("data", "errno"), LIBRARY.values(), ids=LIBRARY)
def test_proposed_release(data: bytes, errno: int) -> None:
    """The proposed kernel with the AES library has two names, and ENOENT for all others."""
    assert errno_of(data, release="aes-library") == errno


@given(st.binary(max_size=500), st.integers(0, 600))
def test_any_bytes(data: bytes, size: int) -> None:
    """Whatever the bytes, the answer is one of the kernel's errnos."""
    assert errno_of(data, size) in (EINVAL, ENOENT, EOPNOTSUPP)


def test_encode() -> None:
    """What encode writes, parse accepts; what does not fit its field is refused."""
    result = parse(encode("cbc(aes)", KEY), SIZE)

    assert isinstance(result, Params)
    assert result.key == KEY
    with pytest.raises(ValueError, match="257 bytes"):
        encode("cbc(aes)", bytes(257))
    with pytest.raises(ValueError, match="a name of 128"):
        encode("x" * 128, KEY)
