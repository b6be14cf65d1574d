"""Queues, stacks, filters, tries and rings against models that say in a few lines what they are."""

from __future__ import annotations

import threading
from collections import deque
from errno import E2BIG, EEXIST, EINVAL, ENOENT, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcrypto.abi.maps import MapFlag, MapType, UpdateFlag
from bpfcrypto.abi.ringbuf import BUSY, DISCARD, Ring, record_size, ring_size
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.jhash import jhash
from bpfcrypto.engine import Engine, FilterMap, QueueMap, RingMap, UserRingMap
from bpfcrypto.errors import KeyNotFoundError, MapError, MapFullError, MapTypeError, RunError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, MapSpec
from support.packets import ethernet, payload

OBJECTS = Path(__file__).parents[1] / "bpf"
PACKET = ethernet(payload(498), 0x88B5)


def one_map(kind: MapType, key_size: int, value_size: int, entries: int, flags: int = 0, extra: int = 0) -> Any:
    """A map of the embedded engine."""
    spec = MapSpec("m", kind, key_size, value_size, entries, MapFlag(flags), map_extra=extra)
    return EmbeddedEngine(cpus=2).load(CollectionSpec("test", maps={"m": spec})).maps["m"]


@pytest.mark.parametrize("kind", [MapType.QUEUE, MapType.STACK], ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_queue_and_stack(kind: MapType, data: st.DataObject) -> None:
    """A queue gives the oldest value, a stack the newest; a full one refuses, or with EXIST drops its oldest."""
    size = data.draw(st.integers(1, 5))
    m, model = one_map(kind, 0, 3, size), deque[bytes]()
    assert isinstance(m, QueueMap)
    for number in range(data.draw(st.integers(0, 40))):
        step = data.draw(st.sampled_from(["push", "push", "force", "pop", "peek"]))
        value = number.to_bytes(3, "little")
        if step == "push" and len(model) == size:
            with pytest.raises(MapFullError):
                m.push(value)
        elif step in ("push", "force"):
            if len(model) == size:
                model.popleft()
            m.push(value, UpdateFlag.EXIST if step == "force" else UpdateFlag.ANY)
            model.append(value)
        elif not model:
            with pytest.raises(KeyNotFoundError):
                m.pop() if step == "pop" else m.peek()
        else:
            at = 0 if kind is MapType.QUEUE else -1
            assert (m.pop() if step == "pop" else m.peek()) == model[at]
            if step == "pop":
                del model[at]


def test_filter() -> None:
    """What was pushed is there; of what was not, few seem to be."""
    m = one_map(MapType.BLOOM_FILTER, 0, 5, 1000)
    assert isinstance(m, FilterMap)
    values = [number.to_bytes(5, "little") for number in range(2000)]
    for value in values[:1000]:
        m.push(value)

    assert all(m.contains(value) for value in values[:1000])
    assert sum(m.contains(value) for value in values[1000:]) < 200
    with pytest.raises(MapTypeError, match="has 5 bytes, not 4"):
        m.contains(bytes(4))


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        (b"", 0, 0xDEADBEEF),
        (b"", 0xDEADBEEF, 0xBD5B7DDE),
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_hash(text: bytes, seed: int, expected: int) -> None:
    """The numbers that lookup3's own self-test has (Bob Jenkins, lookup3.c, driver5)."""
    assert jhash(text, seed) == expected


def prefix(length: int, data: bytes) -> bytes:
    return length.to_bytes(4, "little") + data


PREFIXES = st.tuples(
    st.integers(0, 18), st.sampled_from([b"\0\0", b"\0\1", b"\x80\0", b"\xff\xff", b"\xff\x7f", b"\x0f\xf0"])
)


@given(entries=st.lists(PREFIXES, max_size=20), asked=PREFIXES)
@settings(max_examples=100, deadline=None)
def test_trie(entries: list[tuple[int, bytes]], asked: tuple[int, bytes]) -> None:
    """A lookup finds the longest stored prefix of the key; keys come with the longer ones before those that hold them."""
    m = one_map(MapType.LPM_TRIE, 6, 4, 30, MapFlag.NO_PREALLOC)
    model: dict[str, bytes] = {}
    for number, (length, data) in enumerate(entries):
        bits = f"{int.from_bytes(data, 'big'):016b}"[:length]
        if length > 16:
            with pytest.raises(MapTypeError):
                m.update(prefix(length, data), bytes(4))
            continue
        model[bits] = number.to_bytes(4, "little")
        m.update(prefix(length, data), model[bits])
    length, data = asked
    bits = f"{int.from_bytes(data, 'big'):016b}"[:length]
    found = [model[bits[:end]] for end in range(len(bits), -1, -1) if bits[:end] in model] if length <= 16 else []

    if found:
        assert m.lookup(prefix(length, data)) == found[0]
    else:
        with pytest.raises(KeyNotFoundError):
            m.lookup(prefix(length, data))
    listed = [(key[0], f"{int.from_bytes(key[4:], 'big'):016b}"[: key[0]]) for key in list(m.keys())]
    assert sorted(bits for _, bits in listed) == sorted(model)
    for index, (_, before) in enumerate(listed):
        assert not any(later.startswith(before) for _, later in listed[index + 1 :])


def errno_of(call: Any) -> int:
    try:
        call()
    except MapError as error:
        return error.errno
    return 0


def test_trie_errnos(engine: Engine) -> None:
    """A full trie, flags, prefixes that are not there or too long."""
    spec = MapSpec("m", MapType.LPM_TRIE, 6, 4, 2, MapFlag.NO_PREALLOC)
    with engine.load(CollectionSpec("test", maps={"m": spec})) as collection:
        m = collection.maps["m"]
        for first in (1, 2):
            m.update(prefix(8, bytes([first, 0])), b"four")
        rows = {
            (8, 3, 0): ENOSPC, (8, 3, 1): ENOSPC, (8, 3, 2): ENOENT, (8, 1, 1): EEXIST, (8, 1, 2): 0, (8, 1, 0): 0,
            (17, 1, 0): EINVAL, (8, 1, 3): EINVAL, (8, 1, 4): EINVAL, (8, 1, 1 << 32): EINVAL,
        }  # fmt: skip
        for (length, first, flags), expected in rows.items():
            key = prefix(length, bytes([first, 0]))
            assert errno_of(lambda key=key, flags=flags: m.update(key, b"four", flags)) == expected, (first, flags)
        assert [errno_of(lambda n=n: m.delete(prefix(n, b"\1\0"))) for n in (9, 17, 8, 8)] == [
            ENOENT,
            EINVAL,
            0,
            ENOENT,
        ]
        assert errno_of(lambda: m.lookup_and_delete(prefix(8, b"\2\0"))) == 524


KPTRS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
char _license[] SEC("license") = "GPL";
struct value { u64 before; struct bpf_crypto_ctx __kptr *cctx; };
struct prefix { u32 length; u32 address; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 4);
__type(key, struct prefix); __type(value, struct value); } trie SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 4);
__type(key, u64); __type(value, u64); } trie_key SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 4); __type(value, struct value); } filter SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 4); __type(value, struct value); } queue SEC(".maps");
SEC("tc") int unused(void *ctx)
{
	struct prefix key = {};

	bpf_map_lookup_elem(&trie_key, &key);
	return bpf_map_lookup_elem(&trie, &key) || bpf_map_peek_elem(&filter, &key) || bpf_map_peek_elem(&queue, &key);
}
"""


@pytest.mark.parametrize(("name", "errno"), [("trie", 95), ("trie_key", EINVAL), ("filter", 95), ("queue", 0)])
def test_typed_values(engine: Engine, compile_bpf: Any, name: str, errno: int) -> None:
    """Tries and filters refuse a kptr, a trie's key must be a struct; a queue is created without types, and takes it for bytes."""
    spec = load_spec(compile_bpf(KPTRS))
    only = CollectionSpec("test", btf=spec.btf, maps={name: spec.maps[name]})
    try:
        with engine.load(only) as collection:
            collection.maps[name].update(b"", b"\xff" * 16)
            assert collection.maps[name].lookup(b"") == b"\xff" * 16
    except Exception as error:
        assert getattr(error, "errno", None) == errno, error
    else:
        assert errno == 0


# --- rings


def memory_ring(size: int) -> Ring:
    return Ring("m", memoryview(bytearray(8)), memoryview(bytearray(8)), memoryview(bytearray(size)))


@given(steps=st.lists(st.one_of(st.none(), st.binary(max_size=120)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_ring(steps: list[bytes | None]) -> None:
    """What goes in comes out in order, over the end too; what does not fit is refused and changes nothing."""
    ring, model = memory_ring(256), deque[bytes]()
    for step in steps:
        if step is None:
            assert list(ring.records()) == list(model)
            model.clear()
            continue
        used = sum(record_size(len(each)) for each in model)
        assert ring.available == used
        if used + record_size(len(step)) > 256:
            with pytest.raises(MapFullError):
                ring.submit(step)
        else:
            ring.submit(step)
            model.append(step)


def test_unfinished_and_discarded() -> None:
    """A reader skips what was discarded, and stops before what is being written."""
    ring = memory_ring(256)
    for text in (b"one", b"two", b"three"):
        ring.submit(text)
    ring.set_header(16, 3 | DISCARD)
    ring.set_header(32, 5 | BUSY)

    assert list(ring.records()) == [b"one"]
    assert ring.available == 16
    ring.set_header(32, 5)
    assert list(ring.records()) == [b"three"]


@pytest.mark.parametrize(
    ("wanted", "size"), [(0, 0), (1, 4096), (4097, 8192), (1 << 31, 1 << 31), ((1 << 31) + 1, (1 << 31) + 1)]
)
def test_ring_size(wanted: int, size: int) -> None:
    """Whole pages and a power of two; what cannot be is left for the kernel to refuse."""
    assert ring_size(wanted, 4096) == size


def test_protocols(embedded_engine: Engine) -> None:
    """Rings of programs and of user space are told apart."""
    with embedded_engine.load(OBJECTS / "user_ringbuf.bpf.o") as collection:
        assert isinstance(collection.maps["ring"], RingMap)
        assert isinstance(collection.maps["samples"], UserRingMap)
        assert not isinstance(collection.maps["ring"], UserRingMap)
        assert not isinstance(collection.maps["slots"], RingMap | UserRingMap | QueueMap | FilterMap)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("used_late", "is not in any memory"),
        ("too_far", "reach beyond|is not in any memory"),
        ("lookup_ring", "bpf_map_lookup_elem does not work on map 'ring' of type RINGBUF"),
    ],
)
def test_records_are_guarded(unverified_engine: Engine, program: str, message: str) -> None:
    """A program that was not verified reaches its own record while it has it, and nothing else of the ring."""
    with (
        unverified_engine.load(OBJECTS / "ringbuf.bpf.o", programs=[program]) as collection,
        pytest.raises(RunError, match=message),
    ):
        collection.programs[program].run(PACKET)


def test_threads(embedded_engine: Engine) -> None:
    """Two writers and a reader at once: every record comes out whole, and once."""
    rounds = 150
    seen: list[bytes] = []
    with embedded_engine.load(OBJECTS / "ringbuf.bpf.o", programs=["reserve_52"]) as collection:
        ring: Any = collection.maps["ring"]
        collection.variables["given"].value = bytes(range(256))
        refused = []

        def write() -> None:
            refused.append(sum(collection.programs["reserve_52"].run(PACKET, cpu=None).retval for _ in range(rounds)))

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            seen += ring.records()
        seen += ring.records()

        produced = ring.ring.producer // record_size(52)
        assert len(seen) == produced <= 2 * rounds
        assert {record[:26] for record in seen} == {bytes(range(26))}
        assert ring.ring.available == 0
        assert refused == [0, 0]


def test_errnos_of_full(engine: Engine) -> None:
    """Each way to be full has its errno and the same kind of error."""
    queue = MapSpec("m", MapType.QUEUE, 0, 4, 1)
    with engine.load(CollectionSpec("test", maps={"m": queue})) as collection:
        m = collection.maps["m"]
        assert isinstance(m, QueueMap)
        m.push(b"four")
        with pytest.raises(MapFullError) as caught:
            m.push(b"four")
        assert caught.value.errno == E2BIG
        assert m.lookup(b"") == m.lookup_and_delete(b"") == b"four"
