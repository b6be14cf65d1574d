"""Helpers that need nothing but the machine: chance, CPU, node, loops, sums (kernel/bpf/helpers.c, bpf_iter.c, net/core/filter.c)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.embedded import checksum
from bpfcrypto.embedded.kfuncs_core import MAX_LOOPS
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import RunState

_U32 = 0xFFFFFFFF


def get_prandom_u32(_run: RunState, *_: int) -> int:
    """32 random bits."""
    return secrets.randbits(32)


def get_smp_processor_id(run: RunState, *_: int) -> int:
    """The CPU that the run is on."""
    return run.cpu


def get_numa_node_id(_run: RunState, *_: int) -> int:
    """The node that the CPU belongs to; there is one."""
    return 0


def loop(run: RunState, rounds: int, callback: int, context: int, flags: int, *_: int) -> int:
    """Call ``callback(index, context)`` until it returns anything but 0; the number of calls made."""
    rounds &= _U32
    if flags:
        return error(EINVAL)
    if rounds > MAX_LOOPS:
        return error(E2BIG)
    for index in range(rounds):
        if run.call(callback, index, context):
            return index + 1
    return rounds


def csum_diff(run: RunState, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """The folded sum of what is new less what is old, on top of ``seed``."""
    before = bytes(run.memory.span(old, old_size & _U32))
    after = bytes(run.memory.span(new, new_size & _U32))
    if before and after:
        return checksum.fold16(checksum.sub(checksum.partial(after, seed), checksum.partial(before)))
    if before:
        return checksum.fold16(~checksum.partial(before, ~seed) & _U32)
    return checksum.fold16(checksum.partial(after, seed))


NATIVES: Mapping[str, Native] = {
    "bpf_get_prandom_u32": get_prandom_u32,
    "bpf_get_smp_processor_id": get_smp_processor_id,
    "bpf_get_numa_node_id": get_numa_node_id,
    "bpf_loop": loop,
    "bpf_csum_diff": csum_diff,
}
