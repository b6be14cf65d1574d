"""The kinds of arguments that helpers take: which registers fit each, and what the call does with them.

A row of abi/helpers names a kind for each argument; RULES says what a kind asks for. Mirrors compatible_reg_types and the flags of
enum bpf_arg_type of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bpfcrypto.abi.helpers import Arg
from bpfcrypto.verifier.state import Flag, RegType

_Kind = tuple[RegType, int]

_T = RegType
MEM_KINDS: Final[tuple[_Kind, ...]] = (
    (_T.STACK, 0),
    (_T.PACKET, 0),
    (_T.PACKET_META, 0),
    (_T.MAP_KEY, 0),
    (_T.MAP_VALUE, 0),
    (_T.MEM, 0),
    (_T.MEM, Flag.RINGBUF),
    (_T.BUF, 0),
    (_T.BTF_ID, Flag.TRUSTED),
)
_SCALARS: Final[tuple[_Kind, ...]] = ((_T.SCALAR, 0),)
_SLOT_KINDS: Final[tuple[_Kind, ...]] = ((_T.MAP_VALUE, 0), (_T.BTF_ID, Flag.ALLOC))
OBJECT_KINDS: Final[tuple[_Kind, ...]] = ((_T.BTF_ID, 0), (_T.BTF_ID, Flag.TRUSTED), (_T.BTF_ID, Flag.RCU))
_PERCPU_KINDS: Final[tuple[_Kind, ...]] = tuple((_T.BTF_ID, Flag.PERCPU | more) for more in (0, Flag.RCU, Flag.TRUSTED))
_SOCK_KINDS: Final[tuple[_Kind, ...]] = ((_T.SOCK_COMMON, 0), (_T.SOCKET, 0), (_T.TCP_SOCK, 0), (_T.XDP_SOCK, 0))
SOCK_OBJECT_KINDS: Final[tuple[_Kind, ...]] = (*_SOCK_KINDS, (_T.BTF_ID, 0), (_T.BTF_ID, Flag.TRUSTED))
_DYNPTR_KINDS: Final[tuple[_Kind, ...]] = ((_T.STACK, 0), (_T.DYNPTR, 0))
_MAP_VALUES: Final[tuple[_Kind, ...]] = ((_T.MAP_VALUE, 0),)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an argument of a kind has to be.

    Attributes:
        kinds: register types and flags that fit, in the order in which a message lists them.
        null: whether NULL, or what may be NULL, fits.
        read_only: whether memory that must not be written fits.
        write: whether the call may write to the memory.
        fills: whether the call fills the memory, so that nothing needs to be there.
        memory: whether it is memory of any kind; then slices of dynptrs fit, too.
        release: whether the call takes a reference away.
        size: bytes of memory whose size the call knows.
        aligned: whether the memory has to be aligned to its size.
        zero_ok: of a size, whether it may be 0.
    """

    kinds: tuple[_Kind, ...]
    null: bool = False
    read_only: bool = False
    write: bool = False
    fills: bool = False
    memory: bool = False
    release: bool = False
    size: int = 0
    aligned: bool = False
    zero_ok: bool = False


def _memory(**more: bool | int) -> Rule:
    return Rule(MEM_KINDS, memory=True, **more)  # type: ignore[arg-type]


RULES: Final[Mapping[Arg, Rule]] = {
    Arg.CTX: Rule(((_T.CTX, 0),)),
    Arg.CTX_OR_NULL: Rule(((_T.CTX, 0),), null=True),
    Arg.MAP: Rule(((_T.CONST_MAP, 0),)),
    Arg.MAP_KEY: Rule(MEM_KINDS),
    Arg.MAP_VALUE: Rule(MEM_KINDS),
    Arg.MAP_VALUE_UNINIT: Rule(MEM_KINDS, write=True, fills=True),
    Arg.MAP_VALUE_OR_NULL: Rule(MEM_KINDS, null=True),
    Arg.MEM: _memory(read_only=True),
    Arg.MEM_OR_NULL: _memory(read_only=True, null=True),
    Arg.MEM_WRITE: _memory(write=True),
    Arg.MEM_WRITE_OR_NULL: _memory(write=True, null=True),
    Arg.MEM_UNINIT: _memory(write=True, fills=True),
    Arg.LONG: _memory(write=True, fills=True, size=8, aligned=True),
    Arg.INT: _memory(write=True, size=4, aligned=True),
    Arg.SIZE: Rule(_SCALARS),
    Arg.SIZE_OR_ZERO: Rule(_SCALARS, zero_ok=True),
    Arg.CONST: Rule(_SCALARS),
    Arg.CONST_STR: Rule(_MAP_VALUES),
    Arg.FUNC: Rule(((_T.FUNC, 0),)),
    Arg.STACK_OR_NULL: Rule(((_T.STACK, 0),), null=True),
    Arg.SPIN_LOCK: Rule(_SLOT_KINDS),
    Arg.TIMER: Rule(_MAP_VALUES),
    Arg.KPTR_SLOT: Rule(_SLOT_KINDS),
    Arg.KPTR_OR_NULL: Rule(OBJECT_KINDS, null=True, release=True),
    Arg.DYNPTR: Rule(_DYNPTR_KINDS, read_only=True),
    Arg.DYNPTR_UNINIT: Rule(_DYNPTR_KINDS, write=True),
    Arg.DYNPTR_RINGBUF: Rule(_DYNPTR_KINDS, release=True),
    Arg.DYNPTR_RINGBUF_UNINIT: Rule(_DYNPTR_KINDS, write=True),
    Arg.RINGBUF_MEM: Rule(((_T.MEM, Flag.RINGBUF),), release=True),
    Arg.PERCPU_BTF_ID: Rule(_PERCPU_KINDS),
    Arg.BTF_ID: Rule(OBJECT_KINDS),
    Arg.BTF_ID_OR_NULL: Rule(OBJECT_KINDS, null=True),
    Arg.SOCK_COMMON: Rule(_SOCK_KINDS),
    Arg.SOCK_OBJECT: Rule(SOCK_OBJECT_KINDS),
    Arg.SOCK_OBJECT_OR_NULL: Rule(SOCK_OBJECT_KINDS, null=True),
    Arg.SOCK_RELEASED: Rule(SOCK_OBJECT_KINDS, release=True),
    Arg.IPV4_HEADER: _memory(read_only=True, size=20),
    Arg.IPV6_HEADER: _memory(read_only=True, size=40),
    Arg.TCP_HEADER: _memory(read_only=True, size=20),
}
"""What the registers of each kind have to be; every kind but ANYTHING has a row."""
