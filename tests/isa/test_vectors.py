"""The instruction vectors, on the interpreter, as machine code and on the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcrypto.embedded.jit import build
from bpfcrypto.embedded.jit.compile import Passes
from bpfcrypto.errors import BpfCryptoError, RunError, VerifierError
from support.isa_cases import VECTORS, Vector, forget_compiled, load, run_interpreter, run_kernel, run_machine

FILES = sorted(VECTORS.glob("*.data"))


def problems(path: Path, run: Callable[[str, bytes], tuple[int, bytes]], told: Callable[[Vector], str]) -> list[str]:
    """What the vectors of a file expect and a run does not give."""
    found = []
    for vector in load(path):
        try:
            result, after = run(vector.asm, vector.mem)
        except BpfCryptoError as error:
            text = error.log if isinstance(error, VerifierError) else str(error)
            if vector.error is None or told(vector) not in text:
                found.append(f"{vector.name}: {text}")
            continue
        if vector.error is not None:
            found.append(f"{vector.name}: ran and gave {result:#x}")
        if vector.result is not None and result != vector.result:
            found.append(f"{vector.name}: r0 is {result:#x}, not {vector.result:#x}")
        if vector.after is not None and after != vector.after:
            found.append(f"{vector.name}: memory is {after.hex(' ')}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_interpreter(path: Path) -> None:
    """Every vector gives its result, memory or error on the interpreter."""
    assert problems(path, run_interpreter, lambda vector: vector.error or "") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("passes", list(Passes), ids=lambda passes: passes.name)
def test_machine_code(path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every vector gives the same as machine code, whatever the optimiser does to it; what must not run is rejected."""
    pytest.importorskip("llvmlite")
    monkeypatch.setattr(build, "passes_for", lambda _insns, **_: passes)
    monkeypatch.setenv("BPFCRYPTO_CACHE", "")
    forget_compiled()
    assert problems(path, run_machine, lambda vector: vector.kernel) == []
    forget_compiled()


@pytest.mark.kernel
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kernel(path: Path) -> None:
    """Every vector gives the same on the kernel, which rejects what must not run."""
    assert problems(path, run_kernel, lambda vector: vector.kernel) == []


def test_traps_are_run_errors() -> None:
    """What must not run is a RunError that names the instruction, its text and the program."""
    for vector in load(VECTORS / "trap.data"):
        with pytest.raises(RunError) as caught:
            run_interpreter(vector.asm, vector.mem)
        assert caught.value.program == "vector"
        assert caught.value.insn >= 0
        assert caught.value.where


def test_the_files_are_found() -> None:
    """The vectors are where the tests look, and there are many."""
    assert sum(1 for path in FILES for _ in load(path)) > 2000
