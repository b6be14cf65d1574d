"""Chooses an engine, and says why.

The embedded engine runs everywhere. The kernel engine is taken when it is asked for, or, with ``auto``, when it can load packet
programs here; otherwise the embedded engine's ``capabilities.why_not`` tells what the kernel engine lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfcrypto.errors import NotSupportedError

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine


def open_engine(
    name: str = "embedded",
    *,
    trace: Callable[[str], None] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Engine:
    """Open an engine.

    Args:
        name: ``embedded``, ``kernel``, or ``auto`` for the kernel engine where it can load programs and else the embedded one.
        trace: takes each line that programs print with bpf_trace_printk on the embedded engine; on the kernel engine they go to the
            trace_pipe of tracefs.
        progress: takes, now and then while the embedded engine verifies, the program's name and how many instructions were visited.

    Returns:
        The engine; its ``name`` says which one it is.

    Raises:
        NotSupportedError: there is no engine of that name.
    """
    match name:
        case "kernel":
            return _kernel()
        case "embedded":
            return _embedded(trace, progress, None)
        case "auto":
            reason = _why_not_kernel()
            return _kernel() if reason is None else _embedded(trace, progress, reason)
    raise NotSupportedError(f"engine '{name}'", requires="embedded, kernel or auto")


def _kernel() -> Engine:
    from bpfcrypto.kernel.engine import KernelEngine

    return KernelEngine()


def _embedded(
    trace: Callable[[str], None] | None, progress: Callable[[str, int], None] | None, reason: str | None
) -> Engine:
    from bpfcrypto.embedded.engine import EmbeddedEngine

    more = {} if reason is None else {"kernel engine": reason}
    if trace is None:
        return EmbeddedEngine(progress=progress, why_not=more)
    return EmbeddedEngine(trace=trace, progress=progress, why_not=more)


def _why_not_kernel() -> str | None:
    """Why the kernel engine cannot load programs here, in words; None where it can."""
    from bpfcrypto.kernel.probe import unavailable

    return unavailable()
