"""views: maps and variables as Python values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpfcrypto.abi.maps import MapType, UpdateFlag
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.errors import KeyNotFoundError, MapTypeError
from bpfcrypto.spec import MapSpec, VariableSpec
from bpfcrypto.views import TypedMap, Variable
from support.elfwriter import TypeBuilder


class Types(TypeBuilder):
    """A key, a value, and the types of variables."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = self.struct("pair", ("a", self.u32, 0), ("b", self.u64, 8), size=16)
        self.name = self.array(self.char, 8)


T = Types()
BTF = read_btf(T.to_bytes())
CPUS = 3


class Bytes:
    """A map over a dict: what a view needs of an engine."""

    def __init__(self, kind: MapType = MapType.HASH, value_size: int = 16, *, typed: bool = True) -> None:
        types = (T.u32, T.pair if value_size == 16 else T.u32) if typed else (0, 0)
        self.spec = MapSpec("m", kind, 4, value_size, 8, key_type=types[0], value_type=types[1])
        self.name = "m"
        self.data: dict[bytes, bytes] = {}

    @property
    def value_bytes(self) -> int:
        return -(-self.spec.value_size // 8) * 8 * CPUS if "PERCPU" in self.spec.type.name else self.spec.value_size

    @property
    def typed(self) -> TypedMap:
        return TypedMap(self, BTF)

    def lookup(self, key: bytes) -> bytes:
        if key not in self.data:
            raise KeyNotFoundError("no such key")
        return self.data[key]

    def update(self, key: bytes, value: bytes, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        self.data[key] = value

    def delete(self, key: bytes) -> None:
        self.lookup(key)
        del self.data[key]

    def keys(self) -> Iterator[bytes]:
        return iter(list(self.data))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.data[key]) for key in list(self.data) if key in self.data)


def test_a_map_of_structs() -> None:
    """Keys and values go through the types, and the view is a mapping like any other."""
    under = Bytes()
    view = under.typed

    view[5] = {"a": 1, "b": 2}
    view.update({6: {"a": 3}})

    assert under.data[b"\5\0\0\0"] == b"\1" + bytes(7) + b"\2" + bytes(7)
    assert view[6] == {"a": 3, "b": 0}
    assert list(view) == [5, 6]
    assert dict(view) == {5: {"a": 1, "b": 2}, 6: {"a": 3, "b": 0}}
    assert len(view) == 2
    assert 5 in view
    assert 7 not in view
    assert view.get(7) is None
    assert view.pop(6) == {"a": 3, "b": 0}
    assert list(view.items()) == [(5, {"a": 1, "b": 2})]
    assert repr(view) == "<TypedMap 'm' (HASH)>"


def test_missing_keys() -> None:
    """A key that is not there is a KeyError, as in every mapping."""
    view = Bytes().typed

    with pytest.raises(KeyError):
        view[1]
    with pytest.raises(KeyNotFoundError):
        del view[1]


def test_elements_that_vanish() -> None:
    """An element that is deleted while items and values go through the map is left out."""
    under = Bytes()
    view = under.typed
    view.update({key: {"a": key} for key in range(4)})

    def names(pairs: Iterator[tuple[int, dict[str, int]]]) -> Iterator[int]:
        for key, _ in pairs:
            yield key
            under.data.pop(b"\2\0\0\0", None)

    assert list(names(iter(view.items()))) == [0, 1, 3]
    values = iter(view.values())
    assert next(values) == {"a": 0, "b": 0}
    del view[1]
    assert list(values) == [{"a": 3, "b": 0}]
    assert len(view.items()) == 2
    assert (3, {"a": 3, "b": 0}) in view.items()


def test_wrong_keys_and_values() -> None:
    """What does not fit the types is refused with the place."""
    view = Bytes().typed

    with pytest.raises(MapTypeError, match="'key' takes 'unsigned int'"):
        view["x"]
    with pytest.raises(MapTypeError, match="'key' takes"):
        "x" in view  # noqa: B015
    with pytest.raises(MapTypeError, match=r"'value\.b' takes"):
        view[1] = {"b": -1}


def test_per_cpu_values_are_lists() -> None:
    """One value for each CPU, 8-byte strides apart, in both directions."""
    under = Bytes(MapType.PERCPU_ARRAY, 4)
    view = under.typed

    view[0] = [1, 2, 3]

    assert under.data[bytes(4)] == b"".join(bytes([n, 0, 0, 0, 0, 0, 0, 0]) for n in (1, 2, 3))
    assert view[0] == [1, 2, 3]
    with pytest.raises(MapTypeError, match="3 values, one for each CPU, not 2 values"):
        view[0] = [1, 2]
    with pytest.raises(MapTypeError, match="not int"):
        view[0] = 1
    with pytest.raises(MapTypeError, match=r"'value\[2\]' takes"):
        view[0] = [1, 2, -3]


@pytest.mark.parametrize("btf", [None, BTF])
def test_maps_without_types(btf: object) -> None:
    """Bytes go in and out, and must have the right length."""
    under = Bytes(typed=False)
    view = TypedMap(under, None if btf is None else BTF)

    view[b"abcd"] = bytearray(16)

    assert view[b"abcd"] == bytes(16)
    assert list(view) == [b"abcd"]
    with pytest.raises(MapTypeError, match="a key has 4 bytes, not 3"):
        view[b"abc"]
    with pytest.raises(MapTypeError, match="a value has 16 bytes, not 2"):
        view[b"abcd"] = b"ab"
    with pytest.raises(MapTypeError, match="no type for its key: it takes 4 bytes, not int"):
        view[1]


class Memory:
    """A data section of 32 bytes."""

    def __init__(self) -> None:
        self.data = bytearray(32)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data


def variable(type_id: int, offset: int, size: int, *, read_only: bool = False) -> tuple[Variable, Memory]:
    memory = Memory()
    return Variable(VariableSpec("v", ".data", offset, size, type_id), BTF, memory, read_only=read_only), memory


def test_a_number() -> None:
    """A variable reads and writes its own bytes and no others."""
    counter, memory = variable(T.u32, 4, 4)
    memory.data[:] = b"\xff" * 32

    counter.value = 258

    assert memory.data == b"\xff" * 4 + b"\2\1\0\0" + b"\xff" * 24
    assert counter.value == 258
    assert counter.bytes == b"\2\1\0\0"
    assert (counter.name, counter.size, counter.type_name) == ("v", 4, "unsigned int")
    assert repr(counter) == "<Variable unsigned int 'v' in '.data'>"


def test_text_replaces_longer_text() -> None:
    """A shorter text leaves nothing of the one before; too long a text says how much room there is."""
    label, memory = variable(T.name, 8, 8)
    label.value = "cbc(aes)"
    label.value = "ecb"

    assert memory.data[8:16] == b"ecb" + bytes(5)
    assert label.value == "ecb"
    assert label.type_name == "char[8]"
    with pytest.raises(MapTypeError, match="'v' has room for 8 bytes, not for 9"):
        label.value = "123456789"
    with pytest.raises(MapTypeError, match="room for 8 bytes, not for 9"):
        label.bytes = bytes(9)


def test_bytes_are_padded() -> None:
    """Setting fewer bytes fills the rest with zero."""
    label, memory = variable(T.name, 8, 8)
    memory.data[:] = b"\xff" * 32

    label.bytes = b"ab"

    assert memory.data[8:17] == b"ab" + bytes(6) + b"\xff"


def test_constants() -> None:
    """A variable of a frozen section reads, and says why it cannot be set."""
    limit, memory = variable(T.u32, 0, 4, read_only=True)
    memory.data[0] = 9

    assert limit.value == 9
    with pytest.raises(MapTypeError, match=r"'v' is in '\.data', which is read-only once it is loaded"):
        limit.value = 1
    with pytest.raises(MapTypeError, match="read-only"):
        limit.bytes = b"\1"


def test_variables_without_types() -> None:
    """Bytes in, bytes out."""
    plain, _ = variable(0, 0, 4)
    plain.value = b"ab"

    assert plain.value == b"ab\0\0"
    assert plain.type_name == ""
    with pytest.raises(MapTypeError, match="takes bytes, not int"):
        plain.value = 5
