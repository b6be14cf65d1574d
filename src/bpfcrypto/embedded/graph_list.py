"""Linked lists of objects (bpf_list_push_front and its kin in kernel/bpf/helpers.c), in the memory of heads and nodes.

A head is two words, the first and the last node; zeros are an empty list, as is a head that points to itself. A node is three: the
next one, the one before, and the head that it is on. A node that has been on a list keeps that head when the list is dropped with it,
as in the kernel, where another holder of the object then cannot put it on any list again.

Each operation is one step for other threads: the program holds the lock of the list, and whoever drops a list has no lock to take.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.btf.record import FieldKind
from bpfcrypto.embedded.field_owner import require
from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.embedded.objects import Objects, ProgramObject

_NEXT, _PREV, _OWNER = 0, 8, 16


def push(objects: Objects, head: int, node: int, *, back: bool) -> int:
    """Put an object on a list, which then holds it; EINVAL, and the object is dropped, where it is on one already.

    Raises:
        AccessFault: no list or no node is there.
    """
    memory = objects.memory
    with objects.lock:
        require(memory, head, FieldKind.LIST_HEAD)
        holder = _node(objects, node)
        if memory.load(node + _OWNER, 8):
            objects.drop(holder.address)
            return EINVAL
        first, last = _ends(objects, head)
        before, after = (last, head) if back else (head, first)
        memory.store(node + _NEXT, 8, after)
        memory.store(node + _PREV, 8, before)
        memory.store(node + _OWNER, 8, head)
        memory.store(before + _NEXT, 8, node)
        memory.store(after + _PREV, 8, node)
    return 0


def pop(objects: Objects, head: int, *, back: bool) -> int:
    """Take the first or last node off a list: its address, 0 where there is none.

    Raises:
        AccessFault: no list is there, or its memory was overwritten.
    """
    memory = objects.memory
    with objects.lock:
        node = end(objects, head, back=back)
        if node:
            after, before = (_link(objects, memory.load(node + at, 8), head) for at in (_NEXT, _PREV))
            memory.store(before + _NEXT, 8, after)
            memory.store(after + _PREV, 8, before)
            memory.store(node + _NEXT, 8, node)
            memory.store(node + _PREV, 8, node)
            memory.store(node + _OWNER, 8, 0)
    return node


def end(objects: Objects, head: int, *, back: bool) -> int:
    """The first or last node of a list, which stays there; 0 where there is none.

    Raises:
        AccessFault: no list is there, or its memory was overwritten.
    """
    with objects.lock:
        require(objects.memory, head, FieldKind.LIST_HEAD)
        first, last = _ends(objects, head)
    node = last if back else first
    return 0 if node == head else node


def drain(objects: Objects, head: int) -> None:
    """Empty a list and drop the objects on it (bpf_list_head_free).

    Raises:
        AccessFault: its memory was overwritten; the objects that cannot be found any more are lost.
    """
    memory = objects.memory
    with objects.lock:
        node, _ = _ends(objects, head)
        memory.store(head + _NEXT, 8, head)
        memory.store(head + _PREV, 8, head)
    while node != head:
        following = _link(objects, memory.load(node + _NEXT, 8), head)
        objects.drop(_node(objects, node).address)
        node = following


def _ends(objects: Objects, head: int) -> tuple[int, int]:
    """The first and the last node, the head itself where there is none; a head of zeros is made to point to itself."""
    memory = objects.memory
    if not memory.load(head + _NEXT, 8):
        memory.store(head + _NEXT, 8, head)
        memory.store(head + _PREV, 8, head)
    return _link(objects, memory.load(head + _NEXT, 8), head), _link(objects, memory.load(head + _PREV, 8), head)


def _link(objects: Objects, address: int, head: int) -> int:
    """A link of a list: the address of a node, or of the head."""
    if address != head:
        _node(objects, address)
    return address


def _node(objects: Objects, address: int) -> ProgramObject:
    holder = objects.holder(address, FieldKind.LIST_NODE)
    if not holder.alive:
        raise AccessFault(f"{holder.region.name} at {holder.address:#x} has been dropped")
    return holder
