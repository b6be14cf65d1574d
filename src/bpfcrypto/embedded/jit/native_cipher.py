"""A crypto context's cipher in machine code, for compiled programs and for helpers in Python alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit.aes_native import native_aes
from bpfcrypto.embedded.jit.native_key import NativeKey

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.crypto.skcipher import Algorithm, Buffer


class NativeCipher:
    """What :class:`bpfcrypto.crypto.skcipher.Skcipher` is, on native AES; one must be there.

    Args:
        algorithm: which.
        key: of one of ``algorithm.key_sizes``; not kept.
        partial_blocks: whether the whole blocks of a ragged length are processed before it is refused.
    """

    __slots__ = ("_crypt", "_key", "algorithm")

    def __init__(self, algorithm: Algorithm, key: Bytes, partial_blocks: bool = True) -> None:
        aes = native_aes()
        self.algorithm = algorithm
        self._key = NativeKey(aes, algorithm, key, partial_blocks=partial_blocks)
        self._crypt = aes.calls["aes_crypt"]

    def __repr__(self) -> str:
        return f"<NativeCipher {self.algorithm.name!r}>"

    @property
    def address(self) -> int:
        """Where machine code finds it; 0 once it was wiped."""
        return self._key.address

    def encrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int:
        """bpf_crypto_encrypt after its dynptrs were resolved; see :meth:`Skcipher.encrypt`."""
        return self._run(src, dst, siv, encrypt=True)

    def decrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int:
        """bpf_crypto_decrypt after its dynptrs were resolved."""
        return self._run(src, dst, siv, encrypt=False)

    def wipe(self) -> None:
        """Zero the key."""
        self._key.wipe()

    def _run(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None, *, encrypt: bool) -> int:
        places = [word for each in (src, dst, siv) for word in ((each.address, len(each.view)) if each else (0, 0))]
        return self._crypt(self._key.address, *places, encrypt)
