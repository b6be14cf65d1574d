"""The contexts that packet programs see: struct __sk_buff and struct xdp_md, field by field (include/uapi/linux/bpf.h).

A program never touches the real sk_buff or xdp_buff through its first argument: the kernel rewrites each load and store of a field
into whatever computes it. What is legal is therefore a property of the field, not of memory, and this table is that property
(bpf_skb_is_valid_access, tc_cls_act_is_valid_access, xdp_is_valid_access). Fields that exist in the struct but that these program
types may not touch (the flow keys, the addresses of a socket) are not in the table, so that they cannot be touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bpfcrypto.abi.progs import AttachType, ProgType


class FieldKind(Enum):
    """What a field holds, which decides the accesses that it takes."""

    SCALAR = "scalar"  # read in aligned 1, 2 or 4 bytes, written in 4
    SCRATCH = "scratch"  # read and written in aligned 1, 2, 4 or 8 bytes
    WIDE = "wide"  # 8 bytes at once
    BYTE = "byte"  # 1 byte
    DATA = "data"  # a 4-byte load that gives the 64-bit address of the packet's first byte
    DATA_META = "data_meta"  # likewise, of its metadata
    DATA_END = "data_end"  # likewise, of the byte behind the linear part
    SOCKET = "socket"  # an 8-byte load that gives a socket or NULL

    @property
    def is_packet(self) -> bool:
        """Whether a load gives a packet pointer."""
        return self in (FieldKind.DATA, FieldKind.DATA_META, FieldKind.DATA_END)


_READ_SIZES: Mapping[FieldKind, tuple[int, ...]] = {
    FieldKind.SCALAR: (1, 2, 4),
    FieldKind.SCRATCH: (1, 2, 4, 8),
    FieldKind.WIDE: (8,),
    FieldKind.BYTE: (1,),
    FieldKind.DATA: (4,),
    FieldKind.DATA_META: (4,),
    FieldKind.DATA_END: (4,),
    FieldKind.SOCKET: (8,),
}
_WRITE_SIZES: Mapping[FieldKind, tuple[int, ...]] = {**_READ_SIZES, FieldKind.SCALAR: (4,)}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a context.

    Attributes:
        name: as in the struct.
        offset, size: bytes.
        kind: what it holds.
        writable: whether programs may store to it.
        settable: whether the ctx of a test run may give it a value.
        narrow: whether loads of a part of a scalar are allowed.
        native: bytes of what the kernel keeps the value in, where that is less than ``size``. A load of fewer bytes than that gives
            the bytes at its offset; a load of as many or more gives the value from its first byte, wherever in the field it is.
    """

    name: str
    offset: int
    size: int = 4
    kind: FieldKind = FieldKind.SCALAR
    writable: bool = False
    settable: bool = False
    narrow: bool = True
    native: int = 4

    @property
    def end(self) -> int:
        """Offset of the byte behind the field."""
        return self.offset + self.size

    def shift(self, offset: int, size: int) -> int:
        """Bits to shift the value right by for a load of ``size`` bytes at ``offset`` of the context."""
        whole = self.kind is FieldKind.SCALAR and size >= self.native
        return 0 if whole else 8 * (offset - self.offset)

    def allows(self, offset: int, size: int, *, write: bool = False) -> bool:
        """Whether a program may load (or store) ``size`` bytes at ``offset`` of the context."""
        if write and not self.writable:
            return False
        sizes = _WRITE_SIZES[self.kind] if write else _READ_SIZES[self.kind]
        whole = offset == self.offset and size == self.size
        inside = self.offset <= offset and offset + size <= self.end
        return inside and offset % size == 0 and size in sizes and (whole or self.narrow)


@dataclass(frozen=True, slots=True)
class CtxLayout:
    """A context: its struct, its size in bytes, and its fields in order."""

    struct: str
    size: int
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """The field called ``name``; KeyError where there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def find(self, offset: int, size: int, *, write: bool = False) -> Field | None:
        """The field that an access of ``size`` bytes at ``offset`` legally touches, or None."""
        for field in self.fields:
            if field.offset <= offset < field.end:
                return field if field.allows(offset, size, write=write) else None
        return None


_K = FieldKind

SK_BUFF = CtxLayout(
    "__sk_buff",
    192,
    (
        Field("len", 0),
        Field("pkt_type", 4, native=1),
        Field("mark", 8, writable=True, settable=True),
        Field("queue_mapping", 12, writable=True, native=2),
        Field("protocol", 16, native=2),
        Field("vlan_present", 20),
        Field("vlan_tci", 24, native=2),
        Field("vlan_proto", 28, native=2),
        Field("priority", 32, writable=True, settable=True),
        Field("ingress_ifindex", 36, settable=True),
        Field("ifindex", 40, settable=True),
        Field("tc_index", 44, writable=True, native=2),
        Field("cb", 48, 20, _K.SCRATCH, writable=True, settable=True),
        Field("hash", 68),
        Field("tc_classid", 72, writable=True, native=2),
        Field("data", 76, kind=_K.DATA),
        Field("data_end", 80, kind=_K.DATA_END),
        Field("napi_id", 84),
        Field("data_meta", 140, kind=_K.DATA_META),
        Field("tstamp", 152, 8, _K.WIDE, writable=True, settable=True),
        Field("wire_len", 160, settable=True),
        Field("gso_segs", 164, settable=True, native=2),
        Field("sk", 168, 8, _K.SOCKET),
        Field("gso_size", 176, settable=True, native=2),
        Field("tstamp_type", 180, 1, _K.BYTE),
        Field("hwtstamp", 184, 8, _K.WIDE, settable=True),
    ),
)

XDP_MD = CtxLayout(
    "xdp_md",
    24,
    (
        Field("data", 0, kind=_K.DATA, settable=True),
        Field("data_end", 4, kind=_K.DATA_END, settable=True),
        Field("data_meta", 8, kind=_K.DATA_META),
        Field("ingress_ifindex", 12, settable=True, narrow=False),
        Field("rx_queue_index", 16, settable=True, narrow=False),
    ),
)

LAYOUTS: Mapping[ProgType, CtxLayout] = {
    ProgType.SCHED_CLS: SK_BUFF,
    ProgType.SCHED_ACT: SK_BUFF,
    ProgType.XDP: XDP_MD,
}

_XDP_MD_DEVMAP = CtxLayout(XDP_MD.struct, XDP_MD.size, (*XDP_MD.fields, Field("egress_ifindex", 20, narrow=False)))


def layout_of(kind: ProgType, attach_type: AttachType | None) -> CtxLayout | None:
    """The context of a program: those of a devmap see which device a frame leaves by. None for types without such a context."""
    if kind is ProgType.XDP and attach_type is AttachType.XDP_DEVMAP:
        return _XDP_MD_DEVMAP
    return LAYOUTS.get(kind)
