"""Every program of the corpus and of the examples does the same on both engines, with edge values and random ones as inputs.

Programs that expect to be refused are for the verifiers: the kernel's must refuse them with the expected words. The interpreter may
be given them all the same, and must come to no harm.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.errors import NotSupportedError, ObjectError, RunError
from bpfcrypto.loader.load import load_spec
from support.annotations import expectation
from support.packets import sample
from support.parity import Step, play, run
from support.texts import texts

if TYPE_CHECKING:
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine
    from bpfcrypto.spec import CollectionSpec

ROOT = Path(__file__).parents[2]
OBJECTS = sorted([*ROOT.glob("tests/bpf/*.bpf.o"), *ROOT.glob("examples/*.bpf.o")])

EDGES = {
    "u32": (
        0,
        1,
        2,
        3,
        4,
        7,
        8,
        13,
        14,
        15,
        16,
        17,
        26,
        34,
        42,
        60,
        64,
        65,
        100,
        255,
        256,
        1500,
        4096,
        2**31 - 1,
        2**31,
        2**32 - 1,
    ),
    "u64": (0, 1, 2, 3, 4, 8, 16, 0x10, 0x12, 0x14, 0x20, 0x40, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1),
    "s32": (0, 1, 2, 4, 14, -1, -4, -14, 40, -40, 216, -216, -217, 1000, 2**31 - 1, -(2**31)),
}
SMALL_U32 = (*range(6), 100)
INPUTS: dict[str, dict[str, tuple[int, ...] | int]] = {
    # object -> input variable -> what to choose from; a plain number is the length of random bytes
    "packets": {
        "offset": EDGES["u32"], "length": EDGES["u32"], "delta": EDGES["s32"], "flags": EDGES["u64"],
        "from": EDGES["u64"], "to": EDGES["u64"], "given": 64,
    },
    "nonlinear": {
        "operation": range(16), "done": (0,), "offset": (0, 1, 14, 20, 24, 34, 60, 100, 1400), "length": (1, 8, 32, 60, 64, 100, 1500),
        "delta": (8, 20, 300, -4, -8, -20, -300), "flags": (0, 0, 1, 2, 3), "given": 64,
    },
    "dynptrs": {"offset": EDGES["u32"], "length": EDGES["u32"], "flags": (0, 0, 0, 1, 2**63), "given": 64},
    "for_each": {"op": (0, 0, 1, 2), "fill": range(18), "stop_at": (0, 0, 1, 2, 5), "flags": (0, 0, 0, 0, 1, 2**32)},
    "helpers": {"count": (*SMALL_U32, 1000), "loop_flags": (0, 0, 0, 1)},
    "maps": {"op": range(4), "key": range(6), "flags": (0, 0, 0, 1, 2, 3, 4, 5, 8, 2**32), "given": {"first": EDGES["u64"], "second": EDGES["u32"]}},
    "text": {"first": texts(), "second": texts(), "count": (0, 1, 2, 3, 4, 8, 63, 64, 65535, 65536, 2**63), "wanted": (0, *b"aAbz", 0xC0, 0xFF, 0x161, 2**32 - 1)},
    "dynptr_copy": {
        "dst_offset": (*EDGES["u32"], 20, 300), "src_offset": (*EDGES["u32"], 20, 300), "length": (*EDGES["u32"], 20, 300, 500), "cut": EDGES["u32"],
        "value": range(256), "given": 640, "memory": 640,
    },
    "iterator_bits": {"given": tuple([[a, b, a & b, 2**64 - 1] for a in EDGES["u64"] for b in (0, 5, 2**63)]), "count": (0, 1, 2, 3, 63, 511, 512, 2**32 - 1)},
    "maps_keyless": {
        "op": (0, 0, 1, 2), "flags": (0, 0, 0, 0, 1, 2, 3, 4, 8, 2**32), "given": {"first": (1, 2, 2**64 - 1), "second": EDGES["u32"]}, "odd": {"bytes": 7},
        "length": (0, 1, 4, 7, 8, 9, 15, 16, 24, 47, 48, 49, 2**32 - 1), "bits": tuple(bytes([a, b, 0, 0, 0, c]) for a in (0, 10, 0x80) for b in (0, 1, 255) for c in (0, 1)),
    },
    "ringbuf": {"length": (0, 1, 7, 8, 9, 16, 40, 44, 100, 256, 4072, 4080, 4081, 4096, 2**24 - 1, 2**24, 2**32 - 1), "flags": (0, 0, 0, 1, 2, 3, 4, 2**32), "discard": (0, 0, 1), "given": 256},
    "user_ringbuf": {"flags": (0, 1, 2, 3, 4, 2**32), "length": (0, 16, 32), "cipher": (b"cbc(aes)",), "key": 16, "iv": 16},
    "cpus": {"key": range(6), "flags": (0, 0, 0, 1, 2, 4, 8), "operand": EDGES["u64"], "given": {"runs": SMALL_U32, "low": SMALL_U32, "sum": EDGES["u64"]}},
    "maps_nested": {
        "slot": range(5), "key": range(6), "op": range(4), "flags": (0, 0, 0, 1, 2, 3, 4, 8), "given": EDGES["u64"], "cipher_key": 16,
    },
    "maps_percpu": {"key": range(5), "other": (0, 0, 1, 1, 2, 3, 255, 2**32 - 1), "given": EDGES["u64"], "insert": (False, True)},
    "tail_calls": {"slot": (0, 1, 2, 3, 4, 5, 6, 100, 2**32 - 1, 2**32, 2**32 + 1, 2**63 + 2)},
    "redirects": {  # no interface that exists: the kernel sends clones
        "ifindex": (0, 77, 2**31, 2**32 - 1), "key": (0, 1, 3, 4, 2**32 - 1), "flags": (*range(10), 16, 17, 24, 25, 32, 2**32, 2**63),
        "verdict": (0, 1, 2, 4, 7), "size": EDGES["u32"],
    },
    "locks": {"key": range(6), "flags": (0, 1, 2, 4, 5, 6, 8), "given": EDGES["u64"]},
    "events": {
        "flags": (0, 1, 2, 0xFFFFFFFF, 4 << 32, 1 << 52, 1 << 63), "size": EDGES["u32"], "given": 64,
    },
    "objects": {"op": range(4), "slot": range(4), "given": EDGES["u64"]},
    "lists": {"op": range(8), "slot": range(4), "given": EDGES["u64"]},
    "trees": {"op": range(8), "slot": range(4), "given": range(40), "wanted": range(40)},
    "pull_data": {"first": EDGES["u32"], "second": EDGES["u32"], "delta": EDGES["s32"]},
    "user_memory": {"address": (0, 16, 2**64 - 4096), "length": (0, 1, 2, 16, 255, 256, 257), "offset": (0, 1, 2, 16, 255, 256, 257), "flags": (0, 1, 2), "memory": 256},
    "cpumasks": {"first": (0, 1, 2, 63, 64, 2**32 - 1), "second": (0, 1, 1, 2, 63), "slot": range(2), "bits": EDGES["u64"]},
    "locks_resilient": {"first": SMALL_U32, "second": SMALL_U32},
    "exceptions": {"given": (*range(32), 2**32, 2**63 + 1, 2**64 - 1)},
    "kernel_context": {"room": EDGES["u32"]},
    "chacha20_poly1305": {"length": (*EDGES["u32"], 9216, 9217), "counter": EDGES["u32"]},
    "maps_kptr": {"key": range(6), "flags": (0, 0, 0, 1, 2, 3, 4, 8), "cipher_key": 16},
}  # fmt: skip


@cache
def spec_of(path: Path) -> CollectionSpec:
    """The object's blueprint, read once."""
    return load_spec(path.read_bytes(), path.name)


def programs(*, accepted: bool) -> list[object]:
    """One case per program that expects that verdict.

    The ``rules_`` objects are for the verifiers alone: what the kernel accepts there would not always be good to run.
    """
    return [
        pytest.param(path, name, id=f"{path.name.removesuffix('.bpf.o')}-{name}")
        for path in OBJECTS
        for name, program in spec_of(path).programs.items()
        if expectation(program).accepted == accepted and not (accepted and path.name.startswith("rules_"))
    ]


def choose(pool: object, draw: random.Random) -> object:
    """A value for an input variable."""
    if isinstance(pool, dict):
        return {name: choose(inner, draw) for name, inner in pool.items()}
    return draw.randbytes(pool) if isinstance(pool, int) else draw.choice(pool)  # type: ignore[arg-type]


def scene(path: Path, program: str) -> list[Step]:
    """Inputs for one program: every sample packet, then as many again with other variables."""
    draw = random.Random(f"{path.name} {program}")
    inputs = INPUTS.get(path.name.removesuffix(".bpf.o"), {})
    if spec_of(path).programs[program].type is ProgType.SYSCALL:
        packets: list[bytes] = [b""] * (40 if inputs else 3)
        ctx = draw.randbytes(408)
    else:
        packets, ctx = [*sample().values()] * 3, b""
    return [
        Step(program, data, ctx, variables={name: choose(pool, draw) for name, pool in inputs.items()})
        for data in packets
    ]


@pytest.mark.kernel
@pytest.mark.parametrize(("path", "program"), programs(accepted=True))
def test_program_does_the_same_on_both_engines(
    embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, path: Path, program: str
) -> None:
    """Return values, packets, contexts, variables and maps are equal."""
    steps = scene(path, program)
    here, there = play(embedded_engine, path, steps), play(kernel_engine, path, steps)

    assert here.differences(there) == []


@pytest.mark.parametrize(("path", "program"), programs(accepted=True))
def test_program_returns_what_it_says(embedded_engine: EmbeddedEngine, path: Path, program: str) -> None:
    """On the first input the embedded engine gives the annotated value, and no program loses a context."""
    expected = expectation(spec_of(path).programs[program]).retval
    step = replace(scene(path, program)[0], variables={})
    with embedded_engine.load(path, programs=[program]) as collection:
        outcome = run(collection, step)
    assert collection.leaks() == 0
    if expected is not None:
        assert isinstance(outcome[0], int)
        assert outcome[0] == expected & 0xFFFFFFFF


@pytest.mark.kernel
@pytest.mark.parametrize(("path", "program"), programs(accepted=False))
def test_kernel_refuses_what_expects_to_be_refused(kernel_engine: KernelEngine, path: Path, program: str) -> None:
    """The kernel's log holds the annotated words, in order."""
    [verdict] = kernel_engine.check(path, programs=[program])
    rest = verdict.log
    for message in expectation(spec_of(path).programs[program]).messages:
        before, found, rest = rest.partition(message)
        assert found, f"{message!r} is not in {before!r}"

    assert not verdict.accepted


@pytest.mark.parametrize(("path", "program"), programs(accepted=False))
def test_refused_programs_do_no_harm(unverified_engine: EmbeddedEngine, path: Path, program: str) -> None:
    """Unverified, what a verifier would refuse either is not loaded, or runs to a value or a RunError."""
    try:
        collection = unverified_engine.load(path, programs=[program])
    except (NotSupportedError, ObjectError):
        return
    with collection:
        for step in scene(path, program):
            with contextlib.suppress(RunError):
                run(collection, step)
    assert collection.live_contexts == 0
