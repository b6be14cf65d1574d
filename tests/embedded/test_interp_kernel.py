"""The interpreter and machine code beside the kernel: random programs, of which every register and the stack must come out equal; packet loads."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.interp import Interpreter
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.state import RunState
from bpfcrypto.errors import RunError
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.codec import encode
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.load import load_program
from bpfcrypto.spec import ProgramSpec
from support.isa_cases import run_interpreter, run_kernel, run_machine

REGISTERS = [0, 2, 3, 4, 5, 6, 7, 8, 9]
SLOTS = 4
WORDS = len(REGISTERS) + SLOTS

EDGES = [
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    1 << 63,
    (1 << 63) - 1,
]
words = st.one_of(st.sampled_from([v for e in EDGES for v in (e, -e & (1 << 64) - 1)]), st.integers(0, (1 << 64) - 1))
imms = st.one_of(st.integers(-9, 9), st.integers(-(1 << 31), (1 << 31) - 1))

register = st.sampled_from(REGISTERS)
file = st.sampled_from("rw")
slot = st.integers(1, SLOTS).map(lambda n: -8 * n)
size = st.sampled_from([8, 16, 32, 64])
sign = st.sampled_from(["+=", "-=", "*=", "|=", "&=", "^="])
division = st.sampled_from(["/=", "%=", "s/=", "s%="])
shift = st.sampled_from(["<<=", ">>=", "s>>="])
test = st.sampled_from(["==", "!=", ">", ">=", "<", "<=", "&", "s>", "s>=", "s<", "s<="])
fetch = st.sampled_from(["fetch_add", "fetch_or", "fetch_and", "fetch_xor", "xchg"])

instructions = st.one_of(
    st.builds("{0}{1} {2} {0}{3}".format, file, register, st.one_of(sign, division, shift), register),
    st.builds("{}{} {} {}".format, file, register, sign, imms),
    st.builds("{}{} {} {}".format, file, register, division, imms.filter(bool)),
    st.builds("{}{} {} {}".format, file, register, shift, st.integers(0, 31)),
    st.builds("r{} {} {}".format, register, shift, st.integers(32, 63)),
    st.builds("{0}{1} = {0}{2}".format, file, register, register),
    st.builds("{0}{1} = -{0}{1}".format, file, register),
    st.builds("{0}{1} = (s{3}){0}{2}".format, file, register, register, st.sampled_from([8, 16])),
    st.builds("r{} = (s32)r{}".format, register, register),
    st.builds(
        "r{0} = {1}{2} r{0}".format, register, st.sampled_from(["le", "be", "bswap"]), st.sampled_from([16, 32, 64])
    ),
    st.builds("r{} = {:#x}".format, register, words),
    st.builds("*(u{} *)(r10 {:+}) = r{}".format, size, slot, register),
    st.builds("*(u{} *)(r10 {:+}) = {}".format, size, slot, imms),
    st.builds("r{} = *(u{} *)(r10 {:+})".format, register, size, slot),
    st.builds("r{} = *(s{} *)(r10 {:+})".format, register, st.sampled_from([8, 16, 32]), slot),
    st.builds("lock *(u64 *)(r10 {:+}) {} r{}".format, slot, st.sampled_from(["+=", "|=", "&=", "^="]), register),
    st.builds("r{0} = atomic64_{1}((u64 *)(r10 {2:+}), r{0})".format, register, fetch, slot),
    st.builds("r{0} = atomic_{1}((u32 *)(r10 {2:+}), r{0})".format, register, fetch, slot),
    st.builds("r0 = atomic64_cmpxchg((u64 *)(r10 {:+}), r0, r{})".format, slot, register),
    st.builds("r0 = atomic_cmpxchg((u32 *)(r10 {:+}), r0, r{})".format, slot, register),
    st.builds("if {0}{1} {2} {0}{3} goto {{{4}}}".format, file, register, test, register, st.integers(1, 5)),
    st.builds("if {}{} {} {} goto {{{}}}".format, file, register, test, imms, st.integers(1, 5)),
)


def text_of(body: list[str]) -> str:
    """A program that fills registers and stack from memory, runs the body, and writes both back."""
    lines = [f"r0 = *(u64 *)(r1 +{8 * (len(REGISTERS) + n)})\n*(u64 *)(r10 {-8 * (n + 1)}) = r0" for n in range(SLOTS)]
    lines += [f"r{r} = *(u64 *)(r1 +{8 * n})" for n, r in enumerate(REGISTERS)]
    for at, line in enumerate(body):
        head, jump, distance = line.partition("{")
        target = min(at + 1 + int(distance.rstrip("}")), len(body)) if jump else 0
        lines.append(f"at{at}: {head}" + (f"at{target}" if jump else ""))
    lines.append(f"at{len(body)}:")
    lines += [f"*(u64 *)(r1 +{8 * n}) = r{r}" for n, r in enumerate(REGISTERS)]
    lines += [f"r2 = *(u64 *)(r10 {-8 * (n + 1)})\n*(u64 *)(r1 +{8 * (len(REGISTERS) + n)}) = r2" for n in range(SLOTS)]
    return "\n".join([*lines, "exit"])


@pytest.mark.kernel
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(instructions, min_size=5, max_size=30), st.lists(words, min_size=WORDS, max_size=WORDS))
def test_random_programs(body: list[str], values: list[int]) -> None:
    """r0, every other register and the stack are the same after the same random instructions."""
    text, memory = text_of(body), struct.pack(f"<{WORDS}Q", *values)
    assert run_interpreter(text, memory) == run_machine(text, memory) == run_kernel(text, memory)


FRAME = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(range(0x80, 0x80 + 50))


@pytest.mark.kernel
@pytest.mark.parametrize(
    "load",
    [
        "r0 = *(u8 *)skb[14]",
        "r0 = *(u16 *)skb[12]",
        "r0 = *(u32 *)skb[15]",
        "r0 = *(u32 *)skb[60]",
        "r0 = *(u32 *)skb[61]",
        "r0 = *(u8 *)skb[64]",
        "r0 = *(u8 *)skb[2147483647]",
        "r0 = *(u8 *)skb[r7 + 10]",
        "r0 = *(u16 *)skb[r7 + -4]",
        "r0 = *(u32 *)skb[r7 + 60]",
        "r7 = 0x100000003\nr0 = *(u16 *)skb[r7 + 10]",
    ],
)
def test_packet_loads(load: str) -> None:
    """Legacy packet loads are big-endian, and end the program with 0 where the packet has no such bytes."""
    insns = assemble(f"r6 = r1\nr7 = 4\nr0 = 7\n{load}\nr0 += 1\nexit")
    memory = Memory()
    spec = ProgramSpec("loads", "tc", ProgType.SCHED_CLS, insns)
    skb = SkBuff(memory, FRAME)
    ours = Interpreter(spec, insns, {}).run(RunState(memory, spec, packet=skb), skb.handle)

    with load_program(bpf.LoadRequest(ProgType.SCHED_CLS, encode(insns), name="loads")) as program:
        theirs = bpf.prog_test_run(program, data=FRAME).retval

    assert ours & 0xFFFFFFFF == theirs


def test_packet_loads_need_the_context() -> None:
    """Without the context in r6, or at an offset with a meaning of its own, the program is stopped."""
    memory = Memory()
    skb = SkBuff(memory, FRAME)
    for text, message in (
        ("r0 = *(u8 *)skb[0]\nexit", "needs the context in r6"),
        ("r6 = r1\nr0 = *(u8 *)skb[-4096]\nexit", "special offsets"),
    ):
        insns = assemble(text)
        spec = ProgramSpec("loads", "tc", ProgType.SCHED_CLS, insns)
        program = Interpreter(spec, insns, {})
        with pytest.raises(RunError, match=message) as caught:
            program.run(RunState(memory, spec, packet=skb), skb.handle)
        assert caught.value.insn == len(insns) - 2
