"""One object on everything that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.engine import Collection
from bpfcrypto.kernel.engine import KernelEngine


@contextmanager
def embedded_ways(path: Path) -> Iterator[list[Collection]]:
    """One collection with the interpreter, and one with machine code."""
    with (
        EmbeddedEngine(jit=False) as interpreter,
        EmbeddedEngine(jit=True) as machine,
        interpreter.load(path) as first,
        machine.load(path) as second,
    ):
        yield [first, second]


@contextmanager
def three_ways(path: Path) -> Iterator[list[Collection]]:
    """The same, and one on the kernel; the test must be marked ``kernel``."""
    with embedded_ways(path) as embedded, KernelEngine() as kernel, kernel.load(path) as third:
        yield [*embedded, third]
