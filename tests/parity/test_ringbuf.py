"""Ring buffers on both engines: after every step both have the same positions, the same bytes in the ring, and give the same records."""

from __future__ import annotations

import errno
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.ringbuf import BUSY, DISCARD, record_size
from bpfcrypto.embedded.map_ringbuf import PAGE
from bpfcrypto.engine import RingMap, UserRingMap
from bpfcrypto.errors import MapError, MapFullError, MapTypeError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, MapSpec
from support.packets import ethernet, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Collection, Engine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECTS = Path(__file__).parents[1] / "bpf"
PACKET = ethernet(payload(498), 0x88B5)
PROGRAMS = (
    "output",
    "reserve_1",
    "reserve_8",
    "reserve_52",
    "reserve_700",
    "reserve_nothing",
    "nested",
    "fill",
    "dynptr",
)


@pytest.fixture
def both(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine) -> Iterator[Callable[..., list[Collection]]]:
    """Loads an object on both engines."""
    with ExitStack() as stack:
        yield lambda name, programs=None: [
            stack.enter_context(engine.load(OBJECTS / f"{name}.bpf.o", programs=programs))
            for engine in (embedded_engine, kernel_engine)
        ]


def ring_state(m: Any) -> tuple[int, int, bytes]:
    """Positions and memory, headers included."""
    return m.ring.consumer, m.ring.producer, bytes(m.ring.data)


def variables(collection: Collection) -> dict[str, bytes]:
    return {name: variable.bytes for name, variable in collection.variables.items()}


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(6))
def test_writing_and_reading(both: Callable[..., list[Collection]], seed: int) -> None:
    """Programs write and user space reads in turns, many times round the ring."""
    here, there = both("ringbuf", PROGRAMS)
    draw = random.Random(seed)
    wrapped = 0
    for _ in range(120):
        program = draw.choice(PROGRAMS)
        inputs = {
            "length": draw.choice([0, 1, 8, 30, 44, 200, 256, 1000, 3000, 4096]),
            "flags": draw.choice([0, 0, 0, 1, 2, 4]),
            "discard": draw.choice([False, False, True]),
            "given": draw.randbytes(256),
        }
        take = draw.choice([0, 1, 3, 1000])
        seen = []
        for collection in (here, there):
            for name, value in inputs.items():
                collection.variables[name].value = value
            result = collection.programs[program].run(PACKET)
            ring = collection.maps["ring"]
            assert isinstance(ring, RingMap)
            before = ring_state(ring)
            given = [record for _, record in zip(range(take), ring.records(), strict=False)] if take else []
            seen.append((result.retval, before, given, ring_state(ring), variables(collection)))

        assert seen[0] == seen[1], program
        wrapped = max(wrapped, seen[0][1][1])
    assert wrapped > 3 * PAGE


@pytest.mark.kernel
@pytest.mark.parametrize("consumer", [8, 4096, 2**40, 2**64 - 8, 2**64 - 4096])
def test_any_consumer_position(both: Callable[..., list[Collection]], consumer: int) -> None:
    """User space can write any position: programs find room or none, and nothing else happens."""
    here, there = both("ringbuf", PROGRAMS)
    states = []
    for collection in (here, there):
        ring: Any = collection.maps["ring"]
        seen = []
        for length in (100, 256, 16):
            collection.variables["length"].value = length
            collection.programs["output"].run(PACKET)
            ring.ring.consumer = consumer
            seen.append((variables(collection), ring_state(ring)))
        collection.programs["fill"].run(PACKET)
        states.append((seen, variables(collection), ring_state(ring)))

    assert states[0] == states[1]


@pytest.mark.kernel
def test_unfinished_record_is_kept(both: Callable[..., list[Collection]]) -> None:
    """Whatever user space says it has read, no program gets the memory of a record that another is still writing."""
    outcomes = []
    for collection in both("ringbuf", ["held"]):
        ring: Any = collection.maps["ring"].ring
        ring.consumer = record_size(200)
        collection.programs["held"].run(PACKET)
        outcomes.append((variables(collection), ring.producer, bytes(ring.data)))

    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] < PAGE


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(6))
def test_samples(both: Callable[..., list[Collection]], seed: int) -> None:
    """User space writes samples, good and damaged ones, and programs drain them."""
    pair = both("user_ringbuf")
    draw = random.Random(seed)
    for _ in range(120):
        sizes = [draw.choice([0, 1, 7, 8, 16, 33, 60, 500, 2000]) for _ in range(draw.randrange(5))]
        samples = [draw.randbytes(size) for size in sizes]
        damage = draw.choice([None, None, None, None, BUSY, DISCARD, BUSY | DISCARD, "size", "odd", "back", "far"])
        inputs = {"flags": draw.choice([0, 0, 0, 1, 2, 3, 4, 2**63]), "stop_after": draw.choice([0, 1, 2])}
        program = draw.choice(["drain", "drain", "explore", "drain_syscall"])
        given = draw.randbytes(16)
        outcomes = []
        for collection in pair:
            m: Any = collection.maps["samples"]
            assert isinstance(m, UserRingMap)
            errnos = [errno_of(lambda m=m, data=data: m.submit(data)) for data in samples]
            written = spoil(m.ring, damage)
            for name, value in {**inputs, "given": given}.items():
                collection.variables[name].value = value
            collection.programs[program].run(b"" if program == "drain_syscall" else PACKET)
            outcomes.append((errnos, ring_state(m), variables(collection)))
            repair(m.ring, written)

        assert outcomes[0] == outcomes[1], (program, damage)


def spoil(ring: Any, damage: object) -> tuple[int, int, int]:
    """Damage the first sample that waits, or a position; what it takes to undo that."""
    position, producer = ring.consumer, ring.producer
    word = ring.header(position)
    if isinstance(damage, int):
        ring.set_header(position, word | damage)
    elif damage == "size":
        ring.set_header(position, 4000)
    elif damage == "odd":
        ring.producer = producer + 4
    elif damage == "back":
        ring.producer = max(0, position - 8)
    elif damage == "far":
        ring.set_header(position, 5000)
        ring.producer = position + 2**33
    return position, word, producer


def repair(ring: Any, before: tuple[int, int, int]) -> None:
    position, word, producer = before
    if ring.consumer == position:
        ring.set_header(position, word)
    ring.producer = max(producer, ring.consumer)


@pytest.mark.kernel
@pytest.mark.parametrize("length", [0, 1, 16, 32, 40, 480])
@pytest.mark.parametrize(("cipher", "read"), [(b"cbc(aes)", True), (b"ecb(aes)", True), (b"cbc(aes)", False)])
def test_records_and_samples_are_encrypted(
    both: Callable[..., list[Collection]], cipher: bytes, read: bool, length: int
) -> None:
    """Ring buffer memory as source and destination, in place and over the end of the ring too; without a reader until it is full."""
    outcomes = []
    for collection in both("user_ringbuf"):
        collection.variables["cipher"].bytes = cipher
        collection.variables["key"].value = bytes(range(16))
        collection.programs["setup"].run()
        collection.variables["length"].value = length
        records: Any = collection.maps["ring"]
        samples: Any = collection.maps["samples"]
        seen = []
        for each in range(24):
            collection.variables["iv"].value = bytes([each] * 16)
            seen.append(collection.programs["encrypt_record"].run(PACKET).data)
            samples.submit(payload(length))
            samples.submit(payload(16))
            seen += [
                collection.programs["encrypt_samples"].run(PACKET).retval,
                ring_state(samples),
                ring_state(records),
            ]
            seen += [*(records.records() if read else ()), variables(collection)]
        outcomes.append(seen)
        assert not read or records.ring.producer > 2 * PAGE or length < 100

    assert outcomes[0] == outcomes[1]


@pytest.mark.kernel
def test_endless_samples(both: Callable[..., list[Collection]]) -> None:
    """One drain takes at most 131072 samples, discarded ones included."""
    outcomes = []
    for collection in both("user_ringbuf", ["drain"]):
        m: Any = collection.maps["samples"]
        for position in range(0, PAGE, 8):
            m.ring.set_header(position, DISCARD)
        m.ring.producer = 2**33
        collection.programs["drain"].run(PACKET)
        outcomes.append((ring_state(m), variables(collection)))

    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0][0] == 8 << 17


@pytest.mark.kernel
@pytest.mark.parametrize("size", [(1 << 24) - 1, 1 << 24])
def test_large_samples(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, size: int) -> None:
    """A sample is no larger than a dynptr can be, though the ring has room for it."""
    spec = load_spec((OBJECTS / "user_ringbuf.bpf.o").read_bytes())
    large = replace(spec, maps={**spec.maps, "samples": replace(spec.maps["samples"], max_entries=1 << 25)})
    outcomes = []
    for engine in (embedded_engine, kernel_engine):
        with engine.load(large, programs=["drain"]) as collection:
            ring = collection.maps["samples"].ring  # type: ignore[attr-defined]
            ring.set_header(0, size)
            ring.producer = record_size(size)
            collection.programs["drain"].run(PACKET)
            outcomes.append((ring.consumer, variables(collection)))

    assert outcomes[0] == outcomes[1]
    assert (outcomes[0][0] == 0) == (size == 1 << 24)


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except MapError as error:
        return error.errno
    return 0


def rings(engine: Engine, kind: MapType, **more: Any) -> Any:
    """A map of that type."""
    spec = MapSpec("ring", kind, **{"key_size": 0, "value_size": 0, "max_entries": 4096, **more})
    return engine.load(CollectionSpec("test", maps={"ring": spec}))


@pytest.mark.parametrize("kind", [MapType.RINGBUF, MapType.USER_RINGBUF], ids=lambda kind: kind.name)
def test_no_elements(engine: Engine, kind: MapType) -> None:
    """A ring has no elements, and says ENOTSUPP to every command on them; freezing is one that it has."""
    with rings(engine, kind) as collection:
        m = collection.maps["ring"]
        calls: dict[str, Callable[[], object]] = {
            "lookup": lambda: m.lookup(b""),
            "update": lambda: m.update(b"", b""),
            "delete": lambda: m.delete(b""),
            "lookup_and_delete": lambda: m.lookup_and_delete(b""),
            "keys": lambda: list(m.keys()),
            "lookup_batch": lambda: m.lookup_batch(1),
            "lookup_and_delete_batch": lambda: m.lookup_and_delete_batch(1),
            "update_batch": lambda: m.update_batch([(b"", b"")]),
            "delete_batch": lambda: m.delete_batch([b""]),
        }
        for name, call in calls.items():
            with pytest.raises(MapTypeError, match=f"map 'ring': {name}: ENOTSUPP"):
                call()
        assert errno_of(lambda: m.update(b"", b"", 4)) == errno.EINVAL
        m.freeze()
        assert errno_of(m.freeze) == errno.EPERM
        assert errno_of(lambda: m.update(b"", b"")) == errno.EPERM


@pytest.mark.parametrize("kind", [MapType.RINGBUF, MapType.USER_RINGBUF], ids=lambda kind: kind.name)
def test_frozen_or_mapped(engine: Engine, kind: MapType) -> None:
    """A ring that user space has mapped cannot be frozen; a frozen one cannot be mapped."""

    def use(m: Any) -> object:
        return m.submit(b"data") if kind is MapType.USER_RINGBUF else list(m.records())

    with rings(engine, kind) as collection:
        use(collection.maps["ring"])
        assert errno_of(collection.maps["ring"].freeze) == errno.EBUSY
    with rings(engine, kind) as collection:
        collection.maps["ring"].freeze()
        assert errno_of(lambda: use(collection.maps["ring"])) == errno.EPERM


@pytest.mark.parametrize("kind", [MapType.RINGBUF, MapType.USER_RINGBUF], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("wanted", "size"),
    [(1, 4096), (4096, 4096), (4097, 8192), (12288, 16384), (1 << 20, 1 << 20), ((1 << 20) + 1, 1 << 21)],
)
def test_size(engine: Engine, kind: MapType, wanted: int, size: int) -> None:
    """The size that is asked for is rounded up to whole pages and a power of two."""
    with rings(engine, kind, max_entries=wanted) as collection:
        assert collection.maps["ring"].ring.size == size


def test_full(engine: Engine) -> None:
    """A sample that can never fit and one that does not fit now are told apart; a ring of samples can be filled to the last byte."""
    with rings(engine, MapType.USER_RINGBUF) as collection:
        m = collection.maps["ring"]
        with pytest.raises(MapFullError, match="4089 bytes does not fit a ring of 4096") as caught:
            m.submit(bytes(4089))
        assert caught.value.errno == errno.E2BIG
        m.submit(bytes(2040))
        m.submit(bytes(2033))
        with pytest.raises(MapFullError, match="does not fit 0 free bytes") as caught:
            m.submit(b"")
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.hint is not None
        assert m.ring.producer == record_size(2040) + record_size(2033) == 4096


def test_wait(engine: Engine) -> None:
    """A reader waits until a record is there, or for as long as it said."""
    with engine.load(OBJECTS / "ringbuf.bpf.o", programs=["output"]) as collection:
        m: Any = collection.maps["ring"]
        start = time.monotonic()
        assert not m.wait(0.05)
        assert 0.04 < time.monotonic() - start < 5
        collection.variables["length"].value = 8

        def write() -> None:
            time.sleep(0.05)
            collection.programs["output"].run(PACKET)

        writer = threading.Thread(target=write)
        writer.start()
        assert m.wait(10)
        writer.join()
        assert m.wait(0)
        assert [len(record) for record in m.records()] == [8]
        assert not m.wait(0)


@pytest.mark.parametrize("flags", [1, 2])
def test_wakeups(engine: Engine, flags: int) -> None:
    """BPF_RB_NO_WAKEUP lets the reader sleep on, though the record is there when it looks; BPF_RB_FORCE_WAKEUP wakes it."""
    with engine.load(OBJECTS / "ringbuf.bpf.o", programs=["output"]) as collection:
        m: Any = collection.maps["ring"]
        collection.variables["flags"].value = flags
        collection.variables["length"].value = 8
        waited: list[tuple[bool, float]] = []

        def read() -> None:
            start = time.monotonic()
            waited.append((m.wait(0.4), time.monotonic() - start))

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.1)
        collection.programs["output"].run(PACKET)
        reader.join()

        [(found, seconds)] = waited
        assert found
        assert (seconds > 0.39) == (flags == 1)


def test_closed_while_reading(engine: Engine) -> None:
    """A reader whose map is closed just ends."""
    with engine.load(OBJECTS / "ringbuf.bpf.o", programs=["fill"]) as collection:
        collection.programs["fill"].run(PACKET)
        records = collection.maps["ring"].records()  # type: ignore[attr-defined]
        next(records)
    if engine.name == "kernel":
        assert list(records) == []


def test_no_flags_but_numa(engine: Engine) -> None:
    """A ring takes no flags but that of the node."""
    from bpfcrypto.errors import SyscallError

    for flag in MapFlag:
        for kind in (MapType.RINGBUF, MapType.USER_RINGBUF):
            try:
                rings(engine, kind, flags=flag).close()
            except SyscallError as error:
                assert error.errno == errno.EINVAL
                assert flag is not MapFlag.NUMA_NODE
            else:
                assert flag is MapFlag.NUMA_NODE
