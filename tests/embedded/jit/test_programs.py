"""Machine code beside the interpreter, on every annotated program that the verifier accepts."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import Collection
from bpfcrypto.errors import BpfCryptoError, RunError, SyscallError
from bpfcrypto.spec import CollectionSpec, MapRef, MapValueRef
from support.verifier_cases import Case, collection, files, load

pytest.importorskip("llvmlite")

PACKET = bytes((7 * i + 3) & 0xFF for i in range(96))
DIFFERENT_EACH_TIME = re.compile(r"random|ktime|jiffies|clock|\) \S?= r10\b|, r10\)")


def outcome(spec: CollectionSpec, *, jit: bool) -> object:
    """What can be seen of two runs, or how they failed. None where addresses show: then it is not the same at other addresses."""
    with kept_storage(), EmbeddedEngine(jit=jit, verify=jit) as engine, engine.load(spec) as loaded:
        found = [one_run(loaded) for _ in range(2)], contents(loaded)
        if not jit:
            with engine.load(spec) as elsewhere:
                again = [one_run(elsewhere) for _ in range(2)], contents(elsewhere)
            return found if again == found else None
        return found


@contextmanager
def kept_storage() -> Iterator[None]:
    """Keep what the engine allocates, so that no address comes a second time."""
    make, kept = ctypes.create_string_buffer, []

    def keep(*given: int) -> ctypes.Array[ctypes.c_char]:
        kept.append(make(*given))
        return kept[-1]

    with mock.patch.object(ctypes, "create_string_buffer", keep):
        yield


def one_run(loaded: Collection) -> object:
    program = loaded.programs["p0"]
    try:
        result = program.run(ctx=bytes(1 << 15)) if program.type is ProgType.SYSCALL else program.run(PACKET)
    except SyscallError as error:
        return error.errno
    except RunError as error:
        return type(error).__name__, error.insn
    return result.retval, result.data, result.ctx


def contents(loaded: Collection) -> object:
    found = {}
    for name, each in loaded.maps.items():
        try:
            found[name] = sorted((key, each.lookup(key)) for key in each.keys())  # noqa: SIM118
        except BpfCryptoError as error:
            found[name] = type(error).__name__
    return found


def runs(case: Case) -> bool:
    """Whether a program is accepted here, can be run here, and gives the same each time."""
    return case.accepted and not case.imprecise and not DIFFERENT_EACH_TIME.search(case.asm)


def alone(case: Case) -> CollectionSpec:
    """A program with the maps that it refers to."""
    spec = collection([case], case.license)
    names = {ref.name for ref in spec.programs["p0"].refs.values() if isinstance(ref, MapRef | MapValueRef)}
    names |= {inner for name in names for inner in spec.maps[name].slots.values()}
    return replace(spec, maps={name: each for name, each in spec.maps.items() if name in names})


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_annotated_programs(path: Path) -> None:
    """Both ways of running a program leave the same."""
    differing, ran = [], 0
    for case in filter(runs, load(path)):
        spec = alone(case)
        try:
            interpreted = outcome(spec, jit=False)
        except BpfCryptoError:
            continue  # this engine does not have what it needs
        if interpreted is None:
            continue
        compiled = outcome(spec, jit=True)
        ran += 1
        if compiled != interpreted:
            differing.append(f"{case.name}: {compiled!r:.200}, interpreted {interpreted!r:.200}")
    assert not differing, "\n".join(differing)
    assert ran or path.stem in ("connections", "sockets")  # this engine has neither
