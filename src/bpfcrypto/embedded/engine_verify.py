"""What the verifier says of an object's programs, before the embedded engine runs them.

As on the kernel engine a program is verified without a log first, because that is faster, and on a rejection once more to hear why. A
defect of the verifier itself is an ``InternalError``; no program is run that it gave no verdict on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.engine import Verdict
from bpfcrypto.errors import BpfCryptoError, InternalError
from bpfcrypto.loader.core import apply_core

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import CollectionSpec, ProgramSpec
    from bpfcrypto.verifier.verify import Verification

Progress = Callable[[str, int], None]
"""Takes a program's name and the number of instructions that were visited so far."""


def fitted(program: ProgramSpec, spec: CollectionSpec) -> tuple[Insn, ...]:
    """A program's instructions with its CO-RE relocations applied against the types that this engine stands for."""
    if not program.core or spec.btf is None:
        return program.insns
    return apply_core(program, spec.btf, kernel_types())


def verify_program(program: ProgramSpec, spec: CollectionSpec, *, cpus: int, progress: Progress | None) -> Verification:
    """The verification of a program; only that of a rejected one has a log.

    Raises:
        RelocationError: a CO-RE relocation that cannot be resolved.
        InternalError: the verifier itself failed.
    """
    quick = _verify(program, spec, progress, log_level=0, cpus=cpus)
    return quick if quick.accepted else _verify(program, spec, progress, log_level=1, cpus=cpus)


def judge_program(program: ProgramSpec, spec: CollectionSpec, *, cpus: int, progress: Progress | None) -> Verdict:
    """The verdict on a program, with the log."""
    said = _verify(program, spec, progress, log_level=1, cpus=cpus)
    return Verdict(
        program=program.name,
        section=program.section,
        type=program.type,
        accepted=said.accepted,
        errno=said.errno,
        message=said.message,
        insns_processed=said.insns_processed,
        log=said.log,
        diagnostic=said.diagnostic,
    )


def _verify(
    program: ProgramSpec, spec: CollectionSpec, progress: Progress | None, *, log_level: int, cpus: int
) -> Verification:
    from bpfcrypto.verifier.env import Options
    from bpfcrypto.verifier.verify import verify

    def report(visited: int) -> None:
        if progress is not None:
            progress(program.name, visited)

    insns = fitted(program, spec)
    try:
        return verify(
            program,
            spec,
            insns,
            kernel_types=kernel_types(),
            options=Options(log_level=log_level, cpus=cpus),
            progress=report,
        )
    except BpfCryptoError:
        raise
    except Exception as error:
        raise InternalError(
            f"the verifier failed on program '{program.name}': {type(error).__name__}: {error}",
            state=f"source: {spec.source}",
        ) from error
