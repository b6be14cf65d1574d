"""Compare our verifier with the kernel's on random programs, and three ways of running them, for a while, and print what came of it.

Disagreements are made small and kept as text, each with what was said of it, so that they can become tests.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.duel import Class, Outcome, duel, shrink  # noqa: E402
from support.progen import generate, inject  # noqa: E402

SHRINK_SECONDS = 8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on (default: 60)")
    parser.add_argument("--count", type=int, default=1 << 30, help="the most programs to make")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; at random by default")
    parser.add_argument("--type", choices=("tc", "xdp", "syscall"), help="make programs of one type only")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="where disagreements are kept")
    parser.add_argument("--whole", action="store_true", help="break no program: most are accepted and run")
    parser.add_argument("--no-shrink", action="store_true", help="keep them as they are")
    return parser.parse_args()


def program(seed: int, kind: str | None, *, whole: bool) -> tuple[str, bool]:
    """The program of a seed, and whether it was broken: about half are, some more than once."""
    rng = random.Random(seed)
    text, faults = generate(rng, kind), 0 if whole else rng.choice((0, 0, 0, 1, 1, 2))
    for _ in range(faults):
        text = inject(rng, text)
    return text, bool(faults)


def _keep(folder: Path, seed: int, text: str, outcome: Outcome) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{outcome.kind.name.lower()}-{seed}.txt"
    path.write_text("".join(f"; {line}\n" for line in (f"seed {seed}", outcome.detail)) + text)
    return path


def main() -> int:
    """Fuzz; 1 where the verifiers or the engines disagreed."""
    options = _arguments()
    first = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    until = time.monotonic() + options.seconds
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())  # and then the summary
    classes: Counter[Class] = Counter()
    seen: Counter[str] = Counter()
    accepted = ran = counted = fewer = more = 0
    seed = first
    while seed < first + options.count and time.monotonic() < until and not stopped.is_set():
        text, broken = program(seed, options.type, whole=options.whole)
        outcome = duel(text, broken=broken)
        classes[outcome.kind] += 1
        accepted += outcome.accepted
        ran += outcome.ran
        if outcome.kind is Class.AGREE and outcome.pair is not None:
            counted += 1
            ours, theirs = outcome.pair.ours.insns_processed, outcome.pair.theirs.insns_processed
            fewer += ours < theirs
            more += ours > theirs
        if outcome.kind.is_wrong:
            known = f"{outcome.kind.value}: {outcome.signature[:200]}"
            seen[known] += 1
            if seen[known] == 1:
                if not options.no_shrink:
                    patience = time.monotonic() + SHRINK_SECONDS
                    text = shrink(
                        text, broken=broken, like=outcome, patience=lambda end=patience: time.monotonic() < end
                    )
                print(f"{_keep(options.keep, seed, text, outcome)}: {outcome.kind.value}: {outcome.detail}", flush=True)
        seed += 1
    print(f"{seed - first} programs from seed {first}: {accepted} accepted by the kernel, {ran} run three ways")
    for kind in Class:
        print(f"  {kind.value:16} {classes[kind]}")
    print(f"  of {counted} agreements we visited fewer instructions in {fewer}, more in {more}")
    return int(any(kind.is_wrong for kind in classes))


if __name__ == "__main__":
    sys.exit(main())
