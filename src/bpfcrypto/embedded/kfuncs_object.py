"""kfuncs on objects that programs allocate, and on the lists and trees of them (kernel/bpf/helpers.c).

The type of an object is its id in the types of the program. The verifier fills in the other hidden arguments, which are not looked at
here: what an object is and where its nodes are is known from its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded import graph_list, graph_tree
from bpfcrypto.embedded.state import Native, error

if TYPE_CHECKING:
    from bpfcrypto.embedded.objects import Objects
    from bpfcrypto.embedded.state import RunState


def natives(objects: Objects) -> Mapping[str, Native]:
    """The kfuncs, by name.

    Args:
        objects: where objects are made and found.
    """

    def obj_new(_run: RunState, type_id: int, *_: int) -> int:
        return objects.new(type_id)

    def percpu_obj_new(_run: RunState, type_id: int, *_: int) -> int:
        return objects.new_percpu(type_id)

    def obj_drop(_run: RunState, address: int, *_: int) -> int:
        objects.drop(address)
        return 0

    def refcount_acquire(_run: RunState, address: int, *_: int) -> int:
        return objects.acquire(address)

    def list_push_front(_run: RunState, head: int, node: int, *_: int) -> int:
        return error(graph_list.push(objects, head, node, back=False))

    def list_push_back(_run: RunState, head: int, node: int, *_: int) -> int:
        return error(graph_list.push(objects, head, node, back=True))

    def list_pop_front(_run: RunState, head: int, *_: int) -> int:
        return graph_list.pop(objects, head, back=False)

    def list_pop_back(_run: RunState, head: int, *_: int) -> int:
        return graph_list.pop(objects, head, back=True)

    def list_front(_run: RunState, head: int, *_: int) -> int:
        return graph_list.end(objects, head, back=False)

    def list_back(_run: RunState, head: int, *_: int) -> int:
        return graph_list.end(objects, head, back=True)

    def rbtree_add(run: RunState, root: int, node: int, less: int, *_: int) -> int:
        return error(graph_tree.add(objects, root, node, lambda one, other: run.call(less, one, other)))

    def rbtree_remove(_run: RunState, root: int, node: int, *_: int) -> int:
        return graph_tree.remove(objects, root, node)

    def rbtree_first(_run: RunState, root: int, *_: int) -> int:
        return graph_tree.first(objects, root)

    def rbtree_root(_run: RunState, root: int, *_: int) -> int:
        return graph_tree.top(objects, root)

    def rbtree_left(_run: RunState, root: int, node: int, *_: int) -> int:
        return graph_tree.child(objects, root, node, graph_tree.LEFT)

    def rbtree_right(_run: RunState, root: int, node: int, *_: int) -> int:
        return graph_tree.child(objects, root, node, graph_tree.RIGHT)

    return {
        "bpf_obj_new_impl": obj_new,
        "bpf_obj_drop_impl": obj_drop,
        "bpf_percpu_obj_new_impl": percpu_obj_new,
        "bpf_percpu_obj_drop_impl": obj_drop,
        "bpf_refcount_acquire_impl": refcount_acquire,
        "bpf_list_push_front_impl": list_push_front,
        "bpf_list_push_back_impl": list_push_back,
        "bpf_list_pop_front": list_pop_front,
        "bpf_list_pop_back": list_pop_back,
        "bpf_list_front": list_front,
        "bpf_list_back": list_back,
        "bpf_rbtree_add_impl": rbtree_add,
        "bpf_rbtree_remove": rbtree_remove,
        "bpf_rbtree_first": rbtree_first,
        "bpf_rbtree_root": rbtree_root,
        "bpf_rbtree_left": rbtree_left,
        "bpf_rbtree_right": rbtree_right,
    }
