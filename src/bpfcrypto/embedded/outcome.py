"""What is settled when a repetition ends: the lock must be back, and a redirect happens if the verdict asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.abi.verdicts import TcAction, XdpAction
from bpfcrypto.errors import RunError

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_REDIRECTS: Mapping[ProgType, int] = {
    ProgType.SCHED_CLS: TcAction.REDIRECT,
    ProgType.SCHED_ACT: TcAction.REDIRECT,
    ProgType.XDP: XdpAction.REDIRECT,
}


def end_round(state: RunState, retval: int) -> None:
    """Settle one repetition.

    Args:
        state: the run; its ``redirect`` is used up.
        retval: r0 of this repetition.

    Raises:
        RunError: it ended while it held a spin lock.
    """
    held = state.lock or next(iter(state.resilient), None)
    if held is not None:
        raise RunError(
            f"the program ended while it held the spin lock at {held.address:#x}", program=state.program.name
        )
    redirect, state.redirect = state.redirect, None
    if redirect is not None and retval & 0xFFFFFFFF == _REDIRECTS.get(state.program.type):
        state.effects.append(redirect)
