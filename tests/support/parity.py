"""Plays the same object with the same inputs on an engine and records everything that can be seen afterwards.

A scene is a list of steps; its record holds, for each step, what the run gave, and at the end every variable and every map
element. Two engines agree when their records are equal. Variables and maps whose name starts with ``nd_`` are left out: programs
keep there what no two runs share (clocks, random numbers, CPU numbers).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MAPS_OF_MAPS, MapType
from bpfcrypto.engine import QueueMap, RingMap
from bpfcrypto.errors import KeyNotFoundError, MapError, SyscallError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bpfcrypto.engine import Collection, Engine, Map, Source


_OBJECTS = MAPS_OF_MAPS | {MapType.PROG_ARRAY}


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a program, after some variables were set."""

    program: str
    data: bytes = b""
    ctx: bytes = b""
    repeat: int = 1
    variables: Mapping[str, object] = field(default_factory=dict)
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a scene left behind."""

    runs: tuple[object, ...]
    variables: Mapping[str, bytes]
    maps: Mapping[str, Mapping[bytes, bytes]]

    def differences(self, other: Record) -> list[str]:
        """What differs, in words; [] when the records are equal."""
        found = [f"run {i}: {a} != {b}" for i, (a, b) in enumerate(zip(self.runs, other.runs, strict=True)) if a != b]
        for what in ("variables", "maps"):
            mine, theirs = getattr(self, what), getattr(other, what)
            found += [
                f"{what} {n!r}: {mine.get(n)} != {theirs.get(n)}"
                for n in {*mine, *theirs}
                if mine.get(n) != theirs.get(n)
            ]
        return found


def play(engine: Engine, source: Source, steps: Sequence[Step]) -> Record:
    """Load ``source`` with the programs that the steps name, and run the steps on one collection."""
    with engine.load(source, programs=dict.fromkeys(step.program for step in steps)) as collection:
        runs = tuple(run(collection, step) for step in steps)
        return Record(
            runs,
            variables(collection),
            {name: contents(m, collection) for name, m in collection.maps.items() if not name.startswith("nd_")},
        )


def run(collection: Collection, step: Step) -> tuple[object, ...]:
    """One step's outcome: (retval, packet, ctx), or the name and errno of the refusal."""
    for name, value in step.variables.items():
        collection.variables[name].value = value
    try:
        result = collection.programs[step.program].run(step.data, ctx=step.ctx, repeat=step.repeat, cpu=step.cpu)
    except SyscallError as error:
        return (error.command, error.errno)
    return (result.retval, result.data, result.ctx)


def variables(collection: Collection) -> dict[str, bytes]:
    """The bytes of every deterministic global variable."""
    return {name: variable.bytes for name, variable in collection.variables.items() if not name.startswith("nd_")}


def contents(m: Map, collection: Collection) -> dict[object, bytes]:
    """Every element as user space sees it, what comes out of a queue or ring in order; {} for a Bloom filter and data sections.

    Maps and programs as elements appear by name, since no two collections share ids.
    """
    if m.spec.data is not None:
        return {}
    if isinstance(m, RingMap):
        return dict(enumerate(m.records()))
    if isinstance(m, QueueMap):
        return dict(enumerate(popped(m)))
    try:
        found: dict[object, bytes] = {key: m.lookup(key) for key in m.keys()}  # noqa: SIM118
    except MapError:
        return {}
    if m.spec.type not in _OBJECTS:
        return found
    objects = collection.programs if m.spec.type is MapType.PROG_ARRAY else collection.maps
    names = {each.id: each.name for each in objects.values()}
    return {key: names[int.from_bytes(value, "little")].encode() for key, value in found.items()}


def popped(m: QueueMap) -> Iterator[bytes]:
    """Everything in a queue, which is empty afterwards."""
    with suppress(KeyNotFoundError):
        while True:
            yield m.pop()
