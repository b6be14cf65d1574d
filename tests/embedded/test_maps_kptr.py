"""Contexts in maps: what every operation does to them, on both engines, and that none is ever lost or freed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EEXIST, EINVAL, ENOENT, EPERM
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import RULES, UpdateFlag
from bpfcrypto.crypto.params import SIZE, encode
from bpfcrypto.embedded.contexts import CryptoContexts
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.maps import create_map
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.errors import MapError
from bpfcrypto.loader.load import load_spec

if TYPE_CHECKING:
    from bpfcrypto.embedded.map_base import EmbeddedMap
    from bpfcrypto.engine import Collection, Engine, Map

pytestmark = pytest.mark.usefixtures("one_cpu")

OBJECT = load_spec((Path(__file__).parents[1] / "bpf" / "maps_kptr.bpf.o").read_bytes())
KINDS = ("array", "percpu_array", "hash", "hash_lazy", "percpu_hash", "lru_hash", "lru_percpu_hash")
FRAME = bytes(64)
KEY = (1).to_bytes(4, "little")
SLOT = 8  # offset of the kptr in struct value


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except MapError as error:
        return error.errno
    return 0


class Scene:
    """One map of the object with a context in its element 1."""

    def __init__(self, collection: Collection, kind: str) -> None:
        self.collection = collection
        self.kind = kind
        self.map: Map = collection.maps[f"m_{kind}"]
        self.variables = collection.variables
        self.variables["key"].value = 1
        if not RULES[self.map.spec.type].indexed:
            self.map.update(KEY, self.value(0))
        self.run("fill")
        assert (self.variables["err"].value, self.variables["found"].value) == (0, True)

    def value(self, byte: int) -> bytes:
        return bytes([byte]) * self.map.value_bytes

    def run(self, action: str, flags: int = 0) -> int:
        """Run a program; what its helper returned."""
        self.variables["flags"].value = flags
        data = b"" if action in ("fill", "take") else FRAME
        assert self.collection.programs[f"{action}_{self.kind}"].run(data).retval == 0
        result: int = self.variables["ret"].value
        return result

    @property
    def holds(self) -> bool:
        """Whether a program finds a context in the element; it is used when it does."""
        self.run("use")
        held: bool = self.variables["found"].value and self.variables["replaced"].value
        assert not held or self.variables["ret"].value == 0
        return held


@pytest.fixture
def scene(engine: Engine, kind: str) -> Iterator[Scene]:
    with engine.load(OBJECT) as collection:
        yield Scene(collection, kind)
        collection.close()
        if isinstance(engine, EmbeddedEngine):
            assert collection.leaks() == 0  # type: ignore[attr-defined]


def indexed(scene: Scene) -> bool:
    return RULES[scene.map.spec.type].indexed


@pytest.mark.parametrize("kind", KINDS)
def test_lookup_shows_zero(scene: Scene) -> None:
    """User space reads zero bytes where the context is, in single and in batch reads, and the context stays."""
    values = [scene.map.lookup(KEY), dict(scene.map.items())[KEY]]  # type: ignore[attr-defined]
    for each in values:
        assert each[:8] == (1).to_bytes(8, "little")
        assert each[SLOT:16] == bytes(8)
        assert each[16:24] == b"\xff" * 8
    assert scene.holds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [UpdateFlag.ANY, UpdateFlag.EXIST])
def test_update_drops(scene: Scene, flags: UpdateFlag) -> None:
    """An update from user space drops the context; the bytes it gives for it are ignored."""
    scene.map.update(KEY, scene.value(0xFF), flags)

    assert not scene.holds
    assert scene.map.lookup(KEY)[:24] == b"\xff" * 8 + bytes(8) + b"\xff" * 8


@pytest.mark.parametrize("kind", KINDS)
def test_refused_update_keeps(scene: Scene) -> None:
    """NOEXIST on an existing element, BPF_F_LOCK without a lock and unknown flags change nothing."""
    rows = {UpdateFlag.NOEXIST: EEXIST, UpdateFlag.LOCK: EINVAL, 3: EINVAL, 8: EINVAL}
    for flags, errno in rows.items():
        assert errno_of(lambda: scene.map.update(KEY, scene.value(1), flags)) == errno  # noqa: B023
    assert scene.holds


@pytest.mark.parametrize("kind", KINDS)
def test_delete(scene: Scene) -> None:
    """Deleting from a hash releases the context; an array refuses and keeps it."""
    assert errno_of(lambda: scene.map.delete(KEY)) == (EINVAL if indexed(scene) else 0)
    assert scene.holds == indexed(scene)


@pytest.mark.parametrize("kind", KINDS)
def test_lookup_and_delete(scene: Scene) -> None:
    """Taking an element out shows zero bytes and releases the context; arrays refuse."""
    take: Callable[[bytes], bytes] = scene.map.lookup_and_delete  # type: ignore[attr-defined]
    if indexed(scene):
        assert errno_of(lambda: take(KEY)) == ENOTSUPP
        assert scene.holds
    else:
        assert take(KEY)[SLOT:16] == bytes(8)
        assert not scene.holds


@pytest.mark.parametrize("kind", KINDS)
def test_program_update_drops(scene: Scene) -> None:
    """An update from a program drops the context of its CPU."""
    assert scene.run("update", UpdateFlag.NOEXIST) == -EEXIST
    assert scene.holds
    assert scene.run("update") == 0
    assert not scene.holds


@pytest.mark.parametrize("kind", KINDS)
def test_program_delete(scene: Scene) -> None:
    """A deletion from a program does what one from user space does."""
    assert scene.run("remove") == (-EINVAL if indexed(scene) else 0)
    assert scene.holds == indexed(scene)
    assert scene.run("remove") == (-EINVAL if indexed(scene) else -ENOENT)


@pytest.mark.parametrize("kind", KINDS)
def test_exchange(scene: Scene) -> None:
    """A second context replaces the first one; taking it out leaves an empty slot."""
    scene.run("fill")
    assert scene.variables["replaced"].value
    scene.run("take")
    assert scene.variables["replaced"].value
    assert not scene.holds
    scene.run("fill")
    assert not scene.variables["replaced"].value


@pytest.mark.parametrize("kind", KINDS)
def test_freeze(scene: Scene) -> None:
    """A map with special fields cannot be frozen."""
    assert errno_of(scene.map.freeze) == ENOTSUPP  # type: ignore[attr-defined]
    scene.map.update(KEY, scene.value(0))


@pytest.mark.parametrize("kind", ["lru_hash", "lru_percpu_hash"])
def test_eviction(scene: Scene) -> None:
    """The context of an evicted element is released, and a new element of its key has none."""
    for index in range(2, 40):
        scene.map.update(index.to_bytes(4, "little"), scene.value(0))
    assert errno_of(lambda: scene.map.lookup(KEY)) == ENOENT
    if scene.collection.spec.source and hasattr(scene.collection, "live_contexts"):
        assert scene.collection.live_contexts == 0
    scene.map.update(KEY, scene.value(0))

    assert not scene.holds


LOCKED = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
char _license[] SEC("license") = "GPL";
struct value { u64 before; struct bpf_crypto_ctx __kptr *cctx; struct bpf_spin_lock lock; u32 after; };
struct {
	__uint(type, %s);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} m SEC(".maps");
bool replaced;
SEC("syscall") int fill(void *ctx)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "ecb(aes)", .key_len = 16};
	struct bpf_crypto_ctx *cctx;
	struct value *value;
	u32 index = 1;
	int err;

	value = bpf_map_lookup_elem(&m, &index);
	if (!value)
		return 1;
	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return 2;
	cctx = bpf_kptr_xchg(&value->cctx, cctx);
	replaced = cctx != NULL;
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return 0;
}
"""


@pytest.mark.parametrize(("kind", "kept"), [("ARRAY", False), ("HASH", True)])
def test_update_under_lock(engine: Engine, compile_bpf: Callable[..., bytes], kind: str, kept: bool) -> None:
    """BPF_F_LOCK writes in place: an array drops the context all the same, a hash keeps it."""
    with engine.load(compile_bpf(LOCKED % f"BPF_MAP_TYPE_{kind}")) as collection:
        m = collection.maps["m"]
        assert errno_of(lambda: m.update(KEY, bytes(24), UpdateFlag.LOCK)) == 0
        collection.programs["fill"].run()
        assert errno_of(lambda: m.update(KEY, b"\xff" * 24, UpdateFlag.LOCK | UpdateFlag.NOEXIST)) == EEXIST
        m.update(KEY, b"\xff" * 24, UpdateFlag.LOCK)

        assert m.lookup(KEY) == b"\xff" * 8 + bytes(12) + b"\xff" * 4
        collection.programs["fill"].run()
        assert collection.variables["replaced"].value is kept


# --- the embedded engine's own


CPUS = 3


class Bench:
    """One map without an engine, and contexts to put in it."""

    def __init__(self, kind: str) -> None:
        self.memory = Memory()
        self.contexts = CryptoContexts(self.memory)
        spec = OBJECT.maps[f"m_{kind}"]
        self.map: EmbeddedMap = create_map(spec, OBJECT.btf, self.memory, contexts=self.contexts, cpus=CPUS)
        self.map.update(KEY, bytes(self.map.value_bytes))

    def context(self) -> int:
        address, errno = self.contexts.create(encode("ecb(aes)", bytes(16)), SIZE)
        assert errno == 0
        return address

    def slot(self, cpu: int = 0) -> int:
        return self.map.lookup_address(KEY, cpu) + SLOT


@pytest.fixture
def bench(kind: str) -> Bench:
    return Bench(kind)


PERCPU = [kind for kind in KINDS if "percpu" in kind]


@pytest.mark.parametrize("kind", PERCPU)
def test_copies_of_other_cpus(bench: Bench) -> None:
    """An update from a program drops the context of its own CPU, one from user space those of all."""
    for cpu in range(CPUS):
        assert bench.map.exchange(bench.slot(cpu), bench.context()) == 0

    assert bench.map.update_from_program(KEY, bytes(24), 0, 1) == 0
    held = [bool(bench.memory.load(bench.slot(cpu), 8)) for cpu in range(CPUS)]
    assert (held, bench.contexts.live) == ([True, False, True], 2)
    bench.map.update(KEY, bytes(bench.map.value_bytes))
    assert bench.contexts.live == 0


@pytest.mark.parametrize("kind", KINDS)
def test_close_releases(bench: Bench) -> None:
    """A map that goes releases every context, also one that a program put into a deleted element; its memory is gone."""
    slot = bench.slot()
    bench.map.exchange(slot, bench.context())
    if not RULES[bench.map.spec.type].indexed:
        bench.map.delete(KEY)
        assert bench.contexts.live == 0
        bench.map.exchange(slot, bench.context())
    address = bench.map.address
    assert bench.contexts.live == 1

    bench.map.close()
    bench.map.close()

    assert bench.contexts.live == 0
    assert bench.memory.owner(address) is None
    with pytest.raises(AccessFault):
        bench.memory.load(slot, 8)


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_exchange_refuses(bench: Bench) -> None:
    """Only a kptr's address takes a pointer, and only NULL or a live context goes into it."""
    context = bench.context()
    for address in (bench.slot() - SLOT, bench.slot() + 1, bench.slot() + 8, bench.map.address, context):
        with pytest.raises(AccessFault):
            bench.map.exchange(address, context)
    for pointer in (context + 8, bench.slot(), 1):
        with pytest.raises(AccessFault):
            bench.map.exchange(bench.slot(), pointer)

    assert bench.map.exchange(bench.slot(), context) == 0
    assert bench.map.exchange(bench.slot(), 0) == context


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_running_program_keeps_context(bench: Bench) -> None:
    """A context that is dropped while a run is inside lives until the run ends."""
    context = bench.context()
    bench.map.exchange(bench.slot(), context)
    with bench.contexts.rcu.reading():
        bench.map.update(KEY, bytes(24))

        assert bench.contexts.get(context).references == 0
    assert bench.contexts.live == 0


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_addresses(bench: Bench) -> None:
    """An access stays within one value; the handle of the map has nothing to be read."""
    value = bench.map.lookup_address(KEY, 0)

    bench.memory.span(value, 24)
    for address, size in ((value, 25), (value + 20, 8), (bench.map.address, 1)):
        with pytest.raises(AccessFault):
            bench.memory.span(address, size)
    assert bench.memory.owner(bench.map.address) is bench.map
    assert errno_of(lambda: bench.map.freeze()) == ENOTSUPP != EPERM  # noqa: PLW0108
