"""Every object of the repository through both verifiers: the same verdict, errno and last line, and the same work to get there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.support.verdicts import compare

ROOT: Final = Path(__file__).parents[2]
OBJECTS: Final = sorted((ROOT / "tests" / "bpf").glob("*.bpf.o")) + sorted((ROOT / "examples").rglob("*.bpf.o"))
MOST_WORK: Final = 1.2
"""Instructions that we may visit for one that the kernel visits."""


def test_there_are_objects() -> None:
    """The tests below judge something."""
    assert len(OBJECTS) > 40


@pytest.mark.kernel
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name.removesuffix(".bpf.o"))
def test_same_verdicts(path: Path) -> None:
    """We say of each program what the kernel says, and visit no more instructions than pruning as the kernel prunes needs."""
    for pair in compare(path):
        assert pair.disagreement() == "", pair.name
        assert pair.ratio <= MOST_WORK, f"{pair.name}: {pair.ours.insns_processed} / {pair.theirs.insns_processed}"
