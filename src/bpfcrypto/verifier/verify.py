"""The verifier: is this program safe, whatever it is given?

``verify`` executes the program on abstract values along every path it can take: at a branch that the values do not decide, one path
goes on and a copy is put aside. What a path knows is a ``State``; an instruction changes it (alu, branch, mem, calls, kfuncs) or
finds that a rule is broken, which rejects the program. A path ends at the exit, or where an earlier path covers it (prune).

Before that come checks of the program as a whole, after it the depth of the stack; all in the kernel's order, so that a program which
breaks several rules is rejected for the same one. Mirrors bpf_check, do_check and push_stack of kernel/bpf/verifier.c in 6.18.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import E2BIG, EFAULT, EINVAL, ENOMEM
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.errors import VerifierError
from bpfcrypto.isa.opcode import LDDW, MAY_GOTO, Kind, PseudoCall, lookup
from bpfcrypto.verifier import (
    alu,
    branch,
    calls,
    cfg,
    check_btf,
    dead_code,
    diag,
    fields,
    kfuncs,
    load_imm,
    mem,
    refs,
    stack_depth,
    subprog,
    subprog_args,
)
from bpfcrypto.verifier.backtrack import Backtracker
from bpfcrypto.verifier.env import Environment, Options
from bpfcrypto.verifier.facts import Facts
from bpfcrypto.verifier.liveness import CALLER_SAVED, StackLiveness, live_registers, numbers, use_and_def
from bpfcrypto.verifier.log import INSN_LIMIT, Trace
from bpfcrypto.verifier.loops import Unjustified
from bpfcrypto.verifier.prune import Checkpoints, Counts, widen
from bpfcrypto.verifier.state import SCALAR_UNKNOWN, Jump, Reg, RegType, Rejected, State

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.spec import CollectionSpec, ProgramSpec
    from bpfcrypto.verifier.cfg import Flow

MAX_PENDING: Final = 8192
"""Paths that may be put aside at a time (BPF_COMPLEXITY_LIMIT_JMP_SEQ)."""

_ALL_REGS: Final = 0x7FF
_PROGRESS_EVERY: Final = 20_000

_MAY_WRITE_STACK: Final = frozenset({Kind.STORE, Kind.ATOMIC, Kind.CALL})
_ALU: Final = frozenset({Kind.ALU, Kind.MOV, Kind.UNARY, Kind.CAST})


@dataclass(frozen=True, slots=True)
class Verification:
    """What the verifier says of a program.

    Attributes:
        program: its name.
        accepted: the verdict.
        errno: 0, or the positive errno of BPF_PROG_LOAD.
        message: the last line before the counts; "" for accepted programs.
        trace: what the log is made of.
        counts: how much was visited and kept.
        facts: what each instruction's registers hold on every path, for a JIT; of accepted programs only.
        explain: makes the diagnostic of a rejection from the log.
    """

    program: str
    accepted: bool
    errno: int = 0
    message: str = ""
    trace: Trace | None = None
    counts: Counts = field(default_factory=Counts)
    facts: Facts | None = None
    explain: Callable[[str], diag.Diagnostic] | None = None

    @property
    def insns_processed(self) -> int:
        """How many instructions were visited."""
        return self.counts.insns

    @property
    def log(self) -> str:
        """The log in the kernel's form. Its text is made when it is asked for."""
        counts = self.counts
        return (
            f"{self.trace.text() if self.trace is not None else ''}processed {counts.insns} insns (limit {INSN_LIMIT}) "
            f"max_states_per_insn {counts.max_states_per_insn} total_states {counts.total_states} "
            f"peak_states {counts.peak_states} mark_read {counts.longest_walk}\n"
        )

    @property
    def diagnostic(self) -> diag.Diagnostic | None:
        """Why it was rejected, in words, which are found when they are asked for; None for accepted programs."""
        return self.explain(self.log) if self.explain is not None else None

    def error(self) -> VerifierError:
        """The rejection as an exception."""
        diagnostic = self.diagnostic
        return VerifierError(
            self.message,
            program=self.program,
            errno=self.errno,
            log=self.log,
            diagnostic=diagnostic,
            hint=(diagnostic.suggestion or None) if diagnostic is not None else None,
        )


def verify(
    program: ProgramSpec,
    spec: CollectionSpec,
    insns: tuple[Insn, ...] | None = None,
    *,
    kernel_types: Btf | None = None,
    options: Options | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Verify a program; a rejection is a result, not an exception.

    Args:
        program: one of the programs of ``spec``.
        spec: the collection: maps, types, licence.
        insns: the program's instructions with CO-RE applied; None where it needs none.
        kernel_types: the types of the kernel that it is verified for.
        options: privileges and the level of the log.
        progress: called now and then with the number of instructions visited so far.
    """
    code = program.insns if insns is None else insns
    make = partial(_Verifier, program, spec, code, kernel_types, options or Options(), progress)
    with _without_collections():
        try:
            return make().verdict()
        except Unjustified:
            return make(strict=True).verdict()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keep Python from looking for cycles: a verification makes none, and many values for it to look at."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Pending(NamedTuple):
    """A path that was put aside."""

    state: State
    target: int
    previous: int
    position: int


class _Verifier:
    """One verification."""

    def __init__(
        self,
        program: ProgramSpec,
        spec: CollectionSpec,
        insns: tuple[Insn, ...],
        kernel_types: Btf | None,
        options: Options,
        progress: Callable[[int], None] | None,
        *,
        strict: bool = False,
    ) -> None:
        self._progress = progress
        self._strict = strict
        self._lines = check_btf.line_info(program, spec.btf)
        self._trace = Trace(program, insns, self._lines, options.log_level)
        rows = tuple(_row(insns, index) for index in range(len(insns)))
        self.env = Environment(
            program,
            spec,
            insns,
            rows,
            kernel_types,
            options,
            _nothing_to_mark,
            self._push_branch,
            self._push_history,
            self._trace.note,
        )
        self._pending: list[_Pending] = []
        self._previous = -1
        self._recorded = False
        self._counts = Counts()
        self._facts: Facts | None = None

    def verdict(self) -> Verification:
        name = self.env.program.name
        try:
            self._check()
        except Rejected as rejected:
            if rejected.message:
                self._trace.note(rejected.message)
            last = (
                rejected.message or self._trace.text().rstrip()
            )  # where no words are said, the log ends with the instruction
            message, env = last.rpartition("\n")[2].strip(), self.env
            explain = partial(diag.explain, env.program, env.insns, message, index=env.index, raised=rejected.id)
            return Verification(name, False, rejected.errno, message, self._trace, self._counts, explain=explain)
        self._trace.reset(0)
        for number, each in enumerate(self.env.subprograms):
            if each.called:
                self._trace.note(f"Func#{number} ('{each.name}') is safe for any args that match its prototype")
        return Verification(name, True, trace=self._trace, counts=self._counts, facts=self._facts)

    def _check(self) -> None:
        env = self.env
        program, types = env.program, env.spec.btf
        kfuncs.check_known(env)
        if not check_btf.has_func_info(program, types):
            flow = cfg.find_subprograms(program, env.insns)
            check_btf.check_abnormal_return(flow, env.insns)
        check_btf.check_types(program, types)
        flow = cfg.find_subprograms(program, env.insns)
        env.subprograms = flow.subprograms
        self._check_licence()
        cfg.check_jumps(flow, env.insns)
        check_btf.check_records(flow, program, types, env.insns)
        load_imm.resolve(env)
        cfg.build_flow(flow, program, env.insns)
        self._check_sleepable()
        uses = tuple([use_and_def(program, insn, env.rows[index], index) for index, insn in enumerate(env.insns)])
        env.live_regs = live_registers(flow, uses)
        self._explore_all(flow, uses)
        stack_depth.check(env, flow)
        assert self._facts is not None
        self._facts.starts = tuple(each.start for each in env.subprograms)
        self._facts.stack_depths = {each.start: each.stack_depth for each in env.subprograms}
        self._facts.ctx_size = env.max_ctx_offset
        dead_code.check(env, flow, self._facts)

    def _check_licence(self) -> None:
        calls = any(cfg.is_call(insn, PseudoCall.KFUNC) for insn in self.env.insns)
        if calls and not self.env.gpl:
            raise Rejected(EINVAL, "cannot call kernel function from non-GPL compatible program", id="licence")

    def _check_sleepable(self) -> None:
        sleepable = ProgFlag.SLEEPABLE in self.env.program.flags
        if self.env.program.type is ProgType.SYSCALL:
            if not sleepable:
                raise Rejected(EINVAL, "Syscall programs can only be sleepable", id="must-sleep")
        elif sleepable:
            raise Rejected(
                EINVAL,
                "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable",
                id="cannot-sleep",
            )

    def _explore_all(self, flow: Flow, uses: tuple[tuple[int, int], ...]) -> None:
        """Explore the program, then each global function that anything explored so far calls."""
        env = self.env
        live = tuple([numbers(mask) for mask in env.live_regs])
        self._flow = flow
        self._liveness = StackLiveness(flow)
        backtracker = Backtracker(env, flow)
        self._checkpoints = Checkpoints(env, flow, live, self._liveness, backtracker, strict=self._strict)
        self._counts = self._checkpoints.counts
        self._facts = Facts(live)
        self._touched = tuple([_touched(*pair) for pair in zip(env.rows, uses, strict=True)])
        env.mark_precise = backtracker.mark
        env.mark_slot_precise = backtracker.mark_slot
        env.stack_read = self._stack_read
        env.stack_written = self._stack_written
        env.push_async = self._push_async
        env.previous_entry = self._checkpoints.previous_entry
        env.widen = widen
        self._explore(0)
        verified, seen = {0}, 0
        while len(verified) > seen:
            seen = len(verified)
            for number, each in enumerate(env.subprograms):
                if each.called and number not in verified:
                    self._explore(number)
                    verified.add(number)

    def _explore(self, number: int) -> None:
        """Explore a function: the program itself (0), or a global function for any arguments."""
        env, function = self.env, self.env.subprograms[number]
        self._trace.reset(0)
        self._trace.restart()
        self._checkpoints.restart()
        frame = subprog.new_frame(0, number, -1)
        state = State([frame], in_sleepable=env.sleepable, branches=1, first_index=function.start, last_index=-1)
        if number:
            self._trace.note(f"Validating {function.name}() func#{number}...")
            subprog_args.assume(env, state, number)
            if function.is_exception_callback:
                self._enter_handler(state, number)
        else:
            frame.regs[1] = Reg(RegType.CTX)
        self._run(state, function.start)

    def _enter_handler(self, state: State, number: int) -> None:
        """The exception callback gets the cookie, and what it returns the program returns."""
        expected = subprog_args.arguments(self.env, number)
        if len(expected) != 1 or expected[0].kind is not subprog_args.ArgKind.SCALAR:
            raise Rejected(EINVAL, "exception cb only supports single integer argument", id="exception-callback")
        state.frames[0].in_exception_callback = True

    def _run(self, state: State, index: int) -> None:
        """Follow a path, and every path that is put aside on the way (do_check)."""
        env, counts, flow, trace = self.env, self._counts, self._flow, self._trace
        prune_points, jump_points, facts = flow.prune_points, flow.jump_points, self._facts
        touched, logging = self._touched, bool(env.options.log_level)
        row_kinds = [row.kind if row is not None else None for row in env.rows]
        is_covered, step, progress = self._checkpoints.visit, self._step, self._progress
        assert facts is not None
        self._previous = previous = -1
        self._liveness.forget_current()
        shown, resumed = _ALL_REGS, False
        while True:
            counts.insns += 1
            if counts.insns > INSN_LIMIT:
                raise Rejected(E2BIG, f"BPF program is too large. Processed {counts.insns} insn", id="too-complex")
            if progress is not None and not counts.insns % _PROGRESS_EVERY:
                progress(counts.insns)
            state.last_index, state.index = previous, index
            env.index, self._previous, self._recorded = index, previous, False
            following: int | None
            if prune_points[index] and is_covered(state, index):
                if logging:
                    trace.covered(previous, index, resumed=resumed)
                following = None
            else:
                if jump_points[index]:
                    self._push_history(state, 0, ())
                if logging:
                    if resumed:
                        trace.resumed(state, previous, index)
                    if shown:
                        trace.change(state, index, shown, -1 if shown == _ALL_REGS else 0)
                    trace.insn(index)
                facts.visit(index, state.frames[-1].regs)
                env.touched_regs, env.touched_slots = touched[index], 0
                previous = index
                following = step(state, index)
                shown, resumed = 0, row_kinds[index] is Kind.EXIT
                if logging and following is not None and (env.touched_regs or env.touched_slots):
                    trace.change(state, index, env.touched_regs, env.touched_slots)
            if following is not None:
                index = following
                continue
            self._note_depths(state)
            self._liveness.update(state)
            self._checkpoints.finish(state)
            if not self._pending:
                return
            state, index, previous, position = self._pending.pop()
            self._liveness.forget_current()
            trace.reset(position)
            shown, resumed = _ALL_REGS, True

    def _step(self, state: State, index: int) -> int | None:
        """Execute an instruction; gives the next one, or None where the path ends."""
        env = self.env
        insn, row = env.insns[index], env.rows[index]
        if row is None:
            raise fields.complaint(env, state, insn)
        kind = row.kind
        if kind in _ALU:
            alu.step(env, state, insn, row)
            return index + 1
        if kind is Kind.BRANCH:
            self._counts.jumps += 1
            return branch.step(env, state, insn, row, index)
        if kind is Kind.LOAD:
            mem.load(env, state, insn, row, index)
            return index + 1
        if kind in _MAY_WRITE_STACK:
            self._liveness.begin(state)
            try:
                return self._write(state, insn, row, index)
            finally:
                self._liveness.commit(index)
        if kind is Kind.LDDW:
            load_imm.load(env, state, insn, index)
            return index + 2
        if kind is Kind.LEGACY:
            mem.legacy(env, state, insn, row)
            return index + 1
        self._counts.jumps += 1
        if kind is Kind.GOTO:
            return index + cfg.jump_offset(insn) + 1
        if kind is Kind.MAY_GOTO:
            return self._may_goto(state, insn, index)
        return self._exit(state)

    def _write(self, state: State, insn: Insn, row: Opcode, index: int) -> int | None:
        """The instructions that may write the stack."""
        env = self.env
        if row.kind is Kind.STORE:
            mem.store(env, state, insn, row, index)
        elif row.kind is Kind.ATOMIC:
            mem.atomic(env, state, insn, row, index)
        else:
            self._counts.jumps += 1
            return self._call(state, insn, index)
        return index + 1

    def _call(self, state: State, insn: Insn, index: int) -> int | None:
        env = self.env
        if insn.src == PseudoCall.BPF:
            following = subprog.call(env, state, insn, index, self._trace)
            if following != index + 1:
                self._liveness.forget_current()
            return following
        if insn.src == PseudoCall.KFUNC:
            kfuncs.call(env, state, insn, index)
            if cfg.kfunc_name(env.program, index) == cfg.THROW:
                refs.check_leaks(env, state, "bpf_throw", throws=True)
                return None
        else:
            calls.helper(env, state, insn, index)
            if insn.imm == cfg.TAIL_CALL and len(state.frames) > 1:
                return self._tail_call(state, index)
        return index + 1

    def _tail_call(self, state: State, index: int) -> int:
        """One in a subprogram: where it succeeds, whatever the other program returns is what the subprogram returns."""
        self._push_branch(state, index + 1, index)
        refs.forget_packet_pointers(self.env, state)
        state.frames[-1].regs[0] = SCALAR_UNKNOWN
        return self._return(state)

    def _may_goto(self, state: State, insn: Insn, index: int) -> int:
        """A jump that is taken in the end, however often it was not: the path that is put aside stays in the loop."""
        assert state.parent is not None
        earlier = self._checkpoints.previous_entry(state.parent, index)
        stays = self._push_branch(state, index + 1, index)
        stays.may_goto_depth += 1
        if earlier is not None:
            widen(earlier, stays)
        return index + insn.off + 1

    def _exit(self, state: State) -> int | None:
        env = self.env
        nested = len(state.frames) > 1
        refs.check_leaks(env, state, "BPF_EXIT instruction in main prog", locks=not nested)
        if not nested:
            subprog.leave_program(env, state)
            return None
        return self._return(state)

    def _return(self, state: State) -> int:
        """The running function ends, and the path goes on in its caller."""
        self._liveness.update(state)
        self._note_depths(state)
        following = subprog.leave(self.env, state, self._trace)
        self.env.touched_regs = 0
        return following

    def _note_depths(self, state: State) -> None:
        """How deep the stack of each running function got; frames only grow, so their last length is the most."""
        for frame in state.frames:
            function, depth = self.env.subprograms[frame.subprog], len(frame.stack) * 8
            function.stack_depth = max(function.stack_depth, depth)

    # -- hooks ---------------------------------------------------------------------------------------------------------------------

    def _push_branch(self, state: State, target: int, index: int) -> State:
        copy = state.copy()
        self._pending.append(_Pending(copy, target, index, self._trace.position))
        if len(self._pending) > MAX_PENDING:
            # Who asks for the copy turns its failure into an errno of his own.
            loops = self._flow.iterates[index] or self.env.insns[index].code == MAY_GOTO
            raise Rejected(
                ENOMEM if loops else EFAULT,
                f"The sequence of {len(self._pending)} jumps is too complex.",
                id="too-complex",
            )
        if copy.parent is not None:
            copy.parent.branches += 1
        return copy

    def _push_async(self, number: int, index: int, may_sleep: bool) -> State:
        frame = subprog.new_frame(0, number, -1)
        start = self.env.subprograms[number].start
        state = State([frame], in_sleepable=may_sleep, branches=1)
        self._pending.append(_Pending(state, start, index, self._trace.position))
        if len(self._pending) > MAX_PENDING:
            raise Rejected(
                EFAULT,
                f"The sequence of {len(self._pending)} jumps is too complex for async cb.",
                id="too-complex",
            )
        return state

    def _push_history(self, state: State, flags: int, linked: tuple[tuple[int, int], ...]) -> None:
        """One entry for each instruction: what is pushed later is added to it."""
        if self._recorded:
            last = state.history[-1]
            state.history[-1] = last._replace(flags=last.flags | flags, linked=linked)
            return
        self._recorded = True
        state.history.append(Jump(self.env.index, self._previous, flags, linked))

    def _stack_read(self, state: State, frameno: int, mask: int) -> None:
        if frameno == len(state.frames) - 1:
            self.env.touched_slots |= mask
        self._liveness.read(state, self.env.index, frameno, mask)

    def _stack_written(self, state: State, frameno: int, mask: int) -> None:
        if frameno == len(state.frames) - 1:
            self.env.touched_slots |= mask
        self._liveness.write(frameno, mask)


def _nothing_to_mark(state: State, regno: int) -> None:
    raise AssertionError(f"r{regno} of {len(state.frames)} frames is marked before exploration")


def _row(insns: tuple[Insn, ...], index: int) -> Opcode | None:
    if not insns[index].code and index and insns[index - 1].code == LDDW:
        return None
    return lookup(insns[index])


def _touched(row: Opcode | None, uses: tuple[int, int]) -> int:
    """The registers that an instruction names, which the log shows after it."""
    if row is None or row.kind is Kind.LEGACY:
        return CALLER_SAVED | 1 << 6
    if row.kind is Kind.CALL:
        return CALLER_SAVED
    return (uses[0] | uses[1]) & _ALL_REGS
