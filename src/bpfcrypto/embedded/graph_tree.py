"""Red-black trees of objects (bpf_rbtree_add and its kin in kernel/bpf/helpers.c), in the memory of roots and nodes.

A root is two words: the topmost node and the leftmost one. A node is four: its parent with its colour in the lowest bit (1 is black),
the right child, the left child, and the root of the tree that it is in. A node keeps that root when the tree is dropped with it, as
in the kernel.

Insertion and removal are those of Cormen, Leiserson, Rivest and Stein, Introduction to Algorithms, chapter 13, with NULL for the
sentinel. The kernel's give the same trees, which programs can see: bpf_rbtree_root, bpf_rbtree_left and bpf_rbtree_right show the
shape.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.btf.record import FieldKind
from bpfcrypto.embedded.field_owner import require
from bpfcrypto.embedded.memory import AccessFault

if TYPE_CHECKING:
    from bpfcrypto.embedded.objects import Objects

_TOP, _LEFTMOST = 0, 8
_PARENT, RIGHT, LEFT, _OWNER = 0, 8, 16, 24
_BLACK = 1
_OTHER = {LEFT: RIGHT, RIGHT: LEFT}


class _Tree:
    """One tree, for one operation. Every address is that of a node of a live object, or 0."""

    def __init__(self, objects: Objects, root: int) -> None:
        self._objects = objects
        self._memory = objects.memory
        require(objects.memory, root, FieldKind.RB_ROOT)
        self.root = root
        self._left = objects.live + 1

    @property
    def top(self) -> int:
        return self._node(self._memory.load(self.root + _TOP, 8))

    @property
    def leftmost(self) -> int:
        return self._node(self._memory.load(self.root + _LEFTMOST, 8))

    @leftmost.setter
    def leftmost(self, node: int) -> None:
        self._memory.store(self.root + _LEFTMOST, 8, node)

    def child(self, node: int, side: int) -> int:
        return self._node(self._memory.load(node + side, 8))

    def set_child(self, node: int, side: int, child: int) -> None:
        self._memory.store(node + side, 8, child)

    def parent(self, node: int) -> int:
        return self._node(self._memory.load(node + _PARENT, 8) & ~_BLACK)

    def is_black(self, node: int) -> bool:
        """Whether a node is black; no node is, too."""
        return not node or bool(self._memory.load(node + _PARENT, 8) & _BLACK)

    def set_parent(self, node: int, parent: int, *, black: bool) -> None:
        self._memory.store(node + _PARENT, 8, parent | black)

    def paint(self, node: int, *, black: bool) -> None:
        self.set_parent(node, self.parent(node), black=black)

    def replace(self, old: int, new: int, parent: int) -> None:
        """Let ``parent`` have ``new`` (or nothing) in place of ``old``; the colour of ``new`` stays."""
        if not parent:
            self._memory.store(self.root + _TOP, 8, new)
        else:
            self.set_child(parent, LEFT if self.child(parent, LEFT) == old else RIGHT, new)
        if new:
            self.set_parent(new, parent, black=self.is_black(new))

    def rotate(self, node: int, side: int) -> None:
        """Move a node down to ``side``; its child on the other side takes its place."""
        other = _OTHER[side]
        up = self.child(node, other)
        inner = self.child(up, side)
        self.set_child(node, other, inner)
        if inner:
            self.set_parent(inner, node, black=self.is_black(inner))
        self.replace(node, up, self.parent(node))
        self.set_child(up, side, node)
        self.set_parent(node, up, black=self.is_black(node))

    def step(self) -> None:
        """Count a step of a walk, which ends where there are no more nodes, whatever the memory says."""
        self._left -= 1
        if self._left < 0:
            raise AccessFault(f"the tree at {self.root:#x} has been overwritten: it does not end")

    def _node(self, address: int) -> int:
        if address and not self._objects.holder(address, FieldKind.RB_NODE).alive:
            raise AccessFault(f"the node at {address:#x} is in an object that has been dropped")
        return address


def add(objects: Objects, root: int, node: int, less: Callable[[int, int], int]) -> int:
    """Put an object into a tree, which then holds it, behind those that are not greater; EINVAL, and the object is dropped, where it
    is in one already.

    Args:
        objects: where they belong.
        root: address of the tree.
        node: address of the object's node.
        less: compares two nodes; not 0 where the first goes before the second.

    Raises:
        AccessFault: no tree or no node is there.
    """
    memory = objects.memory
    with objects.lock:
        tree = _Tree(objects, root)
        holder = objects.holder(node, FieldKind.RB_NODE)
        if memory.load(node + _OWNER, 8):
            objects.drop(holder.address)
            return EINVAL
        memory.store(node + _OWNER, 8, root)
        parent, side, leftmost = 0, LEFT, True
        at = tree.top
        while at:
            tree.step()
            parent, side = at, LEFT if less(node, at) else RIGHT
            leftmost = leftmost and side == LEFT
            at = tree.child(parent, side)
        tree.set_child(node, LEFT, 0)
        tree.set_child(node, RIGHT, 0)
        tree.set_parent(node, parent, black=False)
        if parent:
            tree.set_child(parent, side, node)
        else:
            memory.store(root + _TOP, 8, node)
        if leftmost:
            tree.leftmost = node
        _after_insertion(tree, node)
    return 0


def _after_insertion(tree: _Tree, node: int) -> None:
    """No red node has a red child but perhaps the parent of ``node``, which is red: mend that."""
    while not tree.is_black(parent := tree.parent(node)):
        grandparent = tree.parent(parent)
        side = LEFT if tree.child(grandparent, LEFT) == parent else RIGHT
        uncle = tree.child(grandparent, _OTHER[side])
        if not tree.is_black(uncle):
            tree.paint(parent, black=True)
            tree.paint(uncle, black=True)
            tree.paint(grandparent, black=False)
            node = grandparent
            continue
        if tree.child(parent, _OTHER[side]) == node:
            tree.rotate(parent, side)
            node, parent = parent, node
        tree.paint(parent, black=True)
        tree.paint(grandparent, black=False)
        tree.rotate(grandparent, _OTHER[side])
    tree.paint(tree.top, black=True)


def remove(objects: Objects, root: int, node: int) -> int:
    """Take a node out of a tree: its address; 0 where it is not in that tree.

    Raises:
        AccessFault: no tree or no node is there, or their memory was overwritten.
    """
    with objects.lock:
        tree = _Tree(objects, root)
        objects.holder(node, FieldKind.RB_NODE)
        if objects.memory.load(node + _OWNER, 8) != root:
            return 0
        parent = tree.parent(node)
        if node not in ((tree.child(parent, LEFT), tree.child(parent, RIGHT)) if parent else (tree.top,)):
            raise AccessFault(f"the node at {node:#x} says that it is in the tree at {root:#x}, and is not")
        if tree.leftmost == node:
            tree.leftmost = _least(tree, tree.child(node, RIGHT)) or parent
        _take_out(tree, node, parent)
        objects.memory.store(node + _PARENT, 8, node)
        objects.memory.store(node + _OWNER, 8, 0)
    return node


def _least(tree: _Tree, node: int) -> int:
    """The leftmost node under a node, or 0 under nothing."""
    while node and (following := tree.child(node, LEFT)):
        tree.step()
        node = following
    return node


def _take_out(tree: _Tree, node: int, parent: int) -> None:
    left, right = tree.child(node, LEFT), tree.child(node, RIGHT)
    lost_black = tree.is_black(node)
    if not left or not right:
        moved = left or right
        tree.replace(node, moved, parent)
        hole_parent = parent
    else:
        successor = _least(tree, right)
        moved, hole_parent = tree.child(successor, RIGHT), tree.parent(successor)
        black, lost_black = lost_black, tree.is_black(successor)
        if hole_parent == node:
            hole_parent = successor
        else:
            tree.replace(successor, moved, hole_parent)
            tree.set_child(successor, RIGHT, right)
            tree.set_parent(right, successor, black=tree.is_black(right))
        tree.replace(node, successor, parent)
        tree.set_parent(successor, parent, black=black)
        tree.set_child(successor, LEFT, left)
        tree.set_parent(left, successor, black=tree.is_black(left))
    if lost_black:
        _after_removal(tree, moved, hole_parent)


def _after_removal(tree: _Tree, node: int, parent: int) -> None:
    """The way through ``node`` (which may be nothing) under ``parent`` has a black node too few: mend that."""
    while parent and tree.is_black(node):
        side = LEFT if tree.child(parent, LEFT) == node else RIGHT
        other = _OTHER[side]
        sibling = tree.child(parent, other)
        if not tree.is_black(sibling):
            tree.paint(sibling, black=True)
            tree.paint(parent, black=False)
            tree.rotate(parent, side)
            sibling = tree.child(parent, other)
        near, far = tree.child(sibling, side), tree.child(sibling, other)
        if tree.is_black(near) and tree.is_black(far):
            tree.paint(sibling, black=False)
            node, parent = parent, tree.parent(parent)
            continue
        if tree.is_black(far):
            tree.paint(near, black=True)
            tree.paint(sibling, black=False)
            tree.rotate(sibling, other)
            sibling, far = near, sibling
        tree.set_parent(sibling, tree.parent(sibling), black=tree.is_black(parent))
        tree.paint(parent, black=True)
        tree.paint(far, black=True)
        tree.rotate(parent, side)
        return
    if node:
        tree.paint(node, black=True)


def first(objects: Objects, root: int) -> int:
    """The leftmost node; 0 in an empty tree."""
    with objects.lock:
        return _Tree(objects, root).leftmost


def top(objects: Objects, root: int) -> int:
    """The topmost node; 0 in an empty tree."""
    with objects.lock:
        return _Tree(objects, root).top


def child(objects: Objects, root: int, node: int, side: int) -> int:
    """A child of a node, on side LEFT or RIGHT; 0 where there is none, or the node is not in that tree."""
    with objects.lock:
        tree = _Tree(objects, root)
        objects.holder(node, FieldKind.RB_NODE)
        return tree.child(node, side) if objects.memory.load(node + _OWNER, 8) == root else 0


def drain(objects: Objects, root: int) -> None:
    """Empty a tree and drop the objects in it (bpf_rb_root_free).

    Raises:
        AccessFault: its memory was overwritten; the objects that cannot be found any more are lost.
    """
    with objects.lock:
        tree = _Tree(objects, root)
        waiting = [tree.top] if tree.top else []
        objects.memory.store(root + _TOP, 8, 0)
        objects.memory.store(root + _LEFTMOST, 8, 0)
        found = []
        while waiting:
            tree.step()
            node = waiting.pop()
            found.append(objects.holder(node, FieldKind.RB_NODE).address)
            waiting += [each for side in (LEFT, RIGHT) if (each := tree.child(node, side))]
        for address in found:
            objects.drop(address)
