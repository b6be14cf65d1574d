"""Maps that are more than keys and values: queues, stacks, Bloom filters and ring buffers, and which map is of which kind.

A ring buffer is read and written through shared memory: the page of the one position that user space moves is mapped for writing, the
other one is not. The kernel counts a writable mapping as writing, and so refuses to freeze a ring that is in use.
"""

from __future__ import annotations

import errno
import mmap
import select
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapType, UpdateFlag
from bpfcrypto.abi.ringbuf import Ring
from bpfcrypto.errors import KeyNotFoundError, SyscallError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.maps import KernelMap
from bpfcrypto.kernel.maps_objects import KernelEventArray, KernelMapOfMaps, KernelObjects, KernelTargets

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.kernel.fd import Fd
    from bpfcrypto.spec import MapSpec

_NO_KEY = b""
_POSITION = 8


class KernelQueue(KernelMap):
    """A QUEUE or STACK."""

    def push(self, value: bytes, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Add a value; with EXIST a full map drops its oldest."""
        self.update(_NO_KEY, value, flags)

    def peek(self) -> bytes:
        """The next value."""
        return self.lookup(_NO_KEY)

    def pop(self) -> bytes:
        """The next value, taken out."""
        return self.lookup_and_delete(_NO_KEY)


class KernelFilter(KernelMap):
    """A BLOOM_FILTER."""

    def push(self, value: bytes) -> None:
        """Add a value."""
        self.update(_NO_KEY, value)

    def contains(self, value: bytes) -> bool:
        """Whether the value may have been pushed; False is certain."""
        self._check_value(value)
        try:
            self._do("lookup", _NO_KEY, lambda: bpf.map_peek(self.fd, value))
        except KeyNotFoundError:
            return False
        return True


class KernelRing(KernelMap):
    """A map whose only content is a ring, mapped when it is first used."""

    _user_fills = False

    def __init__(self, fd: Fd, spec: MapSpec, btf: Btf | None = None) -> None:
        super().__init__(fd, spec, btf)
        self._mappings: list[mmap.mmap] = []
        self._writing = threading.Lock()

    @cached_property
    def ring(self) -> Ring:
        """Its positions and data.

        Raises:
            MapError: the map is frozen (EPERM).
        """
        size, page = self._do("mmap", _NO_KEY, lambda: self.info).max_entries, mmap.PAGESIZE
        consumer = self._mapped(0, page, write=not self._user_fills)
        rest = self._mapped(page, page + size, write=self._user_fills)
        return Ring(self.name, consumer[:_POSITION], rest[:_POSITION], rest[page:])

    def _mapped(self, offset: int, size: int, *, write: bool) -> memoryview:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        try:
            mapping = mmap.mmap(self.fd.fileno(), size, mmap.MAP_SHARED, protection, offset=offset)
        except OSError as error:
            raise self._error("mmap", _NO_KEY, SyscallError("mmap", error.errno or errno.EINVAL)) from None
        self._mappings.append(mapping)
        return memoryview(mapping)

    def close(self) -> None:
        """Give up the memory, which holds on to the map, and the map."""
        ring = self.__dict__.pop("ring", None)
        if ring is not None:
            ring.release()
        while self._mappings:
            self._mappings.pop().close()
        super().close()


class KernelRingBuf(KernelRing):
    """A RINGBUF."""

    def records(self) -> Iterator[bytes]:
        """Take out the finished records in order; see :class:`~bpfcrypto.engine.RingMap`."""
        return self.ring.records()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records; see :class:`~bpfcrypto.engine.RingMap`."""
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        waiting.poll(None if timeout is None else timeout * 1000)
        return bool(self.ring.available)


class KernelUserRingBuf(KernelRing):
    """A USER_RINGBUF."""

    _user_fills = True

    def submit(self, data: bytes) -> None:
        """Append a sample; see :class:`~bpfcrypto.engine.UserRingMap`."""
        with self._writing:
            self.ring.submit(data)


_KINDS: Mapping[int, type[KernelMap]] = {
    MapType.QUEUE: KernelQueue,
    MapType.STACK: KernelQueue,
    MapType.BLOOM_FILTER: KernelFilter,
    MapType.RINGBUF: KernelRingBuf,
    MapType.USER_RINGBUF: KernelUserRingBuf,
    MapType.PROG_ARRAY: KernelObjects,
    MapType.PERF_EVENT_ARRAY: KernelEventArray,
    MapType.ARRAY_OF_MAPS: KernelMapOfMaps,
    MapType.HASH_OF_MAPS: KernelMapOfMaps,
    MapType.DEVMAP: KernelTargets,
    MapType.DEVMAP_HASH: KernelTargets,
    MapType.CPUMAP: KernelTargets,
}


def live_map(fd: Fd, spec: MapSpec, btf: Btf | None = None) -> KernelMap:
    """The object for a map of this type."""
    return _KINDS.get(spec.type, KernelMap)(fd, spec, btf)
