"""How many contexts a kernel has, told by the users of a cipher; and AES by the book."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def cipher_users(name: str) -> int:
    """References that all of the kernel's implementations of a cipher have together, the crypto API's own included.

    The count is the whole machine's: others may add or drop some meanwhile.
    """
    total, wanted = 0, False
    for line in Path("/proc/crypto").read_text().splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field == "name":
            wanted = value == name
        elif field == "refcnt" and wanted:
            total += int(value)
    return total


def ecb(key: bytes, data: bytes) -> bytes:
    """AES in ECB mode, encrypting."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)


def driver_users(driver: str) -> int:
    """References that one implementation has, 0 where there is none of that name."""
    wanted = False
    for line in Path("/proc/crypto").read_text().splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field == "driver":
            wanted = value == driver
        elif field == "refcnt" and wanted:
            return int(value)
    return 0
