"""bpf_copy_from_user (kernel/bpf/helpers.c), for sleepable programs."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EFAULT
from typing import TYPE_CHECKING

from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def copy_from_user(run: RunState, target: int, size: int, address: int, *_: int) -> int:
    """Copy from the process; a failure leaves zeros."""
    size &= _U32
    data = run.user.read(address, size)
    run.memory.span(target, size, write=True)[:] = bytes(size) if data is None else data
    return error(EFAULT) if data is None else 0


NATIVES: Mapping[str, Native] = {"bpf_copy_from_user": copy_from_user}
