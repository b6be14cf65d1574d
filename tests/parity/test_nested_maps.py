"""Maps in maps on both engines: programs at work in inner maps, inner maps that user space makes, and how long contexts in them live."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import MapOfMaps
from bpfcrypto.errors import KeyNotFoundError, MapTypeError, NotSupportedError, SyscallError
from bpfcrypto.loader.load import load_spec
from support.packets import sample
from support.parity import Step, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.engine import Collection, Engine, Map
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = load_spec((Path(__file__).parents[1] / "bpf/maps_nested.bpf.o").read_bytes())
FRAME = sample()["udp4-64"]
CALLS = ("in_hash_syscall", "fill_array", "fill_hash")  # programs without a packet


def key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def outer(collection: Collection, name: str) -> MapOfMaps:
    found = collection.maps[name]
    assert isinstance(found, MapOfMaps)
    return found


def run(collection: Collection, program: str, **variables: object) -> int:
    for name, value in variables.items():
        collection.variables[name].value = value
    return collection.programs[program].run(b"" if program in CALLS else FRAME).retval


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(6))
def test_scenes(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, seed: int) -> None:
    """All programs in random order: elements come, change and go in inner maps, contexts with them, alike on both engines."""
    draw = random.Random(seed)
    steps = [
        Step(
            program,
            b"" if program in CALLS else FRAME,
            variables={
                "slot": draw.choice((0, 1, 1, 2, 3, 9)),
                "key": draw.randrange(3),
                "op": draw.choice((0, 1, 1, 2, 3)),
                "flags": draw.choice((0, 0, 0, 1, 2)),
                "given": draw.randrange(1 << 64),
                "cipher_key": draw.randbytes(16),
            },
        )
        for program in (*OBJECT.programs, *draw.choices(list(OBJECT.programs), k=100))
    ]
    here, there = play(embedded_engine, OBJECT, steps), play(kernel_engine, OBJECT, steps)

    assert here.differences(there) == []


@pytest.fixture(params=["array", "hash"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def collection(engine: Engine) -> Iterator[Collection]:
    """The object on each engine; on the embedded one no context may be left at the end."""
    with engine.load(OBJECT) as loaded:
        yield loaded
    if isinstance(engine, EmbeddedEngine):
        assert loaded.leaks() == 0  # type: ignore[attr-defined]


def fresh(collection: Collection, kind: str, slot: int) -> tuple[MapOfMaps, Map]:
    """A new inner map with element 1 in a slot."""
    holder = outer(collection, "arrays" if kind == "array" else "hashes")
    inner = holder.new_inner("mine")
    holder.update(key(slot), inner)
    if kind == "hash":
        inner.update(key(1), bytes(16))
    return holder, inner


def holds_context(collection: Collection, kind: str, slot: int) -> bool:
    """Whether a program finds a context in element 1 of a slot's map; it is used when it does."""
    found = run(collection, f"use_{kind}", slot=slot, key=1) == 0
    assert not found or collection.variables["ret"].value == 0
    return found


def test_initial_slots(engine: Engine) -> None:
    """Slots hold the maps that the object names."""
    with engine.load(OBJECT, programs=[]) as loaded:
        arrays, hashes = loaded.maps["arrays"], loaded.maps["hashes"]

        assert {k: int.from_bytes(v, "little") for k, v in arrays.items()} == {
            key(0): loaded.maps["first"].id,
            key(2): loaded.maps["second"].id,
        }
        assert int.from_bytes(hashes.lookup(key(1)), "little") == loaded.maps["third"].id
        with pytest.raises(KeyNotFoundError):
            arrays.lookup(key(1))


def test_a_new_inner_map(collection: Collection, kind: str) -> None:
    """Programs and user space see the same elements of it, whatever slot it is in, and of no other."""
    holder, inner = fresh(collection, kind, 3)
    holder.update(key(0), inner)
    program = f"in_{kind}"
    assert run(collection, program, slot=3, key=1, op=3, given=5) == 0
    assert run(collection, program, slot=0, key=1, op=3, given=6) == 0
    assert inner.typed[1]["count"] == 11
    assert inner.name == "mine"
    assert inner.spec.max_entries == 4
    holder.delete(key(3))
    assert run(collection, program, slot=3, key=1, op=0) == 1
    assert run(collection, program, slot=0, key=1, op=0) == 0
    assert collection.variables["seen"].value == 11


def test_a_slot_keeps_its_map(collection: Collection, kind: str) -> None:
    """Closed by user space, the map works on; it is gone with its slot, and so is the context in it."""
    holder, inner = fresh(collection, kind, 3)
    assert run(collection, f"fill_{kind}", slot=3, key=1) == 0
    number = inner.id
    inner.close()
    assert holds_context(collection, kind, 3)
    assert int.from_bytes(holder.lookup(key(3)), "little") == number
    holder.delete(key(3))
    assert not holds_context(collection, kind, 3)
    with pytest.raises(SyscallError):
        holder.update(key(3), inner)


def test_a_map_outlives_its_slot(collection: Collection, kind: str) -> None:
    """Taken out of its slot, an open map keeps its context, and brings it along into another slot."""
    holder, inner = fresh(collection, kind, 3)
    assert run(collection, f"fill_{kind}", slot=3, key=1) == 0
    holder.delete(key(3))
    assert not holds_context(collection, kind, 3)
    holder.update(key(0), inner)
    assert holds_context(collection, kind, 0)
    inner.update(key(1), bytes(16))
    assert not holds_context(collection, kind, 0)


def test_any_length(engine: Engine) -> None:
    """An array with BPF_F_INNER_MAP may have any length; a program sees its bounds."""
    with engine.load(OBJECT, programs=["in_any"]) as loaded:
        holder = outer(loaded, "anys")
        holder.update(key(1), holder.new_inner(max_entries=100))
        assert run(loaded, "in_any", slot=1, key=99, given=3) == 0
        assert loaded.variables["found"].value
        assert run(loaded, "in_any", slot=1, key=100) == 0
        assert not loaded.variables["found"].value
        assert run(loaded, "in_any", slot=0, key=1) == 0
        assert not loaded.variables["found"].value
        with pytest.raises(MapTypeError):
            outer(loaded, "arrays").update(key(1), outer(loaded, "arrays").new_inner(max_entries=100))


def test_kptr_layouts_must_match(engine: Engine) -> None:
    """A map with the same sizes and no kptr is no inner map of a template with one; nor the other way round."""
    with engine.load(OBJECT, programs=[]) as loaded:
        for holder, other in (("arrays", "any"), ("anys", "first"), ("hashes", "first"), ("arrays", "third")):
            with pytest.raises(MapTypeError) as caught:
                loaded.maps[holder].update(key(1), loaded.maps[other])
            assert caught.value.errno == 22


def test_typed(engine: Engine) -> None:
    """The typed view takes and gives what the bytes view does: maps in, ids out."""
    with engine.load(OBJECT, programs=[]) as loaded:
        arrays = loaded.maps["arrays"].typed
        arrays[3] = loaded.maps["first"]
        assert arrays[3] == loaded.maps["first"].id
        del arrays[3]
        assert 3 not in arrays


# --- what only the embedded engine can show


def test_contexts_are_released_with_their_map(kind: str) -> None:
    """Each way of losing the last hold on an inner map frees its contexts at once when no program runs."""
    with EmbeddedEngine().load(OBJECT) as loaded:
        for lose in ("delete", "replace", "close last"):
            holder, inner = fresh(loaded, kind, 3)
            assert run(loaded, f"fill_{kind}", slot=3, key=1) == 0
            assert loaded.live_contexts == 1
            if lose == "close last":
                holder.delete(key(3))
                assert loaded.live_contexts == 1
                inner.close()
            else:
                inner.close()
                assert loaded.live_contexts == 1
                holder.delete(key(3)) if lose == "delete" else holder.update(key(3), holder.new_inner())
            assert loaded.live_contexts == 0, lose
        fresh(loaded, kind, 3)
        assert run(loaded, f"fill_{kind}", slot=3, key=1) == 0
        assert loaded.live_contexts == 1
    assert loaded.live_contexts == 0
    assert loaded.leaks() == 0


PRINTING = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct inner { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, u32); __type(value, u64); };
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps");
u64 seen;
SEC("tc") int use(struct __sk_buff *skb)
{
	u32 key = 1;
	u64 *value, more = 9;
	void *inner = bpf_map_lookup_elem(&outer, &key);

	if (!inner)
		return 1;
	bpf_printk("now");
	bpf_map_update_elem(inner, &key, &more, 0);
	value = bpf_map_lookup_elem(inner, &key);
	if (!value)
		return 2;
	seen = *value;
	return 0;
}
"""


def test_a_running_program_keeps_what_it_found(compile_bpf: object) -> None:
    """A map that loses its slot and its last hold in the middle of a run is there until the run ends."""
    regions: list[object] = []

    def lose(_line: str) -> None:
        loaded.maps["outer"].delete(key(1))
        inner.close()
        regions.append(inner.handle.live)

    with EmbeddedEngine(trace=lose).load(compile_bpf(PRINTING)) as loaded:  # type: ignore[operator]
        inner = loaded.maps["outer"].new_inner()  # type: ignore[attr-defined]
        loaded.maps["outer"].update(key(1), inner)
        assert loaded.programs["use"].run(FRAME).retval == 0
        assert loaded.variables["seen"].value == 9
        assert regions == [True]
        assert not inner.handle.live
        assert loaded.programs["use"].run(FRAME).retval == 1


def test_closing_leaves_no_map() -> None:
    """Inner maps that nobody closed go with the collection."""
    with EmbeddedEngine().load(OBJECT) as loaded:
        made = [outer(loaded, "arrays").new_inner() for _ in range(3)]
        outer(loaded, "arrays").update(key(1), made[0])
        made[1].close()
    assert [each.handle.live for each in made] == [False] * 3  # type: ignore[attr-defined]


def test_maps_of_another_engine() -> None:
    """The embedded engine says that it cannot take them."""
    with (
        EmbeddedEngine().load(OBJECT, programs=[]) as first,
        EmbeddedEngine().load(OBJECT, programs=[]) as second,
        pytest.raises(NotSupportedError, match="a map of another engine"),
    ):
        first.maps["arrays"].update(key(1), second.maps["first"])


def test_maps_of_another_collection(engine: Engine) -> None:
    """They are taken, and kept when their own collection is closed."""
    with engine.load(OBJECT) as first:
        with engine.load(OBJECT, programs=[]) as second:
            first.maps["arrays"].update(key(1), second.maps["first"])
        gc.collect()
        assert run(first, "in_array", slot=1, key=1, op=3, given=2) == 0
