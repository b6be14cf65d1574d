"""A crypto context as an object: made, shared with network programs through maps, rotated, given up."""

from __future__ import annotations

import threading
from errno import EBADF, EINVAL, ESTALE
from typing import TYPE_CHECKING, Any, Self

from bpfcrypto.context.ciphers import refusal
from bpfcrypto.context.home import Home
from bpfcrypto.context.secret import Key, opened, wipe
from bpfcrypto.context.slot import Slot
from bpfcrypto.crypto.params import MAX_KEY_SIZE, MAX_NAME_SIZE, encode
from bpfcrypto.errors import ContextError

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.context.home import Report
    from bpfcrypto.engine import Engine, Map


class CryptoContext:
    """One context, and the places that it was put to. Made by :meth:`create` or :meth:`open`.

    The key is nowhere in this object. It may be used from any thread.

    Attributes:
        algorithm: what it was made with; "" where that is not known, because somebody else has made it.
    """

    def __init__(self, engine: Engine, algorithm: str, home: Home) -> None:
        self.algorithm = algorithm
        self._engine = engine
        self._home = home
        self._slots: dict[tuple[int, bytes, int], Slot] = {}
        self._lock = threading.RLock()
        self._released = False

    @classmethod
    def create(cls, engine: Engine, algorithm: str, key: Key) -> Self:
        """Make a context.

        Args:
            engine: where.
            algorithm: the kernel's name of a cipher, such as ``cbc(aes)``.
            key: its bytes in a writable buffer, or the path of a file that holds them. A buffer is zero afterwards, whether a
                context was made or not. Bytes are taken as well, and stay in memory: Python cannot wipe them.

        Raises:
            ContextError: the algorithm or the key was refused; ``parameter`` and the hint say which and what can be had.
            NotSupportedError: the engine has no crypto kfuncs here.
            PrivilegeError: a capability is missing (CAP_BPF).
        """
        with opened(key) as data:
            home = Home(engine)
            try:
                _fill(engine, home, algorithm, data)
            except BaseException:
                home.close()
                raise
        return cls(engine, algorithm, home)

    @classmethod
    def open(
        cls, engine: Engine, map: Map, key: Any, field: str | None = None, *, cpu: int = 0, algorithm: str = ""
    ) -> Self:
        """Another reference to a context that is in a map already.

        Args:
            engine: what the map is on.
            map: a map of the same engine.
            key: of the element: its bytes, or a Python value of the key's type.
            field: the field of the value; None where there is only one for contexts.
            cpu: whose value is looked at, in maps that have one for each CPU.
            algorithm: what it was made with, which nobody can read out of it; :meth:`rotate` needs it.

        Raises:
            ContextError: there is none (ESTALE).
            KeyNotFoundError: no such element.
            MapTypeError: no such field.
        """
        home = Home(engine)
        try:
            slot = Slot(engine, home, map, key, field)
            if not slot.take(cpu):
                raise ContextError(
                    f"no context is in field '{slot.name}' of map '{map.name}'",
                    errno=ESTALE,
                    hint="put one there: 'bpfcrypto ctx create', or CryptoContext.place",
                )
        except BaseException:
            home.close()
            raise
        made = cls(engine, algorithm, home)
        made._slots[map.id, slot.key, slot.offset] = slot
        return made

    def __repr__(self) -> str:
        return f"<CryptoContext {self.algorithm or 'of an unknown cipher'}{', released' if self._released else ''}>"

    @property
    def references(self) -> int:
        """How many hold the context, this object and each place included.

        Raises:
            ContextError: it was released.
        """
        return self._report().references

    @property
    def iv_size(self) -> int:
        """Bytes of the IV that encrypt and decrypt take."""
        return self._report().iv_size

    @property
    def check_value(self) -> str:
        """The key check value: the first three bytes of an encrypted block of zeros, in hexadecimal.

        Equal keys have equal values. On the kernel engine it takes CAP_NET_ADMIN, since only network programs encrypt.

        Raises:
            ContextError: the context was released, or its cipher has no such value.
        """
        with self._lock:
            self._report()
            return self._home.check_value()

    def place(self, map: Map, key: Any, field: str | None = None) -> None:
        """Put the context into a map, where network programs find it. A context that was there is released.

        Args:
            map: a map of the same engine: of a collection, or a pinned one of anybody's.
            key: of the element: its bytes, or a Python value of the key's type. A hash gets the element if it has none.
            field: the field of the value, as in C (``cctx``, ``keys[3].cctx``); None where there is only one for contexts.

        Raises:
            MapTypeError: no such field, or a type of map that holds no contexts.
            KeyNotFoundError, MapFullError: no such element, and no room for it.
            ContextError: this context was released.
        """
        with self._lock:
            self._report()
            slot = Slot(self._engine, self._home, map, key, field)
            place = map.id, slot.key, slot.offset
            try:
                slot.put(add=True)
            except BaseException:
                slot.close()
                raise
            former = self._slots.pop(place, None)
            if former is not None:
                former.close()
            self._slots[place] = slot

    def rotate(self, key: Key) -> None:
        """Make a new context with another key, and put it wherever this one was put. No place is ever without a context.

        Args:
            key: as for :meth:`create`.

        Raises:
            ContextError: the key was refused, and nothing has changed; or the algorithm is not known.
            MapError: one of the places is gone, such as a deleted element. All others have the new context.
        """
        with self._lock, opened(key) as data:
            self._report()
            if not self.algorithm:
                raise ContextError("the algorithm of this context is not known", errno=EINVAL, hint="give it to open()")
            _fill(self._engine, self._home, self.algorithm, data)
            failed: Exception | None = None
            for slot in self._slots.values():
                try:
                    slot.put()
                except Exception as error:  # the places behind it get the new key nevertheless
                    failed = failed or error
            if failed is not None:
                raise failed

    def release(self) -> None:
        """Give up this object's reference; places keep theirs. Does nothing the second time."""
        with self._lock:
            if self._released:
                return
            self._released = True
            self._home.forget()
            for slot in self._slots.values():
                slot.close()
            self._home.close()

    def _report(self) -> Report:
        report = None if self._released else self._home.inspect()
        if report is None:
            raise ContextError("this context was released", errno=EBADF)
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _fill(engine: Engine, home: Home, algorithm: str, key: memoryview) -> None:
    """Make the context at home; ContextError where the kernel refuses it, and what was there stays."""
    errno = EINVAL
    if len(algorithm.encode()) < MAX_NAME_SIZE and len(key) <= MAX_KEY_SIZE:
        request = encode(algorithm, key)
        try:
            errno = home.create(request)
        finally:
            wipe(request)
    if errno:
        raise refusal(engine, algorithm, len(key), errno)
