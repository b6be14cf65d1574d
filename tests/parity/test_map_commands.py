"""The commands of user space on maps: random sequences give the same answers on both engines, values, errnos and order of keys included.

Hashes are created with BPF_F_ZERO_SEED here, which fixes what shares a bucket; without it the kernel draws the order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.abi.maps import RULES, BatchCommand, MapFlag, MapType, UpdateFlag
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import MapError, MapTypeError, SyscallError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.maps import possible_cpus
from bpfcrypto.spec import CollectionSpec, MapSpec
from support.cpus import on_one_cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bpfcrypto.engine import Collection, Engine

HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
SEED = MapFlag.ZERO_SEED
LAZY = MapFlag.NO_PREALLOC

SPECS = {
    "array": MapSpec("m", MapType.ARRAY, 4, 12, 6),
    "percpu array": MapSpec("m", MapType.PERCPU_ARRAY, 4, 12, 6),
    "hash": MapSpec("m", MapType.HASH, 4, 12, 6, SEED),
    "lazy hash": MapSpec("m", MapType.HASH, 4, 12, 6, SEED | LAZY),
    "hash of odd keys": MapSpec("m", MapType.HASH, 7, 5, 9, SEED),
    "hash of long keys": MapSpec("m", MapType.HASH, 24, 8, 9, SEED),
    "percpu hash": MapSpec("m", MapType.PERCPU_HASH, 4, 12, 6, SEED),
    "lazy percpu hash": MapSpec("m", MapType.PERCPU_HASH, 4, 12, 6, SEED | LAZY),
    "lru hash": MapSpec("m", MapType.LRU_HASH, 4, 12, 40, SEED),
    "lru percpu hash": MapSpec("m", MapType.LRU_PERCPU_HASH, 4, 12, 40, SEED),
    "trie": MapSpec("m", MapType.LPM_TRIE, 4 + 4, 12, 12, LAZY),
    "wide trie": MapSpec("m", MapType.LPM_TRIE, 4 + 17, 5, 12, LAZY),
    "queue": MapSpec("m", MapType.QUEUE, 0, 12, 3),
    "stack": MapSpec("m", MapType.STACK, 0, 12, 3),
    "filter": MapSpec("m", MapType.BLOOM_FILTER, 0, 8, 30, SEED),
    "odd filter": MapSpec("m", MapType.BLOOM_FILTER, 0, 7, 30, SEED, map_extra=3),
    "thin filter": MapSpec("m", MapType.BLOOM_FILTER, 0, 40, 100, SEED, map_extra=1),
    "filter at a power of two": MapSpec("m", MapType.BLOOM_FILTER, 0, 6, 47, SEED, map_extra=1),
    "thick filter": MapSpec("m", MapType.BLOOM_FILTER, 0, 13, 100, SEED, map_extra=15),
}
ACCESS = (MapFlag(0), MapFlag.RDONLY, MapFlag.WRONLY, MapFlag.RDONLY_PROG, MapFlag.WRONLY_PROG)
FLAGS = (0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 32)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Both engines, with the same CPUs."""
    with on_one_cpu(), EmbeddedEngine(cpus=possible_cpus()) as here, KernelEngine() as there:
        yield here, there


def load(engine: Engine, spec: MapSpec) -> Collection:
    return engine.load(CollectionSpec("test", maps={"m": spec}))


def answer(call: Callable[..., object], *arguments: object) -> object:
    """What a command gives: its value, or its errno and how much of it was done."""
    try:
        return call(*arguments)
    except MapError as error:
        return (type(error).__name__, error.errno, error.done)


@dataclass(slots=True)
class Random:
    """Random arguments for one map."""

    spec: MapSpec
    value_bytes: int
    draw: random.Random

    def key(self) -> bytes:
        """One of a few dozen, so that most commands meet an element."""
        size, draw = self.spec.key_size, self.draw
        if self.spec.type is MapType.LPM_TRIE:
            bits = (size - 4) * 8
            length = draw.choice([0, 1, 7, 8, 9, bits // 2, bits - 1, bits, bits, bits + 1])
            return length.to_bytes(4, "little") + bytes(draw.choice([0, 1, 0x80, 0xFF]) for _ in range(2)).ljust(
                size - 4, b"\x55"
            )
        return draw.randrange(self.spec.max_entries + 4).to_bytes(size, "little") if size else b""

    def value(self) -> bytes:
        return self.draw.randbytes(self.value_bytes)

    def flags(self) -> UpdateFlag:
        return UpdateFlag(self.draw.choice(FLAGS))


def one_command(given: Random) -> Callable[[Any], object]:
    """A command with its arguments, to be run on each engine's map."""
    draw = given.draw
    key, value, flags, count = given.key(), given.value(), given.flags(), draw.choice([1, 2, 3, 5, 100])
    keys = [given.key() for _ in range(draw.randrange(5))]
    elements = [(given.key(), given.value()) for _ in range(draw.randrange(5))]
    commands: list[Callable[[Any], object]] = [
        lambda m: m.lookup(key),
        lambda m: m.update(key, value, flags),
        lambda m: m.update(key, value),
        lambda m: m.update(key, value, UpdateFlag.EXIST),
        lambda m: m.delete(key),
        lambda m: m.lookup_and_delete(key),
        lambda m: list(m.keys()),
        lambda m: list(m.items()),
        lambda m: m.update_batch(elements),
        lambda m: m.update_batch(elements, flags),
        lambda m: m.delete_batch(keys),
        lambda m: m.lookup_batch(count),
        lambda m: m.lookup_and_delete_batch(count),
        lambda m: in_steps(m, count, delete=False),
        lambda m: in_steps(m, count, delete=True),
    ]
    if given.spec.type in (MapType.QUEUE, MapType.STACK):
        commands += [lambda m: m.push(value, flags), lambda m: m.push(value), lambda m: m.peek(), lambda m: m.pop()]
    if given.spec.type is MapType.BLOOM_FILTER:
        few = [draw.randbytes(given.value_bytes) for _ in range(20)]
        commands += [lambda m: m.push(value), lambda m: [m.contains(each) for each in (value, *few)]] * 6
    return draw.choice(commands)


def in_steps(m: Any, count: int, *, delete: bool) -> list[object]:
    """Everything, batch by batch; at most a hundred, since a token can be of no use after deletions."""
    read = m.lookup_and_delete_batch if delete else m.lookup_batch
    found: list[object] = [read(count)]
    while found[-1].token is not None and len(found) < 100:  # type: ignore[attr-defined]
        found.append(read(count, found[-1].token))  # type: ignore[attr-defined]
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", SPECS)
def test_commands(engines: tuple[Engine, Engine], kind: str, seed: int) -> None:
    """Two hundred commands in a row."""
    spec = SPECS[kind]
    with load(engines[0], spec) as here, load(engines[1], spec) as there:
        given = Random(spec, here.maps["m"].value_bytes, random.Random(f"{kind} {seed}"))
        for number in range(200):
            command = one_command(given)
            mine, theirs = (answer(command, m) for m in (here.maps["m"], there.maps["m"]))

            assert mine == theirs, (number, command.__code__.co_consts, command.__code__.co_names)


@pytest.mark.kernel
@pytest.mark.parametrize("access", ACCESS, ids=lambda flag: flag.name or "full")
@pytest.mark.parametrize("kind", SPECS)
def test_access_and_freezing(engines: tuple[Engine, Engine], kind: str, access: MapFlag) -> None:
    """A map for reading or writing only, then frozen: which commands go, and in which order their refusals come."""
    spec = MapSpec(
        **{**{name: getattr(SPECS[kind], name) for name in MapSpec.__slots__}, "flags": SPECS[kind].flags | access}
    )
    with load(engines[0], spec) as here, load(engines[1], spec) as there:
        given = Random(spec, here.maps["m"].value_bytes, random.Random(f"{kind} {access}"))
        for _ in range(3):
            for _ in range(40):
                command = one_command(given)
                mine, theirs = (answer(command, m) for m in (here.maps["m"], there.maps["m"]))

                assert mine == theirs, (command.__code__.co_consts, command.__code__.co_names)
            frozen = [answer(m.freeze) for m in (here.maps["m"], there.maps["m"])]  # type: ignore[attr-defined]
            assert frozen[0] == frozen[1]


@pytest.mark.parametrize("kind", SPECS)
def test_batches_of_a_type(engine: Engine, kind: str) -> None:
    """Each type has the commands on many elements that its rules say; the others are ENOTSUPP."""
    spec = SPECS[kind]
    with load(engine, spec) as collection:
        m = collection.maps["m"]
        key = Random(spec, m.value_bytes, random.Random(1)).key()
        calls: dict[BatchCommand, Callable[[], object]] = {
            BatchCommand.LOOKUP: lambda: m.lookup_batch(10),
            BatchCommand.LOOKUP_AND_DELETE: lambda: m.lookup_and_delete_batch(10),
            BatchCommand.UPDATE: lambda: m.update_batch([(key, bytes(m.value_bytes))]),
            BatchCommand.DELETE: lambda: m.delete_batch([key]),
        }
        for command, call in calls.items():
            found = answer(call)
            assert (found == ("MapTypeError", 524, 0)) == (command not in RULES[spec.type].batches), command


def test_batch_arguments(engine: Engine) -> None:
    """A batch of nothing, a token of another map, keys and values of the wrong size."""
    with load(engine, SPECS["hash of odd keys"]) as collection:
        m = collection.maps["m"]
        for call in (
            lambda: m.lookup_batch(0),
            lambda: m.lookup_batch(1, b"1234"),
            lambda: m.lookup_and_delete_batch(-1),
            lambda: m.update_batch([(b"1234567", b"12345"), (b"123456", b"12345")]),
            lambda: m.update_batch([(b"1234567", b"1234")]),
            lambda: m.delete_batch([b"1234567", b""]),
        ):
            with pytest.raises(MapTypeError):
                call()
        assert list(m.keys()) == []
        m.update_batch([])
        m.delete_batch([])


SIZES = {
    "key_size": (0, 1, 3, 4, 5, 8, 20, 259, 260, 261),
    "value_size": (
        0,
        1,
        7,
        8,
        4096,
        (1 << 22) - 281,
        (1 << 22) - 280,
        (1 << 22) - 279,
        1 << 22,
        (1 << 22) + 1,
        1 << 31,
    ),
    "max_entries": (0, 1, 3, 4, 4096, 5000),
    "map_extra": (0, 0, 0, 1, 15, 16, 1 << 32),
}


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind",
    sorted({spec.type for spec in SPECS.values()} - {*HASHES, *ARRAYS} | {MapType.RINGBUF, MapType.USER_RINGBUF}),
    ids=lambda kind: kind.name,
)
def test_creation(engines: tuple[Engine, Engine], kind: MapType, seed: int) -> None:
    """Sizes, flags and extras at random, most of them one change away from a map that can be made."""
    draw = random.Random(f"{kind} {seed}")
    ring = kind in (MapType.RINGBUF, MapType.USER_RINGBUF)
    plain = MapSpec("m", kind, 0, 0, 4096) if ring else next(spec for spec in SPECS.values() if spec.type is kind)
    answers = []
    for _ in range(100):
        fields = {name: getattr(plain, name) for name in MapSpec.__slots__}
        for name in draw.sample(sorted(SIZES), draw.choice([0, 1, 1, 2])):
            fields[name] = draw.choice(SIZES[name])
        for bit in draw.choices(range(21), k=draw.choice([0, 0, 1, 1, 2])):
            fields["flags"] = MapFlag(fields["flags"] ^ 1 << bit)
        if kind is MapType.BLOOM_FILTER:
            fields["value_size"] = min(fields["value_size"], 1 << 22)  # a larger one is E2BIG before all else
        spec = MapSpec(**fields)
        outcomes = [created(engine, spec) for engine in engines]
        answers.append(outcomes[0])

        assert outcomes[0] == outcomes[1], spec
    assert answers.count(0) > 10
    assert len(set(answers)) > 1


def created(engine: Engine, spec: MapSpec) -> int:
    """The errno of creating a map, 0 for success."""
    try:
        load(engine, spec).close()
    except SyscallError as error:
        return error.errno or -1
    return 0


def test_large_filter_value(engine: Engine) -> None:
    """A filter's value has at most four megabytes."""
    assert created(engine, MapSpec("m", MapType.BLOOM_FILTER, 0, 1 << 22, 1)) == 0
    assert created(engine, MapSpec("m", MapType.BLOOM_FILTER, 0, (1 << 22) + 1, 1)) == 7
