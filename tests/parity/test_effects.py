"""Redirects and samples: helpers answer alike on both engines, and the embedded engine records what the kernel does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.abi.verdicts import TcAction, XdpAction
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import Effect, EventMap, Events, PerfEvent, Redirect, RedirectTarget
from bpfcrypto.errors import SyscallError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.maps import possible_cpus
from bpfcrypto.loader.load import load_spec
from support.cpus import on_one_cpu
from support.network import LOOPBACK, own_network
from support.packets import sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bpfcrypto.engine import Collection, Engine

BPF = Path(__file__).parents[1] / "bpf"
REDIRECTS = load_spec((BPF / "redirects.bpf.o").read_bytes())
EVENTS = load_spec((BPF / "events.bpf.o").read_bytes())
FRAME = sample()["udp4-64"]
OTHER = 7  # the index of no interface
ELEMENTS = [name for name, program in REDIRECTS.programs.items() if "/" in program.section]
RUNNING = [name for name in REDIRECTS.programs if name not in ELEMENTS]
FLAGS = (*range(10), 16, 17, 24, 25, 32, 1 << 32, 1 << 63)
DEVICES = ("devices", "devices_short", "devices_hash")


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Both engines, on one CPU, with one interface, in a network that nobody else uses."""
    with on_one_cpu(), own_network(), EmbeddedEngine(cpus=possible_cpus()) as here, KernelEngine() as there:
        yield here, there


def key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def with_targets(collection: Collection) -> Collection:
    """Interface 1 and CPU 1 under key 1 of each map."""
    for name in (*DEVICES, "cpus", "cpus_short"):
        collection.maps[name].update(key(1), RedirectTarget(LOOPBACK))
    return collection


def outcome(
    side: Collection, program: str, frame: bytes, given: Mapping[str, object]
) -> tuple[tuple[int, int], tuple[Effect, ...]]:
    """What a program and its helper returned, and what was recorded."""
    for name, value in given.items():
        side.variables[name].value = value
    result = side.programs[program].run(frame)
    return (result.retval, side.variables["ret"].value), result.effects


@pytest.mark.kernel
@pytest.mark.parametrize("program", RUNNING)
def test_redirects(engines: tuple[Engine, Engine], program: str) -> None:
    """Random targets, elements and flags: the same verdicts, and effects only where the verdict is REDIRECT or a copy went."""
    draw = random.Random(program)
    redirect = XdpAction.REDIRECT if REDIRECTS.programs[program].type is ProgType.XDP else TcAction.REDIRECT
    with (
        engines[0].load(REDIRECTS, programs=[program]) as here,
        engines[1].load(REDIRECTS, programs=[program]) as there,
    ):
        for side in (here, there):
            with_targets(side)
        for _ in range(80):
            given = {
                "ifindex": draw.choice((0, LOOPBACK, LOOPBACK, 99, 1 << 31)),
                "key": draw.choice((0, 1, 1, 1, 2, 4, 0xFFFFFFFF)),
                "flags": draw.choice((0, 0, 1, *FLAGS)),
                "verdict": draw.choice((0, 2, 4, 7)),
                "size": draw.choice((0, 1, 19, 20, 21, 63)),
            }
            (mine, effects), (theirs, none) = (outcome(side, program, FRAME, given) for side in (here, there))

            assert mine == theirs, given
            assert none == ()
            goes = [
                effect for effect in effects if isinstance(effect, Redirect) and effect.helper != "bpf_clone_redirect"
            ]
            assert not goes or mine[0] == redirect
            assert not program.startswith("copy") or (mine[1] == 0) == (len(effects) > len(goes))


@pytest.fixture
def collection(embedded_engine: EmbeddedEngine) -> Iterator[Collection]:
    with EmbeddedEngine(cpus=2, interfaces={LOOPBACK: 1, OTHER: 4}).load(REDIRECTS) as loaded:
        yield with_targets(loaded)


RECORDED = [
    ("to_interface", {"ifindex": 5, "flags": 1}, [Redirect("bpf_redirect", 5, 1)]),
    ("to_interface", {"ifindex": 5, "flags": 2}, []),
    ("to_peer", {"ifindex": 9}, [Redirect("bpf_redirect_peer", 9)]),
    ("to_neighbour", {"ifindex": 9}, [Redirect("bpf_redirect_neigh", 9)]),
    ("to_neighbour_of", {"ifindex": 9, "size": 20}, [Redirect("bpf_redirect_neigh", 9)]),
    ("to_neighbour_of", {"ifindex": 9, "size": 19}, []),
    ("to_interface_or_not", {"ifindex": 5, "verdict": 0}, []),
    ("to_interface_or_not", {"ifindex": 5, "verdict": 7}, [Redirect("bpf_redirect", 5)]),
    ("to_last", {"ifindex": 5}, [Redirect("bpf_redirect", 5)]),
    ("action_to", {"ifindex": 5}, [Redirect("bpf_redirect", 5)]),
    ("xdp_to", {"ifindex": 5}, [Redirect("bpf_redirect", 5)]),
    ("xdp_to", {"ifindex": 5, "flags": 1}, []),
    ("copy_to", {"ifindex": OTHER}, [Redirect("bpf_clone_redirect", OTHER, data=FRAME)]),
    ("copy_to", {"ifindex": 99}, []),
    ("to_devices", {"key": 1}, [Redirect("bpf_redirect_map", LOOPBACK, 0, "devices", 1)]),
    ("to_devices", {"key": 2, "flags": 2}, []),
    ("to_devices", {"key": 2, "flags": 8 | 16}, [Redirect("bpf_redirect_map", 0, 24, "devices", 2)]),
    ("to_devices_hash", {"key": 1, "flags": 1}, [Redirect("bpf_redirect_map", LOOPBACK, 1, "devices_hash", 1)]),
    ("to_cpus", {"key": 1}, [Redirect("bpf_redirect_map", 0, 0, "cpus", 1)]),
    ("to_sockets", {"key": 1, "flags": 2}, []),
    ("to_missing", {"ifindex": 5, "verdict": 4}, []),
]  # fmt: skip


@pytest.mark.parametrize(("program", "given", "effects"), RECORDED)
def test_what_is_recorded(collection: Collection, program: str, given: dict[str, int], effects: list[Effect]) -> None:
    """Helper, target and flags of each redirect that the kernel would carry out."""
    assert list(outcome(collection, program, FRAME, given)[1]) == effects


def test_copies_are_those_of_the_moment(collection: Collection) -> None:
    """A clone has the packet's bytes when it went; repetitions add up."""
    collection.variables["ifindex"].value = LOOPBACK
    effects = collection.programs["copy_and_change"].run(FRAME, repeat=2).effects
    changed = FRAME[:13] + b"\xaa" + FRAME[14:]

    assert [getattr(effect, "helper", "") for effect in effects] == [
        "bpf_clone_redirect",
        "bpf_clone_redirect",
        "bpf_redirect",
    ] * 2
    assert [getattr(effect, "data", b"") for effect in effects] == [FRAME, changed, b"", changed, changed, b""]


@pytest.mark.parametrize("program", ELEMENTS)
def test_programs_of_elements_do_not_run_alone(engine: Engine, program: str) -> None:
    """A program for the elements of a redirect map cannot be test-run."""
    with engine.load(REDIRECTS, programs=[program]) as loaded, pytest.raises(SyscallError) as caught:
        loaded.programs[program].run(FRAME)

    assert caught.value.errno == 22


@pytest.mark.kernel
@pytest.mark.parametrize("program", EVENTS.programs)
def test_samples(engines: tuple[Engine, Engine], program: str) -> None:
    """Random sizes and flags, before, while and after somebody listens: the same results and the same bytes."""
    draw = random.Random(program)
    frames = list(sample().values())
    with engines[0].load(EVENTS, programs=[program]) as here, engines[1].load(EVENTS, programs=[program]) as there:
        array = "one_cpu" if program == "output_one" else "samples"
        for listening in (False, True, False):
            opened: list[Events] = []
            for side in (here, there) if listening else ():
                events = side.maps[array]
                assert isinstance(events, EventMap)
                opened.append(events.listen())
            for _ in range(60):
                current = draw.choice((0xFFFFFFFF, 0xFFFFFFFF, 0, 1, 2, 77))
                given = {
                    "flags": current
                    | draw.choice((0, 0, 1, 14, 60, 64, 1500, 0xFFFFF)) << 32
                    | draw.choice((0,) * 9 + (1 << 52, 1 << 63)),
                    "size": draw.choice((0, 1, 3, 4, 5, 12, 13, 63, 64)),
                    "given": draw.randbytes(64),
                }
                frame = draw.choice(frames)
                mine, theirs = (outcome(side, program, frame, given) for side in (here, there))
                assert mine[0] == theirs[0], given
                assert theirs[1] == ()
                assert listening or mine[1] == ()
                assert [events.read() for events in opened] == [mine[1]] * len(opened)
            for events in opened:
                assert events.lost == 0
                events.close()


def test_listening_twice(embedded_engine: EmbeddedEngine) -> None:
    """The buffers that were opened last get the samples; closing others changes nothing."""
    with embedded_engine.load(EVENTS) as loaded:
        array = loaded.maps["samples"]
        assert isinstance(array, EventMap)
        loaded.variables["flags"].value = 0xFFFFFFFF
        loaded.variables["size"].value = 12
        with array.listen() as first, array.listen() as second:
            loaded.programs["output_tc"].run(FRAME)
            first.close()
            loaded.programs["output_tc"].run(FRAME)

            assert first.read() == ()
            assert second.read() == (PerfEvent("samples", 0, bytes(12)),) * 2
