"""skbs whose tail is not linear: the embedded engine's option gives what the kernel does with the skbs of a TCP connection.

The kernel's own test runs make linear skbs only, so its answers come from packets that leave the loopback interface of a namespace:
their linear part is the headers, their payload is in pages.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from support.packets import payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.engine import Collection
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = Path(__file__).parents[1] / "bpf" / "nonlinear.bpf.o"
PAYLOAD = payload(2000)
LEAST = 1000
GIVEN = payload(64)[::-1]


class Operation(IntEnum):
    """The same as in the program."""

    LOAD = 0
    RELATIVE = auto()
    PULL = auto()
    SLICE = auto()
    SLICE_DIRECT = auto()
    SLICE_WRITE = auto()
    READ = auto()
    WRITE = auto()
    STORE = auto()
    CUT = auto()
    HEAD = auto()
    ROOM = auto()
    PROTO = auto()
    PUSH = auto()
    POP = auto()
    CHECK = auto()


@dataclass(frozen=True, slots=True)
class Case:
    """One operation and its arguments."""

    operation: Operation
    offset: int = 0
    length: int = 0
    delta: int = 0
    flags: int = 0


def cases() -> Iterator[Case]:
    """Ranges before, across and behind the end of the linear part, and whatever moves it."""
    o = Operation
    for offset in (0, 20, 50, 60, 65, 66, 67, 100, 1000, 2018, 2034, 2035, 2065, 2066):
        yield Case(o.LOAD, offset, 32)
        yield Case(o.RELATIVE, offset, 32)
        yield Case(o.RELATIVE, offset, 8, flags=1)
        yield Case(o.SLICE, offset)
        yield Case(o.SLICE_WRITE, offset)
        yield Case(o.READ, offset)
        yield Case(o.WRITE, offset)
        yield Case(o.STORE, offset, 32)
        yield Case(o.CHECK, offset)
    for offset in (0, 20, 34, 35, 50, 65, 66):
        # the kernel takes a range that starts behind the linear part for linear: what it gives then is no truth
        yield Case(o.SLICE_DIRECT, offset)
    for length in (0, 1, 66, 67, 100, 1000, 2066, 2067, 5000):
        yield Case(o.PULL, length=length)
    for length in (60, 65, 66, 67, 100, 2065, 2066, 2067, 4000):
        yield Case(o.CUT, length=length)
    for length in (0, 4, 100, 1000):
        yield Case(o.HEAD, length=length)
    for delta in (0, 8, 300, -8, -20, -32, -33, -100, -1000, -2000):
        for mode in (0, 1):
            yield Case(o.ROOM, mode, delta=delta)
    yield from (Case(o.PROTO), Case(o.PUSH), Case(o.POP))
    draw = random.Random(1)
    for _ in range(40):
        kind = draw.choice((o.LOAD, o.READ, o.WRITE, o.STORE, o.SLICE, o.PULL, o.CHECK))
        yield Case(kind, draw.randrange(2100), draw.randrange(1, 65), flags=draw.choice((0, 0, 1, 2)))


OUT = ("ret", "len_before", "linear_before", "len_after", "linear_after", "seen", "before", "after")


def prepare(collection: Collection, case: Case) -> None:
    """Set the arguments and clear the results."""
    variables = collection.variables
    for name in OUT:
        variables[name].bytes = bytes(len(variables[name].bytes))
    for name in ("operation", "offset", "length", "delta", "flags"):
        variables[name].value = int(getattr(case, name))
    variables["least"].value = LEAST
    variables["given"].bytes = GIVEN
    variables["done"].value = 0


def results(collection: Collection) -> dict[str, bytes]:
    """What the program left."""
    return {name: collection.variables[name].bytes for name in OUT}


@pytest.mark.kernel
def test_operations_do_the_same_as_on_the_wire(kernel_engine: KernelEngine) -> None:
    """Results, sizes and bytes after every operation are those of a real skb with the same bytes and the same linear part."""
    from support.wire import attached, in_namespace, send_stream

    def on_the_wire() -> dict[Case, dict[str, bytes]]:
        found = {}
        with kernel_engine.load(OBJECT) as collection, attached(collection.programs["operate_once"]):
            for case in cases():
                prepare(collection, case)
                send_stream(PAYLOAD)
                found[case] = results(collection)
        return found

    there = in_namespace(on_the_wire)
    here = {}
    for case, result in there.items():
        length, linear = (int.from_bytes(result[name], "little") for name in ("len_before", "linear_before"))
        assert linear < length, "the skb was linear: it proves nothing"
        here[case] = run(case, result["before"][:length], linear)

    assert {case: (here[case], there[case]) for case in there if here[case] != there[case]} == {}


def run(case: Case, packet: bytes, linear: int) -> dict[str, bytes]:
    """The case on the embedded engine."""
    with EmbeddedEngine(skb_linear=linear).load(OBJECT) as collection:
        prepare(collection, case)
        collection.programs["operate_once"].run(packet)
        return results(collection)
