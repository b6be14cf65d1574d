"""Elements of maps from user space and from programs: every operation's answer and effect, the same rows on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import E2BIG, EEXIST, EINVAL, ENOENT, EPERM
from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import RULES, MapFlag, MapType, UpdateFlag
from bpfcrypto.errors import KeyNotFoundError, MapError, MapFullError, MapTypeError
from bpfcrypto.loader.load import load_spec
from bpfcrypto.spec import CollectionSpec, MapSpec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bpfcrypto.engine import Collection, Engine, Map

pytestmark = pytest.mark.usefixtures("one_cpu")

KINDS = {
    "ARRAY": (MapType.ARRAY, MapFlag(0)),
    "PERCPU_ARRAY": (MapType.PERCPU_ARRAY, MapFlag(0)),
    "HASH": (MapType.HASH, MapFlag(0)),
    "PERCPU_HASH": (MapType.PERCPU_HASH, MapFlag(0)),
    "LRU_HASH": (MapType.LRU_HASH, MapFlag(0)),
    "LRU_PERCPU_HASH": (MapType.LRU_PERCPU_HASH, MapFlag(0)),
    "HASH lazy": (MapType.HASH, MapFlag.NO_PREALLOC),
    "PERCPU_HASH lazy": (MapType.PERCPU_HASH, MapFlag.NO_PREALLOC),
    "LRU_HASH per CPU": (MapType.LRU_HASH, MapFlag.NO_COMMON_LRU),
}
UNKNOWN_FLAGS = (3, 8, 9, 16, 1 << 32, 1 << 63)


def load(engine: Engine, kind: str, flags: int = 0) -> AbstractContextManager[Collection]:
    map_type, more = KINDS[kind]
    spec = MapSpec("m", map_type, 4, 12, 4, MapFlag(flags) | more)
    return engine.load(CollectionSpec("test", maps={"m": spec}))


def key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def value(m: Map, seed: int) -> bytes:
    """A value that is different in every byte, as user space gives it."""
    return bytes((seed + i) & 0xFF for i in range(m.value_bytes))


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except MapError as error:
        assert isinstance(error, KINDS_OF_ERRNO.get(error.errno, MapError))
        return error.errno
    return 0


KINDS_OF_ERRNO = {ENOENT: KeyNotFoundError, E2BIG: MapFullError, EINVAL: MapTypeError, ENOTSUPP: MapTypeError}


@pytest.mark.parametrize("kind", KINDS)
def test_lookup_and_update(engine: Engine, kind: str) -> None:
    """What is stored is read back, padding of per-CPU values included; what was never stored is not there, or is zero."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        indexed = RULES[m.spec.type].indexed

        assert (m.value_bytes % 16 == 0) if RULES[m.spec.type].percpu else (m.value_bytes == 12)
        assert errno_of(lambda: m.lookup(key(1))) == (0 if indexed else ENOENT)
        if indexed:
            assert m.lookup(key(1)) == bytes(m.value_bytes)
        m.update(key(1), value(m, 7))
        assert m.lookup(key(1)) == value(m, 7)
        m.update(key(1), value(m, 9))
        assert m.lookup(key(1)) == value(m, 9)
        assert errno_of(lambda: m.lookup(key(99))) == ENOENT


@pytest.mark.parametrize("kind", KINDS)
def test_update_flags(engine: Engine, kind: str) -> None:
    """NOEXIST and EXIST, BPF_F_LOCK without a lock, unknown flags: on a key that is there and on one that is not."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        indexed = RULES[m.spec.type].indexed
        m.update(key(1), value(m, 1))
        there = {flag: errno_of(lambda: m.update(key(1), value(m, 1), flag)) for flag in (0, 1, 2, 4, 5, 6)}  # noqa: B023
        absent = {flag: errno_of(lambda: m.update(key(9), value(m, 1), flag)) for flag in (2, 4, 5, 6)}  # noqa: B023
        unknown = {errno_of(lambda: m.update(key(1), value(m, 1), flag)) for flag in UNKNOWN_FLAGS}  # noqa: B023

        assert there == {0: 0, 1: EEXIST, 2: 0, 4: EINVAL, 5: EINVAL, 6: EINVAL}
        assert absent == {2: E2BIG if indexed else ENOENT, 4: EINVAL, 5: EINVAL, 6: EINVAL}
        assert unknown == {EINVAL}
        assert errno_of(lambda: m.update(key(1), value(m, 1), UpdateFlag.NOEXIST)) == EEXIST


@pytest.mark.parametrize("kind", KINDS)
def test_full(engine: Engine, kind: str) -> None:
    """The element beyond max_entries: refused with E2BIG, or an older one makes room; existing ones can always be updated."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        rules = RULES[m.spec.type]
        for index in range(4):
            m.update(key(index), value(m, index))
        for flag in (UpdateFlag.ANY, UpdateFlag.NOEXIST):
            assert errno_of(lambda: m.update(key(4), value(m, 4), flag)) == (0 if rules.lru else E2BIG)  # noqa: B023
            if rules.lru:
                m.delete(key(4))
        if not rules.lru:
            m.update(key(3), value(m, 33))
            assert m.lookup(key(3)) == value(m, 33)
            assert sorted(m.keys()) == [key(index) for index in range(4)]
        else:
            assert len(list(m.keys())) <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_delete(engine: Engine, kind: str) -> None:
    """Hashes delete what is there; elements of arrays cannot go."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        indexed = RULES[m.spec.type].indexed
        m.update(key(1), value(m, 1))

        assert errno_of(lambda: m.delete(key(1))) == (EINVAL if indexed else 0)
        assert errno_of(lambda: m.delete(key(1))) == (EINVAL if indexed else ENOENT)
        assert errno_of(lambda: m.delete(key(99))) == (EINVAL if indexed else ENOENT)
        assert list(m.keys()) == ([key(i) for i in range(4)] if indexed else [])
        assert errno_of(lambda: m.lookup(key(1))) == (0 if indexed else ENOENT)


@pytest.mark.parametrize("kind", KINDS)
def test_lookup_and_delete(engine: Engine, kind: str) -> None:
    """Takes out what is there; ENOTSUPP in arrays, whatever the index."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        take: Callable[[bytes], bytes] = m.lookup_and_delete  # type: ignore[attr-defined]
        m.update(key(1), value(m, 5))
        if RULES[m.spec.type].indexed:
            assert errno_of(lambda: take(key(1))) == errno_of(lambda: take(key(99))) == ENOTSUPP
        else:
            assert take(key(1)) == value(m, 5)
            assert errno_of(lambda: take(key(1))) == ENOENT


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_items(engine: Engine, kind: str) -> None:
    """All keys, with their values."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        expected = {key(index): value(m, index) for index in (0, 2)}
        for each, data in expected.items():
            m.update(each, data)
        if RULES[m.spec.type].indexed:
            expected |= {key(index): bytes(m.value_bytes) for index in (1, 3)}

        assert sorted(m.keys()) == sorted(expected)
        assert dict(m.items()) == expected  # type: ignore[attr-defined]


# what user space may do: flag -> errno of lookup, update, delete, lookup_and_delete, keys, freeze; None: whatever the type answers
ACCESS: dict[str, tuple[MapFlag, tuple[int | None, ...]]] = {
    "plain": (MapFlag(0), (0, 0, None, None, 0, 0)),
    "read only": (MapFlag.RDONLY, (None, EPERM, EPERM, EPERM, 0, EPERM)),
    "write only": (MapFlag.WRONLY, (EPERM, 0, None, EPERM, EPERM, 0)),
    "programs read only": (MapFlag.RDONLY_PROG, (0, 0, None, None, 0, 0)),
    "programs write only": (MapFlag.WRONLY_PROG, (0, 0, None, None, 0, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("flag", "expected"), ACCESS.values(), ids=ACCESS)
def test_access(engine: Engine, kind: str, flag: MapFlag, expected: tuple[int | None, ...]) -> None:
    """A map created for reading or writing only refuses the other to user space, before its type is asked."""
    with load(engine, kind, flag) as collection:
        m = collection.maps["m"]
        calls: tuple[Callable[[], object], ...] = (
            lambda: m.lookup(key(1)),
            lambda: m.update(key(1), value(m, 1)),
            lambda: m.delete(key(1)),
            lambda: m.lookup_and_delete(key(1)),  # type: ignore[attr-defined]
            lambda: list(m.keys()),
            m.freeze,  # type: ignore[attr-defined]
        )
        errno_of(calls[1])
        errnos = [errno_of(call) for call in calls]
        listed = 4 if RULES[m.spec.type].indexed else None  # the keys of an array need no asking
        for place, (found, wanted) in enumerate(zip(errnos, expected, strict=True)):
            if wanted is None:
                assert found != EPERM, errnos
            elif place != listed:
                assert found == wanted, errnos


@pytest.mark.parametrize("kind", KINDS)
def test_frozen(engine: Engine, kind: str) -> None:
    """Freezing is for good: no more writing from user space, and no second time; reading goes on."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        m.update(key(0), value(m, 1))
        freeze: Callable[[], None] = m.freeze  # type: ignore[attr-defined]
        take: Callable[[bytes], bytes] = m.lookup_and_delete  # type: ignore[attr-defined]
        freeze()

        assert errno_of(freeze) == EPERM
        assert errno_of(lambda: m.update(key(0), value(m, 2))) == EPERM
        assert errno_of(lambda: m.delete(key(0))) == EPERM
        assert errno_of(lambda: take(key(0))) == EPERM
        assert m.lookup(key(0)) == value(m, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_lengths(engine: Engine, kind: str) -> None:
    """Keys and values of another length are refused, with both lengths in the message."""
    with load(engine, kind) as collection:
        m = collection.maps["m"]
        for bad in (b"", bytes(3), bytes(5)):
            for call in (m.lookup, m.delete, lambda k: m.update(k, value(m, 0))):  # type: ignore[misc]
                with pytest.raises(MapTypeError, match=f"a key has 4 bytes, not {len(bad)}"):
                    call(bad)
        with pytest.raises(MapTypeError, match=f"a value has {m.value_bytes} bytes, not 3"):
            m.update(key(0), bytes(3))


PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct value { u32 a, b, c; };
struct {
	__uint(type, %s);
	__uint(max_entries, 4);
	__uint(map_flags, %d);
	__type(key, u32);
	__type(value, struct value);
} m SEC(".maps");
u32 key;
u64 flags;
s64 ret;
u32 seen;
SEC("tc") int update(void *ctx)
{
	struct value new = {1, 2, 3};
	u32 index = key;
	ret = bpf_map_update_elem(&m, &index, &new, flags);
	return 0;
}
SEC("tc") int remove(void *ctx)
{
	u32 index = key;
	ret = bpf_map_delete_elem(&m, &index);
	return 0;
}
SEC("tc") int stale_update(void *ctx)
{
	struct value new = {1, 2, 3};
	u32 index = key;
	volatile struct value *old = bpf_map_lookup_elem(&m, &index);
	if (!old)
		return 1;
	bpf_map_update_elem(&m, &index, &new, 0);
	seen = old->a;
	return 0;
}
SEC("tc") int stale_remove(void *ctx)
{
	u32 index = key;
	volatile struct value *old = bpf_map_lookup_elem(&m, &index);
	if (!old)
		return 1;
	bpf_map_delete_elem(&m, &index);
	seen = old->a;
	return 0;
}
"""
FRAME = bytes(64)
NEW = b"".join(part.to_bytes(4, "little") for part in (1, 2, 3))


@pytest.fixture
def programs(engine: Engine, kind: str, compile_bpf: Callable[..., bytes]) -> Iterator[Collection]:
    map_type, flags = KINDS[kind]
    spec = load_spec(compile_bpf(PROGRAMS % (int(map_type), int(flags))))
    with engine.load(spec) as collection:
        yield collection


def run(collection: Collection, program: str, index: int, flags: int = 0) -> int:
    """The helper's return value."""
    collection.variables["key"].value = index
    collection.variables["flags"].value = flags
    assert collection.programs[program].run(FRAME).retval == 0
    result: int = collection.variables["ret"].value
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_program_update(programs: Collection, kind: str) -> None:
    """bpf_map_update_elem: flags on a key that is there and one that is not; in a full map; only the own copy per CPU."""
    m = programs.maps["m"]
    rules = RULES[m.spec.type]
    old = value(m, 100)
    for index in (1,) if rules.lru else range(4):
        m.update(key(index), old)
    there = {flag: run(programs, "update", 1, flag) for flag in (0, 1, 2, 3, 4, 5, 8, 1 << 32)}

    locked = {4: -EINVAL, 5: -EEXIST if rules.indexed else -EINVAL}
    assert there == {0: 0, 1: -EEXIST, 2: 0, 3: -EINVAL, 8: -EINVAL, 1 << 32: -EINVAL, **locked}
    expected = NEW + old[12:] if rules.percpu else NEW
    assert m.lookup(key(1)) == expected
    if rules.lru:
        return
    absent = {flag: run(programs, "update", 99, flag) for flag in (0, 1, 2, 3)}
    assert absent == {0: -E2BIG, 1: -E2BIG, 2: -E2BIG if rules.indexed else -ENOENT, 3: -EINVAL}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "HASH" in kind])
def test_program_insert(programs: Collection, kind: str) -> None:
    """A new element from a program: the copies of the other CPUs are zero."""
    m = programs.maps["m"]

    assert run(programs, "update", 2, UpdateFlag.EXIST) == -ENOENT
    assert run(programs, "update", 2, UpdateFlag.NOEXIST) == 0
    assert m.lookup(key(2)) == NEW + bytes(m.value_bytes - 12)


@pytest.mark.parametrize("kind", KINDS)
def test_program_delete(programs: Collection, kind: str) -> None:
    """bpf_map_delete_elem."""
    m = programs.maps["m"]
    indexed = RULES[m.spec.type].indexed
    m.update(key(1), value(m, 1))

    assert run(programs, "remove", 1) == (-EINVAL if indexed else 0)
    assert run(programs, "remove", 99) == (-EINVAL if indexed else -ENOENT)
    assert len(list(m.keys())) == (4 if indexed else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_stale_address(programs: Collection, kind: str) -> None:
    """After an update a held address shows the old element of a hash, the new value of an array or per-CPU map; both survive a deletion."""
    m = programs.maps["m"]
    rules = RULES[m.spec.type]
    m.update(key(1), b"\x55" * m.value_bytes)
    run(programs, "stale_update", 1)

    in_place = rules.indexed or rules.percpu
    assert programs.variables["seen"].value == (1 if in_place else 0x55555555)
    run(programs, "stale_remove", 1)
    assert programs.variables["seen"].value == 1
