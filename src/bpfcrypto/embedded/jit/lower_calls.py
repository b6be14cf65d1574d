"""Calls of helpers and kfuncs as LLVM IR.

Those that packet programs call all the time are machine code, written out here or compiled once for all programs; every other one is
the interpreter's own function, reached through the way into Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.embedded.jit.record import CPU, JUMP
from bpfcrypto.isa.opcode import PseudoCall
from bpfcrypto.verifier.state import FuncTarget

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.lower import _Function
    from bpfcrypto.embedded.jit.text import Text
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

_MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS

Written = Callable[["Text", "_Function"], "str | None"]
"""Writes a call and gives r0, an i64; None where it can't be written for this site."""


def callee_name(program: ProgramSpec, insn: Insn, slot: int) -> str:
    """The helper or kfunc that a call calls."""
    if insn.src == PseudoCall.HELPER:
        return HELPERS[insn.imm].name if insn.imm in HELPERS else ""
    ref = program.refs.get(slot)
    return ref.name if ref is not None else ""


def never_unwinds(name: str) -> bool:
    """Whether a call is always machine code that comes back."""
    return name in _SIMPLE


def call(text: Text, site: _Function) -> None:
    """Write a call; its result is in r0."""
    name = callee_name(site.module.program, site.insn, site.slot)
    written = _SIMPLE.get(name) or _SPECIAL.get(name)
    result = written(text, site) if written is not None else None
    if result is None:
        result = site.call_python([text.integer(n) for n in range(1, 6)])
    text.set_typed(0, result, pointer=site.gives_pointer(0))


def _tail_call(text: Text, site: _Function) -> str:
    """Where Python has found the program, it is called, and what it gives is what the function gives."""
    failed = site.call_python([text.integer(n) for n in range(1, 4)])
    place = text.offset("%run", JUMP)
    target = text.emit(f"load ptr, ptr {place}, align 8")
    goes, stays = text.fresh_label(), text.fresh_label()
    context, missing = text.integer(1), text.emit(f"icmp eq ptr {target}, null")
    text.do(f"br i1 {missing}, label %{stays}, label %{goes}")
    text.open(goes)
    text.do(f"store ptr null, ptr {place}, align 8")
    text.do(f"ret i64 {text.emit(f'call i64 {target}(ptr %run, i64 {context})')}")
    text.open(stays)
    return failed


def _loop(text: Text, site: _Function) -> str | None:
    """bpf_loop, where the callback is known."""
    callback = site.fact(2).target
    facts = site.module.facts
    if facts is None or not isinstance(callback, FuncTarget):
        return None
    start = facts.starts[callback.subprog]
    rounds = text.low(1)
    context, flags = text.integer(3), text.integer(4)
    before, head, body, again, done = text.label, *(text.fresh_label() for _ in range(4))
    flagged = text.emit(f"icmp ne i64 {flags}, 0")
    many = text.emit(f"icmp ugt i32 {rounds}, {_MAX_LOOPS}")
    refused = text.emit(f"select i1 {flagged}, i64 {-EINVAL}, i64 {-E2BIG}")
    bad = text.emit(f"or i1 {flagged}, {many}")
    text.do(f"br i1 {bad}, label %{done}, label %{head}")
    text.open(head)
    index, following, count = text.fresh(), text.fresh(), text.fresh()
    text.do(f"{index} = phi i32 [ 0, %{before} ], [ {following}, %{again} ]")
    text.do(f"br i1 {text.emit(f'icmp ult i32 {index}, {rounds}')}, label %{body}, label %{done}")
    text.open(body)
    site.callees.append(start)
    number = text.emit(f"zext i32 {index} to i64")
    result = site.call_function(start, [number, context][: site.module.graph.function(start).arguments])
    text.do(f"{following} = add i32 {index}, 1")
    ends = text.emit(f"icmp ne i64 {result}, 0")
    last = text.label
    text.do(f"br i1 {ends}, label %{done}, label %{again}")
    text.open(again)
    text.do(f"br label %{head}")
    text.open(done)
    text.do(f"{count} = phi i32 [ 0, %{before} ], [ {index}, %{head} ], [ {following}, %{last} ]")
    wide = text.emit(f"zext i32 {count} to i64")
    return text.emit(f"select i1 {bad}, i64 {refused}, i64 {wide}")


def _cpu(text: Text, _site: _Function) -> str:
    number = text.emit(f"load i32, ptr {text.offset('%run', CPU)}, align 4")
    return text.emit(f"zext i32 {number} to i64")


def _nothing(_text: Text, _site: _Function) -> str:
    """Calls whose promise holds all the time: a run is an RCU reader and has its CPU to itself."""
    return "0"


_SIMPLE: Mapping[str, Written] = {
    "bpf_get_smp_processor_id": _cpu,
    "bpf_get_numa_node_id": _nothing,
    "bpf_rcu_read_lock": _nothing,
    "bpf_rcu_read_unlock": _nothing,
    "bpf_preempt_disable": _nothing,
    "bpf_preempt_enable": _nothing,
}
"""Written out, and never a reason to end the run."""

_SPECIAL: Mapping[str, Written] = {
    "bpf_tail_call": _tail_call,
    "bpf_loop": _loop,
}
