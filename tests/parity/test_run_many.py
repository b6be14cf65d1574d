"""Many packets in one call give what a call for each gives: in the interpreter, on machine code, and in the kernel."""

from __future__ import annotations

import random
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.ctx import LAYOUTS
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import RunError, SyscallError
from bpfcrypto.loader.load import load_spec
from support.annotations import expectation
from support.packets import sample
from support.parity import contents, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bpfcrypto.engine import Collection, Engine, Program
    from bpfcrypto.kernel.engine import KernelEngine

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "tests/bpf/records.bpf.o"
OBJECTS = sorted([*ROOT.glob("tests/bpf/*.bpf.o"), *ROOT.glob("examples/*.bpf.o")])
ODD_SIZES = (0, 1, 13, 14, 15, 16, 33, 34, 53, 54, 3519, 3520, 3521, 3712, 3713, 9000, 80_000)


def packets() -> list[bytes]:
    """Every sample, twice, with packets of sizes at the borders of what a test run takes."""
    draw = random.Random(7)
    sizes = [draw.randbytes(size) for size in ODD_SIZES]
    ethertypes = [
        bytes(12) + each + bytes(60) for each in (b"\x08\x00", b"\x86\xdd", b"\x00\x10", b"\x05\xff", b"\x06\x00")
    ]
    llc = [b"\x01" + bytes(11) + b"\x00\x10\xff\xff" + bytes(30), bytes(12) + b"\x00\x10\xff"]
    mixed = [*sample().values(), *sizes, *ethertypes, *llc]
    draw.shuffle(mixed)
    return [*mixed, *sample().values()]


PACKETS = packets()

Outcome = tuple[object, ...]


def one_by_one(program: Program, packets: Sequence[bytes], *, by_hand: bool = False) -> list[Outcome]:
    """What a call for each packet gives; ``by_hand`` with a flag that says nothing new, which machine code leaves to Python."""
    found: list[Outcome] = []
    for packet in packets:
        try:
            result = program._run_by_hand(packet, b"", 1, None, 0) if by_hand else program.run(packet)  # type: ignore[attr-defined]
        except SyscallError as error:
            found.append((error.errno,))
        else:
            found.append((0, result.retval, result.data, result.effects))
    return found


def at_once(program: Program, packets: object) -> list[Outcome]:
    """The same from one call for all."""
    results = program.run_many(packets)
    assert len(results) == len(results.packets) == len(results.errnos)
    assert list(results.lengths) == [len(each) for each in results.packets]
    return [
        (errno,) if errno else (errno, results.retvals[n], bytes(results.packets[n]), results.effects.get(n, ()))
        for n, errno in enumerate(results.errnos)
    ]


def record(engine: Engine, path: Path, name: str, ways: Callable[[Program], list[Outcome]]) -> tuple[object, ...]:
    with engine.load(path, programs=[name]) as collection:
        setup = collection.programs[name]
        outcome = ways(setup)
        return outcome, variables(collection), left_behind(collection)


def left_behind(collection: Collection) -> dict[str, object]:
    return {name: contents(m, collection) for name, m in collection.maps.items() if not name.startswith("nd_")}


def packet_programs() -> list[object]:
    return [
        pytest.param(path, name, id=f"{path.name.removesuffix('.bpf.o')}-{name}")
        for path in OBJECTS
        if not path.name.startswith(("rules_", "clocks"))  # how clocks go depends on who else is running
        for name, program in load_spec(path.read_bytes(), path.name).programs.items()
        if program.type in LAYOUTS and expectation(program).accepted
    ]


@pytest.mark.parametrize(("path", "name"), packet_programs())
def test_every_program(path: Path, name: str) -> None:
    """Results, packets, refusals, effects, variables and maps: four ways, one outcome."""
    interpreted, machine = EmbeddedEngine(jit=False, cpus=2), EmbeddedEngine(cpus=2)
    expected = record(interpreted, path, name, lambda program: one_by_one(program, PACKETS))

    assert record(interpreted, path, name, lambda program: at_once(program, PACKETS)) == expected
    assert record(machine, path, name, lambda program: at_once(program, PACKETS)) == expected
    assert record(machine, path, name, lambda program: one_by_one(program, PACKETS)) == expected
    assert record(machine, path, name, lambda program: one_by_one(program, PACKETS, by_hand=True)) == expected


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["each_xdp", "each_tc"])
def test_kernel(kernel_engine: KernelEngine, embedded_engine: EmbeddedEngine, name: str) -> None:
    """The kernel's packets and refusals are ours."""
    there, here = (
        record(engine, RECORDS, name, lambda program: at_once(program, PACKETS))
        for engine in (kernel_engine, embedded_engine)
    )

    assert here[0] == there[0]


@pytest.mark.parametrize("jit", [False, None])
def test_forms_of_packets(jit: bool | None) -> None:
    """Bytes-like objects of any kind, iterators, and buffers of two dimensions that can be written or not are the same packets."""
    frames = [bytes([n]) * 12 + bytes([0x88, 0xB5, n]) + bytes(45) for n in range(100)]
    joined = b"".join(frames)
    with EmbeddedEngine(jit=jit) as engine, engine.load(RECORDS) as collection:
        program = collection.programs["each_xdp"]
        expected = at_once(program, frames)
        forms = [
            tuple(frames),
            iter(frames),
            [bytearray(each) for each in frames],
            [memoryview(each) for each in frames],
            [memoryview(array("I", each)) for each in frames],
            memoryview(joined).cast("B", (100, 60)),
            memoryview(bytearray(joined)).cast("B", (100, 60)),
        ]
        assert [at_once(program, each) for each in forms] == [expected] * len(forms)
        assert at_once(program, []) == at_once(program, memoryview(b"").cast("B")[:0].tolist()) == []


@pytest.mark.parametrize(
    "packets", [b"one packet", bytearray(60), "text", 7, memoryview(bytearray(64)).cast("I", (4, 4))]
)
def test_what_are_no_packets(embedded_engine: EmbeddedEngine, packets: object) -> None:
    """A single packet, text, numbers, and rows of something larger than bytes are refused before anything runs."""
    with embedded_engine.load(RECORDS) as collection, pytest.raises(TypeError, match="run_many takes"):
        collection.programs["each_tc"].run_many(packets)


def test_closed(embedded_engine: EmbeddedEngine) -> None:
    """After its collection is gone, a program runs no more."""
    with embedded_engine.load(RECORDS) as collection:
        program = collection.programs["each_tc"]
        program.run_many([bytes(60)])
    with pytest.raises(SyscallError, match="EBADF"):
        program.run_many([bytes(60)])
    with pytest.raises(SyscallError, match="EBADF"):
        program.run(bytes(60))


def test_runs_inside_of_runs(compile_bpf: Callable[..., bytes]) -> None:
    """A callback of Python may run programs on the CPU of the run that it is in; each packet keeps its own place."""
    source = """
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    char _license[] SEC("license") = "GPL";
    SEC("tc") int outer(struct __sk_buff *skb)
    {
        u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
        if (data + 15 > end)
            return 1;
        if (data[14] == 1)
            bpf_printk("inside");
        data = (void *)(long)skb->data, end = (void *)(long)skb->data_end;
        return data + 15 > end ? 1 : 100 + data[14];
    }
    """
    inner = []

    def trace(_line: str) -> None:
        inner.append(program.run(bytes(14) + b"\x05" + bytes(45)).retval)
        inner.append(list(program.run_many([bytes(14) + b"\x06" + bytes(45)]).retvals))

    with EmbeddedEngine(trace=trace) as engine, engine.load(compile_bpf(source)) as collection:
        program = collection.programs["outer"]
        frames = [bytes(14) + bytes([n]) + bytes(45) for n in (0, 1, 2)]
        assert list(program.run_many(frames).retvals) == [100, 101, 102]
        assert inner == [105, [106]]
        assert [program.run(each).retval for each in frames] == [100, 101, 102]


def test_an_error_ends_it_and_no_more(compile_bpf: Callable[..., bytes]) -> None:
    """What a helper raises comes out of the call; the next call finds everything as new."""

    def trace(line: str) -> None:
        raise RunError(line, program="p")

    with EmbeddedEngine(trace=trace) as engine, engine.load(RECORDS) as fine:
        source = """
        #include "vmlinux.h"
        #include <bpf/bpf_helpers.h>
        char _license[] SEC("license") = "GPL";
        SEC("tc") int p(struct __sk_buff *skb) { if (skb->len > 60) bpf_printk("stop"); return skb->len; }
        """
        with engine.load(compile_bpf(source)) as collection:
            program = collection.programs["p"]
            for _ in range(3):
                with pytest.raises(RunError, match="stop"):
                    program.run_many([bytes(60), bytes(61), bytes(62)])
                with pytest.raises(RunError, match="stop"):
                    program.run(bytes(61))
                assert list(program.run_many([bytes(60)] * 2).retvals) == [60, 60]
                assert program.run(bytes(60), repeat=3).retval == 60
        assert fine.programs["each_tc"].run(bytes(60)).retval == 0


@pytest.mark.parametrize("repeat", [-3, 0, 1, 2, 7])
@pytest.mark.parametrize("name", ["each_xdp", "each_tc"])
def test_repetitions(name: str, repeat: int) -> None:
    """Repetitions on one packet, which is not reset in between, leave the same packet."""
    results = []
    for jit in (False, None):
        with EmbeddedEngine(jit=jit) as engine, engine.load(RECORDS) as collection:
            program = collection.programs[name]
            results.append(
                [
                    (result.retval, result.data, result.effects)
                    for n in range(64)
                    for result in [program.run(bytes(12) + b"\x88\xb5" + bytes([n]) + bytes(45), repeat=repeat)]
                ]
            )
    assert results[0] == results[1]
