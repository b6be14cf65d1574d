"""Calls of helpers and kfuncs as LLVM IR.

Those that packet programs call all the time are machine code, written out here or compiled once for all programs; every other one is
the interpreter's own function, reached through the way into Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.abi.maps import MapType
from bpfcrypto.embedded.jit import lower_runtime
from bpfcrypto.embedded.jit.links import Link
from bpfcrypto.embedded.jit.lower_each import each_element
from bpfcrypto.embedded.jit.record import JUMP, UNWIND
from bpfcrypto.embedded.jit.text import Value
from bpfcrypto.isa.opcode import PseudoCall
from bpfcrypto.verifier.state import FuncTarget, MapTarget

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.lower import FunctionText
    from bpfcrypto.embedded.jit.text import Text
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec

_MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS

Written = Callable[["Text", "FunctionText"], "str | Value | None"]
"""Writes a call and gives r0, an i64 unless it says otherwise; None where it can't be written for this site."""

_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})


def callee_name(program: ProgramSpec, insn: Insn, slot: int) -> str:
    """The helper or kfunc that a call calls."""
    if insn.src == PseudoCall.HELPER:
        return HELPERS[insn.imm].name if insn.imm in HELPERS else ""
    ref = program.refs.get(slot)
    return ref.name if ref is not None else ""


def never_unwinds(name: str) -> bool:
    """Whether a call is always machine code that comes back."""
    return name in _SIMPLE or name in lower_runtime.CALLS


def call(text: Text, site: FunctionText) -> None:
    """Write a call; its result is in r0."""
    name = callee_name(site.module.program, site.insn, site.slot)
    written: Written
    if site.module.facts is None:
        written = lower_runtime.CALLS[name]
    else:
        written = _SIMPLE.get(name) or _SPECIAL.get(name) or _any
    result = written(text, site) or _any(text, site)
    if isinstance(result, Value):
        text.registers[0] = result
    else:
        text.set_typed(0, result, pointer=site.gives_pointer(0))


def _any(text: Text, site: FunctionText) -> str:
    """A call about which nothing more is known than what it calls. Code behind it may rely on a pointer that is not NULL."""
    known = callee_name(site.module.program, site.insn, site.slot) in NATIVES
    result = (_native if known else _python)(text, site)
    if site.surely_points(0):
        missing, on = text.fresh_label(), text.fresh_label()
        text.do(f"br i1 {text.emit(f'icmp eq i64 {result}, 0')}, label %{missing}, label %{on}, !prof !0")
        text.open(missing)
        site.ask_python("null")
        text.do("br label %unwind")
        text.open(on)
    return result


def _python(text: Text, site: FunctionText) -> str:
    """The interpreter's function."""
    return site.call_python([text.integer(n) for n in range(1, 6)])


def _native(text: Text, site: FunctionText) -> str:
    """A function of the runtime; where it leaves the call to Python, the interpreter's."""
    name = callee_name(site.module.program, site.insn, site.slot)
    arguments = [text.integer(n) for n in range(1, NATIVES[name] + 1)]
    entry = site.linked(Link("native", name))
    words = "".join(f", i64 {each}" for each in arguments)
    answer = text.emit(f"call i64 {entry}(ptr %run{words})")
    before, asks, on = text.label, text.fresh_label(), text.fresh_label()
    place = text.offset("%run", UNWIND)
    asked = text.emit(f"icmp ne i32 {text.emit(f'load i32, ptr {place}, align 4')}, 0")
    text.do(f"br i1 {asked}, label %{asks}, label %{on}, !prof !0")
    text.open(asks)
    text.do(f"store i32 0, ptr {place}, align 4")
    told = site.call_python(arguments)
    after = text.label
    text.do(f"br label %{on}")
    text.open(on)
    return text.emit(f"phi i64 [ {answer}, %{before} ], [ {told}, %{after} ]")


def _tail_call(text: Text, site: FunctionText) -> str:
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


def _loop(text: Text, site: FunctionText) -> str | None:
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
    site.module.loops = True
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


def _map_lookup(text: Text, site: FunctionText) -> Value | None:
    """bpf_map_lookup_elem, of an array whose values are at a known place."""
    target = site.fact(1).target
    if not isinstance(target, MapTarget) or target.spec.type not in _ARRAYS:
        return None
    spec = target.spec
    if site.module.maps.get(spec.name) is not spec:
        return None  # the inner map of another: one of several
    stride = spec.value_size + 7 & ~7
    key = text.emit(f"load i32, ptr {text.pointer(2)}, align 1")
    index = text.emit(f"zext i32 {key} to i64")
    at = text.emit(f"mul i64 {index}, {stride}")
    if spec.type is MapType.PERCPU_ARRAY:
        cpu = lower_runtime.run_cpu(text, site)
        at = text.emit(f"add i64 {at}, {text.emit(f'mul i64 {cpu}, {stride * spec.max_entries}')}")
    value = text.offset(site.linked(Link("value", spec.name)), at)
    inside = text.emit(f"icmp ult i32 {key}, {spec.max_entries}")
    found = text.emit(f"select i1 {inside}, ptr {value}, ptr null")
    return Value(found, True)


def _nothing(_text: Text, _site: FunctionText) -> str:
    """Calls whose promise holds all the time: a run is an RCU reader and has its CPU to itself."""
    return "0"


_SIMPLE: Mapping[str, Written] = {
    "bpf_get_smp_processor_id": lower_runtime.run_cpu,
    "bpf_get_numa_node_id": _nothing,
    "bpf_rcu_read_lock": _nothing,
    "bpf_rcu_read_unlock": _nothing,
    "bpf_preempt_disable": _nothing,
    "bpf_preempt_enable": _nothing,
}
"""Written out, and never a reason to end the run."""

_SPECIAL: Mapping[str, Written] = {
    "bpf_tail_call": _tail_call,
    "bpf_for_each_map_elem": each_element,
    "bpf_loop": _loop,
    "bpf_map_lookup_elem": _map_lookup,
}

NATIVES: Mapping[str, int] = {
    "bpf_crypto_encrypt": 4,
    "bpf_crypto_decrypt": 4,
    "bpf_csum_diff": 5,
    "bpf_dynptr_adjust": 3,
    "bpf_dynptr_clone": 2,
    "bpf_dynptr_data": 3,
    "bpf_dynptr_from_mem": 4,
    "bpf_dynptr_from_skb": 3,
    "bpf_dynptr_from_xdp": 3,
    "bpf_dynptr_is_null": 1,
    "bpf_dynptr_is_rdonly": 1,
    "bpf_dynptr_read": 5,
    "bpf_dynptr_size": 1,
    "bpf_dynptr_slice": 4,
    "bpf_dynptr_slice_rdwr": 4,
    "bpf_dynptr_write": 5,
    "bpf_get_prandom_u32": 0,
    "bpf_iter_num_destroy": 1,
    "bpf_iter_num_new": 3,
    "bpf_iter_num_next": 1,
    "bpf_jiffies64": 0,
    "bpf_ktime_get_boot_ns": 0,
    "bpf_ktime_get_coarse_ns": 0,
    "bpf_ktime_get_ns": 0,
    "bpf_ktime_get_tai_ns": 0,
    "bpf_map_delete_elem": 2,
    "bpf_map_lookup_elem": 2,
    "bpf_map_lookup_percpu_elem": 3,
    "bpf_map_update_elem": 4,
    "bpf_ringbuf_discard": 2,
    "bpf_ringbuf_discard_dynptr": 2,
    "bpf_ringbuf_output": 4,
    "bpf_ringbuf_query": 2,
    "bpf_ringbuf_reserve": 3,
    "bpf_ringbuf_reserve_dynptr": 4,
    "bpf_ringbuf_submit": 2,
    "bpf_ringbuf_submit_dynptr": 2,
    "bpf_skb_change_proto": 3,
    "bpf_skb_change_tail": 3,
    "bpf_skb_load_bytes": 4,
    "bpf_skb_pull_data": 2,
    "bpf_skb_store_bytes": 5,
    "bpf_spin_lock": 1,
    "bpf_spin_unlock": 1,
    "bpf_strncmp": 3,
    "bpf_xdp_adjust_head": 2,
    "bpf_xdp_adjust_meta": 2,
    "bpf_xdp_adjust_tail": 2,
    "bpf_xdp_get_buff_len": 1,
    "bpf_xdp_load_bytes": 4,
    "bpf_xdp_store_bytes": 4,
}
"""Functions of the runtime: name -> number of arguments."""
