"""verifier.kfuncs: which kfuncs there are."""

from __future__ import annotations

from errno import ESRCH

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.kernel_types import kernel_types
from bpfcrypto.isa.insn import Insn
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.spec import CollectionSpec, KfuncRef, ProgramSpec
from bpfcrypto.verifier.verify import verify

NEVER_CALLED = (Insn(0xB7), Insn(0x15, off=1), Insn(0x85, src=2, imm=1), Insn(0x95))
"""A call behind a jump that is always taken."""


@pytest.mark.parametrize(
    ("name", "weak", "errno"),
    [
        ("bpf_nobody_has_this", False, ESRCH),
        ("bpf_nobody_has_this", True, 0),
        ("bpf_stream_vprintk", False, ESRCH),
        ("bpf_stream_vprintk_impl", False, 0),
    ],
)
def test_a_kfunc_that_nobody_has(name: str, weak: bool, errno: int) -> None:
    """A program that needs a kfunc is refused where there is none, though no path leads to the call; 6.18 has renamed one."""
    program = ProgramSpec("p", "tc", ProgType.SCHED_CLS, NEVER_CALLED, refs={2: KfuncRef(name, weak)})
    spec = CollectionSpec("x.o", "GPL", programs={"p": program})

    verdict = verify(program, spec, program.insns, kernel_types=kernel_types())

    assert verdict.errno == errno
    if errno:
        assert verdict.message == f"kfunc '{name}' is not known"


@pytest.mark.kernel
def test_the_kernel_engine_says_the_same() -> None:
    """Both name the first of them, in the same words."""
    refs = {2: KfuncRef("bpf_nobody_has_this"), 3: KfuncRef("bpf_nobody_has_that")}
    calls = (Insn(0xB7), Insn(0x15, off=2), Insn(0x85, src=2, imm=1), Insn(0x85, src=2, imm=2), Insn(0x95))
    program = ProgramSpec("p", "tc", ProgType.SCHED_CLS, calls, refs=refs)
    spec = CollectionSpec("x.o", "GPL", programs={"p": program})

    ours = verify(program, spec, program.insns, kernel_types=kernel_types())
    [theirs] = KernelEngine().check(spec)

    assert (
        (ours.errno, ours.message)
        == (theirs.errno, theirs.message)
        == (ESRCH, "kfunc 'bpf_nobody_has_that' is not known")
    )
