"""Keys of SAs: derived from a secret, or taken from files; and short names for them that give nothing away.

What is derived is in ``docs/internals/esp.md``. The memory of keys is wiped where Python can: ``cryptography`` before 47 gives a derived key
as bytes, which no one can wipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bpfcrypto.context.secret import wipe
from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.secret_files import LEAST_SECRET, opened_file
from bpfcrypto.programs.esp.suites import Mode, Suite
from bpfcrypto.programs.esp.wire import FIRST_SPI, LAST_SPI, Address, packed

Bytes: TypeAlias = bytes | bytearray | memoryview

_SA = b"bpfcrypto esp 1\0"
_SECRET_ID = b"bpfcrypto esp secret id 1\0"
_KEY_ID = b"bpfcrypto esp key id 1\0"
_ID_SIZE = 8


@dataclass(slots=True, repr=False, eq=False)
class KeyMaterial:
    """Key and salt of one SA. As a context manager it wipes the key at the end.

    Attributes:
        key: the key, zero once it is wiped.
        salt: 3 or 4 bytes, as they stand in the nonce (RFC 4309, section 4; RFC 7634, section 2).
    """

    key: bytearray
    salt: bytes

    def __enter__(self) -> KeyMaterial:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"KeyMaterial({len(self.key)} bytes of key, {len(self.salt)} of salt)"

    def wipe(self) -> None:
        """Fill the key with zeros; once more does no harm."""
        wipe(self.key)

    def fingerprint(self) -> str:
        """A name of key and salt, 16 hexadecimal digits: the same for the same ones, whatever the suite, and no way back.

        Raises:
            ValueError: the key is wiped.
        """
        if not any(self.key):
            raise ValueError("the key is wiped")
        both = self.key + self.salt
        try:
            return _expand(both, _KEY_ID, _ID_SIZE).hex()
        finally:
            wipe(both)


def derive(
    secret: Bytes, suite: Suite, spi: int, source: Address, target: Address, *, mode: Mode, esn: bool
) -> KeyMaterial:
    """The keys of one direction in one epoch: HKDF-SHA-256 (RFC 5869) without salt, first the key, then the salt.

    Args:
        secret: what both ends share, at least 32 bytes; not kept.
        suite: the suite.
        spi: epoch and peer, see :func:`bpfcrypto.programs.esp.wire.spi_of`.
        source: the outer address that packets come from.
        target: the outer address that they go to.
        mode: both ends must agree on it, and find out if they do not.
        esn: this as well.

    Raises:
        ValueError: the secret is too short, or the SPI is a reserved one or has more than 32 bits.
    """
    if len(secret) < LEAST_SECRET:
        raise ValueError(f"a secret of {len(secret)} bytes is too short: at least {LEAST_SECRET}")
    if not FIRST_SPI <= spi <= LAST_SPI:
        raise ValueError(f"SPI {spi:#x} is not within {FIRST_SPI:#x} to {LAST_SPI:#x}")
    info = _SA + suite.name.encode() + bytes((0, mode, esn)) + spi.to_bytes(4, "big") + packed(source) + packed(target)
    return _split(_expand(secret, info, suite.material_size), suite)


def read_key(path: Path, suite: Suite) -> KeyMaterial:
    """Key material from a file that holds key and salt and nothing else, as KEYMAT of RFC 4309, section 7.1, and of RFC 7634, section 2.

    Raises:
        ConfigError: the file cannot be read, others can read it, its size is not that of the suite, or the key is nothing but zeros.
    """
    size = suite.material_size
    with opened_file(path, "key", 4096) as data:
        if len(data) != size:
            message = f"key file of {len(data)} bytes: {suite.name} takes {suite.key_size} of key and {suite.salt_size} of salt"
            hint = f"the bytes themselves, not in hexadecimal: openssl rand -out '{path}' {size}"
            raise ConfigError(message, source=str(path), hint=hint)
        if not any(data[: suite.key_size]):
            raise ConfigError("a key of zeros is no key", source=str(path), hint=f"openssl rand -out '{path}' {size}")
        return _split(bytearray(data), suite)


def fingerprint(secret: Bytes) -> str:
    """A name of a secret, 16 hexadecimal digits: the same for the same secret, and no way back."""
    return _expand(secret, _SECRET_ID, _ID_SIZE).hex()


def _split(material: bytearray, suite: Suite) -> KeyMaterial:
    try:
        return KeyMaterial(material[: suite.key_size], bytes(material[suite.key_size :]))
    finally:
        wipe(material)


def _expand(secret: Bytes, info: bytes, size: int) -> bytearray:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    function = HKDF(algorithm=SHA256(), length=size, salt=None, info=info)
    result = bytearray(size)
    if hasattr(function, "derive_into"):
        function.derive_into(secret, result)
    else:
        result[:] = function.derive(secret)
    return result
