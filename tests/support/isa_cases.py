"""Instruction vectors: how their files are read, and how one vector runs on the interpreter, as machine code and on the kernel.

A file holds cases, in the manner of the bpf_conformance suite but several to a file::

    == name of the case
    -- asm
    r0 = *(u64 *)(r1 +0)       the program: r1 is the address of the memory, r2 its size in bytes
    exit
    -- mem                     the memory's bytes before, in hexadecimal (none: no memory)
    -- after                   the memory's bytes after the run
    -- result                  r0, all 64 bits
    -- error                   the program must not run: a part of the interpreter's message
    -- kernel                  with -- error: a part of the kernel's log, which rejects the program
    -- table a b               one run per row "a b = r0"; columns that the program names in braces are put into its text, the
                               others are 64-bit words of memory, in order

Lines that start with # are comments. All run the very same code: a small main program that calls the vector's code as a
subprogram and keeps its r0, with memory and r0 in one map value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.engine_collection import EmbeddedCollection
from bpfcrypto.embedded.interp import Interpreter
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.state import RunState
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import LDDW, PseudoImm
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.load import load_program
from bpfcrypto.spec import CollectionSpec, MapSpec, MapValueRef, ProgramSpec

_VALUE = 7001  # stands for the map in the text of a program that is to be compiled

VECTORS = Path(__file__).parents[1] / "vectors" / "isa"


@dataclass(frozen=True, slots=True)
class Vector:
    """One program with one input and what must come of it."""

    name: str
    asm: str
    mem: bytes = b""
    after: bytes | None = None
    result: int | None = None
    error: str | None = None
    kernel: str = ""


def load(path: Path) -> Iterator[Vector]:
    """The vectors of a file; a row of a table is one."""
    for chunk in path.read_text().split("\n== ")[1:]:
        name, _, body = chunk.partition("\n")
        yield from _case(f"{path.stem}: {name.strip()}", body)


def _case(name: str, body: str) -> Iterator[Vector]:
    sections: dict[str, list[str]] = {}
    title, columns = "", list[str]()
    for line in body.splitlines():
        if line.startswith("-- "):
            title, *columns = line[3:].split()
            sections[title] = []
        elif line.strip() and not line.startswith("#"):
            sections[title].append(line.strip())
    asm = "\n".join(sections["asm"])
    if "table" in sections:
        for row in sections["table"]:
            yield _row(name, asm, columns, row)
        return
    text = {title: " ".join(lines) for title, lines in sections.items()}
    yield Vector(
        name,
        asm,
        bytes.fromhex(text.get("mem", "")),
        bytes.fromhex(text["after"]) if "after" in text else None,
        int(text["result"], 0) if "result" in text else None,
        text.get("error"),
        text.get("kernel", ""),
    )


def _row(name: str, asm: str, names: list[str], row: str) -> Vector:
    inputs, _, result = row.partition("=")
    words = b""
    for column, text in zip(names, inputs.split(), strict=True):
        if f"{{{column}}}" in asm:
            asm = asm.replace(f"{{{column}}}", text)
        else:
            words += struct.pack("<Q", int(text, 0) & (1 << 64) - 1)
    return Vector(f"{name}: {row.strip()}", asm, words, None, int(result, 0) & (1 << 64) - 1)


def _wrap(asm: str, size: int, value: Callable[[int], str]) -> tuple[Insn, ...]:
    """The whole program around a vector's code; ``value`` is the text of an address in the map value."""
    return assemble(f"""
        r1 = {value(8)}
        r2 = {size}
        call vector
        r1 = {value(0)}
        *(u64 *)(r1 +0) = r0
        r0 = 0
        exit
    vector:
        {asm}
    """)


def run_interpreter(asm: str, mem: bytes) -> tuple[int, bytes]:
    """r0 and the memory after a run on the interpreter."""
    memory = Memory()
    value = memory.new(8 + len(mem), "vector memory")
    memory.span(value.base, value.size, write=True)[8:] = mem
    insns = _wrap(asm, len(mem), lambda offset: f"{value.base + offset:#x}")
    spec = ProgramSpec("vector", "syscall", ProgType.SYSCALL, insns)
    Interpreter(spec, insns, {}, step_limit=1_000_000).run(RunState(memory, spec), 0)
    after = bytes(memory.span(value.base, value.size))
    return int.from_bytes(after[:8], "little"), after[8 : 8 + len(mem)]


@lru_cache(64)
def _compiled(asm: str, size: int) -> EmbeddedCollection:
    """The program around a vector's code as machine code; rows of one table share it."""
    insns = _wrap(asm, size, lambda offset: f"map[fd:{_VALUE}][0]+{offset}")
    refs = {
        at: MapValueRef("value", insns[at + 1].imm)
        for at, insn in enumerate(insns)
        if insn.code == LDDW and insn.src == PseudoImm.MAP_VALUE and insn.imm == _VALUE
    }
    program = ProgramSpec("vector", "syscall", ProgType.SYSCALL, insns, flags=ProgFlag.SLEEPABLE, refs=refs)
    value = MapSpec("value", MapType.ARRAY, 4, 8 + max(size, 8), 1)
    return EmbeddedEngine(jit=True).load(CollectionSpec("<vector>", "GPL", None, {"vector": program}, {"value": value}))


forget_compiled = _compiled.cache_clear
"""Have every program compiled anew."""


def run_machine(asm: str, mem: bytes) -> tuple[int, bytes]:
    """r0 and the memory after a run as machine code; VerifierError where the verifier rejects the program."""
    collection = _compiled(asm, len(mem))
    value = collection.maps["value"]
    value.update(bytes(4), (bytes(8) + mem).ljust(value.spec.value_size, b"\0"))
    collection.programs["vector"].run()
    after = value.lookup(bytes(4))
    return int.from_bytes(after[:8], "little"), after[8 : 8 + len(mem)]


def run_kernel(asm: str, mem: bytes) -> tuple[int, bytes]:
    """r0 and the memory after a run on the kernel; VerifierError where it rejects the program."""
    key, size = bytes(4), 8 + max(len(mem), 8)  # an address at the end of the value is refused
    with bpf.map_create(MapType.ARRAY, 4, size, 1) as value:
        bpf.map_update(value, key, (bytes(8) + mem).ljust(size, b"\0"))
        insns = _wrap(asm, len(mem), lambda offset: f"map[fd:{value.fileno()}][0]+{offset}")
        request = bpf.LoadRequest(ProgType.SYSCALL, encode(insns), flags=ProgFlag.SLEEPABLE, name="vector")
        with load_program(request) as program:
            outcome = bpf.prog_test_run(program)
            assert outcome.errno == 0
        after = bpf.map_lookup(value, key, size)
    return int.from_bytes(after[:8], "little"), after[8 : 8 + len(mem)]
