"""kfuncs that open and close critical sections: preemption and interrupts (kernel/bpf/helpers.c).

A run has its CPU to itself from start to end, and nothing interrupts it: what these sections promise a program is always so, and
there is nothing to do. That a program closes what it opened is the verifier's business; nothing depends on it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded.state import Native

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

ENABLED = 0x202  # the flags register of x86 with interrupts on


def preempt_disable(_run: RunState, *_: int) -> int:
    """Enter a section without preemption."""
    return 0


def preempt_enable(_run: RunState, *_: int) -> int:
    """Leave it."""
    return 0


def local_irq_save(run: RunState, flags: int, *_: int) -> int:
    """Enter a section without interrupts; the program keeps the flags on its stack and cannot look at them."""
    run.memory.store(flags, 8, ENABLED)
    return 0


def local_irq_restore(run: RunState, flags: int, *_: int) -> int:
    """Leave it."""
    run.memory.load(flags, 8)
    return 0


NATIVES: Mapping[str, Native] = {
    "bpf_preempt_disable": preempt_disable,
    "bpf_preempt_enable": preempt_enable,
    "bpf_local_irq_save": local_irq_save,
    "bpf_local_irq_restore": local_irq_restore,
}
