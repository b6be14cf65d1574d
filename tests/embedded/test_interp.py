"""The interpreter: what runs, what stops a run, and what the error says. (What each instruction computes: tests/isa/test_vectors.py)"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded import interp
from bpfcrypto.embedded.interp import Interpreter, TailCall
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.state import Native, RunState
from bpfcrypto.errors import RunError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.spec import KfuncRef, LineInfo, ProgramSpec


def build(text: str, natives: Mapping[int, Native] | None = None, *, step_limit: int = 100_000) -> Interpreter:
    insns = assemble(text)
    return Interpreter(ProgramSpec("test", "xdp", ProgType.XDP, insns), insns, natives or {}, step_limit=step_limit)


def run(text: str, natives: Mapping[int, Native] | None = None, memory: Memory | None = None, ctx: int = 0) -> int:
    program = build(text, natives)
    return program.run(RunState(memory or Memory(), program.spec), ctx)


class Counter:
    """A virtual region that gives 1, 2, 3 ... and keeps what is written."""

    def __init__(self) -> None:
        self.count = 0
        self.written: list[tuple[int, int, int]] = []

    def load(self, offset: int, size: int) -> int:
        self.count += 1
        return self.count

    def store(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))


def test_r1_is_the_context_and_r0_the_result() -> None:
    """The program starts with the context's address in r1; its r0 is the result, all 64 bits."""
    assert run("r0 = r1\nexit", ctx=0x8000_0000_0000_1234) == 0x8000_0000_0000_1234


def test_what_no_verified_program_sees_is_zero() -> None:
    """Registers without an argument and an unwritten stack are zero, in the program and in subprograms, run after run."""
    program = build(
        """
        r0 |= r2
        r0 |= r6
        r0 |= r9
        r6 = 7
        *(u64 *)(r10 -512) = 1
        call zeros
        call zeros
        exit
    zeros:
        r0 = r6
        r3 = *(u64 *)(r10 -512)
        r0 |= r3
        *(u64 *)(r10 -512) = -1
        exit
        """
    )
    state = RunState(Memory(), program.spec)
    assert [program.run(state, 0) for _ in range(3)] == [0, 0, 0]


def test_the_run_leaves_no_memory_behind() -> None:
    """Stacks are memory only during the run, whether it ends well or not."""
    memory = Memory()
    leaked = run("r0 = r10\nexit", memory=memory)
    with pytest.raises(AccessFault):
        memory.find(leaked - 8)
    with pytest.raises(RunError):
        run("call f\nexit\nf: r0 = *(u8 *)(r10 +0)\nexit", memory=memory)
    with pytest.raises(AccessFault):
        memory.find(leaked - 8)


def test_natives_get_the_state_and_five_arguments() -> None:
    """A native gets the run and r1 to r5; its result is r0, and the registers stay as they were."""
    seen = []

    def native(state: RunState, *arguments: int) -> int:
        seen.append((state.program.name, arguments))
        return -1

    text = "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = -5\ncall f#1\nr0 += r4\nexit"
    assert run(text, {5: native}) == 3
    assert seen == [("test", (1, 2, 3, 4, (1 << 64) - 5))]


def test_natives_call_back() -> None:
    """state.call runs the subprogram whose address an lddw gave, with its arguments, in a frame of its own."""

    def loop(state: RunState, count: int, function: int, context: int, *_: int) -> int:
        return sum(state.call(function, i, context) for i in range(count))

    text = """
        r1 = 4
        r2 = subprog[body]
        r3 = 100
        r6 = 1000
        call loop#181
        r0 += r6
        exit
    body:
        r6 = 0
        r0 = r1
        r0 += r2
        exit
    """
    assert run(text, {5: loop}) == 1000 + 4 * 100 + 0 + 1 + 2 + 3


@pytest.mark.parametrize("address", ["r2 = 0", "r2 = 3", "r2 = 100000", "r2 = -1"])
def test_a_callback_must_be_a_subprogram(address: str) -> None:
    """Calling back to anything but the address of a subprogram is an error of the program."""
    text = f"{address}\ncall f#1\nr0 = 0\nexit\nf: r0 = subprog[f]\nexit"
    with pytest.raises(RunError, match="is not the address of a subprogram") as caught:
        run(text, {1: lambda state, _1, r2, *_: state.call(r2)})
    assert caught.value.insn == 1


class Goal:
    """A program that a tail call leads to."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter

    def machine_entry(self) -> int:
        raise AssertionError("an interpreter goes on with an interpreter")


def test_a_native_can_replace_the_program() -> None:
    """TailCall goes on with another program in the same frame: r1 is passed on, all else is fresh, and the caller gets its r0."""
    target = build("r0 = *(u64 *)(r10 -8)\nr0 += r6\nr0 += r1\nr0 += 5\nr2 = 0x1\nr2 = 0x2\nexit")

    def jump(*_: object) -> int:
        raise TailCall(Goal(target))

    text = """
        r6 = 1000
        call inner
        r0 += r6
        exit
    inner:
        r6 = 77
        *(u64 *)(r10 -8) = 88
        r1 = 10
        call jump#12
        r0 = 0
        exit
    """
    assert run(text, {7: jump}) == 1000 + 10 + 5


def test_may_goto_has_a_budget_per_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """may_goto jumps once its frame's budget is used up, and never before; a subprogram has a budget of its own."""
    assert interp.MAX_LOOPS == 8 * 1024 * 1024
    monkeypatch.setattr(interp, "MAX_LOOPS", 50)
    text = """
        r6 = 0
        call count
    again: may_goto done
        r6 += 1
        may_goto done
        goto again
    done:
        r0 <<= 8
        r0 |= r6
        exit
    count:
        r0 = 0
    more: may_goto end
        r0 += 1
        goto more
    end: exit
    """
    assert run(text) == 50 << 8 | 25


def test_virtual_regions_compute_their_bytes() -> None:
    """Loads and stores of a virtual region go to its access functions each time."""
    memory, counter = Memory(), Counter()
    region = memory.new(16, "ctx", access=counter)
    text = "r0 = *(u32 *)(r1 +0)\nr0 = *(u32 *)(r1 +4)\n*(u16 *)(r1 +8) = r0\n*(u8 *)(r1 +9) = -1\nexit"
    assert run(text, memory=memory, ctx=region.base) == 2
    assert counter.written == [(8, 2, 2), (9, 1, 0xFF)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*(u8 *)(r1 +0) = 1", "constants cannot be written"),
        ("r2 = 1\n*(u64 *)(r1 +8) = r2", "constants cannot be written"),
        ("r2 = *(u64 *)(r1 +8)\n*(u64 *)(r1 +8) = r2", "constants cannot be written"),
        ("r2 = 1\nlock *(u32 *)(r1 +8) += r2", "constants cannot be written"),
        ("r1 += 64\nr0 = *(u8 *)(r1 +0)", "handle cannot be read"),
        ("r1 += 64\n*(u8 *)(r1 +0) = 0", "handle cannot be written"),
        ("r1 += 128\nr0 = *(u32 *)(r1 +6)", "reach beyond its 8 bytes"),
        ("r1 += 128\nr0 = *(u8 *)(r1 +9)", "reach beyond its 8 bytes"),
        ("r1 += 128\nr0 = *(u64 *)(r1 +16)\nr0 = *(u64 *)(r1 +24)", "reach beyond its 8 bytes"),
        ("r1 += 128\n*(u64 *)(r1 +16) = 0\n*(u64 *)(r1 +48) = 0", "not in any memory"),
    ],
)
def test_permissions_and_elements(text: str, message: str) -> None:
    """Read-only and opaque memory, and the gaps between the elements of a map, stop the program."""
    memory = Memory()
    storage = interp.allocate(256)[0]
    for offset, size, options in (
        (0, 16, {"name": "constants", "writable": False}),
        (64, 8, {"name": "handle", "readable": False}),
        (128, 48, {"name": "elements", "stride": 16, "chunk": 8}),
    ):
        memory.map(interp.Region(storage, offset=offset, size=size, **options))  # type: ignore[arg-type]
    base = memory.find(interp.Region(storage, name="").base).base
    with pytest.raises(RunError, match=message):
        run(f"{text}\nr0 = 0\nexit", memory=memory, ctx=base)


def test_a_remembered_region_that_is_gone_is_not_used() -> None:
    """An instruction that found its bytes before does not find them after they were unmapped."""
    parent = Memory()
    region = parent.new(8, "element")

    def drop(*_: object) -> int:
        parent.unmap(region)
        return 0

    text = "r6 = r1\nagain: r0 = *(u64 *)(r6 +0)\ncall drop#1\ngoto again"
    with pytest.raises(RunError, match="not in any memory") as caught:
        run(text, {2: drop}, Memory(parent), region.base)
    assert caught.value.insn == 1


def test_a_trap_tells_all() -> None:
    """The error names program, instruction, its text, the source line and the registers."""
    insns = assemble("r6 = 6\nr1 = 0x10\nr0 = *(u32 *)(r1 +4)\nexit")
    lines = (
        LineInfo(0, "a.c", 3, 1, "int a;"),
        LineInfo(3, "a.c", 7, 2, "\treturn *p;"),
        LineInfo(4, "a.c", 9, 1, "}"),
    )
    spec = replace(ProgramSpec("reader", "tc", ProgType.SCHED_CLS, insns), lines=lines)
    with pytest.raises(RunError) as caught:
        Interpreter(spec, insns, {}).run(RunState(Memory(), spec), 0)
    error = caught.value
    assert (error.program, error.insn) == ("reader", 3)
    assert error.where == "r0 = *(u32 *)(r1 +4)\n  at a.c:7: return *p;"
    assert len(error.registers) == 11
    assert (error.registers[1], error.registers[6]) == (0x10, 6)
    assert error.message == "address 0x14 is not in any memory of this program"


def test_a_fault_in_a_native_is_a_trap_at_the_call() -> None:
    """A helper that is given a bad address stops the program at its call, which is named as the object names it."""
    for call, text in (("kfunc#7", "bpf_dynptr_size#7"), ("helper#1", "bpf_map_lookup_elem#1")):
        insns = assemble(f"r1 = 0\ncall {call}\nexit")
        refs = {1: KfuncRef("bpf_dynptr_size")} if call == "kfunc#7" else {}
        spec = ProgramSpec("test", "xdp", ProgType.XDP, insns, refs=refs)
        program = Interpreter(spec, insns, {1: lambda state, r1, *_: state.memory.load(r1, 8)})
        with pytest.raises(RunError, match="address 0x0") as caught:
            program.run(RunState(Memory(), spec), 0)
        assert (caught.value.insn, caught.value.where) == (1, f"call {text}")


def test_a_trap_in_a_callback_is_the_callbacks() -> None:
    """The innermost instruction is the one that an error names."""
    text = "r2 = subprog[f]\ncall loop#1\nexit\nf: r0 = *(u8 *)(r10 +1)\nexit"
    with pytest.raises(RunError) as caught:
        run(text, {2: lambda state, _1, r2, *_: state.call(r2)})
    assert caught.value.insn == 4


def test_the_step_limit_counts_callbacks_too() -> None:
    """Instructions of subprograms and callbacks count towards the limit of the run."""
    text = "r2 = subprog[f]\nagain: call loop#1\ngoto again\nf: r0 = 0\nexit"
    natives = {2: lambda state, _1, r2, *_: state.call(r2)}
    program = build(text, natives, step_limit=1000)
    with pytest.raises(RunError, match="passed its limit of 1000 instructions"):
        program.run(RunState(Memory(), program.spec), 0)


def test_an_empty_program_is_refused() -> None:
    """No instructions are no program."""
    with pytest.raises(RunError, match="the program is empty"):
        build("")


def test_threads_lose_no_atomic_update() -> None:
    """Atomic additions to shared memory from several threads all count."""
    shared = Memory()
    cell = shared.new(8, "counter")
    program = build(
        f"""
        r6 = 2000
        r1 = {cell.base:#x}
    again:
        r2 = 1
        lock *(u64 *)(r1 +0) += r2
        r3 = *(u64 *)(r1 +0)
        r6 -= 1
        if r6 != 0 goto again
        r0 = 0
        exit
        """
    )
    threads = [
        threading.Thread(target=lambda: program.run(RunState(Memory(shared), program.spec), 0)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.load(cell.base, 8) == 8000
