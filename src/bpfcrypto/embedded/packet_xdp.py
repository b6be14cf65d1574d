"""struct xdp_buff as a test run makes it: one page with metadata, linear part and room around, and pages behind it as fragments.

The page: 256 bytes of headroom whose first 40 the kernel keeps for itself, metadata directly before the packet, and the last 320
bytes for the list of fragments. That leaves 3520 bytes for metadata-free linear data; more becomes fragments of one page each.
"""

from __future__ import annotations

from errno import EACCES, EFAULT, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.ctx import XDP_MD, Field, FieldKind
from bpfcrypto.embedded.ctx import CtxAccess
from bpfcrypto.embedded.memory import Memory, Region
from bpfcrypto.embedded.packet import ETH_HLEN, PAGE_SIZE, SHARED_INFO, Window
from bpfcrypto.embedded.packet_record import BEHIND, BUFFER, DATA, END, START, Place, Record
from bpfcrypto.embedded.state import signed

if TYPE_CHECKING:
    import ctypes

HEADROOM = 256  # XDP_PACKET_HEADROOM
FRAME_SIZE = 40  # struct xdp_frame at the start of the headroom
HARD_END = PAGE_SIZE - SHARED_INFO
MAX_LINEAR = HARD_END - HEADROOM
MAX_FRAGMENTS = 17  # MAX_SKB_FRAGS
MAX_META = HEADROOM - FRAME_SIZE
_MAX_RANGE = 0xFFFF  # neither an offset nor a length of bpf_xdp_pointer goes beyond


class XdpFrame:
    """An xdp frame during a run.

    Args:
        memory: the run's memory.
        data: metadata and frame; or the place where a frame already is.
        meta: bytes of ``data`` that are metadata; a multiple of 4, at most 216.
        linear: bytes of ``data`` in the page, metadata included; None for as many as fit.
    """

    def __init__(self, memory: Memory, data: bytes | Place, *, meta: int = 0, linear: int | None = None) -> None:
        self._memory = memory
        self._fragments: list[Window] = []
        if isinstance(data, Place):
            self._record, words = data.record, data.record.words
            start, end = (words[each] - words[BUFFER] for each in (START, END))
            self._window = self._page(start, end, data.storage)
        else:
            self._record = Record(XDP_MD)
            head = min(len(data) if linear is None else linear, MAX_LINEAR + meta)
            start = HEADROOM - meta
            self._window = self._page(start, start + head, None)
            self._window.view[start : start + head] = data[:head]
            self._record.words[DATA] = self._window.address + HEADROOM
            self._record.words[BUFFER] = self._window.address
            self._fragments += [self._fragment(data[at : at + PAGE_SIZE]) for at in range(head, len(data), PAGE_SIZE)]
            self._count_behind()
            self.set_queue(1, 0)
        self._region = memory.map(
            Region(
                self._record.storage,
                name="struct xdp_md",
                offset=self._record.offset,
                size=XDP_MD.size,
                access=CtxAccess(XDP_MD, self),
                owner=self,
            )
        )

    def _page(self, start: int, end: int, storage: ctypes.Array[ctypes.c_char] | None) -> Window:
        """The page of the linear part."""
        borders = self._record.words[:2]
        return Window(self._memory, "packet", PAGE_SIZE, start, end, borders=borders, storage=storage)

    def follow(self) -> None:
        """Map what is between the borders where machine code has moved them."""
        self._window.follow()

    def set_queue(self, ifindex: int, queue: int) -> None:
        """Say where the frame came in."""
        self._record.put(XDP_MD.field("ingress_ifindex"), ifindex)
        self._record.put(XDP_MD.field("rx_queue_index"), queue)

    def _count_behind(self) -> None:
        self._record.words[BEHIND] = sum(part.size for part in self._fragments)

    def _fragment(self, data: bytes) -> Window:
        window = Window(self._memory, "packet fragment", PAGE_SIZE, 0, len(data))
        window.view[: len(data)] = data
        return window

    @property
    def handle(self) -> int:
        """Address of struct xdp_md."""
        return self._region.base

    @property
    def size(self) -> int:
        """Bytes of the frame (xdp_get_buff_len)."""
        return self.linear_size + self._record.words[BEHIND]

    @property
    def head(self) -> int:
        """Address of the page, headroom included (xdp->data_hard_start)."""
        return self._window.address

    @property
    def has_fragments(self) -> bool:
        """Whether there is more behind the linear part."""
        return bool(self._fragments)

    def __getitem__(self, name: str) -> int:
        return self.read_field(XDP_MD.field(name))

    @property
    def meta_size(self) -> int:
        """Bytes of metadata."""
        return self._data - self._window.start

    @property
    def linear_size(self) -> int:
        """Bytes of the linear part, without metadata."""
        return self._window.end - self._data

    @property
    def _data(self) -> int:
        return self._record.words[DATA] - self._window.address

    def read_field(self, field: Field) -> int:
        """A field as the program sees it."""
        match field.kind:
            case FieldKind.DATA:
                return self._window.address + self._data
            case FieldKind.DATA_META:
                return self._window.address + self._window.start
            case FieldKind.DATA_END:
                return self._window.address + self._window.end
        return self._record.get(field)

    def write_field(self, field: Field, value: int) -> None:
        """No field of struct xdp_md takes stores, and the table lets none through."""
        raise AssertionError(f"store of {value} to read-only field {field.name}")

    def pointer(self, offset: int, size: int) -> int | None:
        """The address of a range inside the linear part or inside one fragment, else None (bpf_xdp_pointer)."""
        if self.range_errno(offset, size):
            return None
        if offset < self.linear_size:
            return self._window.address + self._data + offset if offset + size <= self.linear_size else None
        offset -= self.linear_size
        for part in self._fragments:
            if offset < part.size:
                return part.address + part.start + offset if offset + size <= part.size else None
            offset -= part.size
        return None

    def range_errno(self, offset: int, size: int) -> int:
        """0, or the positive errno of a range that cannot be in the frame."""
        if offset > _MAX_RANGE or size > _MAX_RANGE:
            return EFAULT
        return EINVAL if offset + size > self.size else 0

    def load(self, offset: int, size: int) -> bytes | None:
        """A copy of a range."""
        if self.range_errno(offset, size):
            return None
        return b"".join(bytes(part) for part in self._parts(offset, size))

    def store(self, offset: int, data: bytes) -> bool:
        """Overwrite a range."""
        if self.range_errno(offset, len(data)):
            return False
        at = 0
        for part in self._parts(offset, len(data)):
            part[:] = data[at : at + len(part)]
            at += len(part)
        return True

    def _parts(self, offset: int, size: int) -> list[memoryview]:
        views = [self._window.view[self._data : self._window.end], *(part.content for part in self._fragments)]
        parts = []
        for view in views:
            part = view[offset : offset + size]
            offset = max(offset - len(view), 0)
            size -= len(part)
            parts.append(part)
        return parts

    def to_bytes(self) -> bytes:
        """Metadata and the whole frame."""
        head = self._window.view[self._window.start : self._window.end]
        return b"".join([bytes(head), *(bytes(part.content) for part in self._fragments)])

    def adjust_head(self, delta: int) -> int:
        """Move the packet's first byte; the metadata moves along (bpf_xdp_adjust_head). 0 or a positive errno."""
        data = self._data + delta
        if data < FRAME_SIZE + self.meta_size or data > self._window.end - ETH_HLEN:
            return EINVAL
        window = self._window
        kept = bytes(window.view[window.start : self._data])
        start = window.start + delta
        window.view[start : start + len(kept)] = kept
        window.move(start, window.end)
        self._record.words[DATA] += delta
        return 0

    def adjust_meta(self, delta: int) -> int:
        """Move the first byte of the metadata (bpf_xdp_adjust_meta). 0 or a positive errno."""
        start = self._window.start + delta
        size = self._data - start
        if start < FRAME_SIZE or size < 0:
            return EINVAL
        if size % 4:
            return EACCES
        self._window.move(start, self._window.end)
        return 0

    def adjust_tail(self, delta: int) -> int:
        """Cut the frame's end, or grow it with zeros (bpf_xdp_adjust_tail). 0 or a positive errno."""
        if self._fragments:
            # the kernel negates an int: of the smallest one nothing is left to cut
            return self._grow_last(delta) if delta >= 0 else self._shrink(signed(-delta, 32))
        window = self._window
        end = window.end + delta
        if end > HARD_END or end < self._data + ETH_HLEN:
            return EINVAL
        if delta > 0:
            window.view[window.end : end] = bytes(delta)
        window.move(window.start, end)
        return 0

    def pull(self, size: int) -> int:
        """Make the first bytes of the frame linear, moving it to the front where there is no room behind (bpf_xdp_pull_data).

        Returns:
            0 or a positive errno.
        """
        window = self._window
        missing = size - self.linear_size
        if missing <= 0:
            return 0
        behind = HARD_END - window.end
        if size > self.size or missing > behind + window.start - FRAME_SIZE:
            return EINVAL
        moved = max(missing - behind, 0)
        start = window.start - moved
        head = bytes(window.content)
        pulled = self.load(self.linear_size, missing) or b""
        window.view[start : start + len(head) + missing] = head + pulled
        window.move(start, start + len(head) + missing)
        self._record.words[DATA] -= moved
        while missing:
            first = self._fragments[0]
            taken = min(missing, first.size)
            missing -= taken
            first.move(first.start + taken, first.end)
            if not first.size:
                self._fragments.pop(0)
        self._count_behind()
        return 0

    def _grow_last(self, delta: int) -> int:
        last = self._fragments[-1]
        if delta > last.capacity - last.end:
            return EINVAL
        last.view[last.end : last.end + delta] = bytes(delta)
        last.move(last.start, last.end + delta)
        self._count_behind()
        return 0

    def _shrink(self, size: int) -> int:
        if size > self.size - ETH_HLEN:
            return EINVAL
        while self._fragments and size > 0:
            last = self._fragments[-1]
            cut = min(size, last.size)
            size -= cut
            last.move(last.start, last.end - cut)
            if not last.size:
                self._fragments.pop()
        self._count_behind()
        if not self._fragments:
            self._window.move(self._window.start, self._window.end - size)
        return 0
