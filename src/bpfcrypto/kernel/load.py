"""Loading one program, and telling a verdict from a refusal.

The verifier writes a log; everything that is decided before it (permissions, sizes, unknown flags) leaves the log empty. That
difference, not the errno, separates a :class:`VerifierError` from a :class:`SyscallError`.
"""

from __future__ import annotations

from bpfcrypto.abi.errno import text as errno_text
from bpfcrypto.engine import Verdict
from bpfcrypto.errors import BpfCryptoError, PrivilegeError, VerifierError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.attr import Command
from bpfcrypto.kernel.bpf import LoadOutcome, LoadRequest
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.log import ParsedLog, parse, poisoned_call
from bpfcrypto.kernel.refusal import needs_for_program, refuse
from bpfcrypto.spec import ProgramSpec

LOG_LEVEL = 1


def load_program(request: LoadRequest, *, absent: tuple[str, ...] = ()) -> Fd:
    """Load a program: first without a log, because the verifier is faster then, and on failure once more to hear why.

    Args:
        request: the program.
        absent: names of the weak kfuncs whose calls were poisoned.

    Raises:
        VerifierError: the verifier rejected it; the whole log is in the error.
        PrivilegeError: a capability is missing.
        SyscallError: the kernel refused the command before the verifier saw the program.
    """
    outcome = bpf.prog_load(request)
    return outcome.fd if outcome.fd is not None else load_with_log(request, absent=absent)[0]


def load_with_log(request: LoadRequest, *, absent: tuple[str, ...] = ()) -> tuple[Fd, str]:
    """The same with a log, which is returned too."""
    outcome = bpf.prog_load(request, log_level=LOG_LEVEL)
    if outcome.fd is None:
        raise rejection(request, outcome, absent=absent)
    return outcome.fd, outcome.log


def rejection(request: LoadRequest, outcome: LoadOutcome, *, absent: tuple[str, ...] = ()) -> BpfCryptoError:
    """The error for a load that failed, made from the outcome of a load with a log."""
    if not outcome.log.strip():
        detail = f"program '{request.name}'" if request.name else ""
        return refuse(Command.PROG_LOAD, outcome.errno, detail, needs=needs_for_program(request.prog_type))
    parsed = parse(outcome.log)
    return VerifierError(
        _message(parsed, absent),
        program=request.name,
        errno=outcome.errno,
        log=outcome.log,
        diagnostic=parsed.report,
        hint=(parsed.report.suggestion or None) if parsed.report else None,
    )


def judge(program: ProgramSpec, request: LoadRequest, *, absent: tuple[str, ...] = ()) -> Verdict:
    """The verdict on a program, which is not kept.

    Raises:
        PrivilegeError: there is no verdict, because a capability is missing.
    """
    outcome = bpf.prog_load(request, log_level=LOG_LEVEL)
    accepted = outcome.fd is not None
    if outcome.fd is not None:
        outcome.fd.close()
    elif not outcome.log.strip():
        error = rejection(request, outcome)
        if isinstance(error, PrivilegeError):
            raise error
    parsed = parse(outcome.log, accepted=accepted)
    return Verdict(
        program=program.name,
        section=program.section,
        type=program.type,
        accepted=accepted,
        errno=outcome.errno,
        message="" if accepted else _message(parsed, absent) or errno_text(outcome.errno),
        insns_processed=parsed.insns_processed,
        log=outcome.log,
    )


def _message(parsed: ParsedLog, absent: tuple[str, ...]) -> str:
    number = poisoned_call(parsed.message)
    if number is None or number >= len(absent):
        return parsed.message
    return f"call of kfunc '{absent[number]}', which this kernel does not have"
