"""CPU masks of one collection (struct bpf_cpumask, kernel/bpf/cpumask.c).

A mask is words of bits that programs may read. Its reference count is kept beside it; the last release frees it after a grace period.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bpfcrypto.embedded.memory import AccessFault, Region, allocate

if TYPE_CHECKING:
    from bpfcrypto.embedded.memory import Memory
    from bpfcrypto.embedded.rcu import Rcu

_WORD_BITS = 64


class CpuMask:
    """One mask: owner of its memory region.

    Args:
        size: bytes.

    Attributes:
        references: how many hold it; 0 while it waits to be freed.
    """

    __slots__ = ("_view", "references", "region")

    def __init__(self, size: int) -> None:
        storage, offset = allocate(size)
        self.references = 1
        self.region = Region(storage, name="CPU mask", offset=offset, size=size, writable=False, owner=self)
        self._view = memoryview(storage).cast("B")[offset : offset + size]

    @property
    def bits(self) -> int:
        """The whole of it as a number."""
        return int.from_bytes(self._view, "little")

    @bits.setter
    def bits(self, value: int) -> None:
        self._view[:] = value.to_bytes(len(self._view), "little")


class CpuMasks:
    """The masks of one collection.

    Args:
        memory: the address space that they appear in.
        rcu: tells when a released mask may go.
        cpus: number of possible CPUs.

    Attributes:
        every: the mask of all CPUs, as a number.
        size: bytes of a mask.
    """

    def __init__(self, memory: Memory, rcu: Rcu, cpus: int) -> None:
        self.cpus = cpus
        self.every = (1 << cpus) - 1
        self.size = (cpus + _WORD_BITS - 1) // _WORD_BITS * 8
        self._memory = memory
        self._rcu = rcu
        self._lock = threading.Lock()
        self._masks: dict[int, CpuMask] = {}

    @property
    def live(self) -> int:
        """Number of masks that are not freed yet."""
        return len(self._masks)

    def create(self) -> int:
        """bpf_cpumask_create: the address of an empty mask."""
        made = CpuMask(self.size)
        with self._lock:
            self._memory.map(made.region)
            self._masks[made.region.base] = made
        return made.region.base

    def get(self, address: int) -> CpuMask:
        """The mask at an address.

        Raises:
            AccessFault: there is none.
        """
        found = self._masks.get(address)
        if found is None:
            raise AccessFault(f"address {address:#x} is not a CPU mask")
        return found

    def acquire(self, address: int) -> int:
        """bpf_cpumask_acquire: one reference more.

        Raises:
            AccessFault: there is no mask.
        """
        with self._lock:
            self.get(address).references += 1
        return address

    def release(self, address: int) -> None:
        """bpf_cpumask_release: one reference less.

        Raises:
            AccessFault: there is no mask, or it has no reference left to give back.
        """
        with self._lock:
            found = self.get(address)
            if not found.references:
                raise AccessFault(f"the CPU mask at {address:#x} was released more often than acquired")
            found.references -= 1
            last = not found.references
        if last:
            self._rcu.call(lambda: self._free(address))

    def close(self) -> None:
        """Free every mask, whoever still refers to it. No program may run any more."""
        for address in list(self._masks):
            self._free(address)

    def _free(self, address: int) -> None:
        with self._lock:
            gone = self._masks.pop(address, None)
            if gone is not None:
                self._memory.unmap(gone.region)
