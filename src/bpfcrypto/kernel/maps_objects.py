"""Maps whose elements are live objects: given to the kernel as file descriptors, read back as ids.

The same methods exist on the embedded engine, where no descriptors are: so user space gives the object, never its number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakSet

from bpfcrypto.engine import RedirectTarget, Storable
from bpfcrypto.errors import MapTypeError
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.maps import KernelMap
from bpfcrypto.kernel.perf import KernelEvents

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import MapSpec

MakeMap = Callable[["MapSpec", Fd | None], Fd]
"""Creates a map with types of a loaded BTF."""

_WORD = 4


class KernelObjects(KernelMap):
    """A PROG_ARRAY, and what it has in common with maps of maps."""

    sparse = True

    def _bytes_of(self, value: Storable) -> bytes:
        descriptor = getattr(value, "fd", None)
        if isinstance(descriptor, Fd):
            return descriptor.fileno().to_bytes(_WORD, "little")
        return super()._bytes_of(value)


class KernelMapOfMaps(KernelObjects):
    """An ARRAY_OF_MAPS or HASH_OF_MAPS."""

    def __init__(self, fd: Fd, spec: MapSpec, btf: Btf | None = None) -> None:
        super().__init__(fd, spec, btf)
        self._make: MakeMap | None = None
        self._types: Fd | None = None
        self._made: WeakSet[KernelMap] = WeakSet()

    def set_template(self, make: MakeMap, types: Fd | None) -> None:
        """Remember how inner maps are made.

        Args:
            make: creates one.
            types: the object's types in the kernel; kept open in a descriptor of our own.
        """
        self._make = make
        self._types = types.duplicate() if types is not None else None

    def new_inner(self, name: str = "", *, max_entries: int | None = None) -> KernelMap:
        """A new map by the template in the object, which is in no slot yet.

        Args:
            name: its name; the template's by default.
            max_entries: its size; the template's by default.

        Raises:
            MapTypeError: this is a map that was pinned, whose template only the object knows.
            SyscallError: the kernel refuses the map.
        """
        template = self._spec.inner
        if template is None or self._make is None:
            raise MapTypeError(f"map '{self.name}': its template is not known", hint="load the object that defines it")
        entries = template.max_entries if max_entries is None else max_entries
        spec = replace(template, name=name or template.name, max_entries=entries)
        made = KernelMap(self._make(spec, self._types), spec, self._btf)
        self._made.add(made)
        return made

    def close(self) -> None:
        """Give up this process's hold on the map and on what ``new_inner`` made."""
        super().close()
        for made in list(self._made):
            made.close()
        if self._types is not None:
            self._types.close()


class KernelTargets(KernelMap):
    """A DEVMAP, DEVMAP_HASH or CPUMAP."""

    sparse = True

    def _bytes_of(self, value: Storable) -> bytes:
        if not isinstance(value, RedirectTarget):
            return super()._bytes_of(value)
        data = value.number.to_bytes(_WORD, "little")
        if value.program is None:
            return data.ljust(self._value_bytes, b"\0")
        descriptor = getattr(value.program, "fd", None)
        if self._value_bytes == _WORD:
            raise MapTypeError(f"map '{self.name}': values of {_WORD} bytes have no room for a program")
        if not isinstance(descriptor, Fd):
            raise MapTypeError(f"map '{self.name}': a program of another engine")
        return data + descriptor.fileno().to_bytes(_WORD, "little")


class KernelEventArray(KernelMap):
    """A PERF_EVENT_ARRAY."""

    def listen(self) -> KernelEvents:
        """Put a buffer into the slot of every CPU that is online, in place of those that are there.

        Raises:
            SyscallError: the buffers cannot be made (perf_event_open).
            PrivilegeError: CAP_PERFMON is missing.
        """
        return KernelEvents(self)
