"""Maps and variables as Python values, on any engine.

An engine deals in bytes; these views translate them by the object's BTF (:mod:`bpfcrypto.btf.values` says how). Where an object
has no type for a key, value or variable, the view gives and takes bytes.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Protocol

from bpfcrypto.abi.maps import MAPS_OF_MAPS, MapType
from bpfcrypto.btf.format import type_name
from bpfcrypto.btf.values import decode, encode
from bpfcrypto.engine import RedirectTarget
from bpfcrypto.errors import MapTypeError

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.engine import Map
    from bpfcrypto.spec import VariableSpec

PERCPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH, MapType.PERCPU_CGROUP_STORAGE})


class TypedMap(MutableMapping[Any, Any]):
    """A map with Python keys and values.

    A value of a per-CPU map is a list with one value for each possible CPU. Elements of maps of maps and of program arrays are set as
    maps and programs, and read as their ids. Iteration gives keys; in maps of the array family every index is a key.

    Programs may add and delete elements at any time. ``items()`` and ``values()`` leave out what vanishes while they go through the
    map, so ``dict(view.items())`` is a copy of the map; ``dict(view)`` looks up one key after another and may raise KeyNotFoundError.

    Args:
        map: the live map.
        btf: the types of the object it came from; None leaves keys and values as bytes.

    Raises:
        KeyNotFoundError: no such key (it is a KeyError).
        MapTypeError: the key or value does not fit the map's types, or the map's type does not know the operation.
        MapFullError: no room for another element.
    """

    def __init__(self, map: Map, btf: Btf | None) -> None:
        self._map = map
        self._btf = btf
        self._holds_objects = map.spec.type in MAPS_OF_MAPS or map.spec.type is MapType.PROG_ARRAY

    def __getitem__(self, key: Any) -> Any:
        return self._value_of(self._map.lookup(self._key(key)))

    def __setitem__(self, key: Any, value: Any) -> None:
        taken = value if self._holds_objects or isinstance(value, RedirectTarget) else self._bytes_of(value)
        self._map.update(self._key(key), taken)

    def __delitem__(self, key: Any) -> None:
        self._map.delete(self._key(key))

    def __iter__(self) -> Iterator[Any]:
        return map(self._key_of, self._map.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def elements(self) -> Iterator[tuple[Any, Any]]:
        """Keys with their values, once."""
        return ((self._key_of(key), self._value_of(value)) for key, value in self._map.items())

    def items(self) -> ItemsView[Any, Any]:
        """Keys with their values."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values."""
        return _Values(self)

    def __repr__(self) -> str:
        return f"<TypedMap {self._map.name!r} ({self._map.spec.type.name})>"

    def _key(self, key: Any) -> bytes:
        return self._pack(self._map.spec.key_type, key, self._map.spec.key_size, "key")

    def _key_of(self, data: bytes) -> Any:
        return self._unpack(self._map.spec.key_type, data)

    def _pack(self, type_id: int, value: Any, size: int, name: str) -> bytes:
        if self._btf is not None and type_id:
            return encode(self._btf, type_id, value, name=name)
        if not isinstance(value, bytes | bytearray | memoryview):
            raise MapTypeError(
                f"map '{self._map.name}' has no type for its {name}: it takes {size} bytes, not {type(value).__name__}"
            )
        if len(value) != size:
            raise MapTypeError(f"map '{self._map.name}': a {name} has {size} bytes, not {len(value)}")
        return bytes(value)

    def _unpack(self, type_id: int, data: bytes) -> Any:
        return decode(self._btf, type_id, data) if self._btf is not None and type_id else data

    def _value_of(self, data: bytes) -> Any:
        spec = self._map.spec
        if self._holds_objects:
            return int.from_bytes(data, "little")
        if spec.type not in PERCPU:
            return self._unpack(spec.value_type, data)
        stride = _stride(spec.value_size)
        return [self._unpack(spec.value_type, data[at : at + spec.value_size]) for at in range(0, len(data), stride)]

    def _bytes_of(self, value: Any) -> bytes:
        spec = self._map.spec
        if spec.type not in PERCPU:
            return self._pack(spec.value_type, value, spec.value_size, "value")
        stride = _stride(spec.value_size)
        cpus = self._map.value_bytes // stride
        if not isinstance(value, list | tuple) or len(value) != cpus:
            given = f"{len(value)} values" if isinstance(value, list | tuple) else type(value).__name__
            raise MapTypeError(f"map '{self._map.name}' takes a list of {cpus} values, one for each CPU, not {given}")
        return b"".join(
            self._pack(spec.value_type, each, spec.value_size, f"value[{cpu}]").ljust(stride, b"\0")
            for cpu, each in enumerate(value)
        )


class _Items(ItemsView[Any, Any]):
    """Keys and values, but for elements that are gone when their turn comes."""

    def __init__(self, view: TypedMap) -> None:
        super().__init__(view)
        self._view = view

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._view.elements()


class _Values(ValuesView[Any]):
    """The same without the keys."""

    def __init__(self, view: TypedMap) -> None:
        super().__init__(view)
        self._view = view

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._view.elements())


def _stride(size: int) -> int:
    """Bytes from one CPU's value to the next: user space sees them rounded up to 8."""
    return (size + 7) // 8 * 8


class Storage(Protocol):
    """The bytes behind a data section's variables: the value of its map."""

    def read(self, offset: int, size: int) -> bytes: ...

    def write(self, offset: int, data: bytes) -> None: ...


class Variable:
    """A global variable of a loaded object.

    Args:
        spec: where the variable is.
        btf: the object's types; None leaves the value as bytes.
        storage: the bytes of its section.
        read_only: whether the section is frozen, as ``.rodata`` is once programs are loaded.
    """

    def __init__(self, spec: VariableSpec, btf: Btf | None, storage: Storage, *, read_only: bool = False) -> None:
        self._spec = spec
        self._btf = btf
        self._storage = storage
        self.read_only = read_only

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self._spec.size

    @property
    def type_name(self) -> str:
        """Its type in C's words, such as ``char[128]``; "" where the object does not say."""
        return type_name(self._btf, self._spec.type_id) if self._btf is not None and self._spec.type_id else ""

    @property
    def bytes(self) -> bytes:
        """The variable's bytes. Setting fewer than ``size`` of them fills the rest with zero."""
        return self._storage.read(self._spec.offset, self._spec.size)

    @bytes.setter
    def bytes(self, data: bytes) -> None:
        if self.read_only:
            raise MapTypeError(
                f"variable '{self.name}' is in '{self._spec.map}', which is read-only once it is loaded",
                hint="make it a plain global variable if it has to change",
            )
        if len(data) > self.size:
            raise MapTypeError(f"variable '{self.name}' has room for {self.size} bytes, not for {len(data)}")
        self._storage.write(self._spec.offset, data.ljust(self.size, b"\0"))

    @property
    def value(self) -> Any:
        """The variable as a Python value.

        Raises:
            MapTypeError: on setting, the value does not fit the type, or the section is read-only.
        """
        if self._btf is None or not self._spec.type_id:
            return self.bytes
        return decode(self._btf, self._spec.type_id, self.bytes)

    @value.setter
    def value(self, value: Any) -> None:
        if self._btf is not None and self._spec.type_id:
            self.bytes = encode(self._btf, self._spec.type_id, value, name=self.name)
        elif isinstance(value, bytes | bytearray | memoryview):
            self.bytes = bytes(value)
        else:
            raise MapTypeError(f"variable '{self.name}' has no type: it takes bytes, not {type(value).__name__}")

    def __repr__(self) -> str:
        return f"<Variable {self.type_name} {self.name!r} in {self._spec.map!r}>"
