"""Crypto contexts as objects, on each engine."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from bpfcrypto import CryptoContext
from bpfcrypto.context.ciphers import listed
from bpfcrypto.errors import ContextError, KeyNotFoundError, MapError, MapFullError, MapTypeError, PrivilegeError
from support.ciphers import ecb
from support.context_maps import FRAME, SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bpfcrypto.engine import Collection, Engine
    from bpfcrypto.kernel.engine import KernelEngine

KEY = bytes(range(16))
OTHER = bytes(range(100, 132))


def check_value(key: bytes) -> str:
    return ecb(key, bytes(16))[:3].hex()


@pytest.fixture
def collection(engine: Engine, compile_bpf: object, each_way: str) -> Iterator[Collection]:
    with engine.load(compile_bpf(SOURCE)) as loaded:  # type: ignore[operator]
        yield loaded


PLACES = {
    "m_array": (1, 1),
    "m_percpu_array": (1, 0),
    "m_hash": ({"bytes": list(range(21))}, bytes(range(21))),
    "m_percpu_hash": (7, (7).to_bytes(4, "little")),
    "m_lru": (7, 8),
    "m_lru_percpu": (7, 9),
}
"""Map -> two ways to name an element."""


@pytest.mark.parametrize(("algorithm", "iv"), [("ecb(aes)", 0), ("cbc(aes)", 16)])
@pytest.mark.parametrize("key", [KEY, bytes(range(24)), OTHER])
def test_the_check_value_tells_the_key(engine: Engine, each_way: str, algorithm: str, iv: int, key: bytes) -> None:
    """It is the beginning of an encrypted block of zeros, by the book, whatever the mode."""
    with CryptoContext.create(engine, algorithm, key) as context:
        assert (context.check_value, context.iv_size, context.references) == (check_value(key), iv, 1)
        context.rotate(bytearray(OTHER))
        assert (context.check_value, context.references) == (check_value(OTHER), 1)
        assert algorithm in repr(context)


@pytest.mark.parametrize("name", PLACES)
def test_places(engine: Engine, collection: Collection, name: str) -> None:
    """In maps of every type: what is put there is found there, rotated there, and stays when the object is released."""
    target = collection.maps[name]
    element, _ = PLACES[name]
    percpu = "percpu" in name
    cpus = target.value_bytes // 56 if percpu else 1
    with CryptoContext.create(engine, "ecb(aes)", bytearray(KEY)) as context:
        context.place(target, element, "cctx")
        assert context.references == 1 + cpus
        context.place(target, element, "pairs[1].cctx")
        assert context.references == 1 + 2 * cpus
        context.place(target, element, "cctx")
        assert context.references == 1 + 2 * cpus
        context.rotate(OTHER)
        assert context.references == 1 + 2 * cpus
    for field in ("cctx", "pairs[1].cctx"):
        for cpu in range(cpus):
            with CryptoContext.open(engine, target, element, field, cpu=cpu) as found:
                assert (found.check_value, found.references) == (check_value(OTHER), 1 + 2 * cpus)
    with pytest.raises(ContextError, match=r"no context is in field 'pairs\[0\].cctx'") as caught:
        CryptoContext.open(engine, target, element, "pairs[0].cctx")
    assert caught.value.errno == errno.ESTALE


def test_programs_find_it(engine: Engine, collection: Collection) -> None:
    """A network program uses the context that was placed, and one of a global variable."""
    use = collection.programs["use"].run
    assert use(FRAME).retval == 1
    with CryptoContext.create(engine, "ecb(aes)", KEY) as context:
        context.place(collection.maps["m_array"], 1, "cctx")
        context.place(collection.maps[".bss.kptr"], 0, "everywhere")
        context.place(collection.maps[".bss.kptr"], 0)
        assert context.references == 3
    assert use(FRAME).retval == 0
    assert collection.programs["global"].run(FRAME).retval == 1
    assert collection.variables["failed"].value == 0


def test_other_members_are_left_alone(engine: Engine, collection: Collection) -> None:
    """An element that is there keeps its bytes; one that a hash does not have is added, zero."""
    array, table = collection.maps["m_array"], collection.maps["m_hash"]
    array.update((1).to_bytes(4, "little"), bytes([7] * 56))
    with CryptoContext.create(engine, "cbc(aes)", KEY) as context:
        context.place(array, 1, "cctx")
        context.place(table, bytes(21), "cctx")
    assert array.typed[1]["before"] == int.from_bytes(bytes([7] * 8), "little")
    assert array.typed[1]["behind"] == int.from_bytes(bytes([7] * 8), "little")
    assert table.lookup(bytes(21)) == bytes(56)


def test_open_and_rotate_what_somebody_else_made(engine: Engine, collection: Collection) -> None:
    """With the algorithm, another object rotates the place; without it, it says what is missing."""
    array = collection.maps["m_array"]
    with CryptoContext.create(engine, "cbc(aes)", KEY) as context:
        context.place(array, 1, "cctx")
        with CryptoContext.open(engine, array, 1, "cctx") as unknown:
            assert unknown.algorithm == ""
            with pytest.raises(ContextError, match="algorithm of this context is not known"):
                unknown.rotate(bytearray(OTHER))
        with CryptoContext.open(engine, array, 1, "cctx", algorithm="cbc(aes)") as opened:
            opened.rotate(bytearray(OTHER))
        assert (context.check_value, context.references) == (check_value(KEY), 1)
    with CryptoContext.open(engine, array, 1, "cctx") as found:
        assert found.check_value == check_value(OTHER)


def test_a_place_that_is_gone(engine: Engine, collection: Collection) -> None:
    """Rotation says so, and every other place has the new key."""
    array, table = collection.maps["m_array"], collection.maps["m_hash"]
    with CryptoContext.create(engine, "ecb(aes)", KEY) as context:
        context.place(table, bytes(21), "cctx")
        context.place(array, 0, "cctx")
        table.delete(bytes(21))
        with pytest.raises(KeyNotFoundError, match="m_hash"):
            context.rotate(OTHER)
        with CryptoContext.open(engine, array, 0, "cctx") as found:
            assert found.check_value == check_value(OTHER)
    assert list(table.keys()) == []


def test_no_room(engine: Engine, collection: Collection) -> None:
    """A full hash refuses an element; the context is where it was, and nowhere else."""
    table = collection.maps["m_hash"]
    with CryptoContext.create(engine, "ecb(aes)", KEY) as context:
        for number in range(2):
            context.place(table, bytes([number] * 21), "cctx")
        with pytest.raises(MapFullError):
            context.place(table, bytes([9] * 21), "cctx")
        with pytest.raises(KeyNotFoundError):
            context.place(collection.maps["m_array"], 2, "cctx")
        assert context.references == 3


@pytest.mark.parametrize(
    ("name", "key", "field", "message", "hint"),
    [
        ("m_array", 0, None, "several fields", "'pairs[0].cctx', 'pairs[1].cctx', 'cctx'"),
        ("m_array", 0, "before", "no field 'before'", "'cctx'"),
        ("m_plain", 0, "cctx", "have no field for a crypto context", "__kptr"),
        ("m_queue", b"", None, "type QUEUE", "arrays and hashes"),
        ("m_array", b"123", "cctx", "a key has 4 bytes, not 3", None),
        ("m_array", "x", "cctx", "not a value of type str", None),
    ],
)
def test_what_is_no_place(
    engine: Engine, collection: Collection, name: str, key: object, field: str | None, message: str, hint: str | None
) -> None:
    """The refusal names what there is instead."""
    with CryptoContext.create(engine, "ecb(aes)", KEY) as context:
        with pytest.raises(MapTypeError, match=message) as caught:
            context.place(collection.maps[name], key, field)
        assert context.references == 1
    assert hint is None or hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("algorithm", "size", "parameter", "message", "hint"),
    [
        ("cbc(aes)", 17, "key", "a key of 17 bytes was refused: EINVAL", "'cbc(aes)' takes 16, 24 or 32 bytes here"),
        ("cbc(aes)", 0, "key", "a key of 0 bytes", "16, 24 or 32"),
        ("ecb(aes)", 257, "key", "a key of 257 bytes", "16, 24 or 32"),
        ("ctr(aes)", 16, "algorithm", "algorithm 'ctr(aes)' was refused: EINVAL", "'ecb(aes)', 'cbc(aes)'"),
        ("rot13", 16, "algorithm", "algorithm 'rot13' was refused: EOPNOTSUPP", "'ecb(aes)', 'cbc(aes)'"),
        ("", 16, "algorithm", "algorithm '' was refused", "'ecb(aes)'"),
        ("a" * 128, 16, "algorithm", "was refused", "'ecb(aes)'"),
    ],
)
def test_refusals(
    engine: Engine, each_way: str, algorithm: str, size: int, parameter: str, message: str, hint: str
) -> None:
    """Each says which parameter it was, and what can be had here; the key is wiped all the same."""
    key = bytearray(b"\xa5" * size)
    with pytest.raises(ContextError) as caught:
        CryptoContext.create(engine, algorithm, key)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert (caught.value.parameter, key) == (parameter, bytes(size))


def test_a_refused_rotation_changes_nothing(engine: Engine, collection: Collection) -> None:
    """The context and its places keep the key that they have."""
    with CryptoContext.create(engine, "ecb(aes)", KEY) as context:
        context.place(collection.maps["m_array"], 1, "cctx")
        with pytest.raises(ContextError, match="a key of 5 bytes"):
            context.rotate(bytearray(5))
        assert (context.check_value, context.references) == (check_value(KEY), 2)


def test_kinds_of_keys(engine: Engine, tmp_path: Path) -> None:
    """A bytearray, a view of a part of one, and a file; buffers are zero afterwards, and only where the key was."""
    large = bytearray(b"--" + OTHER + b"--")
    path = tmp_path / "key"
    path.write_bytes(OTHER)
    for key in (bytearray(OTHER), memoryview(large)[2:-2], path, OTHER, memoryview(OTHER)):
        with CryptoContext.create(engine, "ecb(aes)", key) as context:
            assert context.check_value == check_value(OTHER)
        if not isinstance(key, type(path)):
            assert memoryview(key).readonly or bytes(key) == bytes(32)
    assert large == b"--" + bytes(32) + b"--"
    assert path.read_bytes() == OTHER
    with pytest.raises(TypeError, match="not str"):
        CryptoContext.create(engine, "ecb(aes)", "0123456789abcdef")  # type: ignore[arg-type]
    with pytest.raises(ContextError, match="cannot be read: No such file"):
        CryptoContext.create(engine, "ecb(aes)", tmp_path / "none")
    path.write_bytes(bytes(5000))
    with pytest.raises(ContextError, match="a key of 257 bytes"):
        CryptoContext.create(engine, "ecb(aes)", path)


def test_a_released_context(engine: Engine, collection: Collection) -> None:
    """It answers everything with one error, and can be released again."""
    context = CryptoContext.create(engine, "ecb(aes)", KEY)
    context.release()
    context.release()
    for ask in (
        lambda: context.references,
        lambda: context.check_value,
        lambda: context.rotate(bytearray(16)),
        lambda: context.place(collection.maps["m_array"], 0, "cctx"),
    ):
        with pytest.raises(ContextError, match="was released"):
            ask()
    assert "released" in repr(context)


@pytest.mark.kernel
def test_types_that_cannot_be_read(
    kernel_engine: KernelEngine, compile_bpf: object, bpf_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pinned map has types, and a process without CAP_SYS_ADMIN may not read them: it is told so."""
    from bpfcrypto.kernel import engine as module

    def refuse(_: int) -> bytes:
        raise PrivilegeError("CAP_SYS_ADMIN is missing")

    with kernel_engine.load(compile_bpf(SOURCE), programs=[]) as loaded:  # type: ignore[operator]
        loaded.maps["m_array"].pin(bpf_directory / "m")
    monkeypatch.setattr(module, "btf_data", refuse)
    with (
        CryptoContext.create(kernel_engine, "ecb(aes)", KEY) as context,
        pytest.raises(PrivilegeError, match="types of map 'm_array' cannot be read") as caught,
    ):
        context.place(kernel_engine.open_map(bpf_directory / "m"), 0, "cctx")
    assert "CAP_SYS_ADMIN" in str(caught.value.hint)


def test_a_map_of_another_engine(compile_bpf: object) -> None:
    """It is refused before anything happens."""
    from bpfcrypto import open_engine

    with (
        open_engine() as one,
        open_engine() as two,
        two.load(compile_bpf(SOURCE), programs=[]) as away,  # type: ignore[operator]
        CryptoContext.create(one, "ecb(aes)", KEY) as context,
        pytest.raises(MapError, match="another engine"),
    ):
        context.place(away.maps["m_array"], 0, "cctx")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((16,), "16"), ((16, 24, 32), "16, 24 or 32"), (range(1, 257), "1 to 256"), ((1, 2, 9), "1 to 2 or 9")],
)
def test_listed(sizes: tuple[int, ...], words: str) -> None:
    """Runs are told by their ends."""
    assert listed(sizes) == words
