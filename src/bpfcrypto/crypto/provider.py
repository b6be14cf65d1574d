"""AES blocks and chains, by ``cryptography``.

Making a cipher object costs thirty times more than using it, so a key keeps its objects for life. A CBC object carries its chaining
value from one call to the next and cannot be given another; that is no obstacle, because the first block enters (or leaves) the
chain through an XOR: the value it holds is cancelled and the wanted one put in its place.

The key itself is in no object of ours: who gives it can wipe it once the schedules exist. ``wipe`` drops them; OpenSSL clears the memory when it frees it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

Bytes = bytes | bytearray | memoryview

BLOCK_SIZE = 16


def xor_block(left: Bytes, right: Bytes) -> bytes:
    """The XOR of two blocks of 16 bytes."""
    return (int.from_bytes(left, "little") ^ int.from_bytes(right, "little")).to_bytes(BLOCK_SIZE, "little")


class AesKey:
    """The schedules of one AES key (FIPS 197), for whole blocks.

    Args:
        key: 16, 24 or 32 bytes; not kept.

    Every method takes and gives a multiple of 16 bytes and may be called from any thread.
    """

    __slots__ = (
        "_bits",
        "_chain_in",
        "_chain_out",
        "_decrypt",
        "_decrypt_chain",
        "_encrypt",
        "_encrypt_chain",
        "_lock",
    )

    def __init__(self, key: Bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        aes = algorithms.AES(key)
        blocks = Cipher(aes, modes.ECB())  # noqa: S305 - the block function itself, from which modes are made
        zero = bytes(BLOCK_SIZE)
        chain = Cipher(aes, modes.CBC(zero))
        self._bits = aes.key_size
        self._lock = threading.Lock()
        self._encrypt: CipherContext | None = blocks.encryptor()
        self._decrypt: CipherContext | None = blocks.decryptor()
        self._encrypt_chain: CipherContext | None = chain.encryptor()
        self._decrypt_chain: CipherContext | None = chain.decryptor()
        self._chain_out = zero  # chaining values that the two chain objects hold now
        self._chain_in = zero

    def __repr__(self) -> str:
        return f"<AesKey {self._bits} bits>"

    def encrypt_blocks(self, data: Bytes) -> bytes:
        """Each block encrypted on its own."""
        with self._lock:
            return _live(self._encrypt).update(data)

    def decrypt_blocks(self, data: Bytes) -> bytes:
        """Each block decrypted on its own."""
        with self._lock:
            return _live(self._decrypt).update(data)

    def encrypt_chain(self, iv: Bytes, data: Bytes) -> bytes:
        """CBC encryption of at least one block (SP 800-38A section 6.2)."""
        changed = bytearray(data)
        with self._lock:
            enter = xor_block(iv, self._chain_out)
            changed[:BLOCK_SIZE] = xor_block(changed[:BLOCK_SIZE], enter)
            result = _live(self._encrypt_chain).update(changed)
            self._chain_out = result[-BLOCK_SIZE:]
        return result

    def decrypt_chain(self, iv: Bytes, data: Bytes) -> bytearray:
        """CBC decryption of at least one block."""
        source = bytes(data)
        with self._lock:
            leave = xor_block(iv, self._chain_in)
            result = bytearray(_live(self._decrypt_chain).update(source))
            self._chain_in = source[-BLOCK_SIZE:]
        result[:BLOCK_SIZE] = xor_block(result[:BLOCK_SIZE], leave)
        return result

    def wipe(self) -> None:
        """Drop the schedules; the key can do nothing afterwards."""
        with self._lock:
            self._encrypt = self._decrypt = self._encrypt_chain = self._decrypt_chain = None
            self._chain_out = self._chain_in = bytes(BLOCK_SIZE)


def _live(context: CipherContext | None) -> CipherContext:
    if context is None:
        raise ValueError("this key was wiped")
    return context
