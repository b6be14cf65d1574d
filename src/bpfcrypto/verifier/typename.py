"""The name that the kernel's log gives to a kind of register, and the kernel's other short texts.

Mirrors reg_type_str, dynptr_type_str, iter_type_str of kernel/bpf/log.c and btf_type_str of kernel/bpf/btf.c in 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bpfcrypto.btf.types import (
    Array,
    Composite,
    DataSec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ref,
    Var,
)
from bpfcrypto.verifier.state import DynptrKind, Flag, RegType

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf, Type
    from bpfcrypto.verifier.state import Reg

_PREFIXES: Final = (
    (Flag.RDONLY, "rdonly_"),
    (Flag.RINGBUF, "ringbuf_"),
    (Flag.USER, "user_"),
    (Flag.PERCPU, "percpu_"),
    (Flag.RCU, "rcu_"),
    (Flag.UNTRUSTED, "untrusted_"),
    (Flag.TRUSTED, "trusted_"),
)

DYNPTR_NAMES: Final = {
    DynptrKind.INVALID: "<invalid>",
    DynptrKind.LOCAL: "local",
    DynptrKind.RINGBUF: "ringbuf",
    DynptrKind.SKB: "skb",
    DynptrKind.XDP: "xdp",
    DynptrKind.SKB_META: "skb_meta",
}

_KIND_NAMES: Final = {
    Int: "INT",
    Array: "ARRAY",
    Fwd: "FWD",
    Func: "FUNC",
    FuncProto: "FUNC_PROTO",
    Var: "VAR",
    DataSec: "DATASEC",
    Float: "FLOAT",
    DeclTag: "DECL_TAG",
}


def type_name(kind: RegType, flags: int = 0) -> str:
    """The name of a register type with its flags: ``untrusted_ptr_or_null_``, ``ringbuf_mem``."""
    name = kind.value
    if flags:
        name = "".join(prefix for flag, prefix in _PREFIXES if flags & flag) + name
        if flags & Flag.MAYBE_NULL:
            name += "or_null_" if kind is RegType.BTF_ID else "_or_null"
    return name


def reg_name(reg: Reg) -> str:
    """The name of a register's type."""
    return type_name(reg.type, reg.flags)


def kind_name(record: Type) -> str:
    """The kind of a type, in the kernel's spelling: ``STRUCT``, ``INT``."""
    if isinstance(record, Composite | Enum | Ref):
        return record.kind.name
    return _KIND_NAMES.get(type(record), "UNKNOWN")


def struct_name(btf: Btf, type_id: int) -> str:
    """The name of a type, without looking through names and qualifiers."""
    return btf[type_id].name


def iter_name(btf: Btf, type_id: int) -> str:
    """What an iterator goes over: the struct's name behind ``bpf_iter_``."""
    return btf[type_id].name.removeprefix("bpf_iter_")


def is_struct(record: Type) -> bool:
    """Whether a type is a struct or union, as the kernel's btf_type_is_struct has it."""
    return isinstance(record, Composite)


def is_scalar(record: Type) -> bool:
    """Whether a type is an integer or an enumeration."""
    return isinstance(record, Int | Enum)


def is_pointer(record: Type) -> bool:
    """Whether a type is a pointer."""
    return isinstance(record, Ref) and record.kind is Kind.PTR
