"""Maps by their protocol: elements, errors, per-CPU values, and reading everything."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from bpfcrypto.abi.maps import MapFlag, MapType, UpdateFlag
from bpfcrypto.errors import KeyNotFoundError, MapError, MapFullError, MapTypeError, SyscallError
from bpfcrypto.kernel import bpf, maps
from bpfcrypto.kernel.create import create_maps
from bpfcrypto.kernel.maps import KernelMap, possible_cpus
from bpfcrypto.spec import MapSpec

pytestmark = pytest.mark.kernel


def make(kind: MapType, *, key_size: int = 4, value_size: int = 8, max_entries: int = 4, flags: int = 0) -> KernelMap:
    spec = MapSpec("m", kind, key_size, value_size, max_entries, flags=MapFlag(flags))
    return create_maps({"m": spec}, None, None, pin_directory=None)["m"]


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


HASHES = [MapType.HASH, MapType.LRU_HASH]


@pytest.mark.parametrize("kind", HASHES)
def test_hash(kind: MapType) -> None:
    """What is stored is found, listed, and gone after deletion."""
    m = make(kind)
    m.update(key(1), b"a" * 8)
    m.update(key(2), b"b" * 8, UpdateFlag.NOEXIST)

    assert m.lookup(key(1)) == b"a" * 8
    assert dict(m.items()) == {key(1): b"a" * 8, key(2): b"b" * 8}
    m.delete(key(1))
    assert list(m.keys()) == [key(2)]
    assert m.lookup_and_delete(key(2)) == b"b" * 8
    assert list(m.keys()) == []
    m.close()


@pytest.mark.parametrize(
    ("call", "kind", "number"),
    [
        (lambda m: m.lookup(key(9)), KeyNotFoundError, errno.ENOENT),
        (lambda m: m.delete(key(9)), KeyNotFoundError, errno.ENOENT),
        (lambda m: m.update(key(9), bytes(8)), MapFullError, errno.E2BIG),
        (lambda m: m.update(key(0), bytes(8), UpdateFlag.NOEXIST), MapError, errno.EEXIST),
        (lambda m: m.update(key(9), bytes(8), UpdateFlag.EXIST), KeyNotFoundError, errno.ENOENT),
        (lambda m: m.update(key(0), bytes(8), UpdateFlag.LOCK), MapTypeError, errno.EINVAL),
        (lambda m: m.update(key(0), bytes(7)), MapTypeError, errno.EINVAL),
        (lambda m: m.lookup(b"123"), MapTypeError, errno.EINVAL),
    ],
)
def test_errors_of_a_full_hash(call: Callable[[KernelMap], object], kind: type[MapError], number: int) -> None:
    """Each kernel errno has its error, which says the map's name."""
    m = make(MapType.HASH)
    for index in range(4):
        m.update(key(index), bytes(8))

    with pytest.raises(MapError, match="map 'm'") as caught:
        call(m)
    assert (type(caught.value), caught.value.errno) == (kind, number)
    m.close()


def test_arrays_cannot_lose_elements() -> None:
    """An array has every index as a key and refuses deletion."""
    m = make(MapType.ARRAY)

    assert list(m.keys()) == [key(i) for i in range(4)]
    with pytest.raises(MapTypeError) as caught:
        m.delete(key(0))
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(MapTypeError) as caught:
        m.lookup_and_delete(key(0))
    assert caught.value.errno == 524
    m.close()


@pytest.mark.parametrize("kind", [MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH])
def test_per_cpu(kind: MapType) -> None:
    """A value has one slot of whole 8 bytes for each possible CPU."""
    m = make(kind, value_size=5)
    slots = [bytes([cpu + 1] * 5).ljust(8, b"\0") for cpu in range(possible_cpus())]
    m.update(key(1), b"".join(slots))

    assert m.value_bytes == 8 * possible_cpus()
    assert m.lookup(key(1)) == b"".join(slots)
    assert dict(m.items())[key(1)] == b"".join(slots)
    m.close()


@pytest.mark.parametrize(("kind", "first"), [(MapType.QUEUE, b"a"), (MapType.STACK, b"b")])
def test_queue_and_stack(kind: MapType, first: bytes) -> None:
    """They have no keys: update pushes, lookup peeks, lookup_and_delete pops."""
    m = make(kind, key_size=0)
    m.update(b"", b"a" * 8)
    m.update(b"", b"b" * 8)

    assert m.lookup(b"") == first * 8
    assert m.lookup_and_delete(b"") == first * 8
    with pytest.raises(MapTypeError, match="keys: EINVAL"):
        list(m.keys())
    m.close()


def test_trie() -> None:
    """A trie is listed and found by prefix."""
    m = make(MapType.LPM_TRIE, key_size=8, flags=MapFlag.NO_PREALLOC)
    prefix = key(16) + bytes([10, 1, 0, 0])
    m.update(prefix, b"x" * 8)

    assert list(m.keys()) == [prefix]
    assert m.lookup(key(32) + bytes([10, 1, 2, 3])) == b"x" * 8
    m.close()


def test_more_elements_than_a_batch() -> None:
    """Reading goes on over as many batches as there are, each element once."""
    m = make(MapType.HASH, max_entries=3000)
    numbers = b"".join(map(key, range(3000)))
    bpf.map_update_batch(m.fd, numbers, b"".join(key(i) + bytes(4) for i in range(3000)), 3000)

    found = list(m.items())

    assert len(found) == 3000
    assert {k: v[:4] for k, v in found} == {key(i): key(i) for i in range(3000)}
    m.close()


def test_crowded_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that holds more elements than were asked for makes the batch larger; the read goes on."""
    m = make(MapType.HASH, max_entries=256)
    for index in range(256):
        m.update(key(index), bytes(8))

    monkeypatch.setattr(maps, "_BATCH", 1)
    assert sorted(m.keys()) == sorted(key(index) for index in range(256))
    m.close()


@pytest.mark.parametrize("number", [524, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_batches(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no batch reads, elements are read one by one."""
    m = make(MapType.HASH)
    m.update(key(1), b"a" * 8)
    m.update(key(2), b"b" * 8)

    def refuse(*_: object, **__: object) -> None:
        raise SyscallError("BPF_MAP_LOOKUP_BATCH", number)

    monkeypatch.setattr(bpf, "map_lookup_batch", refuse)
    assert dict(m.items()) == {key(1): b"a" * 8, key(2): b"b" * 8}
    assert sorted(m.keys()) == [key(1), key(2)]
    m.close()


def test_stepping_survives_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stepping through a map while its elements vanish ends, and gives no key twice."""
    m = make(MapType.HASH, max_entries=64)
    for index in range(64):
        m.update(key(index), bytes(8))

    def refuse(*_: object, **__: object) -> None:
        raise SyscallError("BPF_MAP_LOOKUP_BATCH", 524)

    monkeypatch.setattr(bpf, "map_lookup_batch", refuse)
    seen = []
    for found in m.keys():  # noqa: SIM118
        seen.append(found)
        m.delete(found)
    assert len(seen) == len(set(seen))
    m.close()


def test_frozen() -> None:
    """A frozen map is read-only, and the error says so."""
    m = make(MapType.ARRAY)
    m.freeze()

    with pytest.raises(MapError) as caught:
        m.update(key(0), bytes(8))
    assert caught.value.errno == errno.EPERM
    assert caught.value.hint is not None
    assert "frozen" in caught.value.hint
    m.close()


def test_after_close() -> None:
    """A closed map is an error, not another file's number."""
    m = make(MapType.HASH)
    m.close()

    with pytest.raises(MapError) as caught:
        m.lookup(key(0))
    assert caught.value.errno == errno.EBADF


def test_information() -> None:
    """The kernel's own words about a map."""
    m = make(MapType.HASH, flags=MapFlag.NO_PREALLOC)
    info = m.info

    assert (info.name, info.type, info.key_size, info.value_size) == ("m", MapType.HASH, 4, 8)
    assert (info.max_entries, info.flags, info.btf_id) == (4, MapFlag.NO_PREALLOC, 0)
    assert info.id > 0
    m.close()
