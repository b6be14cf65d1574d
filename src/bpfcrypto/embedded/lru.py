"""Which element of a full LRU map goes: the kernel's approximation of "least recently used" (kernel/bpf/bpf_lru_list.c).

Elements stand on an *active* or an *inactive* list, or are free. Using an element only sets its reference bit; the lists are sorted out
when a free element is wanted:

1. *Rotate.* If the inactive list has become shorter than the active one, the oldest active elements are looked at: a referenced one
   goes back to the front of the active list, another to the inactive list. Then a hand moves on through the inactive list, and
   promotes what was referenced. Reference bits are cleared on the way.
2. *Shrink*, if nothing is free. From the oldest inactive element on, referenced ones are promoted and others evicted. If that frees none,
   the oldest one of the inactive (else of the active) list is evicted whatever its bit says.

Each of these looks at a bounded number of elements. A CPU fetches free elements in lots of ``target``, keeps those for itself, and puts
what it hands out on a *pending* list of its own, which joins the inactive (or, when referenced, the active) list at its next fetch. So
elements may be evicted before the map is full. If nothing is to be had, a CPU steals from the others' free and pending elements.

Maps with BPF_F_NO_COMMON_LRU have instead one pair of lists for each CPU, and no lots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Evict = Callable[[int], bool]
"""Takes the element of a slot out of its map; False where it is not in it just now."""

Used = memoryview | bytearray

LOT = 128  # LOCAL_FREE_TARGET, also the number of elements that one rotation looks at
PERCPU_LOT = 4  # PERCPU_FREE_TARGET


class Node:
    """An element's place: its slot, its neighbours, the list it is on and the CPU that took it.

    Args:
        slot: which element.
        used: the reference bits of all of them, a byte each.
    """

    __slots__ = ("_used", "cpu", "newer", "older", "ring", "slot")

    def __init__(self, slot: int, used: Used) -> None:
        self.slot = slot
        self._used = used
        self.cpu = 0
        self.ring: Ring | None = None
        self.newer = self.older = self

    @property
    def referenced(self) -> bool:
        """Whether it was used of late."""
        return bool(self._used[self.slot])

    @referenced.setter
    def referenced(self, used: bool) -> None:
        self._used[self.slot] = used


class Ring:
    """A list of nodes, newest first. The ring itself is the node between the oldest and the newest."""

    __slots__ = ("anchor", "size")

    def __init__(self) -> None:
        self.anchor = Node(-1, bytearray())
        self.size = 0

    def push(self, node: Node) -> None:
        """Move a node here, as the newest."""
        if node.ring is not None:
            node.ring.remove(node)
        first = self.anchor.older
        node.newer, node.older = self.anchor, first
        self.anchor.older = first.newer = node
        node.ring = self
        self.size += 1

    def remove(self, node: Node) -> None:
        """Take a node off."""
        node.newer.older, node.older.newer = node.older, node.newer
        node.ring = None
        self.size -= 1

    def newest(self) -> Node | None:
        return self.anchor.older if self.size else None

    def oldest(self) -> Node | None:
        return self.anchor.newer if self.size else None

    def from_oldest(self) -> Iterator[Node]:
        """Nodes from the oldest on; the current one may be moved."""
        node = self.anchor.newer
        while node is not self.anchor:
            following = node.newer
            yield node
            node = following


class LruList:
    """Active, inactive and free elements of one range of slots.

    Args:
        slots: the elements, all of them free.
        scans: how many elements one rotation looks at.
        evict: see :data:`Evict`.
        used: the reference bits of all elements, a byte each.
    """

    def __init__(self, slots: range, scans: int, evict: Evict, used: Used) -> None:
        self._used = used
        self.active = Ring()
        self.inactive = Ring()
        self.free = Ring()
        self._fresh = iter(
            reversed(slots)
        )  # free elements that nobody has taken yet: nodes are made when they are needed
        self._scans = scans
        self._evict = evict
        self._hand = self.inactive.anchor

    def move(self, node: Node, ring: Ring) -> None:
        """Put a node on another list, its reference bit cleared."""
        if node is self._hand:
            self._hand = node.newer
        node.referenced = False
        ring.push(node)

    def pop_free(self) -> Node | None:
        """A free element, without evicting any."""
        node = self.free.newest()
        if node is not None:
            self.free.remove(node)
            return node
        slot = next(self._fresh, None)
        return None if slot is None else Node(slot, self._used)

    def rotate(self) -> None:
        """Sort out which elements are active."""
        if self.inactive.size < self.active.size:
            self._rotate_active()
        self._rotate_inactive()

    def _rotate_active(self) -> None:
        last = self.active.newest()
        for count, node in enumerate(self.active.from_oldest(), 1):
            self.move(node, self.active if node.referenced else self.inactive)
            if count == self._scans or node is last:
                return

    def _rotate_inactive(self) -> None:
        anchor = self.inactive.anchor
        if not self.inactive.size:
            return
        last = self._hand.older
        if last is anchor:
            last = last.older
        node, following, scanned = self._hand, anchor, 0
        while scanned < self._scans:
            if node is anchor:
                node = node.newer
                continue
            following = node.newer
            if node.referenced:
                self.move(node, self.active)
            if node is last:
                break
            node = following
            scanned += 1
        self._hand = following

    def shrink(self, wanted: int, free: Ring) -> int:
        """Evict up to ``wanted`` elements onto a list of free ones; how many it were."""
        evicted = 0
        for count, node in enumerate(self.inactive.from_oldest(), 1):
            if node.referenced:
                self.move(node, self.active)
            elif self._evict(node.slot):
                self.move(node, free)
                evicted += 1
                if evicted == wanted:
                    break
            if count == self._scans:
                break
        return evicted or self._force(free)

    def _force(self, free: Ring) -> int:
        for node in (self.inactive if self.inactive.size else self.active).from_oldest():
            if self._evict(node.slot):
                self.move(node, free)
                return 1
        return 0


class CommonLru:
    """One pair of lists for the map, and free and pending elements of each CPU."""

    def __init__(self, slots: int, cpus: int, evict: Evict, used: Used) -> None:
        self._list = LruList(range(slots), LOT, evict, used)
        self._evict = evict
        self._lot = max(1, min(slots // cpus // 2, LOT))
        self._free = [Ring() for _ in range(cpus)]
        self._pending = [Ring() for _ in range(cpus)]
        self._steal_from = list(range(cpus))

    def pop(self, cpu: int) -> Node | None:
        """An element to use on a CPU, evicting others where necessary."""
        node = self._pop_local(cpu)
        if node is None:
            self._fetch(cpu)
            node = self._pop_local(cpu)
        if node is None:
            node = self._steal(cpu)
        if node is not None:
            node.cpu = cpu
            node.referenced = False
            self._pending[cpu].push(node)
        return node

    def push(self, node: Node) -> None:
        """Give an element back."""
        if node.ring is self._pending[node.cpu]:
            node.referenced = False
            self._free[node.cpu].push(node)
        else:
            self._list.move(node, self._list.free)

    def _pop_local(self, cpu: int) -> Node | None:
        ring = self._free[cpu]
        node = ring.newest()
        if node is not None:
            ring.remove(node)
        return node

    def _fetch(self, cpu: int) -> None:
        """Let pending elements join the lists, and bring a lot of free ones."""
        lists = self._list
        for node in self._pending[cpu].from_oldest():
            lists.move(node, lists.active if node.referenced else lists.inactive)
        lists.rotate()
        taken = 0
        while taken < self._lot:
            fetched = lists.pop_free()
            if fetched is None:
                lists.shrink(self._lot - taken, self._free[cpu])
                return
            self._free[cpu].push(fetched)
            taken += 1

    def _steal(self, cpu: int) -> Node | None:
        cpus = len(self._free)
        first = self._steal_from[cpu]
        for step in range(cpus):
            victim = (first + step) % cpus
            self._steal_from[cpu] = (victim + 1) % cpus
            node = self._pop_local(victim) or self._pop_pending(victim)
            if node is not None:
                return node
        return None

    def _pop_pending(self, cpu: int) -> Node | None:
        ring = self._pending[cpu]
        for force in (False, True):
            for node in ring.from_oldest():
                if (force or not node.referenced) and self._evict(node.slot):
                    ring.remove(node)
                    return node
        return None


class PercpuLru:
    """A pair of lists for each CPU (BPF_F_NO_COMMON_LRU)."""

    def __init__(self, slots: int, cpus: int, evict: Evict, used: Used) -> None:
        share = slots // cpus
        self._lists = [LruList(range(cpu * share, (cpu + 1) * share), PERCPU_LOT, evict, used) for cpu in range(cpus)]

    def pop(self, cpu: int) -> Node | None:
        """An element to use on a CPU, evicting others where necessary."""
        lists = self._lists[cpu]
        lists.rotate()
        node = lists.pop_free()
        if node is None:
            lists.shrink(PERCPU_LOT, lists.free)
            node = lists.pop_free()
        if node is not None:
            node.cpu = cpu
            lists.move(node, lists.inactive)
        return node

    def push(self, node: Node) -> None:
        """Give an element back."""
        lists = self._lists[node.cpu]
        lists.move(node, lists.free)
