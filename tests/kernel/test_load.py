"""One program: a verdict is told from a refusal."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.errors import SyscallError, VerifierError
from bpfcrypto.kernel.bpf import LoadOutcome, LoadRequest
from bpfcrypto.kernel.load import load_program, load_with_log, rejection

Bytecode = Callable[[str], bytes]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("text", "number", "message"),
    [
        ("exit", errno.EACCES, "R0 !read_ok"),
        ("r0 = 0\nr0 = *(u32 *)(r0 + 0)\nexit", errno.EACCES, "R0 invalid mem access 'scalar'"),
        ("r0 = 0", errno.EINVAL, "last insn is not an exit or jmp"),
    ],
)
def test_rejections(bytecode: Bytecode, text: str, number: int, message: str) -> None:
    """The verifier's errno, last word and whole log are in the error."""
    with pytest.raises(VerifierError) as caught:
        load_program(LoadRequest(ProgType.XDP, bytecode(text), name="p"))

    assert (caught.value.errno, caught.value.message, caught.value.program) == (number, message, "p")
    assert "processed " in caught.value.log


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prog_type": ProgType.SYSCALL}, "Syscall programs can only be sleepable"),
        ({"prog_type": ProgType.XDP, "flags": ProgFlag.SLEEPABLE}, "Only fentry/fexit/fmod_ret"),
    ],
)
def test_rules_about_the_whole_program(bytecode: Bytecode, changes: dict[str, int], message: str) -> None:
    """What the verifier says before the first instruction is a verdict too."""
    with pytest.raises(VerifierError) as caught:
        load_program(LoadRequest(insns=bytecode("r0 = 0\nexit"), **changes))  # type: ignore[arg-type]

    assert caught.value.message.startswith(message)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("changes", "number"),
    [({"flags": 1 << 31}, errno.EINVAL), ({"prog_type": 9999}, errno.EINVAL), ({"insns": b""}, errno.E2BIG)],
)
def test_refusals_before_the_verifier(bytecode: Bytecode, changes: dict[str, int], number: int) -> None:
    """Without a log it is the command that failed, not the program."""
    fields = {"prog_type": ProgType.XDP, "insns": bytecode("r0 = 0\nexit"), "name": "odd", **changes}
    with pytest.raises(SyscallError, match=r"BPF_PROG_LOAD: .*program 'odd'") as caught:
        load_program(LoadRequest(**fields))  # type: ignore[arg-type]

    assert caught.value.errno == number


@pytest.mark.kernel
def test_log_of_an_accepted_program(bytecode: Bytecode) -> None:
    """The log is there for the asking."""
    fd, log = load_with_log(LoadRequest(ProgType.XDP, bytecode("r0 = 0\nexit")))
    fd.close()

    assert log.startswith("processed 2 insns")


def test_a_newer_kernels_suggestion_is_the_hint() -> None:
    """What the report suggests is what the error suggests."""
    log = "R1 bad\n\nVerification failed: Policy: Not allowed\n\nSuggestion:\n  Ask\n  first.\n\nprocessed 1 insns (limit 1000000)\n"

    error = rejection(LoadRequest(ProgType.XDP, b"", name="p"), LoadOutcome(None, errno.EACCES, log))

    assert isinstance(error, VerifierError)
    assert (error.message, error.hint, error.log) == ("R1 bad", "Ask first.", log)
    assert error.diagnostic is not None
