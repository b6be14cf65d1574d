"""struct sk_buff as a test run makes it: a linear buffer with room before and behind, and the fields that programs see.

The geometry is that of bpf_prog_test_run_skb: NET_SKB_PAD bytes of headroom, and as much tailroom as rounding the size up to a
cache line leaves. Growing beyond either allocates a new buffer (pskb_expand_head), after which old addresses are gone.

An skb may also carry bytes behind the linear part (paged). Programs reach them with bpf_skb_load_bytes, or after bpf_skb_pull_data
has made them linear. In the kernel, a dynptr range that begins *beyond* the end of the linear part is taken for linear and reads or
writes foreign memory (an unsigned subtraction in skb_pointer_if_linear); here such a range is not contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import SK_BUFF, Field, FieldKind
from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.embedded.ctx import CtxAccess
from bpfcrypto.embedded.memory import Memory, Region
from bpfcrypto.embedded.packet import CACHE_LINE, ETH_HLEN, PAGE_SIZE, SHARED_INFO, Window, align
from bpfcrypto.embedded.packet_csum import SkbChecksum
from bpfcrypto.embedded.packet_record import (
    BEHIND,
    BUFFER,
    ENCAPSULATED,
    HASHED,
    LIMIT,
    MAC,
    NETWORK,
    ROOM,
    TRANSPORT,
    Place,
    Record,
)

if TYPE_CHECKING:
    import ctypes

HEADROOM = 64  # NET_SKB_PAD + NET_IP_ALIGN
MAX_SIZE = 4 * PAGE_SIZE - SHARED_INFO  # SKB_MAX_ALLOC: what change_tail and change_head may grow to
NO_QUEUE_MAPPING = 0xFFFF
MIN_802_3 = 0x600  # smaller values of the type field are lengths

_FIELDS: Mapping[str, Field] = {field.name: field for field in SK_BUFF.fields}
_INT_MAX = 0x7FFFFFFF
_NO_TRANSPORT = 0xFFFF  # a 16-bit offset from the start of the buffer
_ETH_P_802_3, _ETH_P_802_2 = 0x0001, 0x0004
_HOST, _MULTICAST, _OTHERHOST = 0, 2, 3

# Fields of struct sk_buff that are narrower than their view in struct __sk_buff.
STORED_MASKS: Mapping[str, int] = {"tc_index": 0xFFFF, "tc_classid": 0xFFFF, "gso_size": 0xFFFF, "gso_segs": 0xFFFF}


def length_protocol(start: bytes) -> int:
    """The protocol of a frame that has a length for a type, by the two bytes behind it."""
    return _ETH_P_802_3 if start == b"\xff\xff" else _ETH_P_802_2


def _protocol(header: bytes) -> int:
    """The protocol of a frame as the field holds it, which is network byte order (eth_type_trans)."""
    value = int.from_bytes(header[12:14], "big")
    if value < MIN_802_3:
        value = length_protocol(header[14:16])
    return int.from_bytes(value.to_bytes(2, "big"), "little")


def _packet_type(header: bytes) -> int:
    """The packet type towards the loopback device, whose own address and broadcast address are all zeros."""
    if not any(header[:6]):
        return _HOST
    return _MULTICAST if header[0] & 1 else _OTHERHOST


def begin(words: memoryview) -> None:
    """The words of an skb's record that do not depend on its bytes or on where they are."""
    words[NETWORK], words[TRANSPORT] = ETH_HLEN, _NO_TRANSPORT


class _Word:
    """An integer that is kept in the record, for machine code too."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __get__(self, skb: SkBuff, _owner: object = None) -> int:
        value: int = skb._record.words[self._number]
        return value

    def __set__(self, skb: SkBuff, value: int) -> None:
        skb._record.words[self._number] = value


class SkBuff:
    """An skb during a run.

    Args:
        memory: the run's memory.
        data: the frame, from its Ethernet header, at least 14 bytes; or the place where one already is.
        linear: bytes of it in the linear part; None for all.

    Attributes:
        network_offset: where the network header starts. The Ethernet header starts at 0, whatever programs do in a test run.
        mac_size: what the stack last took for the size of the Ethernet header; 0 until it did (skb->mac_len).
        encapsulated: whether a tunnel's headers were put in front (skb->encapsulation).
        checksum: what is known of its checksum.
    """

    network_offset = _Word(NETWORK)
    mac_size = _Word(MAC)
    encapsulated = _Word(ENCAPSULATED)
    _transport = _Word(TRANSPORT)
    _hashed = _Word(HASHED)

    def __init__(self, memory: Memory, data: bytes | Place, *, linear: int | None = None) -> None:
        if isinstance(data, Place):
            self._record = data.record
            self._window = self._taken_over(memory, data.storage)
            self._paged = b""
        else:
            self._record = Record(SK_BUFF)
            begin(self._record.words)
            head = len(data) if linear is None else linear
            capacity = HEADROOM + align(head, CACHE_LINE)
            borders = self._record.words[:2]
            self._window = Window(memory, "packet", capacity, HEADROOM, HEADROOM + head, borders=borders)
            self._tell()
            self._window.view[HEADROOM : HEADROOM + head] = data[:head]
            self._set_paged(data[head:])
        self._region = memory.map(
            Region(
                self._record.storage,
                name="struct __sk_buff",
                offset=self._record.offset,
                size=SK_BUFF.size,
                access=CtxAccess(SK_BUFF, self),
                owner=self,
            )
        )
        self.checksum = SkbChecksum(self._record.words)
        if isinstance(data, Place):
            memory.map(Region(data.socket, name="socket", readable=False))
            return
        self.set("protocol", _protocol(data[:16]))
        self.set("pkt_type", _packet_type(data[:6]))
        self.set("ifindex", 1)
        self.set("sk", memory.new(8, "socket", readable=False).base)

    def _taken_over(self, memory: Memory, storage: ctypes.Array[ctypes.c_char]) -> Window:
        """The buffer of a packet that machine code has begun with."""
        words = self._record.words
        buffer = words[BUFFER]
        start, end = (border - buffer for border in words[:2])
        known = words[LIMIT]
        capacity = known - buffer if known else align(end, CACHE_LINE)
        window = Window(memory, "packet", capacity, start, end, borders=words[:2], storage=storage)
        if not known:
            window.view[:start], window.view[end:] = bytes(start), bytes(capacity - end)
            words[LIMIT] = buffer + capacity
        return window

    def _tell(self) -> None:
        """Say where the buffer is."""
        words, window = self._record.words, self._window
        words[BUFFER] = window.address
        words[LIMIT], words[ROOM] = window.address + window.capacity, window.address + window.room

    def follow(self) -> None:
        """See the packet as machine code has left it."""
        self._window.follow(self._record.words[LIMIT] - self._window.address)

    @property
    def handle(self) -> int:
        """Address of struct __sk_buff."""
        return self._region.base

    @property
    def size(self) -> int:
        """Bytes of the packet (skb->len)."""
        return self.linear_size + len(self._paged)

    @property
    def linear_size(self) -> int:
        """Bytes of the linear part (skb_headlen)."""
        return self._window.end - self._window.start

    @property
    def head(self) -> int:
        """Address of the buffer."""
        return self._window.address

    @property
    def is_gso(self) -> bool:
        """Whether it stands for several segments."""
        return self["gso_size"] != 0

    def __getitem__(self, name: str) -> int:
        return self.read_field(_FIELDS[name])

    def set(self, name: str, value: int) -> None:
        """Set a field from outside of the program, read-only ones too."""
        self._record.put(_FIELDS[name], value & STORED_MASKS.get(name, -1))

    @property
    def hashed(self) -> bool:
        """Whether it has a hash, be it 0."""
        return bool(self._hashed)

    def set_hash(self, value: int) -> None:
        """Give it a hash."""
        self.set("hash", value)
        self._hashed = True

    def clear_hash(self) -> None:
        """Take its hash away (skb_clear_hash)."""
        self.set("hash", 0)
        self._hashed = False

    def read_field(self, field: Field) -> int:
        """A field as the program sees it."""
        window = self._window
        match field.kind:
            case FieldKind.DATA | FieldKind.DATA_META:
                return window.address + window.start
            case FieldKind.DATA_END:
                return window.address + window.end
        return self.size if field.name == "len" else self._record.get(field)

    def write_field(self, field: Field, value: int) -> None:
        """Store to a field as a program does."""
        if field.name == "queue_mapping" and value >= NO_QUEUE_MAPPING:
            return  # the kernel skips the store
        self.set(field.name, value)

    def pointer(self, offset: int, size: int) -> int | None:
        """The address of a range inside the linear part, else None."""
        if offset + size > self.linear_size:
            return None
        return self._window.address + self._window.start + offset

    def range_errno(self, offset: int, size: int) -> int:
        """0, or EFAULT for a range that is not in the packet."""
        return EFAULT if offset > _INT_MAX or offset + size > self.size else 0

    def load(self, offset: int, size: int) -> bytes | None:
        """A copy of a range, linear or not."""
        if self.range_errno(offset, size):
            return None
        start = self._window.start
        linear = bytes(self._window.view[start + offset : min(start + offset + size, self._window.end)])
        behind = max(offset - self.linear_size, 0)
        return linear + self._paged[behind : behind + size - len(linear)]

    def store(self, offset: int, data: bytes) -> bool:
        """Overwrite a range, which becomes linear."""
        if self.range_errno(offset, len(data)):
            return False
        self.pull(offset + len(data))
        start = self._window.start + offset
        self._window.view[start : start + len(data)] = data
        return True

    def to_bytes(self) -> bytes:
        """The whole packet."""
        return bytes(self._window.view[self._window.start : self._window.end]) + self._paged

    def pull(self, size: int) -> int:
        """Make the first ``size`` bytes linear; 0 or a positive errno (skb_ensure_writable)."""
        if size > self.size:
            return ENOMEM
        missing = size - self.linear_size
        if missing > 0:
            moved = self._paged[:missing]
            self._set_paged(self._paged[missing:])
            self._append(moved)
        return 0

    def change_tail(self, size: int, flags: int) -> int:
        """Cut the packet, or grow it with zeros; 0 or a positive errno (bpf_skb_change_tail)."""
        if flags or size > MAX_SIZE or size < self._smallest:
            return EINVAL
        if self.encapsulated:
            return ENOTSUPP
        self.pull(self.size)
        if size != self.size:
            self.checksum.forget()
        if size > self.size:
            self._append(bytes(size - self.size))
        else:
            self._window.move(self._window.start, self._window.start + size)
        self.set("gso_size", 0)
        self.set("gso_segs", 0)
        return 0

    def change_head(self, room: int, flags: int) -> int:
        """Put ``room`` zero bytes in front; 0 or a positive errno (bpf_skb_change_head)."""
        if flags or room > _INT_MAX or (not self.is_gso and self.size + room > MAX_SIZE):
            return EINVAL
        self.insert(0, room)
        self.network_offset += room
        self.mac_size = self.network_offset
        return 0

    @property
    def _smallest(self) -> int:
        """What the packet cannot be cut below: the offset of its transport header, or else of its network header.

        The test run sets no transport header. But the mark for "not set" is a large number that moves along when the buffer grows
        at its front (skb_headers_offset_update), and wraps; from then on it is taken for an offset.
        """
        transport = self._transport - self._window.start if self._transport != _NO_TRANSPORT else 0
        return transport if transport > 0 else self.network_offset

    def set_transport_offset(self, offset: int) -> None:
        """Say where the transport header starts."""
        self._transport = (self._window.start + offset) & _NO_TRANSPORT

    def insert_header(self, offset: int, size: int) -> None:
        """Put ``size`` zero bytes at ``offset``; the headers before and behind them stay where they are in the packet."""
        follows = self._transport == self._window.start + self.network_offset
        self.insert(offset, size)
        if follows:
            self.set_transport_offset(self.network_offset)

    def insert(self, offset: int, size: int) -> None:
        """Put ``size`` zero bytes at ``offset`` of the linear part; what is before them moves towards the headroom.

        As in the kernel, the offset may lie behind the packet's end: then bytes of the tailroom move and become part of the packet.
        """
        self.pull(min(offset, self.size))
        window = self._window
        if size > window.start:
            more = align(size - window.start, HEADROOM)
            window.replace(window.capacity + more, window.start + more)
            self._tell()
            self._transport = (self._transport + more) & _NO_TRANSPORT
        start = window.start - size
        head = bytes(window.view[window.start : window.start + offset])
        window.view[start : window.start + len(head)] = head + bytes(size)
        window.move(start, window.end)

    def remove(self, offset: int, size: int) -> int:
        """Take ``size`` bytes at ``offset`` out; what is before them moves. 0 or a positive errno."""
        if failed := self.pull(offset + size):
            return failed
        window = self._window
        start = window.start + size
        window.view[start : start + offset] = bytes(window.view[window.start : window.start + offset])
        window.move(start, window.end)
        return 0

    def _set_paged(self, data: bytes) -> None:
        """Say what is behind the linear part."""
        self._paged = data
        self._record.words[BEHIND] = len(data)

    def _append(self, data: bytes) -> None:
        """Lengthen the linear part."""
        window = self._window
        end = window.end + len(data)
        if end > window.capacity:
            window.replace(align(end, CACHE_LINE), window.start)
            self._tell()
        window.view[window.end : end] = data
        window.move(window.start, end)
