"""Machine code and Python: exceptions pass around compiled frames, threads do not disturb each other, objects are compiled once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.jit import build
from bpfcrypto.isa.asm import assemble
from bpfcrypto.spec import CollectionSpec, MapRef, MapSpec, ProgramSpec

pytest.importorskip("llvmlite")

EXAMPLE = Path(__file__).parents[3] / "examples" / "crypto_packets.bpf.o"
PRINT = "r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 0x6948\nr2 = 3\ncall bpf_trace_printk#6"


def one(
    text: str, *, kind: ProgType = ProgType.XDP, maps: dict[str, MapSpec] | None = None, **refs: int
) -> CollectionSpec:
    """A collection of one program; ``refs`` are names of maps and the slots that refer to them."""
    insns = assemble(text)
    flags = ProgFlag.SLEEPABLE if kind is ProgType.SYSCALL else ProgFlag(0)
    program = ProgramSpec(
        "p", kind.name.lower(), kind, insns, flags=flags, refs={slot: MapRef(name) for name, slot in refs.items()}
    )
    return CollectionSpec("<test>", "GPL", programs={"p": program}, maps=maps or {})


class Stop(BaseException):
    """Not even an Exception."""


def test_what_a_helper_raises_comes_out() -> None:
    """An exception in Python code that a helper calls ends the run and is raised, through subprograms and a loop."""
    text = f"r6 = 0\nagain: call sub\nr6 += 1\nif r6 < 5 goto again\nr0 = 2\nexit\nsub:\n{PRINT}\nr0 = 0\nexit"
    lines: list[str] = []

    def trace(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise Stop

    with EmbeddedEngine(jit=True, trace=trace) as engine, engine.load(one(text)) as collection:
        with pytest.raises(Stop):
            collection.programs["p"].run(bytes(64))
        assert len(lines) == 3
        assert collection.programs["p"].run(bytes(64)).retval == 2
        assert len(lines) == 8


def test_a_run_holds_no_lock_of_python() -> None:
    """While compiled code runs, other threads of Python do."""
    text = "r6 = 0\nr7 = 1\nloop: r7 *= 31\nr7 ^= r6\nr6 += 1\nmay_goto out\ngoto loop\nout: r0 = r7\nexit"
    counted = 0
    with EmbeddedEngine(jit=True) as engine, engine.load(one(text)) as collection:
        program = collection.programs["p"]
        program.run(bytes(64))
        worker = threading.Thread(target=lambda: [program.run(bytes(64)) for _ in range(10)])
        worker.start()
        while worker.is_alive():
            counted += 1
            time.sleep(0)
        worker.join()

    assert counted > 100


def test_collections_in_threads() -> None:
    """Two collections of one object in two threads keep to their own maps and keys."""
    packet = bytes.fromhex("02000000000102000000000208004500003c00010000401100000a0000010a0000023039003500280000")
    packet += bytes(32)
    with EmbeddedEngine(jit=True) as engine:
        collections = [engine.load(EXAMPLE) for _ in range(2)]
        expected = []
        for number, each in enumerate(collections):
            each.variables["cipher"].value = "cbc(aes)"
            each.variables["key"].value = bytes([number]) * 16
            each.variables["key_len"].value = 16
            each.programs["setup"].run()
            expected.append(each.programs["encrypt"].run(packet).data)
        assert expected[0] != expected[1]
        wrong: list[int] = []

        def work(number: int) -> None:
            program = collections[number].programs["encrypt"]
            wrong.extend(number for _ in range(300) if program.run(packet).data != expected[number])

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in collections:
            each.close()

    assert wrong == []


def test_a_program_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process, as it were, takes the object from disk; a program that differs in one constant does not."""
    monkeypatch.setenv("BPFCRYPTO_CACHE", str(tmp_path))
    made: list[str] = []
    compile_object = build.compile_object
    monkeypatch.setattr(build, "compile_object", lambda text, passes: made.append(text) or compile_object(text, passes))

    def run(constant: int) -> int:
        with EmbeddedEngine(jit=True) as engine, engine.load(one(f"r0 = {constant}\nexit")) as collection:
            return collection.programs["p"].run(bytes(64)).retval

    assert [run(7), run(7), run(8), run(7)] == [7, 7, 8, 7]
    assert len(made) == 2


def test_the_size_of_a_map_is_part_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that was compiled for a map does not serve another of the same name with fewer elements."""
    monkeypatch.setenv("BPFCRYPTO_CACHE", str(tmp_path))
    text = "*(u32 *)(r10 -4) = 5\nr2 = r10\nr2 += -4\nr1 = map[fd:0]\ncall bpf_map_lookup_elem#1\nif r0 == 0 goto none\nr0 = 1\nexit\nnone: r0 = 2\nexit"

    def run(entries: int) -> int:
        values = MapSpec("values", MapType.ARRAY, 4, 8, entries)
        with (
            EmbeddedEngine(jit=True) as engine,
            engine.load(one(text, maps={"values": values}, values=3)) as collection,
        ):
            return collection.programs["p"].run(bytes(64)).retval

    assert [run(6), run(5)] == [1, 2]


def test_the_interpreter_serves_without_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where llvmlite cannot be imported, programs are interpreted, and the engine says why."""
    from bpfcrypto.embedded.jit import compile as compiling

    monkeypatch.setattr(compiling, "is_available", lambda: False)
    with EmbeddedEngine() as engine, engine.load(one("r0 = 3\nexit")) as collection:
        assert collection.programs["p"].machine is None
        assert collection.programs["p"].run(bytes(64)).retval == 3
        assert not engine.capabilities.jit
        assert "llvmlite" in (engine.capabilities.why_not or {})["machine code"]


def test_openssl_serves_where_the_processor_has_no_aes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AES instructions compiled programs encrypt all the same, and alike."""
    from bpfcrypto.embedded.jit import aes_targets

    packet = bytes.fromhex("02000000000102000000000208004500003c00010000401100000a0000010a0000023039003500280000")
    packet += bytes(range(32))

    def encrypted() -> bytes:
        with EmbeddedEngine(jit=True) as engine, engine.load(EXAMPLE) as collection:
            for name, value in {"cipher": "cbc(aes)", "key": bytes(range(16)), "key_len": 16}.items():
                collection.variables[name].value = value
            collection.programs["setup"].run()
            assert collection.programs["encrypt"].machine is not None
            return collection.programs["encrypt"].run(packet).data

    native = encrypted()
    monkeypatch.setattr(aes_targets, "supported", lambda *_: False)

    assert encrypted() == native != packet
