"""Annotated programs: our verdict, errno and last line are those in the files, and the kernel's are too."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from bpfcrypto.kernel.engine import KernelEngine
from support.verdicts import judge
from support.verifier_cases import Case, collection, describe, files, load

FEWEST = 600

topics = pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)


def ours(case: Case) -> str:
    spec = collection([case], case.license)
    verdict = judge(spec.programs["p0"], spec)
    return describe(verdict.accepted, verdict.errno, verdict.message)


@topics
def test_our_verdicts(path: Path) -> None:
    """Each program is accepted, or rejected in the words of its annotation."""
    differing = [
        f"{case.name}: {said!r}, not {case.verdict!r}"
        for case in load(path)
        if (said := ours(case)) != case.verdict and not case.imprecise
    ]
    assert not differing, "\n".join(differing)


@topics
def test_imprecision_is_rejection(path: Path) -> None:
    """What is listed as imprecise is accepted by the kernel and rejected here; once it is not, the note goes."""
    for case in load(path):
        if case.imprecise:
            assert case.accepted, case.name
            assert ours(case) != case.verdict, case.name


@topics
@pytest.mark.kernel
def test_the_kernel_agrees(path: Path) -> None:
    """The annotations are what the kernel says."""
    differing = []
    for licence, group in groupby(sorted(load(path), key=lambda case: case.license), key=lambda case: case.license):
        cases = list(group)
        for case, verdict in zip(cases, KernelEngine().check(collection(cases, licence)), strict=True):
            said = describe(verdict.accepted, verdict.errno, verdict.message)
            if said != case.verdict:
                differing.append(f"{case.name}: the kernel says {said!r}, not {case.verdict!r}")
    assert not differing, "\n".join(differing)


def test_there_are_many() -> None:
    """The programs are many, of both verdicts, and no two of a file have one name."""
    cases = [case for path in files() for case in load(path)]
    names = Counter(case.name for case in cases)
    accepted = sum(case.accepted for case in cases)
    assert max(names.values()) == 1, names.most_common(3)
    assert len(cases) >= FEWEST
    assert min(accepted, len(cases) - accepted) >= FEWEST // 4
