"""Maps that hold maps, programs and redirect targets: random commands of user space give the same answers on both engines.

Ids differ between engines, so answers are compared with the names of what the ids stand for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType, UpdateFlag
from bpfcrypto.abi.progs import AttachType, ProgFlag, ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import MapOfMaps, RedirectTarget
from bpfcrypto.errors import MapError, SyscallError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.maps import possible_cpus
from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec
from support.cpus import on_one_cpu
from support.network import LOOPBACK, own_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bpfcrypto.engine import Collection, Engine, Map

NO_DESCRIPTOR = 0x7FFF_0000
FRAGS = ProgFlag.XDP_HAS_FRAGS
ARRAY = MapSpec("inner", MapType.ARRAY, 4, 8, 3)
HASH = MapSpec("inner", MapType.HASH, 4, 8, 3)

MAPS = {
    # candidates to be elements
    "array": ARRAY,
    "same": ARRAY,
    "longer": replace(ARRAY, max_entries=4),
    "wider": replace(ARRAY, value_size=16),
    "read only": replace(ARRAY, flags=MapFlag.RDONLY),
    "for programs": replace(ARRAY, flags=MapFlag.RDONLY_PROG),
    "any length": replace(ARRAY, flags=MapFlag.INNER_MAP),
    "percpu": replace(ARRAY, type=MapType.PERCPU_ARRAY),
    "longer percpu": replace(ARRAY, type=MapType.PERCPU_ARRAY, max_entries=9),
    "hash": HASH,
    "longer hash": replace(HASH, max_entries=9),
    "lazy hash": replace(HASH, flags=MapFlag.NO_PREALLOC),
    "other key": replace(HASH, key_size=8),
    # what they are put into
    "arrays": MapSpec("m", MapType.ARRAY_OF_MAPS, 4, 4, 4, inner=ARRAY),
    "any arrays": MapSpec("m", MapType.ARRAY_OF_MAPS, 4, 4, 4, inner=replace(ARRAY, flags=MapFlag.INNER_MAP)),
    "percpu arrays": MapSpec("m", MapType.ARRAY_OF_MAPS, 4, 4, 4, inner=replace(ARRAY, type=MapType.PERCPU_ARRAY)),
    "hashes": MapSpec("m", MapType.HASH_OF_MAPS, 4, 4, 4, MapFlag.ZERO_SEED, inner=HASH),
    "lazy hashes": MapSpec(
        "m", MapType.HASH_OF_MAPS, 7, 4, 4, MapFlag.ZERO_SEED | MapFlag.NO_PREALLOC, inner=replace(ARRAY, max_entries=1)
    ),
    "programs": MapSpec("m", MapType.PROG_ARRAY, 4, 4, 4),
    "devices": MapSpec("m", MapType.DEVMAP, 4, 8, 4),
    "short devices": MapSpec("m", MapType.DEVMAP, 4, 4, 4),
    "hashed devices": MapSpec("m", MapType.DEVMAP_HASH, 4, 8, 3),
    "short hashed devices": MapSpec("m", MapType.DEVMAP_HASH, 4, 4, 3),
    "cpus": MapSpec("m", MapType.CPUMAP, 4, 8, 4),
    "short cpus": MapSpec("m", MapType.CPUMAP, 4, 4, 4),
    "sockets": MapSpec("m", MapType.XSKMAP, 4, 4, 4),
    "events": MapSpec("m", MapType.PERF_EVENT_ARRAY, 4, 4, 4),
}
ELEMENTS = [name for name, spec in MAPS.items() if spec.name == "inner"]
HOLDERS = [name for name in MAPS if name not in ELEMENTS]
TARGETS = (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP)

PROGRAMS = {
    name: ProgramSpec(name, "", kind, (Insn(0xB7), Insn(0x95)), attach_type=attach, flags=flags)
    for name, kind, attach, flags in (
        ("tc", ProgType.SCHED_CLS, None, ProgFlag(0)),
        ("tcx", ProgType.SCHED_CLS, AttachType.TCX_INGRESS, ProgFlag(0)),
        ("action", ProgType.SCHED_ACT, None, ProgFlag(0)),
        ("xdp", ProgType.XDP, AttachType.XDP, ProgFlag(0)),
        ("plain_xdp", ProgType.XDP, None, ProgFlag(0)),
        ("frags", ProgType.XDP, AttachType.XDP, FRAGS),
        ("device", ProgType.XDP, AttachType.XDP_DEVMAP, ProgFlag(0)),
        ("device_too", ProgType.XDP, AttachType.XDP_DEVMAP, ProgFlag(0)),
        ("device_frags", ProgType.XDP, AttachType.XDP_DEVMAP, FRAGS),
        ("cpu", ProgType.XDP, AttachType.XDP_CPUMAP, ProgFlag(0)),
        ("sleepable", ProgType.SYSCALL, None, ProgFlag.SLEEPABLE),
    )
}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Both engines, with the same CPUs and one interface."""
    with on_one_cpu(), own_network(), EmbeddedEngine(cpus=possible_cpus()) as here, KernelEngine() as there:
        yield here, there


@dataclass(slots=True)
class Side:
    """One engine's collection, and the inner maps that were made on it."""

    collection: Collection
    holder: str
    made: list[Map] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)

    @property
    def map(self) -> Any:
        return self.collection.maps[self.holder]

    def object(self, name: str) -> Any:
        """A map or program by name; ``#3`` is the third inner map that was made, counted around."""
        if name.startswith("#"):
            return self.made[int(name[1:]) % len(self.made)] if self.made else self.collection.maps["array"]
        return self.collection.programs.get(name) or self.collection.maps[name]

    def value(self, symbol: object) -> Any:
        """What a symbol stands for here."""
        match symbol:
            case str():
                return self.object(symbol)
            case (int() as number, program):
                return RedirectTarget(number, self.object(program) if program else None)
        return symbol

    def shown(self, value: bytes) -> object:
        """A value with the name of what its id stands for."""
        targets = self.map.spec.type in TARGETS
        number = int.from_bytes(value[4:] if targets else value, "little")
        objects = (
            self.collection.programs if targets or self.map.spec.type is MapType.PROG_ARRAY else self.collection.maps
        )
        names = {each.id: each.name for each in objects.values()} | {each: f"#{n}" for n, each in enumerate(self.ids)}
        return (value[:4] if targets else b"", names[number] if number else "")

    def lookup(self, key: bytes) -> object:
        return self.shown(self.map.lookup(key))

    def items(self) -> object:
        return sorted((key, self.shown(value)) for key, value in self.map.items())

    def make(self, name: str, entries: int | None) -> object:
        self.made.append(self.map.new_inner(name, max_entries=entries))
        self.ids.append(self.made[-1].id)
        return self.made[-1].spec


def answer(side: Side, command: Callable[[Side], object]) -> object:
    """What a command gives: its value, or its errno."""
    try:
        return command(side)
    except (MapError, SyscallError) as error:
        return (type(error).__name__, error.errno)


def one_command(spec: MapSpec, draw: random.Random) -> Callable[[Side], object]:
    """A command with its arguments."""
    key = draw.randrange(spec.max_entries + 2).to_bytes(spec.key_size, "little")
    flags = UpdateFlag(draw.choice((0, 0, 0, 0, 1, 2, 4, 8)))
    symbol: object = draw.choice([*ELEMENTS, *PROGRAMS, "#0", "#1", "#2", "#3"])
    if spec.type in TARGETS and draw.random() < 0.9:
        number = draw.choice((0, LOOPBACK, LOOPBACK, LOOPBACK, 99, 16384, 16385))
        raw = number.to_bytes(4, "little") + draw.choice(
            (b"\0\0\0\0", b"\xff\xff\xff\xff", NO_DESCRIPTOR.to_bytes(4, "little"))
        )
        targets = (
            raw[: spec.value_size],
            (number, None),
            (number, draw.choice([*PROGRAMS, "device", "device_too", "cpu"])),
        )
        symbol = draw.choice(targets)
    elif draw.random() < 0.2:
        symbol = draw.choice((NO_DESCRIPTOR, 0xFFFFFFFF)).to_bytes(4, "little")
    elif spec.inner is not None and draw.random() < 0.5:
        symbol = draw.choice(["#0", "#1", "#2", "#3", "array", "same", "hash", "longer hash"])
    name, entries = draw.choice(("", "mine")), draw.choice((None, 1, 3, 4, 0))
    commands: list[Callable[[Side], object]] = [
        lambda side: side.lookup(key),
        lambda side: side.map.delete(key),
        lambda side: side.map.lookup_and_delete(key),
        lambda side: sorted(side.map.keys()),
        Side.items,
        *[lambda side: side.map.update(key, side.value(symbol), flags)] * 5,
    ]
    if isinstance(symbol, bytes):
        commands.append(lambda side: side.map.update_batch([(key, symbol)]))
    if spec.inner is not None:
        commands += [
            lambda side: side.make(name, entries),
            lambda side: side.made[0].close() if len(side.made) > 4 else None,
            lambda side: [(key, side.shown(value)) for key, value in side.map.lookup_batch(100).elements],
            lambda side: side.map.delete_batch([key]),
            lambda side: [(key, side.shown(value)) for key, value in side.map.lookup_and_delete_batch(100).elements],
        ]
    return draw.choice(commands)


def loaded(engine: Engine, holder: str, programs: Iterable[str] = PROGRAMS, elements: Iterable[str] = ELEMENTS) -> Side:
    maps = {name: replace(MAPS[name], name=name) for name in (*elements, holder)}
    spec = CollectionSpec("test", "GPL", programs={name: PROGRAMS[name] for name in programs}, maps=maps)
    return Side(engine.load(spec), holder)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("holder", HOLDERS)
def test_commands(engines: tuple[Engine, Engine], holder: str, seed: int) -> None:
    """A hundred and fifty commands in a row, some of them after the map was frozen."""
    here, there = (loaded(engine, holder) for engine in engines)
    draw = random.Random(f"{holder} {seed}")
    with here.collection, there.collection:
        for number in range(150):
            command = one_command(MAPS[holder], draw)
            mine, theirs = answer(here, command), answer(there, command)
            assert mine == theirs, (
                number,
                command.__code__.co_names,
                [c.cell_contents for c in command.__closure__ or ()],
            )
            if number == 130:
                assert answer(here, lambda side: side.map.freeze()) == answer(there, lambda side: side.map.freeze())


@pytest.mark.kernel
@pytest.mark.parametrize("first", PROGRAMS)
def test_the_first_program_decides(engines: tuple[Engine, Engine], first: str) -> None:
    """Every program after every other, into an array of programs and into those of targets."""
    for holder in ("programs", "devices", "hashed devices", "cpus"):
        for second in PROGRAMS:
            here, there = (loaded(engine, holder, (first, second), ()) for engine in engines)
            with here.collection, there.collection:
                symbols = [name if holder == "programs" else (LOOPBACK, name) for name in (first, second)]
                outcomes = [
                    [
                        answer(side, lambda s, n=n, v=v: s.map.update(bytes([n, 0, 0, 0]), s.value(v)))
                        for n, v in enumerate(symbols)
                    ]
                    for side in (here, there)
                ]
                assert outcomes[0] == outcomes[1], (holder, first, second)


@pytest.mark.kernel
@pytest.mark.parametrize("template", ELEMENTS)
def test_shapes(engines: tuple[Engine, Engine], template: str) -> None:
    """Every map into maps of maps of every template."""
    for kind in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
        maps = {
            **{n: replace(MAPS[n], name=n) for n in ELEMENTS},
            "m": MapSpec("m", kind, 4, 4, 4, inner=MAPS[template]),
        }
        sides = [Side(engine.load(CollectionSpec("test", maps=maps)), "m") for engine in engines]
        with sides[0].collection, sides[1].collection:
            for name in ELEMENTS:
                outcomes = [answer(side, lambda s, n=name: s.map.update(bytes(4), s.object(n))) for side in sides]
                assert outcomes[0] == outcomes[1], (kind, template, name)


CREATION = {
    "key_size": (0, 1, 3, 4, 5, 8, 4096),
    "value_size": (0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 16),
    "max_entries": (0, 1, 3, 256, 257, 5000),
    "map_extra": (0, 0, 0, 1),
    "numa_node": (0, 0, 77, 0xFFFFFFFF),
}


@pytest.mark.kernel
@pytest.mark.parametrize("holder", HOLDERS)
def test_creation(engines: tuple[Engine, Engine], holder: str) -> None:
    """Sizes and flags at random, most of them one change away from a map that can be made."""
    draw = random.Random(holder)
    for _ in range(80):
        changes: dict[str, Any] = {
            name: draw.choice(CREATION[name]) for name in draw.sample(sorted(CREATION), draw.choice([0, 1, 1, 2]))
        }
        flags = MAPS[holder].flags
        for bit in draw.choices(range(15), k=draw.choice([0, 0, 1, 1, 2])):
            flags ^= 1 << bit
        spec = replace(MAPS[holder], name="m", flags=MapFlag(flags), **changes)
        outcomes = [created(engine, spec) for engine in engines]

        assert outcomes[0] == outcomes[1], spec


INNER_TYPES = [
    MapSpec("i", MapType.ARRAY_OF_MAPS, 4, 4, 1, inner=ARRAY),
    MapSpec("i", MapType.HASH_OF_MAPS, 4, 4, 1, inner=ARRAY),
    MapSpec("i", MapType.PROG_ARRAY, 4, 4, 1),
    MapSpec("i", MapType.PERF_EVENT_ARRAY, 4, 4, 1),
    MapSpec("i", MapType.LPM_TRIE, 8, 8, 1, MapFlag.NO_PREALLOC),
    MapSpec("i", MapType.QUEUE, 0, 8, 1),
    MapSpec("i", MapType.STACK, 0, 8, 1),
    MapSpec("i", MapType.BLOOM_FILTER, 0, 8, 1),
    MapSpec("i", MapType.RINGBUF, 0, 0, 4096),
    MapSpec("i", MapType.USER_RINGBUF, 0, 0, 4096),
    MapSpec("i", MapType.LRU_HASH, 4, 8, 1),
    MapSpec("i", MapType.LRU_PERCPU_HASH, 4, 8, 1),
    MapSpec("i", MapType.PERCPU_HASH, 4, 8, 1),
    MapSpec("i", MapType.DEVMAP, 4, 8, 1),
    MapSpec("i", MapType.DEVMAP_HASH, 4, 8, 1),
    MapSpec("i", MapType.CPUMAP, 4, 8, 1),
    MapSpec("i", MapType.XSKMAP, 4, 4, 1),
]


@pytest.mark.kernel
@pytest.mark.parametrize("inner", INNER_TYPES, ids=lambda inner: inner.type.name)
def test_types_of_inner_maps(engines: tuple[Engine, Engine], inner: MapSpec) -> None:
    """Which types can be inner maps, and that one of another length fits."""
    spec = MapSpec("m", MapType.ARRAY_OF_MAPS, 4, 4, 2, inner=inner)
    outcomes = [created(engine, spec) for engine in engines]
    assert outcomes[0] == outcomes[1]
    if outcomes[0]:
        return
    for entries in (inner.max_entries, 2 * inner.max_entries):
        answers = []
        for engine in engines:
            with engine.load(CollectionSpec("test", maps={"m": spec})) as collection:
                outer = collection.maps["m"]
                assert isinstance(outer, MapOfMaps)
                side = Side(collection, "m")
                side.make("", entries)
                answers.append(answer(side, lambda s: s.map.update(bytes(4), s.made[0])))
        assert answers[0] == answers[1]


def created(engine: Engine, spec: MapSpec) -> int:
    """The errno of creating a map, 0 for success."""
    try:
        engine.load(CollectionSpec("test", maps={"m": spec})).close()
    except SyscallError as error:
        return error.errno or -1
    return 0
