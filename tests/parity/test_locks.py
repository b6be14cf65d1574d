"""Spin locks: threads exclude each other on both engines, and what no verified program does ends a run of the embedded engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.maps import UpdateFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import NotSupportedError, RunError
from bpfcrypto.loader.load import load_spec
from support.packets import sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.engine import Collection, Engine

OBJECT = load_spec((Path(__file__).parents[1] / "bpf/locks.bpf.o").read_bytes())
FRAME = sample()["udp4-64"]
ROUNDS = 400
KEY = bytes(4)


def together(*calls: Callable[[], object]) -> None:
    """Run each in a thread of its own."""
    failures: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def prepared(collection: Collection, kind: str, given: int = 1) -> None:
    collection.variables["given"].value = given
    collection.variables["key"].value = 0
    if kind == "hash":
        collection.maps["m_hash"].update(KEY, bytes(24))


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_no_addition_is_lost(engine: Engine, kind: str) -> None:
    """Two threads add under the element's lock: both members have every addition."""
    with engine.load(OBJECT) as collection:
        prepared(collection, kind)
        program = collection.programs[f"add_{kind}"]
        together(*[lambda: program.run(FRAME, repeat=ROUNDS)] * 3)
        value = collection.maps[f"m_{kind}"].typed[0]

        assert (value["first"], value["second"]) == (3 * ROUNDS, 3 * ROUNDS)
        assert not collection.variables["torn"].value


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_user_space_takes_the_lock(engine: Engine, kind: str) -> None:
    """Updates with BPF_F_LOCK, by a program and by user space, never show a program one member new and the other old."""
    with engine.load(OBJECT) as collection:
        prepared(collection, kind)
        m = collection.maps[f"m_{kind}"]
        collection.variables["flags"].value = int(UpdateFlag.LOCK)

        def write() -> None:
            for number in range(ROUNDS):
                m.update(KEY, number.to_bytes(8, "little") * 3, UpdateFlag.LOCK)

        together(
            lambda: collection.programs[f"add_{kind}"].run(FRAME, repeat=ROUNDS),
            lambda: collection.programs[f"replace_{kind}"].run(FRAME, repeat=ROUNDS),
            write,
        )
        value = m.typed[0]

        assert not collection.variables["torn"].value
        assert value["first"] == value["second"]


def test_a_global_lock(engine: Engine) -> None:
    """A lock among global variables guards those beside it."""
    with engine.load(OBJECT) as collection:
        prepared(collection, "array", given=3)
        together(*[lambda: collection.programs["add_global"].run(FRAME, repeat=ROUNDS)] * 2)

        assert collection.variables["guarded"].value == 6 * ROUNDS


def test_the_lock_is_not_shown(engine: Engine) -> None:
    """User space reads zeros where the lock is, and cannot set it."""
    with engine.load(OBJECT, programs=[]) as collection:
        m = collection.maps["m_array"]
        m.update(KEY, b"\xff" * 24)

        assert m.lookup(KEY) == b"\xff" * 8 + bytes(4) + b"\xff" * 12


BAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct value { u64 before; struct bpf_spin_lock lock; u32 after; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} m SEC(".maps");
#define PROGRAM(name, body) \\
	SEC("tc") int name(struct __sk_buff *skb) \\
	{ \\
		u32 one = 1, two = 2; \\
		struct value *a = bpf_map_lookup_elem(&m, &one), *b = bpf_map_lookup_elem(&m, &two), copy = {}; \\
		if (!a || !b) \\
			return 1; \\
		body; \\
		return 0; \\
	}
PROGRAM(fine, bpf_spin_lock(&a->lock); a->after++; bpf_spin_unlock(&a->lock))
PROGRAM(twice, bpf_spin_lock(&a->lock); bpf_spin_lock(&a->lock))
PROGRAM(another, bpf_spin_lock(&a->lock); bpf_spin_lock(&b->lock))
PROGRAM(kept, bpf_spin_lock(&a->lock); a->after++)
PROGRAM(not_held, bpf_spin_unlock(&a->lock))
PROGRAM(other_one, bpf_spin_lock(&a->lock); bpf_spin_unlock(&b->lock))
PROGRAM(no_lock_there, bpf_spin_lock((void *)&a->after))
PROGRAM(on_the_stack, bpf_spin_lock(&copy.lock))
PROGRAM(lookup_inside, bpf_spin_lock(&a->lock); bpf_map_lookup_elem(&m, &one); bpf_spin_unlock(&a->lock))
PROGRAM(update_inside, bpf_spin_lock(&a->lock); bpf_map_update_elem(&m, &one, &copy, BPF_F_LOCK); bpf_spin_unlock(&a->lock))
"""
FAULTS = {
    "twice": "deadlock",
    "another": "deadlock",
    "kept": "ended while it held",
    "not_held": "does not hold",
    "other_one": "does not hold",
    "no_lock_there": "not that of a spin lock",
    "on_the_stack": "neither in the value of a map",
    "lookup_inside": "holds a spin lock",
    "update_inside": "holds a spin lock",
}


@pytest.mark.parametrize("program", FAULTS)
def test_what_no_verified_program_does(unverified_engine: EmbeddedEngine, compile_bpf: object, program: str) -> None:
    """Such a run ends with an error, and leaves the lock free."""
    with unverified_engine.load(compile_bpf(BAD)) as collection:  # type: ignore[operator]
        for number in (1, 2):
            collection.maps["m"].update(number.to_bytes(4, "little"), bytes(16))
        with pytest.raises(RunError, match=FAULTS[program]):
            collection.programs[program].run(FRAME)
        assert collection.programs["fine"].run(FRAME).retval == 0
        collection.maps["m"].update((1).to_bytes(4, "little"), bytes(16), UpdateFlag.LOCK)


@pytest.mark.kernel
@pytest.mark.parametrize("program", FAULTS)
def test_the_verifier_refuses_them(kernel_engine: Engine, compile_bpf: object, program: str) -> None:
    """None of those programs gets past the kernel's verifier."""
    verdict = kernel_engine.check(compile_bpf(BAD), programs=[program])[0]  # type: ignore[attr-defined, operator]

    assert not verdict.accepted


TIMER = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct value { struct bpf_timer timer; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct value);
} m SEC(".maps");
SEC("tc") int start(struct __sk_buff *skb)
{
	u32 key = 0;
	struct value *value = bpf_map_lookup_elem(&m, &key);

	if (!value)
		return 1;
	return CALL;
}
"""


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("bpf_timer_init(&value->timer, &m, 1)", "bpf_timer_init"),
        ("bpf_timer_start(&value->timer, 0, 0)", "bpf_timer_start"),
        ("bpf_timer_cancel(&value->timer)", "bpf_timer_cancel"),
    ],
)
def test_timers_are_refused_at_load(embedded_engine: EmbeddedEngine, compile_bpf: object, call: str, name: str) -> None:
    """By name, and with the reason."""
    source = TIMER.replace("CALL", call)
    with pytest.raises(NotSupportedError, match=f"helper '{name}'.*after a program has returned") as caught:
        embedded_engine.load(compile_bpf(source))  # type: ignore[operator]

    assert ProgType.SCHED_CLS.name not in str(caught.value)
