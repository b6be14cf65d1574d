"""Programs in assembler as blueprints: what tests of the verifier are fed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.isa.asm import assemble
from bpfcrypto.spec import CollectionSpec, ProgramSpec
from bpfcrypto.verifier.env import Options
from bpfcrypto.verifier.verify import Verification, verify

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn


def program_of(text: str, *, kind: ProgType = ProgType.SCHED_CLS, insns: tuple[Insn, ...] | None = None) -> ProgramSpec:
    """A program without types; ``insns`` stand in for the text where given."""
    return ProgramSpec("program", "tc", kind, assemble(text) if insns is None else insns)


def collection_of(program: ProgramSpec, *, licence: str = "GPL") -> CollectionSpec:
    """The collection of that program alone."""
    return CollectionSpec("<test>", licence, programs={program.name: program})


def verdict_on(text: str, *, kind: ProgType = ProgType.SCHED_CLS, log_level: int = 1) -> Verification:
    """Our verdict on a program."""
    program = program_of(text, kind=kind)
    return verify(program, collection_of(program), options=Options(log_level=log_level))
