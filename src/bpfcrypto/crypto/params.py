"""struct bpf_crypto_params: what bpf_crypto_ctx_create checks, in its order, and the errno of the first check that fails.

1. no params, a reserved byte set, or a size other than that of the structure: EINVAL
2. a type other than "skcipher": ENOENT
3. no symmetric cipher of that name: EOPNOTSUPP
4. an authentication tag size other than 0: EOPNOTSUPP
5. a key length of 0 or beyond the field: EINVAL
6. the cipher exists but not in linear form: EINVAL or ENOENT, see :data:`~bpfcrypto.crypto.skcipher.UNUSABLE`
7. the cipher refuses the length of the key: EINVAL

(kernel/bpf/crypto.c, crypto/bpf_crypto_skcipher.c.) Names are C strings: bytes behind the first NUL do not count. What differs between
kernels is in :data:`RELEASES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EINVAL, ENOENT, EOPNOTSUPP
from struct import Struct

from bpfcrypto.crypto.provider import Bytes
from bpfcrypto.crypto.skcipher import ALGORITHMS, UNUSABLE, Algorithm

LAYOUT = Struct("<14s2s128s256sII")
"""type, reserved, algo, key, key_len, authsize."""

_WITHOUT_KEY = Struct("<14s2s128s256xII")  # the key is read where it is: a bytes object could not be wiped

SIZE = LAYOUT.size
KEY_OFFSET = 144
MAX_KEY_SIZE = 256
MAX_NAME_SIZE = 128
"""Bytes of the field that holds an algorithm's name and the NUL behind it."""


@dataclass(frozen=True, slots=True)
class Release:
    """How a kernel behaves where kernels differ.

    Attributes:
        unknown_type: errno of a type other than "skcipher".
        unknown_algorithm: errno of an unknown name.
        algorithms: what can be had, by name.
        unusable: names that exist but cannot be had, with their errno.
        partial_blocks: whether the whole blocks of a ragged length are processed before encrypt refuses it.
    """

    unknown_type: int = ENOENT
    unknown_algorithm: int = EOPNOTSUPP
    algorithms: Mapping[str, Algorithm] = field(default_factory=lambda: ALGORITHMS)
    unusable: Mapping[str, int] = field(default_factory=lambda: UNUSABLE)
    partial_blocks: bool = True


DEFAULT_RELEASE = "6.18"

RELEASES: Mapping[str, Release] = {
    "6.18": Release(),
    # Proposed upstream in July 2026: the AES library in place of the crypto API, without drivers and templates.
    "aes-library": Release(
        unknown_algorithm=ENOENT,
        algorithms={name: ALGORITHMS[name] for name in ("ecb(aes)", "cbc(aes)")},
        unusable={},
        partial_blocks=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters that passed every check.

    Attributes:
        algorithm: the cipher.
        key: the bytes of the key, a copy for the caller to wipe; never shown.
        partial_blocks: see :class:`Release`.
    """

    algorithm: Algorithm
    key: bytearray = field(repr=False)
    partial_blocks: bool = True


def parse(params: Bytes | None, size: int, *, release: str = DEFAULT_RELEASE) -> Params | int:
    """Check parameters as bpf_crypto_ctx_create does.

    Args:
        params: the memory they are in, None for a NULL pointer.
        size: what the caller says its size is, bytes; memory shorter than the structure counts as a wrong size.
        release: a key of :data:`RELEASES`.

    Returns:
        The parameters, or the positive errno of the first check that fails.
    """
    rules = RELEASES[release]
    if params is None or size != SIZE or len(params) < SIZE:
        return EINVAL
    kind, reserved, algo, key_len, authsize = _WITHOUT_KEY.unpack_from(params)
    if any(reserved):
        return EINVAL
    if _text(kind) != "skcipher":
        return rules.unknown_type
    name = _text(algo)
    if name not in rules.algorithms and name not in rules.unusable:
        return rules.unknown_algorithm
    if authsize:
        return EOPNOTSUPP
    if not 0 < key_len <= MAX_KEY_SIZE:
        return EINVAL
    if name in rules.unusable:
        return rules.unusable[name]
    algorithm = rules.algorithms[name]
    if key_len not in algorithm.key_sizes:
        return EINVAL
    key = bytearray(memoryview(params)[KEY_OFFSET : KEY_OFFSET + key_len])
    return Params(algorithm, key, rules.partial_blocks)


def encode(algorithm: str, key: Bytes, *, kind: str = "skcipher", authsize: int = 0) -> bytearray:
    """The structure for a cipher and key, as a program passes it; wipe it after use.

    Raises:
        ValueError: a name or key that does not fit its field.
    """
    name, type_name = algorithm.encode(), kind.encode()
    if len(name) >= MAX_NAME_SIZE or len(type_name) > 14 or len(key) > MAX_KEY_SIZE:
        raise ValueError(
            f"a type of {len(type_name)}, a name of {len(name)} or a key of {len(key)} bytes is longer than its field"
        )
    result = bytearray(SIZE)
    _WITHOUT_KEY.pack_into(result, 0, type_name, bytes(2), name, len(key), authsize)
    # through a view: a bytearray would make a copy of anything but another bytearray, and leave it in freed memory
    memoryview(result)[KEY_OFFSET : KEY_OFFSET + len(key)] = key
    return result


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1")
