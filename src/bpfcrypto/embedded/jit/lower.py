"""From an accepted program to LLVM IR: one function for each subprogram, SSA straight from the bytecode.

The verifier's facts say what each register holds (:mod:`bpfcrypto.verifier.facts`): a register that is a pointer on every path is a
``ptr`` here, and what no path reaches is left out. Without facts, every register is an integer and every path is taken; that is how
code of our own is compiled.

A compiled function takes the run's record and up to five integers, and gives r0. Where code in Python asks for the end of the run,
each function returns at once; what it returns then means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import lower_alu, lower_calls, lower_memory
from bpfcrypto.embedded.jit.flow import Block, Function, Graph
from bpfcrypto.embedded.jit.links import PYTHON, Link, Links
from bpfcrypto.embedded.jit.names import MAIN, REQUESTS_FROM, symbol
from bpfcrypto.embedded.jit.record import STACK, UNWIND
from bpfcrypto.embedded.jit.text import FRAME_POINTER, REGISTERS, Text, Value
from bpfcrypto.isa.codec import imm64
from bpfcrypto.isa.opcode import Kind, PseudoImm
from bpfcrypto.spec import MapRef, MapValueRef
from bpfcrypto.verifier.branch import is_not_null
from bpfcrypto.verifier.state import MAX_STACK, NOT_INIT, Reg, RegType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bpfcrypto.abi.progs import ProgType
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import Opcode
    from bpfcrypto.spec import MapSpec, ProgramSpec
    from bpfcrypto.verifier.facts import Facts

MAX_LOOPS = 8 << 20
"""Times that the may_goto instructions of one frame go on (BPF_MAX_LOOPS) before they jump."""

_NOT_POINTERS = frozenset({RegType.NOT_INIT, RegType.SCALAR})
_PREAMBLE = """declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.usub.sat.i64(i64, i64)
declare ptr @llvm.frameaddress.p0(i32)
declare i32 @memcmp(ptr, ptr, i64)
declare i32 @sched_yield()
declare i32 @clock_gettime(i32, ptr)
attributes #0 = { nounwind null_pointer_is_valid }
!0 = !{!"branch_weights", i32 1, i32 2000}
!1 = !{}"""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program as a module.

    Attributes:
        text: LLVM IR.
        links: the entries of its table.
        requests: slot, counted from REQUESTS_FROM -> what is asked of Python there besides what the slot calls.
        exports: slots of functions that can be called from outside, the program's own first.
        loops: whether anything in it goes round.
    """

    text: str
    links: tuple[Link, ...]
    requests: Mapping[int, str]
    exports: tuple[int, ...]
    loops: bool


def lower(
    program: ProgramSpec,
    insns: tuple[Insn, ...],
    maps: Mapping[str, MapSpec],
    facts: Facts | None = None,
    *,
    extra: Iterable[int] = (),
) -> Lowered:
    """Make the module of a program.

    Args:
        program: its references and type.
        insns: its instructions, every reference resolved.
        maps: definitions of the maps that it refers to.
        facts: what the verifier knows; None for code that was not verified.
        extra: slots of more functions that are called from outside.
    """
    module = _Module(program, insns, maps, facts)
    exports = tuple(dict.fromkeys((0, *sorted(module.graph.callbacks), *extra)))
    return module.lower(exports)


def lower_all(programs: Sequence[ProgramSpec]) -> tuple[str, tuple[Link, ...]]:
    """One module of several programs of our own, each a function of its name that takes up to five integers.

    Returns:
        The text, and the entries of the one table.
    """
    links = Links()
    bodies = [_Module(each, each.insns, {}, None, links=links, prefix=each.name).lower_named() for each in programs]
    return "\n".join((links.definition(), _PREAMBLE, *bodies)), links.entries


class _Module:
    def __init__(
        self,
        program: ProgramSpec,
        insns: tuple[Insn, ...],
        maps: Mapping[str, MapSpec],
        facts: Facts | None,
        *,
        links: Links | None = None,
        prefix: str = "",
    ) -> None:
        self.program = program
        self.insns = insns
        self.maps = maps
        self.facts = facts
        self.links = links or Links()
        self.prefix = prefix
        self.requests: dict[int, str] = {}
        self.loops = False
        self.graph = Graph(program, insns, facts.is_reached if facts is not None else lambda _: True)
        self._unwinds: dict[int, bool] = {}

    def symbol(self, slot: int) -> str:
        """The name of the function at a slot."""
        return symbol(slot, self.prefix)

    def lower(self, exports: tuple[int, ...]) -> Lowered:
        """The module of this program alone."""
        functions = self._functions(exports)
        text = "\n".join((self.links.definition(), _PREAMBLE, self._main(), *functions))
        return Lowered(text, self.links.entries, self.requests, exports, self.loops)

    def lower_named(self) -> str:
        """Its functions, and one of the program's name."""
        count = self.graph.function(0).arguments
        given = "".join(f", i64 %a{n}" for n in range(1, count + 1))
        entry = f"""define i64 @{self.program.name}(ptr %run{given}) #0 {{
  %result = call i64 @{self.symbol(0)}(ptr %run{given})
  ret i64 %result
}}"""
        return "\n".join((entry, *self._functions((0,), exported=False)))

    def _functions(self, exports: tuple[int, ...], *, exported: bool = True) -> list[str]:
        waiting, done, functions = list(exports), set[int](), list[str]()
        while waiting:
            start = waiting.pop()
            if start in done:
                continue
            done.add(start)
            graph = self.graph.function(start)
            self.loops |= graph.has_loops
            function = FunctionText(self, graph, exported=exported and start in exports)
            functions.append(function.lower())
            waiting += function.callees
        return functions

    def _main(self) -> str:
        """What a run begins with: it says where the stack is, and calls the program."""
        context = ", i64 %context" if self.graph.function(0).arguments else ""
        return f"""define i64 @{MAIN}(ptr %run, i64 %context) #0 {{
  %frame = call ptr @llvm.frameaddress.p0(i32 0)
  %place = getelementptr i8, ptr %run, i64 {STACK}
  store ptr %frame, ptr %place, align 8
  %result = call i64 @{self.symbol(0)}(ptr %run{context}) noinline
  ret i64 %result
}}"""

    def may_unwind(self, start: int) -> bool:
        """Whether a function can come back because the run is to end."""
        known = self._unwinds.get(start)
        if known is None:
            self._unwinds[start] = False  # no recursion, so nobody asks meanwhile
            known = self._unwinds[start] = any(
                self._unwinds_at(slot)
                for block in self.graph.function(start).blocks.values()
                for slot in self._slots(block)
            )
        return known

    def _slots(self, block: Block) -> Iterable[int]:
        slot = block.start
        while slot < block.end:
            yield slot
            slot = self.graph.next_slot(slot)

    def _unwinds_at(self, slot: int) -> bool:
        row = self.graph.rows[slot]
        if row is None or row.kind not in (Kind.CALL, Kind.LOAD, Kind.STORE, Kind.LEGACY):
            return False
        if row.kind is Kind.LEGACY:
            return True
        if row.kind is not Kind.CALL:
            insn = self.insns[slot]
            base = insn.src if row.kind is Kind.LOAD else insn.dst
            return self.facts is not None and lower_memory.is_foreign(self.facts.before(slot, base))
        callee = self.graph.callee(slot)
        if callee is not None:
            return self.may_unwind(callee)
        return not lower_calls.never_unwinds(lower_calls.callee_name(self.program, self.insns[slot], slot))


class FunctionText:
    """One function being written. It is also the site (:class:`lower_memory.Site`) of the instruction that is being written."""

    def __init__(self, module: _Module, function: Function, *, exported: bool) -> None:
        self.module = module
        self.text = Text()
        self.callees: list[int] = []
        self.slot = 0
        self.insn = module.insns[0]
        self.row: Opcode = module.graph.rows[0]  # type: ignore[assignment]
        self._function = function
        self._exported = exported
        self._lines: dict[int, list[str]] = {}
        self._ends: dict[int, tuple[str, list[Value | None], str]] = {}  # label, registers and terminator of a block
        self._phis: list[tuple[int, int, str, bool]] = []  # block, register, name, whether a pointer
        self._loops = False
        self._locals: list[int] = []

    @property
    def prog_type(self) -> ProgType:
        return self.module.program.type

    # --- what a site knows

    def fact(self, register: int) -> Reg:
        """What the verifier knows of a register before the instruction."""
        return self.module.facts.before(self.slot, register) if self.module.facts is not None else NOT_INIT

    def gives_pointer(self, register: int) -> bool:
        """Whether the register holds a pointer after the instruction."""
        facts = self.module.facts
        if facts is None:
            return False
        following = self.module.graph.next_slot(self.slot)
        return following < len(self.module.insns) and facts.before(following, register).type not in _NOT_POINTERS

    def ask_python(self, name: str, *arguments: str) -> str:
        """Ask Python for what is no helper or kfunc of the program's; the answer, an i64."""
        number = REQUESTS_FROM + self.slot
        self.module.requests[number] = name
        return self.call_python(arguments, number)

    def surely_points(self, register: int) -> bool:
        """Whether the register holds a pointer after the instruction that the verifier knows not to be NULL."""
        facts, following = self.module.facts, self.module.graph.next_slot(self.slot)
        if facts is None or not self.gives_pointer(register):
            return False
        return is_not_null(facts.before(following, register))

    def call_python(self, arguments: Iterable[str], number: int | None = None) -> str:
        """Go through the way into Python for this slot, and end the run if it says so; r0, an i64."""
        text = self.text
        entry = text.emit(f"load ptr, ptr {self.module.links.operand(PYTHON)}, align 8")
        given = [*arguments]
        words = ", ".join(
            f"i64 {each}" for each in (str(self.slot if number is None else number), *given, *["0"] * (5 - len(given)))
        )
        result = text.emit(f"call i64 {entry}(ptr %run, {words})")
        self.check_unwind()
        return result

    def local(self, size: int) -> str:
        """Room for some bytes as long as the function runs, a ptr."""
        self._locals.append(size)
        return f"%local{len(self._locals) - 1}"

    def check_unwind(self) -> None:
        """Return at once where the run is to end."""
        text = self.text
        asked = text.emit(f"load i32, ptr {text.offset('%run', UNWIND)}, align 4")
        ends = text.emit(f"icmp ne i32 {asked}, 0")
        on = text.fresh_label()
        text.do(f"br i1 {ends}, label %unwind, label %{on}, !prof !0")
        text.open(on)

    # --- the whole

    def lower(self) -> str:
        for block in self._function.blocks.values():
            self._block(block)
        self._finish_phis()
        body = list[str]()
        for start, lines in self._lines.items():
            body.append(f"b{start}:")
            body += lines
            body.append(f"  {self._ends[start][2]}")
        return "\n".join((self._head(), *body, "unwind:", "  ret i64 0", "dead:", "  unreachable", "}"))

    def _head(self) -> str:
        start = self._function.start
        arguments = "".join(f", i64 %a{n}" for n in range(1, self._function.arguments + 1))
        linkage = "" if self._exported else "internal "
        depth = self._stack_depth()
        lines = [f"define {linkage}i64 @{self.module.symbol(start)}(ptr noalias %run{arguments}) #0 {{", "entry:"]
        if depth:
            lines.append(f"  %stack = alloca [{depth} x i8], align 16")
            if self.module.facts is not None:
                lines.append(f"  call void @llvm.memset.p0.i64(ptr align 16 %stack, i8 0, i64 {depth}, i1 false)")
            lines.append(f"  %fp = getelementptr i8, ptr %stack, i64 {depth}")
        lines += [f"  %local{n} = alloca [{size} x i8], align 8" for n, size in enumerate(self._locals)]
        if self._loops:
            lines += ["  %loops = alloca i64", f"  store i64 {MAX_LOOPS}, ptr %loops"]
        lines += [
            f"  %p{n} = inttoptr i64 %a{n} to ptr"
            for n in range(1, self._function.arguments + 1)
            if self._is_pointer(start, n)
        ]
        lines.append(f"  br label %b{start}")
        return "\n".join(lines)

    def _stack_depth(self) -> int:
        facts = self.module.facts
        depth = MAX_STACK if facts is None else facts.stack_depths.get(self._function.start, 0)
        return depth + 15 & ~15

    def _is_pointer(self, slot: int, register: int) -> bool:
        facts = self.module.facts
        return facts is not None and facts.before(slot, register).type not in _NOT_POINTERS

    # --- blocks and their joins

    def _block(self, block: Block) -> None:
        lines: list[str] = []
        self._lines[block.start] = lines
        self.text.begin(f"b{block.start}", lines, self._entry_registers(block))
        end = ""
        slot = block.start
        while slot < block.end:
            self.slot, self.insn = slot, self.module.insns[slot]
            row = self.module.graph.rows[slot]
            assert row is not None
            self.row = row
            end = _INSTRUCTIONS[row.kind](self, block) or end
            slot = self.module.graph.next_slot(slot)
        if not end:
            end = f"br label %b{block.successors[0]}" if block.successors else "unreachable"
        self._ends[block.start] = (self.text.label, self.text.registers, end)

    def _entry_registers(self, block: Block) -> list[Value | None]:
        registers: list[Value | None] = [None] * REGISTERS
        registers[FRAME_POINTER] = Value("%fp", True) if self._stack_depth() else Value("null", True)
        start = self._function.start
        if block.start == start and not block.predecessors:
            for register in range(1, self._function.arguments + 1):
                pointer = self._is_pointer(start, register)
                registers[register] = Value(f"%{'p' if pointer else 'a'}{register}", pointer)
            return registers
        known = [self._ends[each][1] for each in block.predecessors if each in self._ends]
        complete = len(known) == len(block.predecessors) and block.start != start
        for register in range(FRAME_POINTER):
            if not block.live >> register & 1:
                continue
            first = known[0][register] if known else None
            if complete and all(each[register] == first for each in known):
                registers[register] = first
                continue
            pointer = self._is_pointer(block.start, register)
            name = self.text.fresh()
            self._phis.append((block.start, register, name, pointer))
            registers[register] = Value(name, pointer)
        return registers

    def _finish_phis(self) -> None:
        """Write the phis, whose operands are known once every block is; an operand is converted where it comes from."""
        heads: dict[int, list[str]] = {}
        converted: dict[tuple[int, str], str] = {}
        for start, register, name, pointer in self._phis:
            operands = [
                f"[ {self._operand(each, register, pointer, converted)}, %{self._ends[each][0]} ]"
                for each in self._function.blocks[start].predecessors
            ]
            if start == self._function.start:
                operands.append(f"[ {self._argument(register, pointer)}, %entry ]")
            heads.setdefault(start, []).append(f"  {name} = phi {'ptr' if pointer else 'i64'} {', '.join(operands)}")
        for start, lines in heads.items():
            self._lines[start][:0] = lines

    def _argument(self, register: int, pointer: bool) -> str:
        if not 1 <= register <= self._function.arguments:
            return "null" if pointer else "0"
        return f"%{'p' if pointer else 'a'}{register}"

    def _operand(self, block: int, register: int, pointer: bool, converted: dict[tuple[int, str], str]) -> str:
        value = self._ends[block][1][register]
        if value is None:
            return "null" if pointer else "0"
        if value.is_pointer == pointer:
            return value.text
        if value.text in ("0", "null"):
            return "null" if pointer else "0"
        known = converted.get((block, value.text))
        if known is None:
            known = converted[block, value.text] = self.text.fresh()
            cast = f"inttoptr i64 {value.text} to ptr" if pointer else f"ptrtoint ptr {value.text} to i64"
            self._lines[block].append(f"  {known} = {cast}")
        return known

    def _label(self, slot: int, block: Block) -> str:
        return f"%b{slot}" if slot in block.successors else "%dead"

    # --- instructions; what ends a block is returned

    def _alu(self, _block: Block) -> None:
        lower_alu.arithmetic(self.text, self.insn, self.row)

    def _move(self, _block: Block) -> None:
        lower_alu.move(self.text, self.insn, self.row)

    def _unary(self, _block: Block) -> None:
        lower_alu.unary(self.text, self.insn, self.row)

    def _load(self, _block: Block) -> None:
        lower_memory.load(self.text, self)

    def _store(self, _block: Block) -> None:
        lower_memory.store(self.text, self)

    def _atomic(self, _block: Block) -> None:
        lower_memory.atomic(self.text, self)

    def _lddw(self, _block: Block) -> None:
        text, insn, module = self.text, self.insn, self.module
        ref = module.program.refs.get(self.slot)
        if isinstance(ref, MapRef):
            text.set_pointer(insn.dst, self.linked(Link("map", ref.name)))
        elif isinstance(ref, MapValueRef):
            text.set_pointer(insn.dst, text.offset(self.linked(Link("value", ref.name)), ref.offset))
        elif insn.src == PseudoImm.FUNC:
            text.set(insn.dst, str(self.slot + 1 + insn.imm))
        else:
            text.set_typed(insn.dst, str(imm64(module.insns, self.slot)), pointer=False)

    def linked(self, link: Link) -> str:
        """The address in an entry of the table, a ptr."""
        return self.text.emit(f"load ptr, ptr {self.module.links.operand(link)}, align 8, !invariant.load !1")

    def _branch(self, block: Block) -> str:
        target, following = self.module.graph.target(self.slot), self.slot + 1
        if target == following:
            return f"br label {self._label(target, block)}"
        taken = lower_alu.test(self.text, self.insn, self.row)
        return f"br i1 {taken}, label {self._label(target, block)}, label {self._label(following, block)}"

    def _goto(self, block: Block) -> str:
        return f"br label {self._label(self.module.graph.target(self.slot), block)}"

    def _may_goto(self, block: Block) -> str:
        self._loops = True
        text = self.text
        left = text.emit("load i64, ptr %loops")
        none = text.emit(f"icmp eq i64 {left}, 0")
        text.do(f"store i64 {text.emit(f'call i64 @llvm.usub.sat.i64(i64 {left}, i64 1)')}, ptr %loops")
        target, following = self._label(self.module.graph.target(self.slot), block), self._label(self.slot + 1, block)
        if target == following:
            return f"br label {target}"
        return f"br i1 {none}, label {target}, label {following}"

    def _legacy(self, _block: Block) -> None:
        """A packet load; where the packet has no such bytes, the function gives 0."""
        text = self.text
        offset = str(self.insn.imm)
        if self.row.reg:
            offset = text.emit(f"add i64 {text.integer(self.insn.src)}, {offset}")
        found = self.ask_python("packet", text.integer(6), offset, str(self.row.size))
        on, missing = text.fresh_label(), text.emit(f"icmp slt i64 {found}, 0")
        text.do(f"br i1 {missing}, label %unwind, label %{on}")
        text.open(on)
        text.set(0, found)

    def _call(self, _block: Block) -> None:
        callee = self.module.graph.callee(self.slot)
        if callee is None:
            lower_calls.call(self.text, self)
        else:
            self.callees.append(callee)
            text = self.text
            result = self.call_function(
                callee, [text.integer(n) for n in range(1, self.module.graph.function(callee).arguments + 1)]
            )
            text.set_typed(0, result, pointer=self.gives_pointer(0))

    def call_function(self, start: int, arguments: list[str]) -> str:
        """Call a function of the program; its r0, an i64."""
        words = "".join(f", i64 {each}" for each in arguments)
        result = self.text.emit(f"call i64 @{self.module.symbol(start)}(ptr %run{words})")
        if self.module.may_unwind(start):
            self.check_unwind()
        return result

    def _exit(self, _block: Block) -> str:
        return f"ret i64 {self.text.integer(0)}"


_INSTRUCTIONS = {
    Kind.ALU: FunctionText._alu,
    Kind.MOV: FunctionText._move,
    Kind.UNARY: FunctionText._unary,
    Kind.LOAD: FunctionText._load,
    Kind.STORE: FunctionText._store,
    Kind.ATOMIC: FunctionText._atomic,
    Kind.LDDW: FunctionText._lddw,
    Kind.BRANCH: FunctionText._branch,
    Kind.GOTO: FunctionText._goto,
    Kind.MAY_GOTO: FunctionText._may_goto,
    Kind.LEGACY: FunctionText._legacy,
    Kind.CALL: FunctionText._call,
    Kind.EXIT: FunctionText._exit,
}
