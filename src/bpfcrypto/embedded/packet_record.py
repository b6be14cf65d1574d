"""The bytes behind a packet program's context: what Python and machine code both read and write of an skb or xdp frame.

A record begins with the context as the program addresses it (struct __sk_buff or struct xdp_md), every plain field at its own offset.
Fields that hold packet pointers have four bytes there, which is too little for an address; the addresses follow behind the context,
with what else decides whether a range of the packet is contiguous:

    START    address of the first byte in front of the linear part: metadata, or the packet itself
    END      address of the byte behind the linear part
    DATA     address of an xdp frame's first byte; an skb has none in front, and leaves it 0
    BEHIND   bytes of the packet behind the linear part
    BUFFER   address of the buffer that the linear part lies in

Of an skb there are more:

    LIMIT         address behind the buffer, as far as the kernel's would go. 0 means that nobody has moved the packet's borders yet: it
                  ends at the next cache line, and what there is between is not known to be zero
    ROOM          address behind the buffer's memory: how far LIMIT may move without another buffer
    NETWORK, MAC, TRANSPORT, SUMMED, HASHED, ENCAPSULATED
                  what the stack knows of the packet (packet_skb.py)

jit/runtime/runtime.h has the same layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import SK_BUFF, XDP_MD, CtxLayout
from bpfcrypto.embedded.memory import allocate

if TYPE_CHECKING:
    import ctypes

    from bpfcrypto.abi.ctx import Field

START, END, DATA, BEHIND, BUFFER = range(5)
LIMIT, ROOM, NETWORK, MAC, TRANSPORT, SUMMED, HASHED, ENCAPSULATED = range(5, 13)
"""Numbers of the 64-bit words behind the context."""

_WORDS = {SK_BUFF.struct: 13, XDP_MD.struct: 5}
ALIGNMENT = 64

_U64 = Struct("<Q")


def words_offset(layout: CtxLayout) -> int:
    """Where in a record the words begin."""
    return layout.size + 7 & ~7


def record_size(layout: CtxLayout) -> int:
    """Bytes of a record."""
    return words_offset(layout) + 8 * _WORDS[layout.struct]


class Record:
    """One record.

    Args:
        layout: the context's.

    Attributes:
        storage, offset: where its bytes are.
        view: its bytes.
        words: START, END and the others of that context.
    """

    __slots__ = ("_fields", "layout", "offset", "storage", "view", "words")

    def __init__(self, layout: CtxLayout) -> None:
        self.layout = layout
        self.storage: ctypes.Array[ctypes.c_char]
        self.storage, self.offset = allocate(record_size(layout), ALIGNMENT)
        self.view = view = memoryview(self.storage).cast("B")[self.offset : self.offset + record_size(layout)]
        self._fields = view[: layout.size]
        self.words = view[words_offset(layout) :].cast("Q")

    def get(self, field: Field) -> int:
        """The value of a plain field."""
        return int.from_bytes(self._fields[field.offset : field.end], "little")

    def put(self, field: Field, value: int) -> None:
        """Give a plain field a value, which fits it."""
        self._fields[field.offset : field.end] = value.to_bytes(field.size, "little")


@dataclass(frozen=True, slots=True)
class Place:
    """Where machine code keeps a packet: what an skb or xdp frame for helpers in Python is made on.

    Attributes:
        record: its context and borders, which hold what the packet is at this moment.
        storage: the buffer that it lies in.
        socket: the bytes behind its socket's address.
    """

    record: Record
    storage: ctypes.Array[ctypes.c_char]
    socket: ctypes.Array[ctypes.c_char]


RECORDS = {layout.struct: words_offset(layout) for layout in (SK_BUFF, XDP_MD)}
"""Where the words begin, by the name of the context's struct."""
