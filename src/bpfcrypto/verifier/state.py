"""What the verifier knows at one point of one path: registers, stack, frames, references, locks.

Values that many states share are immutable (Tnum, Bounds, Reg, Slot, Reference: named tuples, compared and copied cheaply); the
containers that a path changes (State, Frame) are mutable and are copied where paths part (``State.copy``). A register is changed by
replacing it: ``frame.regs[n] = reg._replace(...)``. Mirrors bpf_reg_state, bpf_stack_state, bpf_func_state and bpf_verifier_state of
include/linux/bpf_verifier.h in 6.18; the liveness marks, which 6.18 no longer keeps in registers, are not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from errno import EACCES, EINVAL, EOPNOTSUPP
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bpfcrypto.verifier.bounds import CACHE, UNKNOWN, ZERO, Bounds, const

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.spec import MapSpec

FP: Final = 10
"""The frame pointer, read-only."""

REG_SIZE: Final = 8
"""Bytes of a register and of a stack slot."""

MAX_STACK: Final = 512
MAX_FRAMES: Final = 8
MAX_VAR_OFF: Final = 1 << 29
ADD_CONST64: Final = 1 << 31
ADD_CONST32: Final = 1 << 30
ADD_CONST: Final = ADD_CONST64 | ADD_CONST32
"""Flags in a scalar's id: the register is the one of the plain id plus ``Reg.off``, by a 64-bit or a 32-bit addition."""


class Rejected(Exception):
    """The program breaks a rule.

    Args:
        errno: of BPF_PROG_LOAD, positive.
        message: what the kernel's log says, without a final newline; may have several lines, of which the last is the verdict.
        register: the register at fault where one is, for the causal path of the diagnostic.
        id: the diagnostic's stable id where the raiser knows it, else "".
    """

    def __init__(self, errno: int, message: str, *, register: int | None = None, id: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message
        self.register = register
        self.id = id


def not_modelled(what: str) -> Rejected:
    """The refusal of a construct that this verifier does not model, whatever the kernel would say."""
    return Rejected(EOPNOTSUPP, f"not modelled: {what}", id="not-modelled")


class RegType(Enum):
    """enum bpf_reg_type without its flags; the value is the name that the log prints, without prefix and ``_or_null``."""

    NOT_INIT = "?"
    SCALAR = "scalar"
    CTX = "ctx"
    CONST_MAP = "map_ptr"
    MAP_VALUE = "map_value"
    MAP_KEY = "map_key"
    STACK = "fp"
    PACKET_META = "pkt_meta"
    PACKET = "pkt"
    PACKET_END = "pkt_end"
    FLOW_KEYS = "flow_keys"
    SOCKET = "sock"
    SOCK_COMMON = "sock_common"
    TCP_SOCK = "tcp_sock"
    TP_BUFFER = "tp_buffer"
    XDP_SOCK = "xdp_sock"
    BTF_ID = "ptr_"
    MEM = "mem"
    ARENA = "arena"
    BUF = "buf"
    FUNC = "func"
    DYNPTR = "dynptr_ptr"

    # Members are looked up in sets for every instruction, and Enum's own hash is a function in Python.
    __hash__ = object.__hash__


class Flag:
    """Bits of ``Reg.flags`` (enum bpf_type_flag). Plain integers: an IntFlag would cost more than the work done with it."""

    MAYBE_NULL: Final = 1 << 0
    RDONLY: Final = 1 << 1
    RINGBUF: Final = 1 << 2
    USER: Final = 1 << 3
    PERCPU: Final = 1 << 4
    UNTRUSTED: Final = 1 << 5
    UNINIT: Final = 1 << 6
    ALLOC: Final = 1 << 7
    TRUSTED: Final = 1 << 8
    RCU: Final = 1 << 9
    NON_OWN_REF: Final = 1 << 10
    DYNPTR_LOCAL: Final = 1 << 11
    DYNPTR_RINGBUF: Final = 1 << 12
    DYNPTR_SKB: Final = 1 << 13
    DYNPTR_XDP: Final = 1 << 14
    DYNPTR_SKB_META: Final = 1 << 15

    DYNPTR: Final = DYNPTR_LOCAL | DYNPTR_RINGBUF | DYNPTR_SKB | DYNPTR_XDP | DYNPTR_SKB_META
    """Of a memory slice: what kind of dynptr it came from."""


class DynptrKind(IntEnum):
    """enum bpf_dynptr_type."""

    INVALID = 0
    LOCAL = 1
    RINGBUF = 2
    SKB = 3
    XDP = 4
    SKB_META = 5


class IterState(IntEnum):
    """enum bpf_iter_state; the kernel prints them as ``active`` and ``drained``."""

    INVALID = 0
    ACTIVE = 1
    DRAINED = 2


class MapTarget(NamedTuple):
    """A map, for CONST_MAP, MAP_VALUE and MAP_KEY.

    Attributes:
        spec: its definition (of an inner map: the template).
        uid: not 0 for inner maps found by a lookup, so that two of them are told apart.
    """

    spec: MapSpec
    uid: int = 0


class BtfTarget(NamedTuple):
    """A type, for BTF_ID and per-CPU objects."""

    btf: Btf
    id: int


class MemTarget(NamedTuple):
    """Memory of a known size, for MEM.

    Attributes:
        size: bytes.
        dynptr_id: of a slice: the id of its dynptr, else 0.
    """

    size: int
    dynptr_id: int = 0


class DynptrTarget(NamedTuple):
    """A dynptr, for DYNPTR registers and the ``reg`` of dynptr slots."""

    kind: DynptrKind
    first_slot: bool


class IterTarget(NamedTuple):
    """An open-coded iterator, for the ``reg`` of iterator slots."""

    btf: Btf
    id: int
    state: IterState
    depth: int


class FuncTarget(NamedTuple):
    """A subprogram by its number, for FUNC."""

    subprog: int


Target = MapTarget | BtfTarget | MemTarget | DynptrTarget | IterTarget | FuncTarget | None


class Reg(NamedTuple):
    """What is known of a register or of a spilled one. Immutable; equal where the kernel's fields are equal.

    Attributes:
        type: the kind of value.
        flags: bits of ``Flag``.
        num: of a scalar, its value; of a pointer, the variable part of its offset.
        off: of a pointer, the fixed part of its offset; of a scalar with ADD_CONST in its id, the distance from its base.
        id: groups registers with the same unknown: null checks, packet offsets, linked scalars. 0 for none.
        ref_obj_id: the reference that the pointer holds, or descends from; 0 for none.
        frameno: of a stack pointer, the frame that owns the stack.
        range: of a packet pointer, bytes behind its variable base known to be inside; negative values mark BEYOND and AT the end.
        precise: of a scalar, whether its value matters to safety, so that pruning has to compare it.
        target: what a pointer points to.
    """

    type: RegType = RegType.NOT_INIT
    flags: int = 0
    num: Bounds = ZERO
    off: int = 0
    id: int = 0
    ref_obj_id: int = 0
    frameno: int = 0
    range: int = 0
    precise: bool = False
    target: Target = None

    @property
    def is_const(self) -> bool:
        """Whether it is a scalar with one value."""
        return self.type is RegType.SCALAR and not self.num.var_off.mask

    @property
    def is_null(self) -> bool:
        """Whether it is the scalar 0."""
        return self.type is RegType.SCALAR and not self.num.var_off.mask and not self.num.var_off.value

    @property
    def map(self) -> MapTarget:
        """The target of a map pointer, value or key."""
        assert isinstance(self.target, MapTarget)
        return self.target

    @property
    def btf(self) -> BtfTarget:
        """The target of a typed pointer."""
        assert isinstance(self.target, BtfTarget)
        return self.target

    @property
    def mem(self) -> MemTarget:
        """The target of a pointer to sized memory."""
        assert isinstance(self.target, MemTarget)
        return self.target

    @property
    def dynptr(self) -> DynptrTarget:
        """The target of a dynptr pointer or slot."""
        assert isinstance(self.target, DynptrTarget)
        return self.target

    @property
    def iter(self) -> IterTarget:
        """The target of an iterator slot."""
        assert isinstance(self.target, IterTarget)
        return self.target


AT_PKT_END: Final = -1
BEYOND_PKT_END: Final = -2
"""``Reg.range`` of packet pointers compared with the packet's end (enum of the same names)."""

NOT_INIT: Final = Reg(num=UNKNOWN)
SCALAR_UNKNOWN: Final = Reg(RegType.SCALAR, num=UNKNOWN)
SCALAR_ZERO: Final = Reg(RegType.SCALAR, num=ZERO)


# What is replaced most often, without the detour of ``_replace`` over a dictionary.


def with_num(reg: Reg, num: Bounds) -> Reg:
    """The register with another number or variable offset."""
    if num == reg.num:
        return reg
    kind, flags, _, off, link, ref, frameno, size, precise, target = reg
    return Reg(kind, flags, num, off, link, ref, frameno, size, precise, target)


def with_off(reg: Reg, off: int) -> Reg:
    """The register with another fixed offset."""
    kind, flags, num, _, link, ref, frameno, size, precise, target = reg
    return Reg(kind, flags, num, off, link, ref, frameno, size, precise, target)


def with_link(reg: Reg, link: int) -> Reg:
    """The register with another id."""
    kind, flags, num, off, _, ref, frameno, size, precise, target = reg
    return Reg(kind, flags, num, off, link, ref, frameno, size, precise, target)


def with_precision(reg: Reg, precise: bool) -> Reg:
    """The register, precise or not."""
    kind, flags, num, off, link, ref, frameno, size, _, target = reg
    return Reg(kind, flags, num, off, link, ref, frameno, size, precise, target)


def scalar(num: Bounds) -> Reg:
    """A scalar without id."""
    return Reg(RegType.SCALAR, num=num)


@lru_cache(CACHE)
def scalar_const(value: int) -> Reg:
    """A scalar of one value, taken modulo 2**64."""
    return Reg(RegType.SCALAR, num=const(value))


class SlotKind(IntEnum):
    """What one byte of the stack holds (enum bpf_stack_slot_type)."""

    INVALID = 0
    SPILL = 1
    MISC = 2
    ZERO = 3
    DYNPTR = 4
    ITER = 5
    IRQ_FLAG = 6


class Slot(NamedTuple):
    """Eight bytes of stack, aligned. Immutable.

    Attributes:
        kinds: a SlotKind per byte, as bytes of length 8. Index 0 is the byte at the **highest** address, as in the kernel: a
            32-bit spill occupies the lower addresses, kinds[4:], and the kernel asks kinds[7] whether a slot is a full register.
        reg: the spilled register, dynptr or iterator.
    """

    kinds: bytes
    reg: Reg


EMPTY_SLOT: Final = Slot(bytes(8), NOT_INIT)


class RefKind(IntEnum):
    """enum ref_state_type."""

    PTR = 1
    IRQ = 2
    LOCK = 3
    RES_LOCK = 4
    RES_LOCK_IRQ = 5


class Reference(NamedTuple):
    """Something the program owns and has to give back (bpf_reference_state).

    Attributes:
        kind: what it is.
        id: of pointers, the ``ref_obj_id`` of its registers; of locks, the id of the register that was locked.
        insn: index of the instruction that acquired it.
        ptr: of locks: the map or type that holds the lock, compared by identity.
    """

    kind: RefKind
    id: int
    insn: int
    ptr: Any = None


@dataclass(slots=True)
class Frame:
    """One function on the call stack (bpf_func_state).

    Attributes:
        frameno: its depth, 0 for the program itself.
        subprog: number of the subprogram that runs in it.
        callsite: index of the call instruction, -1 for frame 0 (BPF_MAIN_FUNC).
        regs: r0..r10.
        stack: slots; number i holds the bytes -8*(i+1) .. -8*i-1 relative to r10. Its length is what was touched so far.
        in_callback: entered as a synchronous callback.
        in_async_callback: entered as an asynchronous callback.
        in_exception_callback: entered as the exception callback.
        callback_range: values that a callback may return, (least, greatest).
        callback_depth: how often the callback was entered on this path.
        async_entry: distinguishes entries of an asynchronous callback.
    """

    frameno: int
    subprog: int
    callsite: int = -1
    regs: list[Reg] = field(default_factory=lambda: [NOT_INIT] * 11)
    stack: list[Slot] = field(default_factory=list)
    in_callback: bool = False
    in_async_callback: bool = False
    in_exception_callback: bool = False
    callback_range: tuple[int, int] = (0, 0)
    callback_depth: int = 0
    async_entry: int = 0

    def copy(self) -> Frame:
        """An independent copy; the values inside are shared."""
        return Frame(
            self.frameno,
            self.subprog,
            self.callsite,
            self.regs.copy(),
            self.stack.copy(),
            self.in_callback,
            self.in_async_callback,
            self.in_exception_callback,
            self.callback_range,
            self.callback_depth,
            self.async_entry,
        )

    def read(self, regno: int) -> Reg:
        """The register as a source operand.

        Raises:
            Rejected: EACCES where nothing was ever written to it; EINVAL for r11 and up.
        """
        if regno > FP:
            raise Rejected(EINVAL, f"R{regno} is invalid", register=regno)
        reg = self.regs[regno]
        if reg.type is RegType.NOT_INIT:
            raise Rejected(EACCES, f"R{regno} !read_ok", register=regno)
        return reg

    def check_write(self, regno: int) -> None:
        """That the register may be written.

        Raises:
            Rejected: EACCES for the frame pointer; EINVAL for r11 and up.
        """
        if regno > FP:
            raise Rejected(EINVAL, f"R{regno} is invalid", register=regno)
        if regno == FP:
            raise Rejected(EACCES, "frame pointer is read only", register=regno)

    def grow(self, size: int) -> None:
        """Make the stack at least ``size`` bytes deep (rounded up to slots)."""
        missing = (size + REG_SIZE - 1) // REG_SIZE - len(self.stack)
        if missing > 0:
            self.stack.extend([EMPTY_SLOT] * missing)


class InsnFlag:
    """Bits of ``Jump.flags`` (INSN_F_*): what backtracking has to know about an instruction that used the stack.

    The three lowest bits are the frame and the six above them the slot of a stack access.
    """

    FRAME_MASK: Final = 0x7
    SLOT_MASK: Final = 0x3F
    SLOT_SHIFT: Final = 3
    STACK_ACCESS: Final = 1 << 9
    DST_REG_STACK: Final = 1 << 10
    SRC_REG_STACK: Final = 1 << 11


class Jump(NamedTuple):
    """One entry of a state's history (bpf_jmp_history_entry), for precision backtracking.

    Attributes:
        insn: index of the instruction.
        previous: index of the one before it on the path.
        flags: bits of InsnFlag, 0 for none.
        linked: registers and slots that shared a scalar id when a branch was taken: (frame, register or -1-slot).
    """

    insn: int
    previous: int
    flags: int = 0
    linked: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class State:
    """One path's knowledge (bpf_verifier_state).

    The second half of the attributes belongs to the exploration (main loop, pruning, backtracking); instruction semantics neither
    read nor write them.

    Attributes:
        frames: the call stack; the last one runs.
        refs: what the program owns, in order of acquisition, locks included.
        active_locks: number of locks held.
        active_lock_id, active_lock_ptr: the innermost lock.
        active_preempt_locks: depth of bpf_preempt_disable.
        active_rcu_lock: whether inside bpf_rcu_read_lock.
        active_irq_id: the innermost saved interrupt flag, 0 for none.
        in_sleepable: whether the running function may sleep.
        speculative: on a path that only a mispredicting processor takes.
        parent: the checkpoint that this one follows.
        branches: paths from here that are still to be explored.
        index: the instruction at which it was made a checkpoint.
        first_index, last_index: of the straight line that leads here from the parent.
        history: jumps and stack accesses since the parent.
        depth: number of branches since the start (dfs_depth).
        callback_unroll_depth: how often callbacks were re-entered.
        may_goto_depth: how often may_goto was taken.
        equal_state: where this one was found to be a repetition within a loop, the earlier one.
        cleaned: whether what is dead was already forgotten.
    """

    frames: list[Frame]
    refs: list[Reference] = field(default_factory=list)
    active_locks: int = 0
    active_lock_id: int = 0
    active_lock_ptr: Any = None
    active_preempt_locks: int = 0
    active_rcu_lock: bool = False
    active_irq_id: int = 0
    in_sleepable: bool = False
    speculative: bool = False

    parent: State | None = None
    branches: int = 0
    index: int = 0
    first_index: int = 0
    last_index: int = 0
    history: list[Jump] = field(default_factory=list)
    depth: int = 0
    callback_unroll_depth: int = 0
    may_goto_depth: int = 0
    equal_state: State | None = None
    cleaned: bool = False

    @property
    def frame(self) -> Frame:
        """The function that runs."""
        return self.frames[-1]

    @property
    def regs(self) -> list[Reg]:
        """Registers of the function that runs."""
        return self.frames[-1].regs

    def copy(self) -> State:
        """An independent copy for another path; the exploration's attributes are copied as they are, the history by value."""
        return State(
            [frame.copy() for frame in self.frames],
            self.refs.copy(),
            self.active_locks,
            self.active_lock_id,
            self.active_lock_ptr,
            self.active_preempt_locks,
            self.active_rcu_lock,
            self.active_irq_id,
            self.in_sleepable,
            self.speculative,
            self.parent,
            self.branches,
            self.index,
            self.first_index,
            self.last_index,
            self.history.copy(),
            self.depth,
            self.callback_unroll_depth,
            self.may_goto_depth,
            self.equal_state,
            self.cleaned,
        )
