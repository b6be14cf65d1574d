"""Known answers that machine code must give before anything is entrusted to it.

The four-block examples of SP 800-38A appendix F.1 and F.2, for every key size, are made longer without another cipher at hand: ECB
repeats them, and in CBC a block that follows the fourth is changed so that the chain begins again. So every way in which data
is cut comes up. The plain block of FIPS 197 appendix C checks keys that are no example of the other document.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping

from bpfcrypto.crypto.provider import BLOCK_SIZE, xor_block
from bpfcrypto.embedded.jit.aes_layout import HEAD, MODES, SIZE
from bpfcrypto.errors import InternalError

_BLOCKS = (1, 2, 3, 7, 23)  # sums of all steps that a target may have

_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
_IV = bytes(range(16))

# key, the plaintext in ECB, the plaintext in CBC
_ANSWERS = tuple(
    tuple(map(bytes.fromhex, row))
    for row in (
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
            "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
            "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
        ),
        (
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef"
            "ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
            "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
        ),
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"
            "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
            "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        ),
    )
)

_FIPS_197_PLAIN = bytes.fromhex("00112233445566778899aabbccddeeff")
_FIPS_197 = {  # bytes of the key, which counts up from 0: the block
    16: "69c4e0d86a7b0430d8cdb78070b4c55a",
    24: "dda97ca4864cdfe06eaf70a0ec0d7191",
    32: "8ea2b7ca516745bfeafc49904b496089",
}


def check(calls: Mapping[str, Callable[..., int]], name: str) -> None:
    """Run all known answers.

    Args:
        calls: the compiled functions by symbol.
        name: of the target, for the message.

    Raises:
        InternalError: an answer is wrong, or a context was not wiped.
    """
    context = _Aligned(SIZE)
    for key, mode, plain, secret in _cases():
        calls["aes_expand"](key, len(key), context.address)
        rounds = HEAD.unpack_from(context.view)[0]
        siv_size = BLOCK_SIZE if mode == "cbc" else 0
        HEAD.pack_into(context.view, 0, rounds, MODES.index(mode), siv_size, 0)
        for direction, given, wanted in (("encrypt", plain, secret), ("decrypt", secret, plain)):
            for form in ("", "_overlap", None):
                if _run(calls, context.address, mode, direction, form, given) != (
                    wanted,
                    secret[-siv_size:] if siv_size else _IV,
                ):
                    what = "aes_crypt" if form is None else f"aes_{mode}_{direction}{form}"
                    raise InternalError(
                        f"AES in machine code ({name}) failed its self-test",
                        state=f"{what}, key of {8 * len(key)} bits, {len(plain) // BLOCK_SIZE} blocks",
                    )
    calls["aes_wipe"](context.address)
    if any(context.view):
        raise InternalError(f"AES in machine code ({name}) does not wipe its keys")


def _cases() -> Iterator[tuple[bytes, str, bytes, bytes]]:
    """Key, mode, plaintext, ciphertext."""
    for key, ecb, cbc in _ANSWERS:
        again = xor_block(xor_block(_PLAIN[:BLOCK_SIZE], _IV), cbc[-BLOCK_SIZE:]) + _PLAIN[BLOCK_SIZE:]
        for size in (BLOCK_SIZE * blocks for blocks in _BLOCKS):
            times = size // len(_PLAIN)
            yield key, "ecb", (_PLAIN * (times + 1))[:size], (ecb * (times + 1))[:size]
            yield key, "cbc", (_PLAIN + again * times)[:size], (cbc * (times + 1))[:size]
    for key_size, block in _FIPS_197.items():
        yield bytes(range(key_size)), "ecb", _FIPS_197_PLAIN, bytes.fromhex(block)


def _run(
    calls: Mapping[str, Callable[..., int]], context: int, mode: str, direction: str, form: str | None, given: bytes
) -> tuple[bytes, bytes]:
    """What one of the functions makes of some blocks, and of the IV; ``form`` None is the function that chooses itself."""
    output, iv = ctypes.create_string_buffer(len(given)), ctypes.create_string_buffer(_IV, BLOCK_SIZE)
    vector = (iv,) if mode == "cbc" else ()
    if form is None:
        state = (iv, BLOCK_SIZE) if vector else (None, 0)
        failed = calls["aes_crypt"](context, given, len(given), output, len(given), *state, direction == "encrypt")
        return (b"" if failed else output.raw), iv.raw
    calls[f"aes_{mode}_{direction}{form}"](context, given, output, *vector, len(given) // BLOCK_SIZE)
    return output.raw, iv.raw


class _Aligned:
    """Zeroed memory at a multiple of 16."""

    def __init__(self, size: int) -> None:
        self._storage = ctypes.create_string_buffer(size + BLOCK_SIZE)
        start = -ctypes.addressof(self._storage) % BLOCK_SIZE
        self.address = ctypes.addressof(self._storage) + start
        self.view = memoryview(self._storage).cast("B")[start : start + size]
