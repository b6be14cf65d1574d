"""Our verdicts beside the kernel's: the same programs through both verifiers.

The kernel's verdict costs a load; ours is computed from the same blueprint, with CO-RE applied against our own types, as the embedded
engine does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.loader.core import apply_core
from bpfcrypto.source import as_judged, choose_programs, read_source
from bpfcrypto.verifier.env import Options
from bpfcrypto.verifier.verify import Verification, verify

if TYPE_CHECKING:
    from bpfcrypto.engine import Source, Verdict
    from bpfcrypto.spec import CollectionSpec, ProgramSpec


@dataclass(frozen=True, slots=True)
class Pair:
    """One program, judged twice.

    Attributes:
        ours: our verdict.
        theirs: the kernel's.
    """

    ours: Verification
    theirs: Verdict

    @property
    def name(self) -> str:
        """The program's."""
        return self.theirs.program

    def disagreement(self) -> str:
        """In what the two differ, "" where they agree: verdict, errno, last line."""
        ours, theirs = self.ours, self.theirs
        if ours.accepted != theirs.accepted:
            return f"{_said(ours.accepted, ours.message)}, the kernel {_said(theirs.accepted, theirs.message)}"
        if ours.errno != theirs.errno:
            return f"errno {ours.errno} ('{ours.message}'), the kernel's is {theirs.errno} ('{theirs.message}')"
        if ours.message != theirs.message:
            return f"says '{ours.message}', the kernel '{theirs.message}'"
        return ""

    @property
    def ratio(self) -> float:
        """Instructions we visited for one that the kernel did."""
        return self.ours.insns_processed / max(1, self.theirs.insns_processed)


def _said(accepted: bool, message: str) -> str:
    return "accepts" if accepted else f"rejects ('{message}')"


def judge(program: ProgramSpec, spec: CollectionSpec, *, log_level: int = 1) -> Verification:
    """Our verdict on a program."""
    insns = program.insns
    if program.core and spec.btf is not None:
        insns = apply_core(program, spec.btf, kernel_types())
    return verify(program, spec, insns, kernel_types=kernel_types(), options=Options(log_level=log_level))


def compare(source: Source | CollectionSpec, *, programs: Iterable[str] | None = None) -> list[Pair]:
    """Judge an object's programs twice."""
    spec = as_judged(read_source(source))
    chosen = choose_programs(spec, programs)
    theirs = KernelEngine().check(spec, programs=[program.name for program in chosen])
    return [Pair(judge(program, spec), verdict) for program, verdict in zip(chosen, theirs, strict=True)]
