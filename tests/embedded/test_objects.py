"""Objects of programs: references, what they hold, lists and trees, and what a program that was not verified does to them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.record import FieldKind, object_fields
from bpfcrypto.btf.types import Array, Composite, DeclTag, Int, Kind, Member, Ref
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.embedded import graph_list, graph_tree
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.objects import MAX_SIZE, Objects, PercpuObject, Target
from bpfcrypto.embedded.rcu import Rcu

EINVAL = 22


class Types:
    """The types of a program, by name."""

    def __init__(self) -> None:
        writer = BtfWriter()
        word = writer.add(Int("unsigned long", 8, 64))
        self.ids: dict[str, int] = {"word": word}
        for name, words in (("bpf_list_head", 2), ("bpf_list_node", 3), ("bpf_rb_root", 2), ("bpf_rb_node", 4)):
            array = writer.add(Array(word, word, words))
            self.ids[name] = writer.add(struct(name, 8 * words, Member("opaque", array, 0)))
        half = writer.add(Int("unsigned int", 4, 32))
        for name in ("bpf_spin_lock", "bpf_refcount"):
            self.ids[name] = writer.add(struct(name, 4, Member("value", half, 0)))
        node, tree = self.ids["bpf_list_node"], self.ids["bpf_rb_node"]
        self.ids["item"] = writer.add(
            struct("item", 72, Member("key", word, 0), Member("link", node, 64), Member("rb", tree, 256))
        )
        self.ids["shared"] = writer.add(
            struct(
                "shared",
                40,
                Member("key", word, 0),
                Member("link", node, 64),
                Member("ref", self.ids["bpf_refcount"], 256),
            )
        )
        self.ids["plain"] = writer.add(struct("plain", 8, Member("key", word, 0)))
        self.ids["large"] = writer.add(struct("large", MAX_SIZE + 1, Member("key", word, 0)))
        pointers = [
            writer.add(Ref(Kind.PTR, writer.add(Ref(Kind.TYPE_TAG, self.ids[target], "kptr"))))
            for target in ("plain", "shared")
        ]
        self.ids["kernel_thing"] = writer.add(struct("kernel_thing", 8, Member("x", word, 0)))
        kernel = writer.add(Ref(Kind.PTR, writer.add(Ref(Kind.TYPE_TAG, self.ids["kernel_thing"], "kptr"))))
        percpu = writer.add(Ref(Kind.PTR, writer.add(Ref(Kind.TYPE_TAG, self.ids["plain"], "percpu_kptr"))))
        bag = self.ids["bag"] = writer.add(
            struct(
                "bag",
                72,
                Member("plain", pointers[0], 0),
                Member("shared", pointers[1], 64),
                Member("kernel", kernel, 128),
                Member("percpu", percpu, 192),
                Member("lock", self.ids["bpf_spin_lock"], 256),
                Member("items", self.ids["bpf_list_head"], 320),
                Member("tree", self.ids["bpf_rb_root"], 448),
            )
        )
        writer.add(DeclTag("contains:item:link", bag, 5))
        writer.add(DeclTag("contains:item:rb", bag, 6))
        self.btf = read_btf(writer.to_bytes(), source="test")


def struct(name: str, size: int, *members: Member) -> Composite:
    return Composite(Kind.STRUCT, name, size, members)


TYPES = Types()
LINK, RB, LIST, TREE = 8, 32, 40, 56


class Bench:
    """Objects with a kind of kernel object whose releases are noted."""

    def __init__(self, cpus: int = 2) -> None:
        self.memory, self.rcu = Memory(), Rcu()
        self.released: list[int] = []
        target = Target(lambda address: None, self.released.append)
        self.objects = Objects(self.memory, self.rcu, TYPES.btf, targets={"kernel_thing": target}, cpus=cpus)

    def new(self, name: str) -> int:
        return self.objects.new(TYPES.ids[name])

    def item(self, key: int) -> int:
        address = self.new("item")
        self.memory.store(address, 8, key)
        return address

    def less(self, one: int, other: int) -> int:
        return int(self.memory.load(one - RB, 8) < self.memory.load(other - RB, 8))

    def keys(self, root: int) -> list[int]:
        """The keys of a tree in order, with its rules checked: no red under red, equally many blacks on every way."""

        def walk(node: int, parent: int) -> tuple[list[int], int]:
            if not node:
                return [], 1
            word = self.memory.load(node, 8)
            assert word & ~1 == parent
            left, right = (graph_tree.child(self.objects, root, node, s) for s in (graph_tree.LEFT, graph_tree.RIGHT))
            if not word & 1:
                assert all(not child or self.memory.load(child, 8) & 1 for child in (left, right))
            (before, blacks), (behind, others) = walk(left, node), walk(right, node)
            assert blacks == others
            return [*before, self.memory.load(node - RB, 8), *behind], blacks + (word & 1)

        top = graph_tree.top(self.objects, root)
        assert not top or self.memory.load(top, 8) & 1
        return walk(top, 0)[0]


def test_fields_of_objects_and_of_values() -> None:
    """Nodes are special in objects; the order is that of offsets."""
    kinds = [field.kind for field in object_fields(TYPES.btf, TYPES.ids["bag"])]

    assert kinds == [
        FieldKind.KPTR,
        FieldKind.KPTR,
        FieldKind.KPTR,
        FieldKind.KPTR_PERCPU,
        FieldKind.SPIN_LOCK,
        FieldKind.LIST_HEAD,
        FieldKind.RB_ROOT,
    ]
    assert [field.kind for field in object_fields(TYPES.btf, TYPES.ids["item"])] == [
        FieldKind.LIST_NODE,
        FieldKind.RB_NODE,
    ]


def test_memory_goes_after_the_readers() -> None:
    """A dropped object can still be read by who was there, and not be dropped again."""
    bench = Bench()
    address = bench.new("plain")
    bench.memory.store(address, 8, 7)
    with bench.rcu.reading():
        bench.objects.drop(address)
        assert (bench.memory.load(address, 8), bench.objects.live) == (7, 0)
        with pytest.raises(AccessFault, match="has been dropped"):
            bench.objects.drop(address)
    with pytest.raises(AccessFault):
        bench.memory.load(address, 8)


def test_references_are_counted() -> None:
    """The last holder's drop counts; of what is gone there is no further reference."""
    bench = Bench()
    address = bench.new("shared")

    assert bench.objects.acquire(address) == address
    bench.objects.drop(address)
    assert bench.objects.live == 1
    with bench.rcu.reading():
        bench.objects.drop(address)
        assert (bench.objects.live, bench.objects.acquire(address)) == (0, 0)


def test_what_an_object_holds_goes_with_it() -> None:
    """Objects, kernel objects, per-CPU objects, a list and a tree."""
    bench = Bench()
    bag = bench.new("bag")
    holder = bench.objects.get(bag)
    assert not isinstance(holder, PercpuObject)
    for offset, pointer in (
        (0, bench.new("plain")),
        (8, bench.new("shared")),
        (16, 0x1234),
        (24, bench.objects.new_percpu(TYPES.ids["plain"])),
    ):
        assert holder.exchange(bag + offset, pointer) == 0
    for key in range(5):
        assert graph_list.push(bench.objects, bag + LIST, bench.item(key) + LINK, back=True) == 0
        assert graph_tree.add(bench.objects, bag + TREE, bench.item(key) + RB, bench.less) == 0
    assert bench.objects.live == 14

    bench.objects.drop(bag)
    assert (bench.objects.live, bench.released) == (0, [0x1234])


def test_kptrs_take_what_they_are_for() -> None:
    """Another type, memory that is no object, a plain object in place of a per-CPU one: all refused."""
    bench = Bench()
    bag = bench.new("bag")
    holder = bench.objects.get(bag)
    assert not isinstance(holder, PercpuObject)
    for offset, wrong in (
        (0, bench.new("item")),
        (0, bag + 8),
        (0, bench.objects.new_percpu(TYPES.ids["plain"])),
        (24, bench.new("plain")),
        (32, 0),
    ):
        with pytest.raises(AccessFault):
            holder.exchange(bag + offset, wrong)


def test_per_cpu_objects() -> None:
    """Each CPU has its copy; there is nothing at the handle, and nothing for a CPU that is not there."""
    bench = Bench(cpus=3)
    handle = bench.objects.new_percpu(TYPES.ids["plain"])
    made = bench.objects.get(handle)
    assert isinstance(made, PercpuObject)
    for cpu in range(3):
        bench.memory.store(made.on(cpu), 8, cpu + 1)

    assert [bench.memory.load(made.on(cpu), 8) for cpu in range(3)] == [1, 2, 3]
    assert made.on(3) == 0
    with pytest.raises(AccessFault, match="cannot be read"):
        bench.memory.load(handle, 8)
    bench.objects.drop(handle)
    assert bench.objects.live == 0


@pytest.mark.parametrize("type_id", [0, TYPES.ids["word"], len(TYPES.btf), 2**32])
def test_what_is_no_struct_cannot_be_made(type_id: int) -> None:
    """A type id that the verifier would refuse is a trap."""
    with pytest.raises(AccessFault, match="not a struct"):
        Bench().objects.new(type_id)


def test_what_is_too_large() -> None:
    """The kernel's allocator gives at most 4088 bytes."""
    assert Bench().new("large") == 0


def test_a_node_is_on_one_list() -> None:
    """The second push drops the object's reference and says so."""
    bench = Bench()
    bag, other, shared = bench.new("bag"), bench.new("bag"), bench.new("shared")
    bench.objects.acquire(shared)

    assert graph_list.push(bench.objects, bag + LIST, shared + LINK, back=True) == 0
    assert graph_list.push(bench.objects, other + LIST, shared + LINK, back=True) == EINVAL
    assert bench.objects.live == 3
    assert graph_list.pop(bench.objects, bag + LIST, back=False) == shared + LINK


@pytest.mark.parametrize("where", [LINK, LINK + 8])
@pytest.mark.parametrize("what", ["null", "stack", "dropped", "itself", "plain"])
def test_overwritten_lists_do_no_harm(where: int, what: str) -> None:
    """Links that a program has written over are never followed; dropping the list ends, and only loses objects."""
    bench = Bench()
    bag, items = bench.new("bag"), [bench.item(key) for key in range(3)]
    for item in items:
        graph_list.push(bench.objects, bag + LIST, item + LINK, back=True)
    stack = bench.memory.new(64, "stack")
    gone = bench.item(9)
    bench.objects.drop(gone)
    wrong = {
        "null": 0,
        "stack": stack.base,
        "dropped": gone + LINK,
        "itself": items[1] + LINK,
        "plain": bench.new("plain"),
    }
    bench.memory.store(items[1] + where, 8, wrong[what])

    for back in (False, True, False):
        try:
            graph_list.pop(bench.objects, bag + LIST, back=back)
        except AccessFault:
            break
    bench.objects.drop(bag)
    assert bytes(bench.memory.span(stack.base, 64)) == bytes(64)
    bench.objects.close()
    assert bench.objects.live == 0


def test_trees_keep_their_rules() -> None:
    """Keys in, keys out: sorted, red and black as they must be, and the leftmost is known."""
    bench, draw = Bench(), random.Random("tree")
    bag = bench.new("bag")
    root = bag + TREE
    nodes: dict[int, int] = {}
    for step in range(400):
        key = draw.randrange(60)
        if key in nodes and draw.random() < 0.7:
            node = nodes.pop(key)
            assert graph_tree.remove(bench.objects, root, node) == node
            assert graph_tree.remove(bench.objects, root, node) == 0
            bench.objects.drop(node - RB)
        elif key not in nodes:
            nodes[key] = bench.item(key) + RB
            assert graph_tree.add(bench.objects, root, nodes[key], bench.less) == 0
        assert graph_tree.first(bench.objects, root) == (nodes[min(nodes)] if nodes else 0)
        if step % 10 == 0:
            assert bench.keys(root) == sorted(nodes)
    assert all(one < other for one, other in pairwise(bench.keys(root)))
    bench.objects.drop(bag)
    assert bench.objects.live == 0


@pytest.mark.parametrize("side", [0, graph_tree.LEFT, graph_tree.RIGHT])
@pytest.mark.parametrize("what", ["stack", "dropped", "itself", "root", "plain"])
def test_overwritten_trees_do_no_harm(side: int, what: str) -> None:
    """Children and parents that a program has written over are a trap at most; every walk ends."""
    bench = Bench()
    bag = bench.new("bag")
    root = bag + TREE
    nodes = [bench.item(key) + RB for key in range(7)]
    for node in nodes:
        graph_tree.add(bench.objects, root, node, bench.less)
    stack = bench.memory.new(64, "stack")
    gone = bench.item(9)
    bench.objects.drop(gone)
    top = graph_tree.top(bench.objects, root)
    wrong = {"stack": stack.base, "dropped": gone + RB, "itself": top, "root": root, "plain": bench.new("plain")}
    bench.memory.store(top + side, 8, wrong[what])

    for node in nodes:
        try:
            graph_tree.add(bench.objects, root, bench.item(3) + RB, bench.less)
            graph_tree.remove(bench.objects, root, node)
        except AccessFault:
            continue
    bench.objects.drop(bag)
    assert bytes(bench.memory.span(stack.base, 64)) == bytes(64)
    bench.objects.close()
    assert bench.objects.live == 0


def test_locks_of_objects() -> None:
    """An object has its locks where its type says."""
    bench = Bench()
    bag = bench.new("bag")
    holder = bench.objects.get(bag)
    assert not isinstance(holder, PercpuObject)

    assert holder.spin_lock(bag + 32) is holder.spin_lock(bag + 32)
    with pytest.raises(AccessFault, match="spin lock"):
        holder.spin_lock(bag + 36)
