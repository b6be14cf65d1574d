"""The AES of this process: compiled once, tested once, then callable."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from functools import cache as memoise

from bpfcrypto.embedded.jit import aes, cache
from bpfcrypto.embedded.jit.aes_selftest import check
from bpfcrypto.embedded.jit.aes_targets import Target, choose
from bpfcrypto.embedded.jit.compile import Passes, Unit, compile_object, host
from bpfcrypto.embedded.jit.stamp import stamp
from bpfcrypto.errors import NotSupportedError

# the code is in the form that it shall have: passes of the optimiser find nothing in it and take three times as long as the rest
PASSES = Passes.NONE

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_uint64
_ECB = (ctypes.c_int, _POINTER, _POINTER, _POINTER, _SIZE)
_CBC = (ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER, _SIZE)


def _prototype(symbol: str) -> tuple[object, ...]:
    if "_ecb_" in symbol:
        return _ECB
    if "_cbc_" in symbol:
        return _CBC
    return {
        "aes_expand": (None, _POINTER, _SIZE, _POINTER),
        "aes_wipe": (None, _POINTER),
        "aes_crypt": (ctypes.c_int, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE, ctypes.c_bool),
    }[symbol]


class NativeAes:
    """AES in machine code.

    Args:
        target: what it is made for.
        unit: the compiled module.

    Attributes:
        target: see above.
        calls: each of :data:`bpfcrypto.embedded.jit.aes.SYMBOLS`, callable; pointers are addresses.
        addresses: where they are, for machine code.

    Raises:
        InternalError: a known answer did not come out.
    """

    def __init__(self, target: Target, unit: Unit) -> None:
        self.target = target
        self._unit = unit
        self.addresses: Mapping[str, int] = {symbol: unit.address(symbol) for symbol in aes.SYMBOLS}
        self.calls: Mapping[str, Callable[..., int]] = {
            symbol: ctypes.CFUNCTYPE(*_prototype(symbol))(address)  # type: ignore[arg-type]
            for symbol, address in self.addresses.items()
        }
        check(self.calls, target.name)

    def __repr__(self) -> str:
        return f"<NativeAes {self.target.name}>"

    def expand(self, key: int, size: int, context: int) -> None:
        """``aes_expand``: a key of ``size`` bytes at an address to the context at another."""
        self.calls["aes_expand"](key, size, context)

    def wipe(self, context: int) -> None:
        """``aes_wipe``."""
        self.calls["aes_wipe"](context)


_lock = threading.Lock()


def native_aes() -> NativeAes:
    """The AES of this CPU, made and tested at the first call.

    Raises:
        NotSupportedError: the CPU has no AES instructions; ask :func:`bpfcrypto.embedded.jit.aes_targets.supported` before.
        InternalError: the self-test failed.
    """
    with _lock:
        return _native_aes()


@memoise
def _native_aes() -> NativeAes:
    target = choose(host().features, host().architecture)
    if target is None:
        raise NotSupportedError("AES in machine code", requires="a CPU with AES instructions")
    name = cache.key("aes", target.name, host().identity, stamp())
    image = cache.remembered(name, lambda: compile_object(aes.module(target), PASSES))
    return NativeAes(target, Unit(image, aes.SYMBOLS))
