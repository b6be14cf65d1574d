"""kfuncs on resilient spin locks (kernel/bpf/rqspinlock.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded import resilient
from bpfcrypto.embedded.field_owner import field_owner
from bpfcrypto.embedded.kfuncs_section import local_irq_restore, local_irq_save
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_SIZE = 4


def res_spin_lock(run: RunState, address: int, *_: int) -> int:
    """Get a lock, or the reason why not."""
    return error(resilient.acquire(run, field_owner(run.memory, address, _SIZE).spin_lock(address)))


def res_spin_unlock(run: RunState, address: int, *_: int) -> int:
    """Take it off."""
    resilient.release(run, field_owner(run.memory, address, _SIZE).spin_lock(address))
    return 0


def res_spin_lock_irqsave(run: RunState, address: int, flags: int, *_: int) -> int:
    """As bpf_res_spin_lock, without interrupts."""
    failed = res_spin_lock(run, address)
    if not failed:
        local_irq_save(run, flags)
    return failed


def res_spin_unlock_irqrestore(run: RunState, address: int, flags: int, *_: int) -> int:
    """Take it off, with the interrupts as they were."""
    res_spin_unlock(run, address)
    return local_irq_restore(run, flags)


NATIVES: Mapping[str, Native] = {
    "bpf_res_spin_lock": res_spin_lock,
    "bpf_res_spin_unlock": res_spin_unlock,
    "bpf_res_spin_lock_irqsave": res_spin_lock_irqsave,
    "bpf_res_spin_unlock_irqrestore": res_spin_unlock_irqrestore,
}
