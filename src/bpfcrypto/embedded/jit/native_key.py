"""The memory of one key's schedule: locked, out of core dumps, zero when it is done."""

from __future__ import annotations

import ctypes
import functools
import mmap
import threading
import weakref
from typing import TYPE_CHECKING, Any

from bpfcrypto.embedded.jit.aes_layout import HEAD, MODES, SCRATCH, SIZE

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.crypto.skcipher import Algorithm
    from bpfcrypto.embedded.jit.aes_native import NativeAes


class NativeKey:
    """A native crypto context (:mod:`bpfcrypto.embedded.jit.aes_layout`) in a page of its own.

    The page is kept out of swap and of core dumps where the system allows it. Every byte of it is zeroed, and the page given back, by
    :meth:`wipe` or with the object; machine code must not use it any more by then.

    Args:
        aes: the code that expands the key.
        algorithm: what the context is for.
        key: of one of ``algorithm.key_sizes``; copied nowhere but into that page, and there only until it is expanded.
        partial_blocks: whether the whole blocks of a ragged length are processed before it is refused.

    Raises:
        ValueError: no key of that size exists.
    """

    __slots__ = ("__weakref__", "_address", "_lock", "_release")

    def __init__(self, aes: NativeAes, algorithm: Algorithm, key: Bytes, *, partial_blocks: bool = True) -> None:
        if len(key) not in algorithm.key_sizes:
            raise ValueError(f"{algorithm.name} takes no key of {len(key)} bytes")
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._address = _address(page)
        self._lock = threading.Lock()
        self._release = weakref.finalize(self, _release, aes, page, self._address)
        # when the process ends, threads may still be running machine code; the kernel clears the page
        self._release.atexit = False
        _hide(page, self._address)
        page[SCRATCH : SCRATCH + len(key)] = key
        aes.expand(self._address + SCRATCH, len(key), self._address)
        page[SCRATCH:SIZE] = bytes(SIZE - SCRATCH)
        rounds = HEAD.unpack_from(page)[0]
        HEAD.pack_into(page, 0, rounds, MODES.index(algorithm.mode), algorithm.siv_size, partial_blocks)

    def __repr__(self) -> str:
        return f"<NativeKey at {self._address:#x}>"

    @property
    def address(self) -> int:
        """Where machine code finds the context, 0 once it was wiped."""
        return self._address

    def wipe(self) -> None:
        """Zero the schedules and give the page back."""
        with self._lock:
            self._address = 0
            self._release()


def _address(page: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def _hide(page: mmap.mmap, address: int) -> None:
    """Keep a page out of swap and core dumps; both are precautions that a system may refuse."""
    lock, _ = _libc()
    if lock is not None:
        lock(address, len(page))
    if hasattr(mmap, "MADV_DONTDUMP"):
        page.madvise(mmap.MADV_DONTDUMP)


def _release(aes: NativeAes, page: mmap.mmap, address: int) -> None:
    aes.wipe(address)
    _, unlock = _libc()
    if unlock is not None:
        unlock(address, len(page))
    page.close()


@functools.cache
def _libc() -> tuple[Any, Any]:
    """``mlock`` and ``munlock``, or None for what the C library does not have."""
    library = ctypes.CDLL(None)
    calls = tuple(getattr(library, name, None) for name in ("mlock", "munlock"))
    for call in calls:
        if call is not None:
            call.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
            call.restype = ctypes.c_int
    return calls[0], calls[1]
