"""What a function's prototype says its arguments are, and whether a call's registers are that.

For a global function this is the whole contract: its body is verified for every value that the contract allows, and each call must
keep it. Tags on the arguments (``__arg_ctx``, ``__arg_nonnull`` and so on) say what a C type cannot. For a static function, whose body
is followed with the real registers, a mismatch only means that the compiler has changed the function, and nothing is concluded
from its types any more.

Source: btf_prepare_func_args of kernel/bpf/btf.c, btf_check_func_arg_match and do_check_common of kernel/bpf/verifier.c, 6.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum as PlainEnum
from errno import EACCES, EFAULT, EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.types import Composite, Enum, Func, FuncProto, Int, Kind, Ref, Void
from bpfcrypto.errors import BtfError
from bpfcrypto.verifier import dynptr
from bpfcrypto.verifier.call_args import check_pointer_offset
from bpfcrypto.verifier.check_btf import has_func_info
from bpfcrypto.verifier.mem_btf import struct_ids_match
from bpfcrypto.verifier.mem_helper import check_fixed
from bpfcrypto.verifier.state import (
    SCALAR_UNKNOWN,
    BtfTarget,
    DynptrKind,
    DynptrTarget,
    Flag,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
)
from bpfcrypto.verifier.typename import kind_name, reg_name, struct_name

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf, Type
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

MAX_ARGUMENTS: Final = 5
NOT_MODELLED: Final = "not-modelled"
_OBJECT_FLAGS: Final = frozenset({0, Flag.TRUSTED, Flag.RCU})
_PREFIX = "arg:"
_TAGS = frozenset({"ctx", "trusted", "untrusted", "nonnull", "nullable", "arena"})

_CTX_STRUCTS: Final = {
    ProgType.SCHED_CLS: ("__sk_buff", "sk_buff"),
    ProgType.SCHED_ACT: ("__sk_buff", "sk_buff"),
    ProgType.XDP: ("xdp_md", "xdp_buff"),
}
"""The struct behind a program's context: its own name, and the kernel's that is taken for it."""


class ArgKind(PlainEnum):
    """What an argument is."""

    SCALAR = "scalar"
    CTX = "ctx"
    MEM = "memory"
    DYNPTR = "dynptr"
    OBJECT = "kernel object"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function.

    Attributes:
        kind: what it is.
        flags: of pointers, the flags of the register (Flag).
        size: of memory, its bytes.
        type_id: of a kernel object, its type in the kernel's BTF.
    """

    kind: ArgKind
    flags: int = 0
    size: int = 0
    type_id: int = 0


def arguments(env: Environment, number: int) -> tuple[Argument, ...]:
    """What a function's arguments are, derived from its BTF once.

    Raises:
        Rejected: they cannot be derived. For static functions that is no verdict; its errno tells why (EFAULT is one).
    """
    function = env.subprograms[number]
    if function.args is None:
        function.args = _derive(env, number)
    return function.args  # type: ignore[return-value]


def _derive(env: Environment, number: int) -> tuple[Argument, ...]:
    function, types = env.subprograms[number], env.spec.btf
    assert types is not None
    func = types[function.type_id]
    proto = types[func.type_id] if isinstance(func, Func) else None
    if not isinstance(proto, FuncProto):
        raise Rejected(EFAULT, f"Invalid type of function {func.name}()")
    quiet = not function.is_global
    if len(proto.params) > MAX_ARGUMENTS:
        text = f"Global function {func.name}() with {len(proto.params)} > {MAX_ARGUMENTS} args. Buggy compiler."
        raise Rejected(EINVAL, "" if quiet else text)
    if not isinstance(types[types.resolve(proto.returns)], Int | Enum):
        text = f"Global function {func.name}() doesn't return scalar. Only those are supported."
        raise Rejected(EINVAL, "" if quiet else text, id="global-returns")
    derived = []
    for position, param in enumerate(proto.params):
        tags = _tags(types, function.type_id, position, quiet)
        derived.append(_argument(env, types, func.name, param.type_id, position, tags, quiet=quiet))
    return tuple(derived)


def _tags(types: Btf, func_id: int, position: int, quiet: bool) -> frozenset[str]:
    tags = frozenset(
        tag.name.removeprefix(_PREFIX)
        for tag in types.decl_tags(func_id)
        if tag.component == position and tag.name.startswith(_PREFIX)
    )
    if tags and quiet:
        raise Rejected(EOPNOTSUPP, f"arg#{position} type tag is not supported in static functions")
    if tags - _TAGS:
        raise Rejected(EOPNOTSUPP, f"arg#{position} has unsupported set of tags")
    return tags


def _argument(
    env: Environment, types: Btf, name: str, type_id: int, position: int, tags: frozenset[str], *, quiet: bool
) -> Argument:
    record = types[types.resolve(type_id)]
    if isinstance(record, Ref) and record.kind is Kind.PTR:
        found = _pointer(env, types, record.type_id, position, tags, quiet)
        if found is not None:
            return found
    if tags:
        raise Rejected(EINVAL, f"arg#{position} has pointer tag, but is not a pointer type")
    if isinstance(record, Int | Enum):
        return Argument(ArgKind.SCALAR)
    text = f"Arg#{position} type {kind_name(record)} in {name}() is not supported yet."
    raise Rejected(EINVAL, "" if quiet else text, id="global-arguments")


def _pointer(
    env: Environment, types: Btf, pointee: int, position: int, tags: frozenset[str], quiet: bool
) -> Argument | None:
    """The argument that a pointer is; None where it is one of a static function that says nothing."""
    target_id = types.resolve(pointee)
    target = types[target_id]
    if "ctx" in tags or _is_ctx(env.program.type, target):
        _only(tags, {"ctx"}, position)
        if "ctx" in tags:
            _check_ctx(env.program.type, target, position)
        return Argument(ArgKind.CTX)
    if isinstance(target, Composite) and target.name == "bpf_dynptr":
        _only(tags, set(), position)
        return Argument(ArgKind.DYNPTR)
    if "trusted" in tags:
        if "nonnull" in tags:
            raise Rejected(EINVAL, f"arg#{position} has invalid combination of tags")
        flags = Flag.TRUSTED | (Flag.MAYBE_NULL if "nullable" in tags else 0)
        return Argument(ArgKind.OBJECT, flags, type_id=_kernel_type(env, target, position))
    if "untrusted" in tags:
        return _untrusted(env, target, position, tags)
    if "arena" in tags:
        if tags - {"arena"}:
            raise Rejected(EINVAL, f"arg#{position} arena cannot be combined with any other tags")
        raise not_modelled("arena arguments of global functions")
    return None if quiet else _memory(types, target_id, target, position, tags)


def _only(tags: frozenset[str], allowed: set[str], position: int) -> None:
    if tags - allowed:
        raise Rejected(EINVAL, f"arg#{position} has invalid combination of tags")


def _is_ctx(kind: ProgType, target: Type) -> bool:
    """Whether a struct is the context of programs of that type (btf_is_prog_ctx_type)."""
    return isinstance(target, Composite) and target.kind is Kind.STRUCT and target.name in _CTX_STRUCTS.get(kind, ())


def _check_ctx(kind: ProgType, target: Type, position: int) -> None:
    """That an argument tagged as context can be one (btf_validate_prog_ctx_type)."""
    if isinstance(target, Void) or kind not in _CTX_STRUCTS:
        return
    name = _CTX_STRUCTS[kind][0]
    if not isinstance(target, Composite) or target.name != name:
        raise Rejected(EINVAL, f"arg#{position} should be `struct {name} *`")


def _kernel_type(env: Environment, target: Type, position: int) -> int:
    """The kernel's type of the same name (btf_get_ptr_to_btf_id)."""
    kernel = env.kernel_types
    if kernel is None or not isinstance(target, Composite) or target.kind is not Kind.STRUCT:
        raise not_modelled(f"arg#{position} as a pointer to a kernel object that is no struct")
    name = target.name.partition("___")[0]
    found = kernel.find(name, Kind.STRUCT)
    if found is None:
        raise not_modelled(f"arg#{position} as a pointer to struct {name}, which the kernel's types here do not have")
    return found


def _untrusted(env: Environment, target: Type, position: int, tags: frozenset[str]) -> Argument:
    if tags - {"untrusted"}:
        raise Rejected(EINVAL, f"arg#{position} untrusted cannot be combined with any other tags")
    if isinstance(target, Void | Int | Enum):
        return Argument(ArgKind.MEM, Flag.RDONLY | Flag.UNTRUSTED)
    return Argument(ArgKind.OBJECT, Flag.UNTRUSTED, type_id=_kernel_type(env, target, position))


def _memory(types: Btf, target_id: int, target: Type, position: int, tags: frozenset[str]) -> Argument:
    """Memory of the caller's, which may be NULL unless a tag says otherwise; there is no tag for what goes without saying."""
    _only(tags, {"nonnull"}, position)
    try:
        size = types.size_of(target_id)
    except BtfError:
        text = (
            f"arg#{position} reference type('{kind_name(target)} {target.name}') size cannot be determined: -{EINVAL}"
        )
        raise Rejected(EINVAL, text, id="global-arguments") from None
    return Argument(ArgKind.MEM, 0 if "nonnull" in tags else Flag.MAYBE_NULL, size)


def assume(env: Environment, state: State, number: int) -> None:
    """Fill r1.. with all that the arguments of a function may be, where it is verified on its own.

    Raises:
        Rejected: what its arguments are cannot be derived.
    """
    regs = state.frames[-1].regs
    for regno, argument in enumerate(arguments(env, number), 1):
        regs[regno] = _assumed(env, argument)


def _assumed(env: Environment, argument: Argument) -> Reg:
    match argument.kind:
        case ArgKind.CTX:
            return Reg(RegType.CTX)
        case ArgKind.DYNPTR:
            return Reg(RegType.DYNPTR, id=env.new_id(), target=DynptrTarget(DynptrKind.LOCAL, True))
        case ArgKind.MEM:
            number = env.new_id() if argument.flags & Flag.MAYBE_NULL else 0
            return Reg(RegType.MEM, argument.flags, id=number, target=MemTarget(argument.size))
        case ArgKind.OBJECT:
            assert env.kernel_types is not None
            target = BtfTarget(env.kernel_types, argument.type_id)
            return Reg(RegType.BTF_ID, argument.flags, id=env.new_id(), target=target)
    return SCALAR_UNKNOWN


def check_call(env: Environment, state: State, number: int, index: int) -> int:
    """Compare a call's registers with the function's prototype (btf_check_subprog_call).

    Returns:
        0 where they fit, else the errno. Then the function's types are not relied on any more.

    Raises:
        Rejected: the function's BTF is beyond use (EFAULT).
    """
    function = env.subprograms[number]
    if function.unreliable or not has_func_info(env.program, env.spec.btf):
        return EINVAL
    try:
        for regno, argument in enumerate(arguments(env, number), 1):
            _check_argument(env, state, regno, argument, index)
    except Rejected as rejected:
        if rejected.errno == EFAULT or rejected.id == NOT_MODELLED:
            raise
        if rejected.message:
            env.note(rejected.message)
        function.unreliable = True
        return rejected.errno
    return 0


def _check_argument(env: Environment, state: State, regno: int, argument: Argument, index: int) -> None:
    reg = state.frames[-1].regs[regno]
    if argument.kind is ArgKind.SCALAR:
        if reg.type is not RegType.SCALAR:
            raise Rejected(EINVAL, f"R{regno} is not a scalar", register=regno)
    elif argument.flags & Flag.UNTRUSTED:
        return
    elif argument.kind is ArgKind.CTX:
        check_pointer_offset(reg, regno, releases=False)
        if reg.type is not RegType.CTX:
            raise Rejected(EINVAL, f"arg#{regno - 1} expects pointer to ctx", register=regno)
    elif argument.kind is ArgKind.MEM:
        _check_memory(env, state, regno, argument, index)
    elif argument.kind is ArgKind.DYNPTR:
        check_pointer_offset(reg, regno, releases=False, is_dynptr=True)
        dynptr.check_argument(env, state, regno, mutates=False)
    else:
        _check_object(env, reg, regno, argument)


def _check_memory(env: Environment, state: State, regno: int, argument: Argument, index: int) -> None:
    reg = state.frames[-1].regs[regno]
    check_pointer_offset(reg, regno, releases=False)
    try:
        check_fixed(env, state, regno, argument.size, index=index)
    except Rejected as rejected:
        # Whatever is wrong with the memory, the call is told the same.
        raise Rejected(EINVAL, rejected.message, register=regno, id=rejected.id) from None
    if reg.flags & Flag.MAYBE_NULL and not argument.flags & Flag.MAYBE_NULL:
        raise Rejected(EINVAL, f"arg#{regno - 1} is expected to be non-NULL", register=regno, id="null-unchecked")


def _check_object(env: Environment, reg: Reg, regno: int, argument: Argument) -> None:
    optional = argument.flags & Flag.MAYBE_NULL
    if reg.is_null and optional:
        return
    flags = reg.flags & ~Flag.MAYBE_NULL if optional else reg.flags
    if reg.type is not RegType.BTF_ID or flags not in _OBJECT_FLAGS:
        raise Rejected(
            EACCES,
            f"R{regno} type={reg_name(reg)} expected=ptr_, trusted_ptr_, rcu_ptr_",
            register=regno,
            id="arg-type",
        )
    assert env.kernel_types is not None
    wanted = BtfTarget(env.kernel_types, argument.type_id)
    if not struct_ids_match(env, reg.btf, reg.off, wanted, strict=False):
        have, want = struct_name(*reg.btf), struct_name(*wanted)
        raise Rejected(EACCES, f"R{regno} is of type {have} but {want} is expected", register=regno, id="arg-type")
    check_pointer_offset(reg, regno, releases=False)
