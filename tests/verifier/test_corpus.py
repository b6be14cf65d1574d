"""Every object of the repository through both verifiers: the same verdict, errno and last line, and the same work to get there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.support.annotations import expectation
from tests.support.verdicts import compare, judge

from bpfcrypto.source import read_source

ROOT: Final = Path(__file__).parents[2]
OBJECTS: Final = sorted((ROOT / "tests" / "bpf").glob("*.bpf.o")) + sorted((ROOT / "examples").rglob("*.bpf.o"))
MOST_WORK: Final = 1.2
"""Instructions that we may visit for one that the kernel visits."""


DIFFERENT: Final = {
    ("kfuncs_weak", "unguarded"): "the kernel engine names the missing kfunc, which the kernel cannot",
    ("kernel_context", "no_context"): "the kernel's words have a type number of its own",
}
"""Programs that both reject, in other words."""


def test_there_are_objects() -> None:
    """The tests below judge something."""
    assert len(OBJECTS) > 40


@pytest.mark.kernel
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name.removesuffix(".bpf.o"))
def test_same_verdicts(path: Path) -> None:
    """We say of each program what the kernel says, and visit no more instructions than pruning as the kernel prunes needs."""
    spec = read_source(path)
    for pair in compare(spec, programs=list(spec.programs)):
        if (path.name.removesuffix(".bpf.o"), pair.name) in DIFFERENT:
            assert pair.ours.accepted is pair.theirs.accepted is False
            continue
        assert pair.disagreement() == "", pair.name
        assert pair.ratio <= MOST_WORK, f"{pair.name}: {pair.ours.insns_processed} / {pair.theirs.insns_processed}"


GLOBALS = read_source(ROOT / "tests" / "bpf" / "rules_globals.bpf.o")


@pytest.mark.parametrize("name", GLOBALS.programs)
def test_global_functions(name: str) -> None:
    """What a global function may be given is what its prototype and its tags say; no kernel is needed to know it."""
    expected = expectation(GLOBALS.programs[name])
    verdict = judge(GLOBALS.programs[name], GLOBALS)

    assert verdict.accepted is expected.accepted
    for message in expected.messages:
        assert message in verdict.message
