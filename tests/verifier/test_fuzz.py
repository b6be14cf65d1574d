"""Random programs, and those that the fuzzer once found: both verifiers say the same, and what they accept runs alike."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.duel import Class, duel
from support.progen import generate, inject
from support.progtext import assembled

FOUND = sorted(Path(__file__).with_name("found").glob("*.txt"))
PER_BATCH = 25

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_found(path: Path) -> None:
    """A program on which the two once disagreed."""
    text = path.read_text()
    outcome = duel(text)
    assert outcome.kind is Class.AGREE, outcome.detail
    assert outcome.pair is not None
    if "; counts" in text.splitlines():
        assert outcome.pair.ours.insns_processed == outcome.pair.theirs.insns_processed


@pytest.mark.parametrize("batch", range(8))
def test_random(batch: int) -> None:
    """Programs that are mostly valid, half of them with a fault."""
    accepted = 0
    for seed in range(batch * PER_BATCH, (batch + 1) * PER_BATCH):
        rng = random.Random(seed)
        text, broken = generate(rng), rng.random() < 0.5
        if broken:
            text = inject(rng, text)
        outcome = duel(text, broken=broken)
        assert not outcome.kind.is_wrong, f"seed {seed}: {outcome.kind.value}: {outcome.detail}\n{text}"
        accepted += outcome.accepted
    assert accepted > PER_BATCH // 4


@pytest.mark.parametrize("kind", ["tc", "xdp", "syscall"])
def test_generator(kind: str) -> None:
    """The generator makes the same program of the same seed, and never one that creates a context without an err."""
    for seed in range(40):
        text = generate(random.Random(seed), kind)
        assert text == generate(random.Random(seed), kind)
        assert assembled(text).programs["main"].section == kind
        lines = text.splitlines()
        for at, line in enumerate(lines):
            if line == "call bpf_crypto_ctx_create":
                assert lines[at - 3 : at - 1] == ["r3 = r10", "r3 += -152"]
