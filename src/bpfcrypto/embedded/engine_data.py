"""The bytes of a data section, as its variables read and write them while programs run."""

from __future__ import annotations

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.errors import MapError


class Section:
    """Reads and writes parts of a data section's value (views.Storage).

    A section with a kptr, lock or timer is written by nobody but programs, as in the kernel, where it cannot be mapped and a write
    would replace the whole value and drop what it holds.

    Args:
        target: the map.
    """

    def __init__(self, target: EmbeddedMap) -> None:
        self._map = target

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; special fields read as zero bytes."""
        return self._map.values.read_part(0, offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """Store ``data`` at ``offset``.

        Raises:
            MapError: the section holds special fields.
        """
        if self._map.values.fields:
            raise MapError(
                f"'{self._map.name}' holds a kptr, lock or timer: writing a variable would replace the whole section and drop it",
                errno=ENOTSUPP,
                hint='give such variables a section of their own, such as SEC(".bss.ctx"), or write from a program',
            )
        self._map.values.write_part(0, offset, data)
