"""Pointers to sockets: which bytes of the sockets that programs know may be read.

Programs see struct bpf_sock, bpf_tcp_sock and bpf_xdp_sock, which are no memory: as with contexts, each load is rewritten, so that what
is legal is a property of the field. Mirrors check_sock_access of kernel/bpf/verifier.c, and bpf_sock_common_is_valid_access,
bpf_sock_is_valid_access, bpf_tcp_sock_is_valid_access and bpf_xdp_sock_is_valid_access of net/core/filter.c in 6.18.
"""

from __future__ import annotations

from errno import EACCES
from typing import TYPE_CHECKING, Final

from bpfcrypto.verifier.state import RegType, Rejected
from bpfcrypto.verifier.typename import reg_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bpfcrypto.verifier.state import Reg

_SOCK_SIZE: Final = 80
_TCP_SOCK_SIZE: Final = 112
_XDP_SOCK_SIZE: Final = 4
_FULL_ONLY: Final = range(8, 24)
"""type, protocol, mark and priority, which only full sockets have."""
_WHOLE: Final = frozenset(
    {*range(4), *range(16, 24), 5, 6, 7, 9, 10, 11, 13, 14, 15, 45, 46, 47, 73, 74, 75, 77, 78, 79}
)
"""Offsets that take no load of less than four bytes: bound_dev_if, mark and priority, and the inside of fields that give parts of
themselves only from their start."""
_DST_PORT: Final = range(48, 50)
_PADDING: Final = range(50, 52)
_TCP_WIDE: Final = frozenset({80, 88})
"""bytes_received and bytes_acked."""


def check_load(reg: Reg, regno: int, off: int, size: int) -> None:
    """That a load gets a field.

    Args:
        reg: what the register holds, a socket of any kind.
        regno: the register.
        off: the offset, the fixed one of the pointer included.
        size: 1, 2, 4 or 8 bytes.
    """
    if reg.num.smin < 0:
        text = f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check."
        raise Rejected(EACCES, text, register=regno, id="mem-bounds")
    if off < 0 or off % size or not _FIELDS[reg.type](off, size):
        text = f"R{regno} invalid {reg_name(reg)} access off={off} size={size}"
        raise Rejected(EACCES, text, register=regno, id="ctx-access")


def _sock(off: int, size: int) -> bool:
    if off >= _SOCK_SIZE or off in _PADDING:
        return False
    if off in _DST_PORT:
        return size in (1, 2, 4)
    return size == 4 if off in _WHOLE else size in (1, 2, 4)


def _sock_common(off: int, size: int) -> bool:
    return off not in _FULL_ONLY and _sock(off, size)


def _tcp_sock(off: int, size: int) -> bool:
    return off < _TCP_SOCK_SIZE and size == (8 if off in _TCP_WIDE else 4)


def _xdp_sock(off: int, size: int) -> bool:
    return off < _XDP_SOCK_SIZE and size == 4


_FIELDS: Final[Mapping[RegType, Callable[[int, int], bool]]] = {
    RegType.SOCK_COMMON: _sock_common,
    RegType.SOCKET: _sock,
    RegType.TCP_SOCK: _tcp_sock,
    RegType.XDP_SOCK: _xdp_sock,
}
