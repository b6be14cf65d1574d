"""AES as a module of LLVM IR: ECB and CBC for native crypto contexts (:mod:`bpfcrypto.embedded.jit.aes_layout`).

Its symbols, in the C calling convention; ``ctx`` is a context of 16-byte alignment, no other pointer need be aligned:

- ``void aes_expand(ptr key, i64 size, ptr ctx)``: rounds and round keys of a key of 16, 24 or 32 bytes;
- ``void aes_wipe(ptr ctx)``: all zero;
- ``i32 aes_ecb_encrypt(ptr ctx, ptr src, ptr dst, i64 blocks)``, ``aes_ecb_decrypt``: where ``dst`` does not begin within ``src``, save at its
  first byte;
- ``i32 aes_cbc_encrypt(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``: the same, and the IV overlaps neither;
- ``i32 aes_cbc_decrypt(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``: where source and destination are the same or apart, and the
  IV overlaps neither;
- each of these four with ``_overlap`` at its end: any overlap, with what the kernel makes of it;
- ``i32 aes_crypt(ptr ctx, ptr src, i64 src_len, ptr dst, i64 dst_len, ptr iv, i64 iv_len, i1 zeroext encrypt)``: bpf_crypto_encrypt or
  bpf_crypto_decrypt after their dynptrs were resolved: 0 or EINVAL as :meth:`bpfcrypto.crypto.skcipher.Skcipher.encrypt` has it. Whether
  the destination may be written is for the caller to check.

All but the first two give 0 where they did their work, so that one can leave by calling another. In CBC the memory of the IV is left with the last block of ciphertext. Nothing here reads a table or branches on a key or on data.
"""

from __future__ import annotations

from errno import EINVAL

from bpfcrypto.embedded.jit import aes_bulk, aes_key, aes_overlap
from bpfcrypto.embedded.jit.aes_code import Function, declarations
from bpfcrypto.embedded.jit.aes_layout import MODE, MODES, PARTIAL, SIV_SIZE
from bpfcrypto.embedded.jit.aes_targets import Target

_PARAMETERS = "ptr %ctx, ptr %src, i64 %src_len, ptr %dst, i64 %dst_len, ptr %iv, i64 %iv_len, i1 zeroext %encrypt"

SYMBOLS = (
    "aes_expand",
    "aes_wipe",
    *(f"aes_{mode}_{way}{form}" for mode in MODES for way in ("encrypt", "decrypt") for form in ("", "_overlap")),
    "aes_crypt",
)


def module(target: Target) -> str:
    """The whole module for a target."""
    return "\n\n".join(
        (
            declarations(target),
            aes_key.expand(target),
            aes_key.wipe(target),
            aes_bulk.ecb(target, "encrypt"),
            aes_bulk.ecb(target, "decrypt"),
            aes_bulk.cbc_encrypt(target),
            aes_bulk.cbc_decrypt(target),
            aes_bulk.cbc_decrypt_block(target),
            aes_overlap.parts(target),
            aes_overlap.ecb(target, "encrypt"),
            aes_overlap.ecb(target, "decrypt"),
            aes_overlap.cbc_encrypt(target),
            aes_overlap.cbc_decrypt(target),
            _crypt_cbc(target, "encrypt"),
            _crypt_cbc(target, "decrypt"),
            _crypt_ragged(target),
            _crypt(target),
        )
    )


def _crypt(target: Target) -> str:
    """The entry; it leaves by jumping into what it chose and has no frame, so that a call costs little more than the rounds."""
    f = Function(f"define i32 @aes_crypt({_PARAMETERS})", target)

    # the size less one, so that an empty source is too long as well
    long = f.value(f"icmp uge i64 {f.value('sub i64 %src_len, 1')}, %dst_len")
    other = f.value(f"icmp ne i64 %iv_len, {f.value(f'zext i32 {_field(f, SIV_SIZE)} to i64')}")
    f.branch(f.value(f"or i1 {long}, {other}"), "refuse", "sizes")
    f.begin("refuse")
    f.do(f"ret i32 {EINVAL}")

    f.begin("sizes")
    rest = f.value("and i64 %src_len, 15")
    f.branch(f.value(f"icmp eq i64 {rest}, 0"), "process", "ragged")
    f.begin("ragged")
    _leave(f, "crypt_ragged", _PARAMETERS)

    f.begin("process")
    f.branch(f.value(f"icmp eq i32 {_field(f, MODE)}, {MODES.index('ecb')}"), "ecb", "cbc")
    f.begin("ecb")
    f.branch(f.value("icmp eq i64 %src_len, 16"), "single", "several")
    f.begin("single")  # loaded as a whole before it is stored: no overlap matters
    f.do("br i1 %encrypt, label %single_encrypt, label %single_decrypt")
    arguments = "ptr %ctx, ptr %src, ptr %dst"
    for direction in ("encrypt", "decrypt"):
        f.begin(f"single_{direction}")
        _leave(f, f"block_{direction}", arguments)
    f.begin("several")
    places = _Places(f)
    blocks = f.value("lshr i64 %src_len, 4")
    f.do("br i1 %encrypt, label %ecb_encrypt, label %ecb_decrypt")
    for direction in ("encrypt", "decrypt"):
        f.begin(f"ecb_{direction}")
        f.branch(places.ahead, f"careful_{direction}", f"bulk_{direction}")
        for form, suffix in (("bulk", ""), ("careful", "_overlap")):
            f.begin(f"{form}_{direction}")
            _leave(f, f"aes_ecb_{direction}{suffix}", f"{arguments}, i64 {blocks}")

    f.begin("cbc")
    f.do("br i1 %encrypt, label %cbc_encrypt, label %cbc_decrypt")
    for direction in ("encrypt", "decrypt"):
        f.begin(f"cbc_{direction}")
        _leave(f, f"crypt_cbc_{direction}", f"{arguments}, ptr %iv, i64 %src_len")
    return str(f)


def _crypt_ragged(target: Target) -> str:
    """Lengths that are no multiple of the block size: the whole blocks, if the context has it so, and EINVAL."""
    f = Function(f"define internal i32 @crypt_ragged({_PARAMETERS}) noinline", target)
    size = f.value("and i64 %src_len, -16")
    nothing = f.value(f"icmp eq i64 {size}, 0")
    whole_only = f.value(f"icmp eq i32 {_field(f, PARTIAL)}, 0")
    f.branch(f.value(f"or i1 {nothing}, {whole_only}"), "refuse", "partial")
    f.begin("partial")
    f.do(f"call i32 @aes_crypt({_PARAMETERS.replace('%src_len', size)})", "br label %refuse")
    f.begin("refuse")
    f.do(f"ret i32 {EINVAL}")
    return str(f)


def _field(f: Function, offset: int) -> str:
    """A word of the context's head."""
    return f.value(f"load i32, ptr {f.at('%ctx', offset)}, align 4")


def _crypt_cbc(target: Target, direction: str) -> str:
    """How CBC is to be done; apart from the entry, which would have to save registers for it."""
    f = Function(
        f"define internal i32 @crypt_cbc_{direction}(ptr %ctx, ptr %src, ptr %dst, ptr %iv, i64 %src_len) noinline",
        target,
    )
    places = _Places(f)
    crossing = places.ahead if direction == "encrypt" else f.value(f"or i1 {places.ahead}, {places.behind()}")
    arguments = "ptr %ctx, ptr %src, ptr %dst, ptr %iv"
    f.branch(f.value(f"or i1 {crossing}, {places.touched()}"), "careful", "apart")
    f.begin("apart")
    blocks = f.value("lshr i64 %src_len, 4")
    if direction == "decrypt":
        f.branch(f.value(f"icmp eq i64 {blocks}, 1"), "single", "bulk")
        f.begin("single")
        _leave(f, "block_cbc_decrypt", arguments)
        f.begin("bulk")
    _leave(f, f"aes_cbc_{direction}", f"{arguments}, i64 {blocks}")
    f.begin("careful")
    _leave(f, f"aes_cbc_{direction}_overlap", f"{arguments}, i64 {f.value('lshr i64 %src_len, 4')}")
    return str(f)


class _Places:
    """Which of the three ranges of memory meet; ``%src_len`` is a multiple of the block size.

    Attributes:
        ahead: the destination begins within the source, behind its first byte.
    """

    def __init__(self, f: Function) -> None:
        self._f = f
        self._source, self._destination = (f.value(f"ptrtoint ptr {name} to i64") for name in ("%src", "%dst"))
        self._distance = f.value(f"sub i64 {self._destination}, {self._source}")
        self._reach = f.value("sub i64 %src_len, 1")
        self.ahead = f.value(f"icmp ult i64 {f.value(f'sub i64 {self._distance}, 1')}, {self._reach}")

    def behind(self) -> str:
        """The source begins within the destination, behind its first byte."""
        f = self._f
        distance = f.value(f"sub i64 {self._source}, {self._destination}")
        return f.value(f"icmp ult i64 {f.value(f'sub i64 {distance}, 1')}, {self._reach}")

    def touched(self) -> str:
        """The IV shares bytes with source or destination."""
        f = self._f
        vector = f.value("ptrtoint ptr %iv to i64")
        reach = f.value("add i64 %src_len, 15")
        behind = [f.value(f"sub i64 {vector}, {place}") for place in (self._source, self._destination)]
        near = [f.value(f"icmp ult i64 {f.value(f'add i64 {offset}, 15')}, {reach}") for offset in behind]
        return f.value(f"or i1 {near[0]}, {near[1]}")


def _leave(f: Function, symbol: str, arguments: str) -> None:
    f.do(f"ret i32 {f.value(f'tail call i32 @{symbol}({arguments})')}")
