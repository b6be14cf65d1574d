"""AES in machine code beside OpenSSL: ``python -m bench.aes``.

Both are called by the same kind of compiled loop, so that what is measured is what machine code pays for a call: ``aes_crypt`` with a native
context here, ``EVP_EncryptUpdate`` or ``EVP_DecryptUpdate`` with a context that is ready there. OpenSSL through ``cryptography`` (``update_into`` on a live
context, in a Python loop) is shown as well: that is what a call back into Python would run.

All contenders take turns in every round, so that a noisy moment hits each; the table has medians of nanoseconds per call, the half
of all rounds that lies around the median as a spread, and the ratio of speeds.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bpfcrypto.crypto.skcipher import ALGORITHMS
from bpfcrypto.embedded.jit import aes
from bpfcrypto.embedded.jit.aes_native import PASSES, NativeAes, native_aes
from bpfcrypto.embedded.jit.aes_targets import TARGETS
from bpfcrypto.embedded.jit.compile import Passes, Unit, compile_object
from bpfcrypto.embedded.jit.native_key import NativeKey

SIZES = (16, 64, 256, 1024, 1408, 4096, 16384)
SLICE_NS = 400_000  # how long one contender runs in one round, about
BULK_GOAL, BLOCK_GOAL = 0.95, 3.0

_OURS = "i32 %f(ptr %c, ptr %s, i64 %n, ptr %d, i64 %n, ptr %v, i64 %m, i1 zeroext %e)"
_THEIRS = "i32 %f(ptr %c, ptr %d, ptr %l, ptr %s, i32 %n)"


def loop(name: str, parameters: str, call: str) -> str:
    """A function that makes one call ``times`` times."""
    return f"""
define void @{name}(i64 %times, ptr %f, {parameters}) {{
entry:
  br label %again
again:
  %i = phi i64 [ %times, %entry ], [ %left, %again ]
  %ignored = call {call}
  %left = sub i64 %i, 1
  %more = icmp ne i64 %left, 0
  br i1 %more, label %again, label %done
done:
  ret void
}}"""


DRIVERS = loop(
    "ours", "ptr %c, ptr %s, i64 %n, ptr %d, ptr %v, i64 %m, i1 zeroext %e", _OURS
) + loop("theirs", "ptr %c, ptr %d, ptr %l, ptr %s, i32 %n", _THEIRS)  # fmt: skip


class Case(NamedTuple):
    """What is measured."""

    mode: str
    encrypt: bool
    key_size: int
    size: int

    def __str__(self) -> str:
        return f"{self.mode} {'encrypt' if self.encrypt else 'decrypt'} {8 * self.key_size}"


class Libcrypto:
    """OpenSSL's own interface."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("crypto")
        if name is None:
            raise FileNotFoundError("there is no libcrypto")
        self.library = ctypes.CDLL(name)
        for function in ("EVP_CIPHER_CTX_new", "EVP_get_cipherbyname"):
            getattr(self.library, function).restype = ctypes.c_void_p
        self.library.OpenSSL_version.restype = ctypes.c_char_p
        self.version = self.library.OpenSSL_version(0).decode()
        self.update = {
            encrypt: ctypes.cast(function, ctypes.c_void_p).value
            for encrypt, function in ((True, self.library.EVP_EncryptUpdate), (False, self.library.EVP_DecryptUpdate))
        }

    def context(self, case: Case, key: bytes) -> int:
        """A context with its key, without padding; the caller keeps it for the rest of the process."""
        cipher = self.library.EVP_get_cipherbyname(f"aes-{8 * case.key_size}-{case.mode}".encode())
        context: int = self.library.EVP_CIPHER_CTX_new()
        ready = self.library.EVP_CipherInit_ex(
            ctypes.c_void_p(context), ctypes.c_void_p(cipher), None, key, bytes(16), int(case.encrypt)
        )
        if ready != 1:
            raise RuntimeError(f"OpenSSL refuses {case}")
        self.library.EVP_CIPHER_CTX_set_padding(ctypes.c_void_p(context), 0)
        return context


class Bench:
    """The contenders of one machine."""

    def __init__(self, native: NativeAes) -> None:
        self._native = native
        self._evp = Libcrypto()
        self._drivers: Unit = Unit(compile_object(DRIVERS, Passes.NONE), ("ours", "theirs"))
        pointer, size = ctypes.c_void_p, ctypes.c_uint64
        self._ours = ctypes.CFUNCTYPE(
            None, size, pointer, pointer, pointer, size, pointer, pointer, size, ctypes.c_bool
        )(self._drivers.address("ours"))
        self._theirs = ctypes.CFUNCTYPE(None, size, pointer, pointer, pointer, pointer, pointer, ctypes.c_int)(
            self._drivers.address("theirs")
        )
        self._kept: list[object] = []

    @property
    def title(self) -> str:
        return f"AES by {self._native.target.name} beside {self._evp.version}"

    def contenders(self, case: Case) -> dict[str, Callable[[int], None]]:
        """Each as a function of the number of calls."""
        key = bytes(range(case.key_size))
        source, target = (ctypes.create_string_buffer(bytes(case.size), case.size + 64) for _ in range(2))
        src, dst = (-(-ctypes.addressof(buffer) // 64) * 64 for buffer in (source, target))
        vector, written = ctypes.create_string_buffer(16), ctypes.c_int()
        context = NativeKey(self._native, ALGORITHMS[f"{case.mode}(aes)"], key)
        evp = self._evp.context(case, key)
        siv_size = 16 if case.mode == "cbc" else 0
        mode = modes.CBC(bytes(16)) if siv_size else modes.ECB()
        cipher = Cipher(algorithms.AES(key), mode)
        live = cipher.encryptor() if case.encrypt else cipher.decryptor()
        plain, room = bytes(case.size), bytearray(case.size + 15)
        self._kept.append((source, target, vector, written, context))

        def ours(times: int) -> None:
            self._ours(
                times,
                self._native.addresses["aes_crypt"],
                context.address,
                src,
                case.size,
                dst,
                vector,
                siv_size,
                case.encrypt,
            )

        def theirs(times: int) -> None:
            self._theirs(times, self._evp.update[case.encrypt], evp, dst, ctypes.addressof(written), src, case.size)

        def python(times: int) -> None:
            for _ in itertools.repeat(None, times):
                live.update_into(plain, room)

        return {"ours": ours, "evp": theirs, "python": python}

    def measure(self, case: Case, rounds: int) -> dict[str, tuple[float, float, float]]:
        """For each contender: the median of nanoseconds per call, and the quartiles."""
        contenders = self.contenders(case)
        times = {name: calibrated(run) for name, run in contenders.items()}
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                samples[name].append(nanoseconds(run, times[name]))
        return {name: quartiles(values) for name, values in samples.items()}


def nanoseconds(run: Callable[[int], None], times: int) -> float:
    """Per call."""
    start = time.perf_counter_ns()
    run(times)
    return (time.perf_counter_ns() - start) / times


def calibrated(run: Callable[[int], None]) -> int:
    """How many calls fill a slice."""
    times = 64
    while (taken := nanoseconds(run, times) * times) < SLICE_NS / 4:
        times *= 2
    return max(1, int(times * SLICE_NS / taken))


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def cases(wanted: str) -> list[Case]:
    return [
        case
        for mode, encrypt, key_size in itertools.product(("ecb", "cbc"), (True, False), (16, 32))
        for size in SIZES
        if wanted in str(case := Case(mode, encrypt, key_size, size))
    ]


def goal(case: Case) -> float:
    """How fast we want to be beside OpenSSL: a single block is mostly the price of a call, unless it waits for the one before."""
    return BLOCK_GOAL if case.size == 16 and (case.mode, case.encrypt) != ("cbc", True) else BULK_GOAL


def chosen(target: str | None, passes: Passes) -> NativeAes:
    """The AES of this machine, or a forced one."""
    if target is None and passes is PASSES:
        return native_aes()
    row = next(row for row in TARGETS if target in (None, row.name))
    return NativeAes(row, Unit(compile_object(aes.module(row), passes), aes.SYMBOLS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--target", choices=[target.name for target in TARGETS])
    parser.add_argument("--passes", type=Passes.__getitem__, default=PASSES, help="NONE, LIGHT or FULL")
    parser.add_argument("--only", default="", help="part of a case's name, such as 'cbc decrypt 128'")
    parser.add_argument("--json", action="store_true", help="one object per line")
    arguments = parser.parse_args()
    bench = Bench(chosen(arguments.target, arguments.passes))
    if not arguments.json:
        print(f"{bench.title}; ns per call: median (quartiles) of {arguments.rounds} rounds")
        print(f"{'':16} {'bytes':>6} {'ours':>24} {'EVP':>24} {'cryptography':>13} {'ours/EVP':>9}")
    for case in cases(arguments.only):
        result = bench.measure(case, arguments.rounds)
        ratio = result["evp"][0] / result["ours"][0]
        if arguments.json:
            print(json.dumps({"case": str(case), "bytes": case.size, **result, "ratio": ratio}))
            continue
        ours, evp = (f"{mid:9.1f} ({low:.1f}-{high:.1f})" for mid, low, high in (result["ours"], result["evp"]))
        print(
            f"{case!s:16} {case.size:6} {ours:>24} {evp:>24} {result['python'][0]:13.0f} {ratio:9.2f}{'' if ratio >= goal(case) else '  goal missed'}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
