"""Crypto contexts (struct bpf_crypto_ctx).

A context is 48 bytes that programs may read and a Python object that owns its cipher. Its reference count lives in those bytes, as in
the kernel. The last release frees it after a grace period: runs that found it in a map may still use it, new ones cannot.

The key is nowhere but in the cipher's schedules. Whatever is not the address of a context that exists is an AccessFault: an
unverified program stops there and does no harm.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Container
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.crypto.params import DEFAULT_RELEASE, parse
from bpfcrypto.crypto.skcipher import Algorithm, Cipher, Skcipher
from bpfcrypto.embedded.memory import AccessFault, Region, allocate
from bpfcrypto.embedded.rcu import Rcu

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.embedded.memory import Memory

CONTEXT_SIZE = 48
_HEAD = Struct("<QQI")  # type@0, tfm@8, siv_len@16; rcu_head@24
_USAGE = Struct("<i")
_USAGE_OFFSET = 40
_USAGE_MAX = (1 << 31) - 1
_SATURATED = -(1 << 30)  # REFCOUNT_SATURATED: a count that went wrong stays there and the object is never freed


class CryptoContext:
    """One context: owner of its memory region.

    Attributes:
        cipher: encrypts and decrypts live memory.
        home: the contexts of the collection that made it.
        lock: for its reference count.
        region: the 48 bytes that programs see; its base is the context's address.
    """

    __slots__ = ("_bytes", "cipher", "home", "lock", "region")

    def __init__(self, cipher: Cipher, type_address: int, home: CryptoContexts) -> None:
        storage, offset = allocate(CONTEXT_SIZE + 8)
        self.cipher = cipher
        self.home = home
        self.lock = threading.Lock()
        self.region = Region(
            storage, name="crypto context", offset=offset, size=CONTEXT_SIZE, writable=False, owner=self
        )
        self._bytes = memoryview(storage).cast("B")[offset : offset + CONTEXT_SIZE]
        # where machine code has no cipher, the transform has an odd address, and nothing to be read there
        transform = cipher.address or self.address + CONTEXT_SIZE + 1
        _HEAD.pack_into(self._bytes, 0, type_address, transform, cipher.algorithm.siv_size)
        self.references = 1

    @property
    def address(self) -> int:
        """What programs hold and kptr slots store."""
        return self.region.base

    @property
    def references(self) -> int:
        """The reference count; 0 while the context waits to be freed."""
        return int(_USAGE.unpack_from(self._bytes, _USAGE_OFFSET)[0])

    @references.setter
    def references(self, count: int) -> None:
        _USAGE.pack_into(self._bytes, _USAGE_OFFSET, count)

    def __repr__(self) -> str:
        return f"<CryptoContext {self.cipher.algorithm.name}, {self.references} references>"


class CryptoContexts:
    """The contexts that the programs of one collection make. They can get at those of any other in the same memory.

    Args:
        memory: the address space that contexts appear in.
        rcu: tells when a released context may go; every run of a program must be a reader of it.
        release: behaviour of :func:`bpfcrypto.crypto.params.parse`.
        make_cipher: a cipher with its key.
    """

    def __init__(
        self,
        memory: Memory,
        rcu: Rcu | None = None,
        *,
        release: str = DEFAULT_RELEASE,
        make_cipher: Callable[[Algorithm, Bytes, bool], Cipher] = Skcipher,
    ) -> None:
        self._make_cipher = make_cipher
        self.rcu = rcu if rcu is not None else Rcu()
        self._memory = memory
        self._release = release
        self._lock = threading.Lock()
        self._contexts: dict[int, CryptoContext] = {}
        self._type = ctypes.create_string_buffer(8)  # stands for struct bpf_crypto_type: an address and no more

    @property
    def live(self) -> int:
        """Number of contexts made here that are not freed yet, those that wait for a grace period included."""
        return len(self._contexts)

    @property
    def referenced(self) -> frozenset[CryptoContext]:
        """The contexts made here that somebody has a reference to, or has lost it."""
        return frozenset(context for context in self._contexts.values() if context.references)

    def create(self, params: Bytes | None, size: int) -> tuple[int, int]:
        """bpf_crypto_ctx_create.

        Args:
            params: memory of struct bpf_crypto_params, None for NULL.
            size: the size argument.

        Returns:
            The new context's address and 0, or 0 and a positive errno.
        """
        parsed = parse(params, size, release=self._release)
        if isinstance(parsed, int):
            return 0, parsed
        try:
            cipher = self._make_cipher(parsed.algorithm, parsed.key, parsed.partial_blocks)
        finally:
            parsed.key[:] = bytes(len(parsed.key))
        context = CryptoContext(cipher, ctypes.addressof(self._type), self)
        with self._lock:
            self._memory.map(context.region)
            self._contexts[context.address] = context
        return context.address, 0

    def get(self, address: int) -> CryptoContext:
        """The context at an address.

        Raises:
            AccessFault: there is none.
        """
        context = self._memory.owner(address)
        if not isinstance(context, CryptoContext):
            raise AccessFault(f"address {address:#x} is not a crypto context")
        return context

    def acquire(self, address: int) -> int:
        """bpf_crypto_ctx_acquire: the address with one reference more, or 0 where the last one is gone.

        Raises:
            AccessFault: there is no context.
        """
        context = self.get(address)
        with context.lock:
            count = context.references
            if count == 0:
                return 0
            context.references = count + 1 if 0 < count < _USAGE_MAX else _SATURATED
        return address

    def release(self, address: int) -> None:
        """bpf_crypto_ctx_release: one reference less; without any, the context is freed after a grace period.

        Raises:
            AccessFault: there is no context, or it has no reference left to give back.
        """
        context = self.get(address)
        with context.lock:
            count = context.references
            if count == 0:
                raise AccessFault(f"the crypto context at {address:#x} was released more often than acquired")
            context.references = count - 1 if count > 0 else _SATURATED
        if count == 1:
            self.rcu.call(lambda: context.home.free(context))

    def close(self, kept: Container[CryptoContext] = frozenset()) -> None:
        """Free every context made here that has references and is not kept. No program here may run any more.

        One without references goes when runs that may have found it have ended, in whatever collection.
        """
        for context in self.referenced:
            if context not in kept:
                self.free(context)

    def free(self, context: CryptoContext) -> None:
        """Take a context that was made here out of memory, and its key with it."""
        with self._lock:
            if self._contexts.pop(context.address, None) is None:
                return
            self._memory.unmap(context.region)
        context.cipher.wipe()
