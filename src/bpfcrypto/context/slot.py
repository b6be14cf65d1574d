"""One field of one element of a map, where a context can be: of our own maps, and of pinned ones of other people's objects."""

from __future__ import annotations

from contextlib import suppress
from errno import EEXIST, EINVAL, ENOENT, EPERM, ESTALE
from typing import TYPE_CHECKING, Any

from bpfcrypto.abi.errno import text
from bpfcrypto.abi.maps import MapType, UpdateFlag
from bpfcrypto.btf.path import named_fields
from bpfcrypto.btf.record import FieldKind
from bpfcrypto.btf.values import encode
from bpfcrypto.context.home import MAP as HOME
from bpfcrypto.context.home import signed
from bpfcrypto.context.slot_code import CPU, MAX_KEY_SIZE, TARGET, slot_spec
from bpfcrypto.errors import ContextError, KeyNotFoundError, MapError, MapTypeError, PrivilegeError
from bpfcrypto.views import PERCPU

if TYPE_CHECKING:
    from bpfcrypto.btf.record import SpecialField
    from bpfcrypto.context.home import Home
    from bpfcrypto.engine import Collection, Engine, Map

_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
_HASHES = frozenset({MapType.HASH, MapType.LRU_HASH, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH})
_STRUCT = "bpf_crypto_ctx"


class Slot:
    """A place for a context. In a map with a value for each CPU it is that field of all of them.

    Putting a context there never leaves the field empty in between: programs see the old one or the new one.

    Args:
        engine: what the map is on.
        home: where a context comes from, or goes to.
        map: the map; its types must be known.
        key: of the element: its bytes, or a Python value of the key's type.
        field: the field within the value, as in C (``cctx``, ``keys[3].cctx``); None where there is only one that holds contexts.

    Raises:
        MapTypeError: the map has no such field, or its elements cannot hold contexts.
        PrivilegeError: this process may not read the map's types.
        NotSupportedError, SyscallError, VerifierError: the programs for it cannot be loaded.
    """

    def __init__(self, engine: Engine, home: Home, map: Map, key: Any, field: str | None = None) -> None:
        self.map = map
        self.key = _key(map, key)
        self.name, found = _field(map, field)
        self.offset = found.offset
        stride = map.spec.value_size + 7 & ~7
        self.cpus = map.value_bytes // stride if map.spec.type in PERCPU else 1
        self._collection: Collection = engine.load(
            slot_spec(home.map.spec, map.spec, found.offset), maps={HOME: home.map, TARGET: map}
        )

    def __repr__(self) -> str:
        return f"<Slot '{self.name}' of map '{self.map.name}'>"

    def put(self, *, add: bool = False) -> bool:
        """Put another reference to the context at home here, and release what was here.

        Args:
            add: add an element that a hash does not have, zero but for the context.

        Returns:
            Whether there was a context before.

        Raises:
            KeyNotFoundError: no such element.
            MapError: no room for the element.
            ContextError: no context is at home (ESTALE).
        """
        added = add and self.map.spec.type in _HASHES and self._add()
        try:
            return self._run_everywhere("put")
        except Exception:
            if added:
                with suppress(MapError):
                    self.map.delete(self.key)
            raise

    def take(self, cpu: int = 0) -> bool:
        """Get another reference to the context that is here, in place of the one at home.

        Args:
            cpu: whose value is looked at, in maps that have one for each CPU.

        Returns:
            Whether there was one here.

        Raises:
            KeyNotFoundError: no such element.
        """
        try:
            self._run("take", cpu)
        except ContextError:
            return False
        return True

    def clear(self) -> bool:
        """Release the context that is here. From now on programs find none.

        Returns:
            Whether there was one.

        Raises:
            KeyNotFoundError: no such element.
        """
        return self._run_everywhere("clear")

    def close(self) -> None:
        """Drop the programs for this place; the context that is here stays."""
        self._collection.close()

    def _add(self) -> bool:
        try:
            self.map.update(self.key, bytes(self.map.value_bytes), UpdateFlag.NOEXIST)
        except MapError as error:
            if error.errno != EEXIST:
                raise
            return False
        return True

    def _run_everywhere(self, program: str) -> bool:
        """Run a program on the value of each CPU; whether there was a context in any."""
        return sum(self._run(program, cpu) for cpu in range(self.cpus)) > 0

    def _run(self, program: str, cpu: int) -> bool:
        answer = signed(self._collection.programs[program].run(ctx=CPU.pack(cpu) + _padded(self.key)).retval)
        if answer >= 0:
            return bool(answer)
        if -answer == ENOENT:
            raise KeyNotFoundError(f"map '{self.map.name}' has no element of key {self.key[:16].hex()}")
        what = "there is no context to be put or taken" if -answer == ESTALE else text(-answer)
        raise ContextError(f"{self!r}: {what}", errno=-answer)


def _padded(key: bytes) -> bytes:
    return key + bytes(-len(key) % 8)


def _key(map: Map, key: Any) -> bytes:
    """The bytes of a key.

    Raises:
        MapTypeError: it does not fit the map.
    """
    spec = map.spec
    if isinstance(key, bytes | bytearray | memoryview):
        data = bytes(key)
    elif map.btf is not None and spec.key_type:
        data = encode(map.btf, spec.key_type, key, name="key")
    elif isinstance(key, int) and 0 <= key < 1 << 8 * spec.key_size:
        data = key.to_bytes(spec.key_size, "little")
    else:
        raise MapTypeError(f"map '{map.name}': a key of {spec.key_size} bytes cannot be {type(key).__name__} {key!r}")
    if len(data) != spec.key_size:
        raise MapTypeError(f"map '{map.name}': a key has {spec.key_size} bytes, not {len(data)}")
    if len(data) > MAX_KEY_SIZE:
        raise MapTypeError(f"map '{map.name}': keys of more than {MAX_KEY_SIZE} bytes are not supported here")
    return data


def _field(map: Map, name: str | None) -> tuple[str, SpecialField]:
    """The field of that name, or the only one.

    Raises:
        MapTypeError: there is none.
        PrivilegeError: this process may not know.
    """
    spec = map.spec
    if spec.type not in _ARRAYS | _HASHES:
        raise MapTypeError(
            f"map '{map.name}' is of type {spec.type.name}",
            hint="contexts are put into arrays and hashes, per CPU or not, LRU or not",
        )
    if map.btf is None and spec.value_type:
        error = PrivilegeError(
            f"the types of map '{map.name}' cannot be read", hint="run as root: reading them takes CAP_SYS_ADMIN"
        )
        error.errno = EPERM
        raise error
    fields = named_fields(map.btf, spec.value_type) if map.btf is not None and spec.value_type else {}
    fitting = {
        each: field for each, field in fields.items() if field.kind is FieldKind.KPTR and field.type_name == _STRUCT
    }
    if name is None and len(fitting) == 1:
        return next(iter(fitting.items()))
    if name is not None and name in fitting:
        return name, fitting[name]
    have = ", ".join(f"'{each}'" for each in fitting)
    if not have:
        message = f"the values of map '{map.name}' have no field for a crypto context"
        raise MapTypeError(
            message,
            errno=EINVAL,
            hint="such a field is declared 'struct bpf_crypto_ctx __kptr *', in an object with BTF",
        )
    message = f"no field '{name}' for a crypto context" if name else "there are several fields for crypto contexts"
    raise MapTypeError(f"map '{map.name}': {message}", errno=EINVAL, hint=f"it has {have}")
