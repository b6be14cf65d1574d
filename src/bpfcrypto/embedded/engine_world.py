"""What all collections of an engine share, as everything that is loaded into one kernel does.

A map of one collection can stand in another, and a context can be in the maps of several. So they have one address space and one
RCU, and a program that changes a map of all CPUs is on a CPU that no program of another collection is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.engine_cpu import CpuPool
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.rcu import Rcu

if TYPE_CHECKING:
    from bpfcrypto.embedded.contexts import CryptoContext


class World:
    """Memory, RCU and CPUs of one engine.

    Args:
        cpus: how many CPUs programs see.
    """

    def __init__(self, cpus: int) -> None:
        self.memory = Memory()
        self.rcu = Rcu()
        self.cpus = CpuPool(cpus)

    def kept(self, contexts: frozenset[CryptoContext]) -> frozenset[CryptoContext]:
        """Those of some contexts that are in a map."""
        if not contexts:
            return contexts
        maps = {owner for owner in self.memory.owners() if isinstance(owner, EmbeddedMap)}
        held = {pointer for each in maps for pointer in each.values.pointers()}
        return frozenset(context for context in contexts if context.address in held)
