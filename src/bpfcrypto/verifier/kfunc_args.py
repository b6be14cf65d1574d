"""The arguments of kfuncs: what the C prototype asks for, and whether the registers are that.

A kfunc has no table of argument kinds: the type of each parameter, the suffix of its name and the flags of the kfunc together say what
it takes; sometimes the register itself decides, since a typed pointer is compared with the type of the parameter and any other
pointer is memory. Mirrors get_kfunc_ptr_arg_type and check_kfunc_args of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from errno import EACCES, EFAULT, EINVAL
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.kfuncs import Kfunc, KfuncFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.record import FieldKind
from bpfcrypto.btf.types import Array, Composite, Kind, Ref, Void
from bpfcrypto.errors import BtfError
from bpfcrypto.verifier import call_args, dynptr, graph, iters, local, locks
from bpfcrypto.verifier.mem import check_access
from bpfcrypto.verifier.mem_btf import ALWAYS_TRUSTED, TRUSTED, has_unsafe_flags, is_trusted, struct_ids_match
from bpfcrypto.verifier.mem_helper import check_fixed, check_pair
from bpfcrypto.verifier.state import BtfTarget, DynptrKind, Flag, FuncTarget, MapTarget, RegType, Rejected, not_modelled
from bpfcrypto.verifier.typename import is_pointer, is_scalar, is_struct, kind_name, reg_name, type_name

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf, FuncProto, Type
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import Reg, State

_F = KfuncFlag
_ITERATES: Final = _F.ITER_NEW | _F.ITER_NEXT | _F.ITER_DESTROY

_CONTEXTS: Final = {
    ProgType.SCHED_CLS: ("__sk_buff", "sk_buff"),
    ProgType.SCHED_ACT: ("__sk_buff", "sk_buff"),
    ProgType.XDP: ("xdp_md", "xdp_buff"),
}
"""The struct that programs of each type know their context by, and the kernel's own."""

_PROJECTIONS: Final = frozenset({("__sk_buff", "sk_buff"), ("xdp_md", "xdp_buff")})
_OBJECT_NAMES: Final = {
    RegType.SOCKET: "sock",
    RegType.SOCK_COMMON: "sock_common",
    RegType.TCP_SOCK: "tcp_sock",
    RegType.CONST_MAP: "bpf_map",
}
"""The kernel structs behind registers that are not typed pointers."""

_FROM: Final = {
    "bpf_dynptr_from_skb": DynptrKind.SKB,
    "bpf_dynptr_from_xdp": DynptrKind.XDP,
    "bpf_dynptr_from_skb_meta": DynptrKind.SKB_META,
}
_CALLBACKS: Final = frozenset({"less", "callback", "callback_fn"})
"""Parameters that are functions; the prototypes of the table call them ``void *``."""

_RES_LOCK: Final = "bpf_res_spin_lock"
_LOCKED_BY: Final = frozenset({"bpf_res_spin_lock_irqsave", "bpf_res_spin_unlock_irqrestore"})
_NESTING: Final = 3


class ArgKind(Enum):
    """What a pointer parameter takes (enum kfunc_ptr_arg_type)."""

    CTX = auto()
    NULL = auto()
    ALLOCATED = auto()
    REFCOUNTED = auto()
    DYNPTR = auto()
    ITER = auto()
    LIST_HEAD = auto()
    LIST_NODE = auto()
    RB_ROOT = auto()
    RB_NODE = auto()
    TEXT = auto()
    MAP = auto()
    IRQ_FLAG = auto()
    RES_LOCK = auto()
    DEFERRED = auto()
    OBJECT = auto()
    CALLBACK = auto()
    MEMORY = auto()
    SIZED = auto()


_BY_STRUCT: Final = {
    "bpf_list_head": ArgKind.LIST_HEAD,
    "bpf_list_node": ArgKind.LIST_NODE,
    "bpf_rb_root": ArgKind.RB_ROOT,
    "bpf_rb_node": ArgKind.RB_NODE,
    "bpf_wq": ArgKind.DEFERRED,
    "bpf_task_work": ArgKind.DEFERRED,
}
_DEFERRED: Final = frozenset({FieldKind.WORKQUEUE, FieldKind.TASK_WORK})


@dataclass(slots=True)
class Meta:
    """What the arguments of a call tell about it (bpf_kfunc_call_arg_meta).

    Attributes:
        kfunc: what is called.
        proto: its prototype in the kernel's types.
        constant: the value of the constant argument; None where there is none.
        ref_obj_id: the reference of an argument.
        release: the register whose reference the call takes away, 0 for none.
        dynptr: the initialised dynptr among the arguments.
        iterator: frame, first slot and type of the iterator.
        object: the allocated object among the arguments.
        owns: whether a reference-counted object comes with a reference of its own.
        root: the list head or tree root, whose lock is held.
        map: the map.
        subprog: the callback.
    """

    kfunc: Kfunc
    proto: FuncProto
    constant: int | None = None
    ref_obj_id: int = 0
    release: int = 0
    dynptr: dynptr.Dynptr | None = None
    iterator: tuple[int, int] | None = None
    object: BtfTarget | None = None
    owns: bool = False
    root: graph.Held | None = None
    map: MapTarget | None = None
    subprog: int = -1

    @property
    def trusted(self) -> bool:
        """Whether objects have to be certain to be there."""
        return bool(self.kfunc.flags & (_F.TRUSTED_ARGS | _F.RELEASE))

    @property
    def rcu(self) -> bool:
        """Whether objects that RCU protects are good enough."""
        return bool(self.kfunc.flags & _F.RCU)


@dataclass(slots=True)
class _Argument:
    """A pointer argument that is being checked."""

    env: Environment
    state: State
    meta: Meta
    number: int
    index: int
    types: Btf
    pointee: int

    @property
    def regno(self) -> int:
        return self.number + 1

    @property
    def reg(self) -> Reg:
        return self.state.regs[self.number + 1]

    @property
    def target(self) -> Type:
        return self.types[self.pointee]

    @property
    def suffix(self) -> str:
        return self.meta.kfunc.params[self.number].suffix

    def refuse(self, text: str, id: str = "arg-type", errno: int = EINVAL) -> Rejected:
        return Rejected(errno, text, register=self.regno, id=id)

    def write(self, off: int) -> None:
        """Eight bytes at an offset from the register become something that the call makes there."""
        check_access(self.env, self.state, self.regno, off, 8, True, index=self.index)


def check(env: Environment, state: State, meta: Meta, index: int) -> None:
    """Check all arguments of a call and take note of what they tell.

    Raises:
        Rejected: a register does not fit.
    """
    types = env.kernel_types
    assert types is not None
    number, params = 0, meta.proto.params
    while number < len(params):
        suffix = meta.kfunc.params[number].suffix
        if suffix in ("__ign", "__prog"):
            number += 1
            continue
        record, pointee = _parameter(types, params[number].type_id)
        if is_scalar(record):
            _scalar(env, state, meta, number)
        elif not is_pointer(record):
            raise Rejected(EINVAL, f"Unrecognized arg#{number} type {kind_name(record)}", id="arg-type")
        else:
            argument = _Argument(env, state, meta, number, index, types, pointee)
            if _pointer(argument) is ArgKind.SIZED:
                number += 1
        number += 1
    if meta.kfunc.flags & _F.RELEASE and not meta.release:
        text = f"release kernel function {meta.kfunc.name} expects refcounted PTR_TO_BTF_ID"
        raise Rejected(EINVAL, text, id="ref-missing")


@lru_cache(1 << 9)
def _parameter(types: Btf, type_id: int) -> tuple[Type, int]:
    """The type of a parameter, and the id of what it points to, 0 where it is no pointer."""
    record = types[types.resolve(type_id)]
    return record, types.resolve(record.type_id) if isinstance(record, Ref) and is_pointer(record) else 0


def _scalar(env: Environment, state: State, meta: Meta, number: int) -> None:
    regno = number + 1
    reg = state.regs[regno]
    if reg.type is not RegType.SCALAR:
        raise Rejected(EINVAL, f"R{regno} is not a scalar", register=regno, id="arg-type")
    if meta.kfunc.params[number].suffix == "__k":
        if reg.num.var_off.mask:
            raise Rejected(EINVAL, f"R{regno} must be a known constant", register=regno, id="not-constant")
        env.mark_precise(state, regno)
        meta.constant = reg.num.umin


def _pointer(a: _Argument) -> ArgKind:
    reg, meta, number = a.reg, a.meta, a.number
    may_be_null = reg.is_null or reg.flags & Flag.MAYBE_NULL
    if (meta.trusted or meta.rcu) and may_be_null and a.suffix != "__nullable":
        raise a.refuse(f"Possibly NULL pointer passed to trusted arg{number}", "null-unchecked", EACCES)
    if reg.ref_obj_id:
        meta.ref_obj_id = reg.ref_obj_id
        if meta.kfunc.flags & _F.RELEASE:
            meta.release = a.regno
    kind = _kind(a)
    if kind is ArgKind.NULL:
        return kind
    if kind is ArgKind.MAP:
        if not isinstance(reg.target, MapTarget):
            raise a.refuse(f"pointer in R{a.regno} isn't map pointer")
        _check_same_map(a, reg.target)
        meta.map = reg.target
    if kind in (ArgKind.MAP, ArgKind.ALLOCATED, ArgKind.OBJECT) and (meta.trusted or meta.rcu) and not is_trusted(reg):
        if not meta.rcu:
            raise a.refuse(f"R{a.regno} must be referenced or trusted", "ref-untrusted")
        if not reg.flags & Flag.RCU:
            raise a.refuse(f"R{a.regno} must be a rcu pointer", "ref-untrusted")
    releases = bool(meta.kfunc.flags & _F.RELEASE and reg.ref_obj_id)
    call_args.check_pointer_offset(reg, a.regno, releases=releases)
    _CHECKERS[kind](a)
    return kind


def _kind(a: _Argument) -> ArgKind:
    """What the parameter takes, given the register (get_kfunc_ptr_arg_type)."""
    target, reg, suffix, name = a.target, a.reg, a.suffix, a.meta.kfunc.params[a.number].name
    struct = target.name if is_struct(target) else ""
    if a.meta.kfunc.name == "bpf_cast_to_kern_ctx" or struct in _CONTEXTS.get(a.env.program.type, ()):
        return ArgKind.CTX
    if suffix == "__nullable" and reg.is_null:
        return ArgKind.NULL
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if struct == "bpf_dynptr":
        return ArgKind.DYNPTR
    if a.number == 0 and a.meta.kfunc.flags & _ITERATES:
        return ArgKind.ITER
    if struct in _BY_STRUCT:
        return _BY_STRUCT[struct]
    if struct == _RES_LOCK:
        return ArgKind.RES_LOCK
    if reg.type is RegType.BTF_ID or reg.type in ALWAYS_TRUSTED:
        if not struct:
            text = (
                f"kernel function {a.meta.kfunc.name} args#{a.number} "
                f"pointer type {kind_name(target)} {target.name} is not supported"
            )
            raise a.refuse(text)
        return ArgKind.OBJECT
    if name in _CALLBACKS:
        return ArgKind.CALLBACK
    sized = _is_sized(a)
    if struct in _SIZE_UNKNOWN or (
        struct and isinstance(target, Composite) and not target.size and struct not in _OPAQUE
    ):
        raise not_modelled(f"struct {struct} as an argument of {a.meta.kfunc.name}")
    plain = struct not in _OPAQUE and _is_plain(a, a.pointee, 0)
    if is_scalar(target) or plain or (sized and isinstance(target, Void)):
        return ArgKind.SIZED if sized else ArgKind.MEMORY
    void = "void, " if sized else ""
    text = f"arg#{a.number} pointer type {kind_name(target)} {target.name} must point to {void}scalar, or struct with scalar"
    raise a.refuse(text)


_BY_SUFFIX: Final = {
    "__alloc": ArgKind.ALLOCATED,
    "__refcounted_kptr": ArgKind.REFCOUNTED,
    "__str": ArgKind.TEXT,
    "__map": ArgKind.MAP,
    "__irq_flag": ArgKind.IRQ_FLAG,
}


_OPAQUE: Final = frozenset(
    {
        "bpf_key",
        "bpf_map",
        "cgroup",
        "cgroup_subsys_state",
        "nf_conn",
        "nf_conn___init",
        "prog_test_ref_kfunc",
        "sock",
        "task_struct",
        "xfrm_state",
    }
)
"""Structs that hold pointers in the kernel, where ``abi/kernel.btf`` has a part of them or nothing: no plain memory can be one."""

_SIZE_UNKNOWN: Final = frozenset({"bpf_cpumask", "cpumask"})
"""Structs that are as large as the number of CPUs that the kernel was built for asks."""


def _is_sized(a: _Argument) -> bool:
    """Whether the next argument is the size of this one's memory."""
    params = a.meta.kfunc.params
    following = a.number + 1
    if following >= len(params) or params[following].suffix not in ("__sz", "__szk"):
        return False
    return a.state.regs[a.regno + 1].type is RegType.SCALAR


def _is_plain(a: _Argument, type_id: int, level: int) -> bool:
    """Whether a struct holds nothing but numbers (__btf_type_is_scalar_struct)."""
    return is_plain(a.env, a.types, type_id, level)


def is_plain(env: Environment, types: Btf, type_id: int, level: int = 0) -> bool:
    """Whether a struct holds nothing but numbers, arrays of numbers, and structs like that, nested at most four deep."""
    record = types[types.resolve(type_id)]
    if not isinstance(record, Composite):
        return False
    for member in record.members:
        inner = types[types.resolve(member.type_id)]
        if isinstance(inner, Composite):
            if level >= _NESTING:
                env.note("max struct nesting depth exceeded")
                return False
            if not is_plain(env, types, member.type_id, level + 1):
                return False
            continue
        if isinstance(inner, Array):
            if not inner.count:
                return False
            inner = types[types.resolve(inner.element)]
        if not is_scalar(inner):
            return False
    return True


# -- one function for each kind --------------------------------------------------------------------------------------------------


def _ctx(a: _Argument) -> None:
    if a.reg.type is not RegType.CTX:
        raise a.refuse(f"arg#{a.number} expected pointer to ctx, but got {reg_name(a.reg)}")


def _allocated(a: _Argument) -> None:
    reg, name = a.reg, a.meta.kfunc.name
    if reg.type is RegType.BTF_ID and reg.flags == Flag.ALLOC:
        if name != "bpf_obj_drop_impl":
            raise a.refuse(f"arg#{a.number} expected for bpf_obj_drop_impl()")
    elif reg.type is RegType.BTF_ID and reg.flags == Flag.ALLOC | Flag.PERCPU:
        if name != "bpf_percpu_obj_drop_impl":
            raise a.refuse(f"arg#{a.number} expected for bpf_percpu_obj_drop_impl()")
    else:
        raise a.refuse(f"arg#{a.number} expected pointer to allocated object")
    if not reg.ref_obj_id:
        raise a.refuse("allocated object must be referenced", "ref-missing")
    a.meta.object = reg.btf


def _refcounted(a: _Argument) -> None:
    reg = a.reg
    if reg.type is not RegType.BTF_ID or not reg.flags & Flag.ALLOC:
        raise a.refuse(f"arg#{a.number} is neither owning or non-owning ref")
    a.meta.owns = not reg.flags & Flag.NON_OWN_REF
    found = local.fields(*reg.btf)
    if not found:
        raise a.refuse("verifier bug: Couldn't find btf_record", errno=EFAULT)
    if not local.has(found, FieldKind.REFCOUNT.value):
        raise a.refuse(f"arg#{a.number} doesn't point to a type with bpf_refcount field")
    a.meta.object = reg.btf


def _dynptr(a: _Argument) -> None:
    env, state, regno, meta = a.env, a.state, a.regno, a.meta
    if a.suffix != "__uninit":
        meta.dynptr = dynptr.check_argument(env, state, regno, mutates=a.reg.type is not RegType.DYNPTR)
        return
    name, owner = meta.kfunc.name, 0
    kind = _FROM.get(name)
    if kind is None:
        if name != "bpf_dynptr_clone" or meta.dynptr is None:
            raise not_modelled(f"the dynptr that {name} makes")
        kind, owner = meta.dynptr.kind, meta.dynptr.ref_obj_id
    dynptr.check_uninitialised(env, state, regno, kind, a.index, a.write, owner)


def _iterator(a: _Argument) -> None:
    env, state, regno, flags = a.env, a.state, a.regno, a.meta.kfunc.flags
    iters.check_pointer(a.reg, regno)
    target = BtfTarget(a.types, a.pointee)
    if flags & _F.ITER_NEW:
        rcu = bool(flags & _F.RCU_PROTECTED)
        iters.start(env, state, regno, target, a.index, a.write, rcu=rcu)
        return
    spi = iters.use(env, state, regno, target, a.meta.kfunc.name)
    frameno = a.reg.frameno
    a.meta.iterator = frameno, spi
    a.meta.ref_obj_id = state.frames[frameno].stack[spi].reg.ref_obj_id
    if flags & _F.ITER_DESTROY:
        iters.destroy(env, state, regno, target, spi)


def _root(a: _Argument) -> None:
    reg = a.reg
    if (reg.type, reg.flags) not in ((RegType.MAP_VALUE, 0), (RegType.BTF_ID, Flag.ALLOC)):
        raise a.refuse(f"arg#{a.number} expected pointer to map value or allocated object")
    if reg.type is RegType.BTF_ID and not reg.ref_obj_id:
        raise a.refuse("allocated object must be referenced", "ref-missing")
    a.meta.root = graph.check_root(a.env, a.state, a.regno, a.target.name)


def _node(a: _Argument) -> None:
    reg, name = a.reg, a.meta.kfunc.name
    if name in graph.INSERTS:
        if reg.type is not RegType.BTF_ID or reg.flags != Flag.ALLOC:
            raise a.refuse(f"arg#{a.number} expected pointer to allocated object")
        if not reg.ref_obj_id:
            raise a.refuse("allocated object must be referenced", "ref-missing")
    else:
        borrowed = reg.type is RegType.BTF_ID and reg.flags & Flag.ALLOC and reg.flags & Flag.NON_OWN_REF
        if not borrowed and not reg.ref_obj_id:
            raise a.refuse(f"{name} can only take non-owning or refcounted bpf_rb_node pointer")
        if graph.in_less(a.env, a.state):
            raise a.refuse(f"{name} not allowed in rbtree cb")
    assert a.meta.root is not None
    graph.check_node(a.env, a.state, a.regno, a.meta.root)
    a.meta.object = reg.btf


def _text(a: _Argument) -> None:
    if a.reg.type is not RegType.MAP_VALUE or a.reg.flags:
        raise a.refuse(f"arg#{a.number} doesn't point to a const string")
    call_args.constant_text(a.env, a.reg, a.regno)


def _irq_flag(a: _Argument) -> None:
    if a.reg.type is not RegType.STACK:
        raise a.refuse(f"arg#{a.number} doesn't point to an irq flag on stack")
    name = a.meta.kfunc.name
    by_lock = name in _LOCKED_BY
    if name in ("bpf_local_irq_save", "bpf_res_spin_lock_irqsave"):
        dynptr.save_irq(a.env, a.state, a.regno, a.index, a.write, by_lock)
    else:
        dynptr.restore_irq(a.env, a.state, a.regno, by_lock)


def _check_same_map(a: _Argument, target: MapTarget) -> None:
    """That deferred work is told the map that it lies in."""
    before, kinds = a.meta.map, {field.kind for field in a.env.record(target.spec)} & _DEFERRED
    if before is None or not kinds or (before.spec is target.spec and before.uid == target.uid):
        return
    what, first = ("bpf_task_work", 2) if FieldKind.TASK_WORK in kinds else ("workqueue", 1)
    text = f"{what} pointer in R{first} map_uid={before.uid} doesn't match map pointer in R{first + 1} map_uid={target.uid}"
    raise a.refuse(text, "map-uid")


def _deferred(a: _Argument) -> None:
    """Work that a map value keeps and that runs later."""
    if a.reg.type is not RegType.MAP_VALUE or a.reg.flags:
        raise a.refuse(f"arg#{a.number} doesn't point to a map value")
    kind = FieldKind.WORKQUEUE if a.target.name == FieldKind.WORKQUEUE.value else FieldKind.TASK_WORK
    call_args.check_field_pointer(a.env, a.reg, a.regno, kind)
    a.meta.map = a.reg.map


def _res_lock(a: _Argument) -> None:
    if (a.reg.type, a.reg.flags) not in ((RegType.MAP_VALUE, 0), (RegType.BTF_ID, Flag.ALLOC)):
        raise a.refuse(f"arg#{a.number} doesn't point to map value or allocated object")
    name = a.meta.kfunc.name
    irq = name in _LOCKED_BY
    if name in ("bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"):
        locks.take(a.env, a.state, a.regno, a.index, resilient=True, irq=irq)
    else:
        locks.give_back(a.env, a.state, a.regno, resilient=True, irq=irq)


def _map(a: _Argument) -> None:
    found = a.types.find("bpf_map", Kind.STRUCT)
    if found is None:
        raise not_modelled("maps as arguments of kfuncs without the kernel's types")
    a.pointee = found
    _object(a)


def _object(a: _Argument) -> None:
    """A typed pointer, or what stands for one, against the type of the parameter (process_kf_arg_ptr_to_btf_id)."""
    reg = a.reg
    if reg.type not in ALWAYS_TRUSTED and (
        reg.type is not RegType.BTF_ID or (has_unsafe_flags(reg.flags) and not reg.flags & Flag.RCU)
    ):
        wanted = type_name(reg.type, reg.flags & TRUSTED)
        raise a.refuse(f"arg#{a.number} is {reg_name(reg)} expected {wanted} or socket")
    if reg.type is RegType.BTF_ID:
        have = reg.btf
    else:
        number = a.types.find(_OBJECT_NAMES[reg.type], Kind.STRUCT)
        if number is None:
            raise not_modelled(f"{reg_name(reg)} as an argument of {a.meta.kfunc.name}")
        have = BtfTarget(a.types, number)
    have = BtfTarget(have.btf, have.btf.resolve(have.id))
    mine, theirs = have.btf[have.id], a.target
    strict = bool(a.meta.kfunc.flags & _F.RELEASE and reg.ref_obj_id) or _is_alias(mine.name, theirs.name)
    matches = struct_ids_match(a.env, have, reg.off, BtfTarget(a.types, a.pointee), strict=strict)
    if not matches and (theirs.name, mine.name) not in _PROJECTIONS:
        text = (
            f"kernel function {a.meta.kfunc.name} args#{a.number} expected pointer to {kind_name(theirs)} {theirs.name} "
            f"but R{a.regno} has a pointer to {kind_name(mine)} {mine.name}"
        )
        raise a.refuse(text)


def _is_alias(one: str, other: str) -> bool:
    """Whether two structs are the same but for ``___init``, so that one must not pass for the other (btf_type_ids_nocast_alias)."""
    return one != other and one.removesuffix("___init") == other.removesuffix("___init")


def _callback(a: _Argument) -> None:
    if a.reg.type is not RegType.FUNC:
        raise a.refuse(f"arg{a.number} expected pointer to func")
    target = a.reg.target
    assert isinstance(target, FuncTarget)
    a.meta.subprog = target.subprog


def _memory(a: _Argument) -> None:
    try:
        size = a.types.size_of(a.pointee)
    except BtfError:
        text = f"arg#{a.number} reference type('{kind_name(a.target)} {a.target.name}') size cannot be determined: -22"
        raise a.refuse(text) from None
    check_fixed(a.env, a.state, a.regno, size, index=a.index)


def _sized(a: _Argument) -> None:
    size_regno = a.regno + 1
    size = a.state.regs[size_regno]
    if not (a.reg.is_null and a.suffix == "__opt"):
        try:
            check_pair(a.env, a.state, size_regno, index=a.index)
        except Rejected as refused:
            text = f"arg#{a.number} arg#{a.number + 1} memory, len pair leads to invalid memory access"
            lines = f"{refused.message}\n{text}" if refused.message else text
            raise Rejected(refused.errno, lines, register=refused.register, id=refused.id) from None
    if a.meta.kfunc.params[a.number + 1].suffix == "__szk":
        if size.num.var_off.mask:
            raise Rejected(EINVAL, f"R{size_regno} must be a known constant", register=size_regno, id="not-constant")
        a.meta.constant = size.num.umin


_CHECKERS: Final[Mapping[ArgKind, Callable[[_Argument], None]]] = {
    ArgKind.CTX: _ctx,
    ArgKind.ALLOCATED: _allocated,
    ArgKind.REFCOUNTED: _refcounted,
    ArgKind.DYNPTR: _dynptr,
    ArgKind.ITER: _iterator,
    ArgKind.LIST_HEAD: _root,
    ArgKind.RB_ROOT: _root,
    ArgKind.LIST_NODE: _node,
    ArgKind.RB_NODE: _node,
    ArgKind.TEXT: _text,
    ArgKind.MAP: _map,
    ArgKind.IRQ_FLAG: _irq_flag,
    ArgKind.RES_LOCK: _res_lock,
    ArgKind.DEFERRED: _deferred,
    ArgKind.OBJECT: _object,
    ArgKind.CALLBACK: _callback,
    ArgKind.MEMORY: _memory,
    ArgKind.SIZED: _sized,
}
