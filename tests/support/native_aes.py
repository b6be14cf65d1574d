"""AES in machine code for tests: every way of doing it that this CPU can run, and calls of it on plain memory."""

from __future__ import annotations

import ctypes
import random
from functools import cache
from typing import NamedTuple

import pytest

from bpfcrypto.crypto.skcipher import ALGORITHMS, Buffer, Skcipher
from bpfcrypto.embedded.jit import aes
from bpfcrypto.embedded.jit.aes_native import PASSES, NativeAes
from bpfcrypto.embedded.jit.aes_targets import TARGETS
from bpfcrypto.embedded.jit.compile import Passes, Unit, compile_object, host
from bpfcrypto.embedded.jit.native_key import NativeKey

llvm = pytest.importorskip("llvmlite.binding")

TARGET = {target.name: target for target in TARGETS}

# name -> target, and what the code generator may use: None is all that this CPU has
WAYS: dict[str, tuple[str, str | None]] = {
    "vaes512": ("vaes512", None),
    "vaes512, no avx512vl": ("vaes512", "avx512f,avx512bw,vaes,aes"),
    "vaes256": ("vaes256", None),
    "vaes256, no avx512": ("vaes256", "avx2,vaes,aes"),
    "aesni": ("aesni", None),
    "aesni, avx": ("aesni", "avx,aes"),
    "aesni, sse": ("aesni", "sse4.2,aes"),
    "armv8": ("armv8", None),
}


def runnable() -> list[str]:
    """The ways that this CPU can go."""
    features, architecture = host().features, host().architecture
    return [
        name
        for name, (target, only) in WAYS.items()
        if TARGET[target].architecture == architecture
        and TARGET[target].features | set(only.split(",") if only else ()) <= features
    ]


NEEDS_AES = pytest.mark.skipif(not runnable(), reason="this CPU has no AES instructions")
ALL_WAYS = pytest.mark.parametrize("way", runnable())


@cache
def native(way: str, passes: Passes = PASSES) -> NativeAes:
    """Compiled for one of them."""
    name, only = WAYS[way]
    text = aes.module(TARGET[name])
    return NativeAes(
        TARGET[name], Unit(compile_object(text, passes), aes.SYMBOLS) if only is None else _compile_for(text, only)
    )


def _compile_for(text: str, features: str) -> Unit:
    flags = ",".join(f"+{feature}" for feature in features.split(","))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu="x86-64", features=flags, opt=1, reloc="pic", codemodel="small", jit=True
    )
    return Unit(machine.emit_object(llvm.parse_assembly(text)), aes.SYMBOLS)


class Cipher:
    """A key of the native AES, used on addresses."""

    def __init__(self, aes: NativeAes, mode: str, key: bytes, *, partial_blocks: bool = True) -> None:
        self.aes = aes
        self.key = NativeKey(aes, ALGORITHMS[f"{mode}(aes)"], key, partial_blocks=partial_blocks)

    def crypt(
        self,
        src: int | None,
        src_len: int,
        dst: int | None,
        dst_len: int,
        iv: int | None,
        iv_len: int,
        *,
        encrypt: bool,
    ) -> int:
        return self.aes.calls["aes_crypt"](self.key.address, src, src_len, dst, dst_len, iv, iv_len, encrypt)

    def on_bytes(self, data: bytes, iv: bytes, *, encrypt: bool, in_place: bool = False) -> tuple[int, bytes, bytes]:
        """The errno, the output and the IV afterwards; what is not written of the output is zero, or as it was in place."""
        source, vector = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(iv, len(iv) or 1)
        target = source if in_place else ctypes.create_string_buffer(len(data))
        places = [ctypes.addressof(buffer) for buffer in (source, target, vector)]
        errno = self.crypt(places[0], len(data), places[1], len(data), places[2], len(iv), encrypt=encrypt)
        return errno, target.raw, vector.raw[: len(iv)]


class Overlap(NamedTuple):
    """One call on one memory, in which source, destination and IV lie anywhere."""

    memory: bytes
    size: int
    src: int
    dst: int
    iv: int


def overlaps(rng: random.Random, count: int) -> list[Overlap]:
    """Random ones: mostly overlapping in some way, every length up to 40 blocks, ragged ones too."""

    def one() -> Overlap:
        blocks = rng.choice((1, 2, 3, 8, 40))
        size = rng.choice((16 * rng.randint(1, blocks), rng.randint(1, 16 * blocks)))
        src = rng.randrange(0, 1300 - size)
        near = (src, src - 16, src + 16, src + rng.randint(-size - 20, size + 20), rng.randrange(0, 1300 - size))
        dst = min(max(rng.choice(near), 0), 1300 - size)
        iv = rng.choice((rng.randrange(1300), src, dst, src + size, dst + size - 16, dst - rng.randint(1, 20)))
        return Overlap(
            rng.randbytes(1320),
            size,
            src,
            dst,
            min(max(iv, 0), 1300),
        )

    return [one() for _ in range(count)]


def by_python(cipher: Skcipher, case: Overlap, *, encrypt: bool) -> tuple[int, bytes]:
    """The errno, and the memory afterwards, as the model in Python has it."""
    memory = bytearray(case.memory)
    view, base = memoryview(memory), 0x10000

    def part(at: int, size: int) -> Buffer:
        return Buffer(base + at, view[at : at + size])

    run = cipher.encrypt if encrypt else cipher.decrypt
    errno = run(part(case.src, case.size), part(case.dst, case.size), part(case.iv, cipher.algorithm.siv_size))
    return errno, bytes(memory)


def by_machine(cipher: Cipher, case: Overlap, siv_size: int, *, encrypt: bool) -> tuple[int, bytes]:
    """The same from machine code."""
    memory = ctypes.create_string_buffer(case.memory, len(case.memory))
    base = ctypes.addressof(memory)
    errno = cipher.crypt(
        base + case.src, case.size, base + case.dst, case.size, base + case.iv, siv_size, encrypt=encrypt
    )
    return errno, memory.raw
