"""Linear symmetric ciphers as BPF programs reach them: which exist, and what they do to live memory.

The kernel's linear skcipher API works on plain virtual addresses. Nothing there forbids that source, destination and IV overlap,
so what a program sees afterwards depends on the order of loads and stores. That order, for blocks ``i = 0..n-1``:

- ecb: ``dst[i] = AES(src[i])``, ascending;
- cbc encrypt, different start addresses: ``iv ^= src[i]``, ``dst[i] = E(iv)``, copy ``dst[i]`` to ``iv``;
- cbc encrypt, same start address: ``buf[i] ^= prev`` where prev is the IV's memory, then ``buf[i-1]``; ``buf[i] = E(buf[i])``; the last
  block is copied to ``iv`` at the end;
- cbc decrypt, different start addresses: ``dst[i] = D(src[i])``, ``dst[i] ^= prev`` where prev is the IV's memory, then the *memory* of
  ``src[i-1]``; the last source block is copied to ``iv`` at the end;
- cbc decrypt, same start address: the last block is saved, blocks are handled from the last to the first, the IV becomes the saved one.

An XOR works as two words of eight bytes, one after the other; a copy of a block to the IV goes byte by byte, upwards. Where nothing
overlaps, or source and destination are the same and the IV is elsewhere, all of this is plain ECB and CBC, done in bulk.

A length that is no multiple of the block size is an error *after* the whole blocks were processed (crypto/ecb.c, crypto/cbc.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from errno import EINVAL, ENOENT
from struct import Struct
from typing import Literal, NamedTuple, Protocol

from bpfcrypto.crypto.provider import BLOCK_SIZE, AesKey, Bytes

_WORDS = tuple((offset, Struct("<Q")) for offset in range(0, BLOCK_SIZE, 8))


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A linear symmetric cipher.

    Attributes:
        name: the name it is asked for by, generic or of a driver.
        mode: ``ecb`` or ``cbc``.
        key_sizes: key lengths that it accepts, bytes.
        siv_size: bytes of the IV that encrypt and decrypt take in and give out.
    """

    name: str
    mode: Literal["ecb", "cbc"]
    key_sizes: tuple[int, ...] = (16, 24, 32)
    siv_size: int = 0


def _algorithms() -> Mapping[str, Algorithm]:
    ecb = ("ecb(aes)", "ecb(aes-fixed-time)", "ecb(aes-generic)")
    cbc = ("cbc(aes)", "cbc(aes-fixed-time)", "cbc(ecb(aes-fixed-time))", "cbc(aes-generic)")
    return {
        **{name: Algorithm(name, "ecb") for name in ecb},
        **{name: Algorithm(name, "cbc", siv_size=BLOCK_SIZE) for name in cbc},
    }


ALGORITHMS: Mapping[str, Algorithm] = _algorithms()

# Names that the crypto API knows as symmetric ciphers, yet of which no linear transform can be made (or none that takes a key):
# the errno of the allocation. Every name that is in neither table is unknown.
_AES = ("aes", "aes-fixed-time", "aes-generic")
_NULL = ("cipher_null", "cipher_null-generic")

UNUSABLE: Mapping[str, int] = {
    **{f"ctr({cipher})": EINVAL for cipher in _AES},
    **{f"rfc3686(ctr({cipher}))": EINVAL for cipher in _AES},
    **{f"cts(cbc({cipher}))": EINVAL for cipher in (*_AES, "ecb(aes-fixed-time)", "cipher_null")},
    **{f"xts({cipher})": EINVAL for cipher in ("aes", "ecb(aes-fixed-time)", "ecb(aes-generic)")},
    **{f"{mode}({cipher})": EINVAL for mode in ("ecb", "cbc") for cipher in _NULL},
    "ecb-cipher_null": ENOENT,
}


class Buffer(NamedTuple):
    """Contiguous live memory: its bytes, and the address of the first one."""

    address: int
    view: memoryview

    def overlaps(self, other: Buffer, size: int) -> bool:
        """Whether the first ``size`` bytes share any with all of ``other``."""
        return self.address < other.address + len(other.view) and other.address < self.address + size


_NOTHING = Buffer(0, memoryview(b""))


class Cipher(Protocol):
    """A cipher with its key, ready to work on live memory, by whatever means."""

    @property
    def algorithm(self) -> Algorithm: ...

    @property
    def address(self) -> int:
        """Where machine code finds it; 0 where it is Python's alone."""
        ...

    def encrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int: ...

    def decrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int: ...

    def wipe(self) -> None: ...


class Skcipher:
    """A cipher with its key, ready to work on live memory (struct crypto_lskcipher).

    Args:
        algorithm: which.
        key: of one of ``algorithm.key_sizes``; not kept.
        partial_blocks: whether the whole blocks of a ragged length are processed before it is refused.
    """

    __slots__ = ("_key", "algorithm", "partial_blocks")

    address = 0

    def __init__(self, algorithm: Algorithm, key: Bytes, partial_blocks: bool = True) -> None:
        self.algorithm = algorithm
        self.partial_blocks = partial_blocks
        self._key = AesKey(key)

    def __repr__(self) -> str:
        return f"<Skcipher {self.algorithm.name!r}>"

    def encrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int:
        """bpf_crypto_encrypt after its dynptrs were resolved.

        Args:
            src: what to encrypt.
            dst: where to; may be longer than ``src``, may be the same or overlap.
            siv: the IV, replaced by the last ciphertext block; None (or empty) for ciphers without one.
                None stands for a null dynptr in all three.

        Returns:
            0 or a positive errno: EINVAL for sizes that do not fit, memory that cannot be written, or a length that is no multiple of
            the block size, whose whole blocks were processed nevertheless.
        """
        return self._crypt(src, dst, siv, encrypt=True)

    def decrypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None) -> int:
        """bpf_crypto_decrypt after its dynptrs were resolved; see :meth:`encrypt`."""
        return self._crypt(src, dst, siv, encrypt=False)

    def wipe(self) -> None:
        """Drop the key."""
        self._key.wipe()

    def _crypt(self, src: Buffer | None, dst: Buffer | None, siv: Buffer | None, *, encrypt: bool) -> int:
        src, dst, siv = src or _NOTHING, dst or _NOTHING, siv or _NOTHING
        length = len(src.view)
        if dst.view.readonly or not length or length > len(dst.view) or len(siv.view) != self.algorithm.siv_size:
            return EINVAL
        size = length - length % BLOCK_SIZE
        if size and (self.partial_blocks or size == length):
            whole, target = Buffer(src.address, src.view[:size]), Buffer(dst.address, dst.view[:size])
            ragged = src.address != dst.address and whole.overlaps(target, size)
            if ragged or siv.overlaps(whole, len(siv.view)) or siv.overlaps(target, len(siv.view)):
                _BLOCKWISE[self.algorithm.mode, encrypt](self._key, whole, target, siv.view)
            else:
                self._bulk(whole.view, target.view, siv.view, encrypt=encrypt)
        return EINVAL if size != length else 0

    def _bulk(self, src: memoryview, dst: memoryview, iv: memoryview, *, encrypt: bool) -> None:
        key = self._key
        if self.algorithm.mode == "ecb":
            dst[:] = key.encrypt_blocks(src) if encrypt else key.decrypt_blocks(src)
        elif encrypt:
            dst[:] = key.encrypt_chain(iv, src)
            iv[:] = dst[-BLOCK_SIZE:]
        else:
            last = bytes(src[-BLOCK_SIZE:])
            dst[:] = key.decrypt_chain(iv, src)
            iv[:] = last


def _block(view: memoryview, at: int) -> memoryview:
    return view[at : at + BLOCK_SIZE]


def _xor(target: memoryview, source: memoryview) -> None:
    for offset, word in _WORDS:
        word.pack_into(target, offset, word.unpack_from(target, offset)[0] ^ word.unpack_from(source, offset)[0])


def _copy(target: memoryview, source: memoryview) -> None:
    for offset in range(BLOCK_SIZE):
        target[offset] = source[offset]


def _ecb_encrypt(key: AesKey, src: Buffer, dst: Buffer, _iv: memoryview) -> None:
    for at in range(0, len(src.view), BLOCK_SIZE):
        _block(dst.view, at)[:] = key.encrypt_blocks(_block(src.view, at))


def _ecb_decrypt(key: AesKey, src: Buffer, dst: Buffer, _iv: memoryview) -> None:
    for at in range(0, len(src.view), BLOCK_SIZE):
        _block(dst.view, at)[:] = key.decrypt_blocks(_block(src.view, at))


def _cbc_encrypt(key: AesKey, src: Buffer, dst: Buffer, iv: memoryview) -> None:
    if src.address == dst.address:
        previous = iv
        for at in range(0, len(dst.view), BLOCK_SIZE):
            block = _block(dst.view, at)
            _xor(block, previous)
            block[:] = key.encrypt_blocks(block)
            previous = block
        _copy(iv, previous)
        return
    for at in range(0, len(src.view), BLOCK_SIZE):
        _xor(iv, _block(src.view, at))
        block = _block(dst.view, at)
        block[:] = key.encrypt_blocks(iv)
        _copy(iv, block)


def _cbc_decrypt(key: AesKey, src: Buffer, dst: Buffer, iv: memoryview) -> None:
    if src.address == dst.address:
        last = bytes(dst.view[-BLOCK_SIZE:])
        for at in range(len(dst.view) - BLOCK_SIZE, -1, -BLOCK_SIZE):
            block = _block(dst.view, at)
            block[:] = key.decrypt_blocks(block)
            _xor(block, _block(dst.view, at - BLOCK_SIZE) if at else iv)
        iv[:] = last
        return
    previous = iv
    for at in range(0, len(src.view), BLOCK_SIZE):
        block = _block(dst.view, at)
        block[:] = key.decrypt_blocks(_block(src.view, at))
        _xor(block, previous)
        previous = _block(src.view, at)
    _copy(iv, previous)


_BLOCKWISE = {
    ("ecb", True): _ecb_encrypt,
    ("ecb", False): _ecb_decrypt,
    ("cbc", True): _cbc_encrypt,
    ("cbc", False): _cbc_decrypt,
}
