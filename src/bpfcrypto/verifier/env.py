"""What one verification shares between its modules: the program, the types, the counters, and the hooks of the main loop.

Instruction semantics (alu, branch, mem, calls) are functions over a State; whatever they need beyond it they get here. The hooks are
how they reach the exploration (verify, prune, backtrack) without importing it: the dependency runs one way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.spec import CollectionSpec, ProgramSpec
    from bpfcrypto.verifier.state import Frame, RegType, State


@dataclass(frozen=True, slots=True)
class Options:
    """What the loader of the program may do and asks for. The defaults are those of root.

    Attributes:
        allow_ptr_leaks: pointers may be compared, stored and returned (CAP_PERFMON).
        allow_uninit_stack: stack that was never written may be read.
        strict_alignment: unaligned accesses are refused (BPF_F_STRICT_ALIGNMENT).
        log_level: 0 no log, 1 the failing path, 2 every path with its states.
    """

    allow_ptr_leaks: bool = True
    allow_uninit_stack: bool = True
    strict_alignment: bool = False
    log_level: int = 1


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
        last_id: the last id that was given out.
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
    last_id: int = 0

    def new_id(self) -> int:
        """An id that no register or reference has yet, counted from 1."""
        self.last_id += 1
        return self.last_id
