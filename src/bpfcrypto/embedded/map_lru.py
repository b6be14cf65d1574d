"""LRU_HASH and LRU_PERCPU_HASH (kernel/bpf/hashtab.c): a hash that makes room by evicting; see :mod:`bpfcrypto.embedded.lru`.

The kernel takes a new element before it looks for the key, as taking one may need the lock of any bucket. So an update that then fails
with EEXIST or ENOENT, or finds its key, may have evicted an element all the same.
"""

from __future__ import annotations

from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapFlag, UpdateFlag
from bpfcrypto.embedded.lru import CommonLru, Node, PercpuLru
from bpfcrypto.embedded.map_base import USER_CPU, Surroundings
from bpfcrypto.embedded.map_hash import HashMap, presence_errno
from bpfcrypto.embedded.map_record import MapKind

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.spec import MapSpec


class LruHashMap(HashMap):
    """Values by key, per CPU or not, of which the long unused ones give way."""

    kind = MapKind.LRU

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        lists = PercpuLru if spec.flags & MapFlag.NO_COMMON_LRU else CommonLru
        self._referenced = self._index.referenced
        self._lru: PercpuLru | CommonLru = lists(self._slot_count(), around.cpus, self._evict, self._referenced)
        self._nodes: dict[int, Node] = {}

    def lookup_address(self, key: Bytes, cpu: int) -> int:
        """Address of the value, 0 where there is no such key; the element counts as used."""
        slot = self._index.find(key)
        if slot is None:
            return 0
        self._referenced[slot] = 1
        return self.values.address(slot, cpu % self.values.cpus)

    def _buckets(self) -> list[tuple[int, list[bytes]]]:
        with self._lock:
            return self._index.buckets(self._nodes)

    def _place(self, key: bytes, cpu: int) -> int:
        return super().lookup_address(key, cpu)

    def _slot_count(self) -> int:
        """max_entries; with lists per CPU a multiple of the number of CPUs, so that all are of one length and none is empty."""
        entries, cpus = self._spec.max_entries, self._around.cpus
        return -(-entries // cpus) * cpus if self._spec.flags & MapFlag.NO_COMMON_LRU else entries

    def _table_size(self) -> int:
        return self._slot_count()

    def _write(self, key: bytes, value: Bytes, flags: int, cpu: int | None) -> int:
        if flags > UpdateFlag.EXIST:
            return EINVAL
        with self._lock:
            node = None
            if not (self._rules.percpu and flags == UpdateFlag.EXIST):
                node = self._lru.pop((USER_CPU if cpu is None else cpu) % self._around.cpus)
                if node is None:
                    return ENOMEM
                self._nodes[node.slot] = node
            old = self._index.find_locked(key)
            errno = presence_errno(old is not None, flags)
            if not errno:
                if old is not None and self._rules.percpu:
                    self._referenced[old] = 1
                    self.values.write(old, value, cpu)
                    self.values.drop(old, cpu)
                elif node is not None:
                    self._use(node, key, value, cpu, old)
                    return 0
            if node is not None:
                self._lru.push(node)
        return errno

    def _use(self, node: Node, key: bytes, value: Bytes, cpu: int | None, old: int | None) -> None:
        """Make a new element the one of ``key``."""
        self._fill(node.slot, value, cpu)
        self._index.link(key, node.slot)
        if old is not None:
            node.referenced = True
            self._index.unlink(old)
            self._discard(old)

    def _discard(self, slot: int) -> None:
        self.values.drop(slot)
        self._lru.push(self._nodes[slot])

    def _evict(self, slot: int) -> bool:
        if not self._index.unlink(slot):
            return False
        self.values.drop(slot)
        return True
