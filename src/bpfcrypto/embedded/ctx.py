"""The context that a packet program sees: a virtual region whose loads and stores follow the table of its fields.

Nothing lies behind the addresses of struct __sk_buff and struct xdp_md; each access is looked up in abi.ctx and answered from the
packet. An access that the kernel would refuse at load time is an AccessFault here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD, CtxLayout, Field
from bpfcrypto.embedded.memory import AccessFault

Accesses = Mapping[tuple[int, int], tuple[Field, int]]
"""(offset, size) of a legal access -> the field and the bits to shift its value by."""


class Fields(Protocol):
    """What answers: values of whole fields by their name. Packet pointers are 64-bit addresses, all else fits its field."""

    def read_field(self, field: Field) -> int: ...

    def write_field(self, field: Field, value: int) -> None: ...


def _accesses(layout: CtxLayout, *, write: bool) -> Accesses:
    table = {}
    for size in (1, 2, 4, 8):
        for offset in range(layout.size):
            field = layout.find(offset, size, write=write)
            if field is not None:
                table[offset, size] = (field, field.shift(offset, size))
    return table


_LOADS: Mapping[str, Accesses] = {layout.struct: _accesses(layout, write=False) for layout in (SK_BUFF, XDP_MD)}
_STORES: Mapping[str, Accesses] = {layout.struct: _accesses(layout, write=True) for layout in (SK_BUFF, XDP_MD)}


class CtxAccess:
    """Answers the accesses of a context's virtual region (embedded.memory.Access).

    Args:
        layout: which context.
        fields: where values come from and go to.
    """

    __slots__ = ("_fields", "_layout", "_loads", "_stores")

    def __init__(self, layout: CtxLayout, fields: Fields) -> None:
        self._layout = layout
        self._fields = fields
        self._loads = _LOADS[layout.struct]
        self._stores = _STORES[layout.struct]

    def load(self, offset: int, size: int) -> int:
        """The value of a field, or of a part of it; a 4-byte load of a packet pointer gives all its 64 bits."""
        found = self._loads.get((offset, size))
        if found is None:
            raise AccessFault(f"struct {self._layout.struct} has no {size}-byte load at offset {offset}")
        field, shift = found
        value = self._fields.read_field(field)
        return value if field.kind.is_packet else value >> shift & ((1 << 8 * size) - 1)

    def store(self, offset: int, size: int, value: int) -> None:
        """Give a field, or a part of a scratch field, a new value."""
        found = self._stores.get((offset, size))
        if found is None:
            raise AccessFault(f"struct {self._layout.struct} has no {size}-byte store at offset {offset}")
        field, shift = found
        mask = (1 << 8 * size) - 1
        if size != field.size:
            value = self._fields.read_field(field) & ~(mask << shift) | (value & mask) << shift
        else:
            value &= mask
        self._fields.write_field(field, value)
