"""Tail calls on both engines: chains through every slot, changes by user space, and who may be in one array."""

from __future__ import annotations

import random
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import KeyNotFoundError, MapTypeError, NotSupportedError, VerifierError
from bpfcrypto.loader.load import load_spec
from support.packets import sample
from support.parity import Step, play

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection, Engine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = load_spec((Path(__file__).parents[1] / "bpf/tail_calls.bpf.o").read_bytes())
FRAME = sample()["udp4-64"]
TC = ("leaf", "itself", "anywhere", "wide", "from_below", "twice", "empty_slots", "hop")
SLOTS = (0, 1, 2, 3, 4, 5, 6, 100, 2**32 - 1, 2**32 + 1, 2**63 + 2)


def key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def run(collection: Collection, program: str, slot: int = 0, repeat: int = 1) -> tuple[int, int, int]:
    """Return value, how many programs began, and how many calls came back."""
    for name, value in (("slot", slot), ("begun", 0), ("back", 0)):
        collection.variables[name].value = value
    result = collection.programs[program].run(FRAME, repeat=repeat)
    return (result.retval, collection.variables["begun"].value, collection.variables["back"].value)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(6))
def test_scenes(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, seed: int) -> None:
    """All programs of one type together, in random order, to random slots: the same results and the same array."""
    draw = random.Random(seed)
    order = [*TC, *draw.choices(TC, k=40)]
    steps = [Step(name, FRAME, repeat=draw.choice((1, 1, 3)), variables={"slot": draw.choice(SLOTS)}) for name in order]
    here, there = play(embedded_engine, OBJECT, steps), play(kernel_engine, OBJECT, steps)

    assert here.differences(there) == []
    assert here.maps["next"] == {key(0): b"leaf", key(1): b"itself", key(2): b"twice", key(3): b"hop"}


def test_limit(engine: Engine) -> None:
    """A run makes 33 tail calls, wherever its frames make them; the next one does nothing. Each repetition starts anew."""
    with engine.load(OBJECT, programs=TC) as collection:
        assert run(collection, "itself") == (34, 34, 1)
        assert run(collection, "itself", repeat=3) == (102, 102, 3)
        assert run(collection, "twice")[1:] == (68, 35)
        assert run(collection, "empty_slots") == (34 - 1, 33, 1)


def test_frames(engine: Engine) -> None:
    """Called from a subprogram, the other program returns to the subprogram's caller."""
    with engine.load(OBJECT, programs=TC) as collection:
        assert run(collection, "from_below", slot=0) == (1077, 2, 0)
        assert run(collection, "from_below", slot=5) == (1005, 1, 1)


def test_user_space_changes_the_array(engine: Engine) -> None:
    """An update takes effect at the next call, a deletion makes calls do nothing, and ids name the programs."""
    with engine.load(OBJECT, programs=TC) as collection:
        array, leaf = collection.maps["next"], collection.programs["leaf"]
        assert run(collection, "anywhere", slot=5) == (1, 1, 1)
        array.update(key(5), leaf)
        assert int.from_bytes(array.lookup(key(5)), "little") == leaf.id
        assert sorted(array.keys()) == [key(index) for index in (0, 1, 2, 3, 5)]
        assert run(collection, "anywhere", slot=5) == (77, 2, 0)
        array.delete(key(5))
        assert run(collection, "anywhere", slot=5) == (1, 1, 1)
        with pytest.raises(KeyNotFoundError):
            array.lookup(key(5))
        with pytest.raises(MapTypeError):
            array.update(key(5), collection.maps["next_xdp"])
        assert len(array.typed) == 4


def test_programs_that_were_not_loaded(engine: Engine) -> None:
    """Their slots stay empty."""
    with engine.load(OBJECT, programs=["anywhere"]) as collection:
        assert list(collection.maps["next"].keys()) == []
        assert run(collection, "anywhere", slot=1) == (1, 1, 1)


def test_xdp(engine: Engine) -> None:
    """From one XDP program to another; one that takes fragments does not fit."""
    with engine.load(OBJECT, programs=["xdp_from", "xdp_to", "xdp_frags"]) as collection:
        array = collection.maps["next_xdp"]
        array.update(key(2), collection.programs["xdp_to"])
        assert run(collection, "xdp_from", slot=2) == (3, 1, 0)
        assert run(collection, "xdp_from", slot=1) == (2, 1, 1)
        with pytest.raises(MapTypeError) as caught:
            array.update(key(1), collection.programs["xdp_frags"])
        assert caught.value.errno == EINVAL


OTHERS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u32);
} next SEC(".maps");
#define PROGRAM(section, name) SEC(section) int name(void *ctx) { bpf_tail_call(ctx, &next, 1); return 3; }
PROGRAM("xdp", first)
PROGRAM("xdp.frags", frags)
PROGRAM("tc", classifier)
PROGRAM("action", act)
PROGRAM("tcx/ingress", ingress)
"""


@pytest.mark.parametrize("second", ["frags", "classifier", "act", "ingress"])
def test_programs_of_two_kinds_share_no_array(engine: Engine, compile_bpf: object, second: str) -> None:
    """The second program that refers to the array is not loaded."""
    data = compile_bpf(OTHERS)  # type: ignore[operator]
    with engine.load(data, programs=[second]) as collection:
        assert collection.programs[second].run(FRAME).retval == 3
    with pytest.raises(VerifierError) as caught:
        engine.load(data, programs=["first", second])

    assert (caught.value.errno, caught.value.program) == (EINVAL, second)


def test_a_program_of_another_collection(embedded_engine: EmbeddedEngine) -> None:
    """The embedded engine says that it cannot: the program goes with its own collection."""
    with (
        embedded_engine.load(OBJECT, programs=TC) as first,
        embedded_engine.load(OBJECT, programs=TC) as second,
        pytest.raises(NotSupportedError, match="a program of another collection"),
    ):
        first.maps["next"].update(key(5), second.programs["leaf"])


DEEP = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} next SEC(".maps");
u32 begun;
#define LEVEL(n, below) static __noinline int level##n(struct __sk_buff *skb) { begun++; return below + 1; }
static __noinline int level7(struct __sk_buff *skb)
{
	int result = 1;

	barrier_var(result);
	begun++;
	bpf_tail_call(skb, &next, 0);
	return result;
}
LEVEL(6, level7(skb))
LEVEL(5, level6(skb))
LEVEL(4, level5(skb))
LEVEL(3, level4(skb))
LEVEL(2, level3(skb))
LEVEL(1, level2(skb))
SEC("tc") int deep(struct __sk_buff *skb) { begun++; return level1(skb) + 1; }
"""


def test_every_program_has_eight_frames(engine: Engine, compile_bpf: object) -> None:
    """A program that was called from the eighth frame may go as deep again: 34 programs of 8 frames."""
    with engine.load(compile_bpf(DEEP)) as collection:  # type: ignore[operator]
        deep = collection.programs["deep"]
        collection.maps["next"].update(key(0), deep)

        assert deep.run(FRAME).retval == 8 + 33 * 7
        assert collection.variables["begun"].value == 34 * 8
