"""The bytes of a data section: by mapping where the kernel allows it, by element otherwise.

A mapped section is shared memory: a write changes exactly the bytes of one variable, while programs run. Without a mapping, a write
has to replace the whole value, which loses whatever programs changed meanwhile, and would drop every context that the value holds.
So a section whose value has special fields (the kernel then refuses to map it) is written by nobody but programs.
"""

from __future__ import annotations

import mmap

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapFlag
from bpfcrypto.errors import MapError
from bpfcrypto.kernel.create import FIRST_KEY
from bpfcrypto.kernel.maps import KernelMap


class Section:
    """Reads and writes parts of a data section's value.

    Args:
        target: the map.
        special: whether the value holds kptrs, locks or timers.
    """

    def __init__(self, target: KernelMap, *, special: bool = False) -> None:
        self._map = target
        self._special = special
        self._memory: mmap.mmap | None = None
        self._mappable = MapFlag.MMAPABLE in target.spec.flags and not target.spec.frozen

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; special fields read as zero bytes."""
        memory = self._mapping()
        if memory is not None:
            return memory[offset : offset + size]
        return self._map.lookup(FIRST_KEY)[offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        """Store ``data`` at ``offset``.

        Raises:
            MapError: the section is read-only, or holds special fields.
        """
        memory = self._mapping()
        if memory is not None:
            memory[offset : offset + len(data)] = data
            return
        if self._special:
            raise MapError(
                f"'{self._map.name}' holds a kptr, lock or timer: writing a variable would replace the whole section and drop it",
                errno=ENOTSUPP,
                hint='give such variables a section of their own, such as SEC(".bss.ctx"), or write from a program',
            )
        value = bytearray(self._map.lookup(FIRST_KEY))
        value[offset : offset + len(data)] = data
        self._map.update(FIRST_KEY, bytes(value))

    def _mapping(self) -> mmap.mmap | None:
        if self._memory is None and self._mappable:
            try:
                self._memory = mmap.mmap(self._map.fd.fileno(), self._map.spec.value_size)
            except OSError as error:
                self._mappable = False
                self._special = self._special or error.errno == ENOTSUPP
        return self._memory

    def close(self) -> None:
        """Give up the mapping, which holds on to the map."""
        memory, self._memory = self._memory, None
        self._mappable = False
        if memory is not None:
            memory.close()
