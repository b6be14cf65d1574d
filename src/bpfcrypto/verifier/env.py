"""What one verification shares between its modules: the program, the types, the counters, and the hooks of the main loop.

Instruction semantics (alu, branch, mem, calls) are functions over a State; whatever they need beyond it they get here. The hooks are
how they reach the exploration (verify, prune, backtrack) without importing it: the dependency runs one way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import GPL_COMPATIBLE
from bpfcrypto.abi.progs import ProgFlag
from bpfcrypto.btf.record import SpecialField, special_fields
from bpfcrypto.errors import InternalError

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec
    from bpfcrypto.verifier.state import RegType, State


@dataclass(frozen=True, slots=True)
class Options:
    """What the loader of the program may do and asks for. The defaults are those of root.

    Attributes:
        allow_ptr_leaks: pointers may be compared, stored and returned (CAP_PERFMON).
        allow_uninit_stack: stack that was never written may be read.
        strict_alignment: unaligned accesses are refused (BPF_F_STRICT_ALIGNMENT).
        log_level: 0 no log, 1 the failing path, 2 every path with its states.
        cpus: how many CPUs the machine can have, 0 where that is not known.
    """

    allow_ptr_leaks: bool = True
    allow_uninit_stack: bool = True
    strict_alignment: bool = False
    log_level: int = 1
    cpus: int = 0


@dataclass(slots=True)
class Subprogram:
    """What is known of one function of the program (bpf_subprog_info); the program itself is number 0.

    Attributes:
        start: index of its first instruction.
        name: its symbol, "" where the object does not say.
        type_id: its FUNC in the collection's BTF, 0 for none.
        is_global: whether it is verified on its own.
        changes_packet, might_sleep: whether it, or what it calls, invalidates packet pointers or sleeps (cfg).
        is_callback, is_async_callback, is_exception_callback: how it is entered.
        called: a global function that a verified path calls, and that so has to be verified.
        unreliable: its BTF does not describe what callers pass.
        stack_depth: bytes of its stack that any path touched.
        args: what the verifier expects of its arguments, once derived from its BTF.
    """

    start: int
    name: str = ""
    type_id: int = 0
    is_global: bool = False
    changes_packet: bool = False
    might_sleep: bool = False
    is_callback: bool = False
    is_async_callback: bool = False
    is_exception_callback: bool = False
    called: bool = False
    unreliable: bool = False
    stack_depth: int = 0
    args: tuple[object, ...] | None = None


def _ignored(*_: object) -> None:
    """A hook that nobody listens to."""


def _missing(*_: object) -> State:
    raise InternalError("a path was put aside in a verification that has no main loop")


def _no_entry(*_: object) -> State | None:
    return None


@dataclass(slots=True)
class Environment:
    """One verification.

    Attributes:
        program: what is verified.
        spec: the collection it belongs to: maps, types, licence.
        insns: its instructions, CO-RE applied; the index is the slot.
        rows: the row of the opcode table of each instruction; None for the second slot of ``lddw``.
        kernel_types: the kernel's BTF.
        options: privileges and wishes.
        mark_precise: the register of the running frame matters to safety on this path: mark it, and what it came from
            (mark_chain_precision). Called where the kernel calls it; the argument is the register's number.
        push_branch: put a copy of the state aside, to be continued at that instruction, and give the copy for refinement
            (push_stack). The arguments are the state, the instruction to continue at, and the one that branches.
        push_history: note for backtracking that the instruction used the stack (InsnFlag), or at a branch which registers and
            slots shared a scalar id, as (frame, register or -1-slot) (push_jmp_history). The arguments are the state, the flags and
            the links.
        note: take a line for the log that precedes a verdict or stands alone.
        index: the instruction that is being executed.
        last_id: the last id that was given out.
        touched_regs, touched_slots: what this instruction read or wrote, as masks of the running frame, for the log's state. The main
            loop adds the operands of the instruction; whoever touches more adds it.
        subprograms: the functions of the program, by start.
        stack_read: slots of a frame's stack are read (bpf_mark_stack_read): state, frame number, mask of slots.
        stack_written: whole slots are overwritten (bpf_mark_stack_write); the same arguments.
        mark_slot_precise: as mark_precise, for the scalar in a slot: state, frame number, slot.
        push_async: put a fresh state aside that enters a subprogram as an asynchronous callback: its number, the instruction that
            registers it, whether it may sleep.
        previous_entry: the latest unfinished checkpoint at an instruction with the call stack of a state (find_prev_entry).
        widen: forget what imprecise scalars of the second state are where they differ from the first (widen_imprecise_scalars).
        live_regs: for each instruction the registers that may be read before they are written, as a mask (live_regs_before).
        pointer_types: the type and flags of the pointer that each memory instruction went through (ptr_type of the kernel's aux data).
        inlined_loops: of each call of bpf_loop, whether it can be compiled in line, and its callback.
        gpl: whether the licence is compatible with the GPL.
        sleepable: whether the program was loaded as sleepable.
    """

    program: ProgramSpec
    spec: CollectionSpec
    insns: tuple[Insn, ...]
    rows: tuple[Opcode | None, ...]
    kernel_types: Btf | None
    options: Options
    mark_precise: Callable[[State, int], None]
    push_branch: Callable[[State, int, int], State]
    push_history: Callable[[State, int, tuple[tuple[int, int], ...]], None]
    note: Callable[[str], None]
    index: int = 0
    last_id: int = 0
    touched_regs: int = 0
    touched_slots: int = 0
    subprograms: list[Subprogram] = field(default_factory=list)
    stack_read: Callable[[State, int, int], None] = _ignored
    stack_written: Callable[[State, int, int], None] = _ignored
    mark_slot_precise: Callable[[State, int, int], None] = _ignored
    push_async: Callable[[int, int, bool], State] = _missing
    previous_entry: Callable[[State, int], State | None] = _no_entry
    widen: Callable[[State, State], None] = _ignored
    live_regs: Sequence[int] = ()
    pointer_types: dict[int, tuple[RegType, int]] = field(default_factory=dict)
    inlined_loops: dict[int, tuple[bool, int]] = field(default_factory=dict)
    gpl: bool = field(init=False)
    sleepable: bool = field(init=False)
    _records: dict[int, tuple[SpecialField, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.gpl = self.spec.license in GPL_COMPATIBLE
        self.sleepable = bool(self.program.flags & ProgFlag.SLEEPABLE)

    def record(self, spec: MapSpec) -> tuple[SpecialField, ...]:
        """The special fields of a map's values, by offset."""
        found = self._records.get(id(spec))
        if found is None:
            types = self.spec.btf
            found = special_fields(types, spec.value_type) if types is not None and spec.value_type else ()
            self._records[id(spec)] = found
        return found

    def in_sleepable(self, state: State) -> bool:
        """Whether the running code may sleep."""
        return self.sleepable or state.in_sleepable

    def in_rcu(self, state: State) -> bool:
        """Whether RCU protects what is loaded here: in an explicit section, under a lock, or wherever programs do not sleep."""
        return state.active_rcu_lock or state.active_locks > 0 or not self.in_sleepable(state)

    def new_id(self) -> int:
        """An id that no register or reference has yet, counted from 1."""
        self.last_id += 1
        return self.last_id
