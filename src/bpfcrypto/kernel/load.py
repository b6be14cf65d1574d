"""Loading one program, and telling a verdict from a refusal.

The verifier writes a log; everything that is decided before it (permissions, sizes, unknown flags) leaves the log empty. That
difference, not the errno, separates a :class:`VerifierError` from a :class:`SyscallError`.
"""

from __future__ import annotations

from bpfcrypto.errors import BpfCryptoError, VerifierError
from bpfcrypto.kernel import bpf
from bpfcrypto.kernel.attr import Command
from bpfcrypto.kernel.bpf import LoadOutcome, LoadRequest
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.log import parse
from bpfcrypto.kernel.refusal import needs_for_program, refuse


def load_program(request: LoadRequest, *, name: str | None = None) -> Fd:
    """Load a program: first without a log, because the verifier is faster then, and on failure once more to hear why.

    Args:
        request: the program.
        name: what errors call it; by default the request's name.

    Raises:
        VerifierError: the verifier rejected it; the whole log is in the error.
        PrivilegeError: a capability is missing.
        SyscallError: the kernel refused the command before the verifier saw the program.
    """
    outcome = bpf.prog_load(request)
    if outcome.fd is None:
        outcome = bpf.prog_load(request, log_level=1)
    if outcome.fd is None:
        raise rejection(request, outcome, name=name)
    return outcome.fd


def rejection(request: LoadRequest, outcome: LoadOutcome, *, name: str | None = None) -> BpfCryptoError:
    """The error for a load that failed, made from the outcome of a load with a log."""
    title = name or request.name
    if not outcome.log.strip():
        return refuse(
            Command.PROG_LOAD,
            outcome.errno,
            f"program '{title}'" if title else "",
            needs=needs_for_program(request.prog_type),
        )
    parsed = parse(outcome.log)
    return VerifierError(
        parsed.message,
        program=title,
        errno=outcome.errno,
        log=outcome.log,
        diagnostic=parsed.report,
        hint=(parsed.report.suggestion or None) if parsed.report else None,
    )
