"""Ask the kernel for the verdicts of annotated programs, and write them into the files.

Rows without a verdict get one; with ``--all`` every verdict is asked for again. ``--compare`` prints where our verifier differs.

    python tools/annotate_verifier.py [--all] [--compare] [PATTERN ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from bpfcrypto.kernel.engine import KernelEngine  # noqa: E402
from support.verdicts import judge  # noqa: E402
from support.verifier_cases import Case, collection, describe, files, load  # noqa: E402


def kernel_verdicts(cases: Sequence[Case]) -> dict[str, str]:
    """What the kernel says, by the name of the case."""
    found: dict[str, str] = {}
    for licence, group in groupby(sorted(cases, key=lambda case: case.license), key=lambda case: case.license):
        members = list(group)
        verdicts = KernelEngine().check(collection(members, licence))
        for case, verdict in zip(members, verdicts, strict=True):
            found[case.name] = describe(verdict.accepted, verdict.errno, verdict.message)
    return found


def rewritten(path: Path, verdicts: dict[str, str]) -> Iterator[str]:
    """The file's lines with these verdicts."""
    case, section = "", ""
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            case, section = f"{path.stem}: {line[3:].strip()}", ""
        elif line.startswith("-- "):
            section = line[3:].split()[0]
            if section == "verdict":
                yield line
                yield verdicts[case]
                continue
        elif section == "table" and line.strip() and not line.startswith("#"):
            inputs = line.partition("=>")[0].strip()
            line = f"{inputs} => {verdicts[f'{case}: {inputs}']}"
        elif section == "verdict" and line.strip() and not line.startswith("#"):
            continue
        yield line


def differences(cases: Sequence[Case], verdicts: dict[str, str]) -> Iterator[str]:
    """Cases in which our verdict is another."""
    for case in cases:
        spec = collection([case], case.license)
        try:
            ours = judge(spec.programs["p0"], spec)
        except Exception as error:  # a crash is a difference, and the others are still of interest
            yield f"{case.name}\n  crash: {type(error).__name__}: {error}\n  kernel: {verdicts[case.name]}"
            continue
        said = describe(ours.accepted, ours.errno, ours.message)
        if said != verdicts[case.name]:
            unsound = "UNSOUND " if ours.accepted else ""
            yield f"{unsound}{case.name}\n  ours:   {said}\n  kernel: {verdicts[case.name]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--all", action="store_true", help="ask again for verdicts that are there")
    parser.add_argument("--compare", action="store_true", help="print where our verifier says something else")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only files whose name contains one of these")
    arguments = parser.parse_args()
    total = 0
    for path in files():
        if arguments.patterns and not any(pattern in path.name for pattern in arguments.patterns):
            continue
        cases = list(load(path))
        total += len(cases)
        verdicts = kernel_verdicts(cases)
        wanted = verdicts if arguments.all else verdicts | {case.name: case.verdict for case in cases if case.verdict}
        path.write_text("\n".join(rewritten(path, wanted)) + "\n")
        if arguments.compare:
            for text in differences(cases, verdicts):
                print(text)
    print(f"{total} programs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
