"""DEVMAP, DEVMAP_HASH, CPUMAP and XSKMAP: where bpf_redirect_map can send a packet (kernel/bpf/devmap.c, cpumap.c, net/xdp/xskmap.c).

A value is the number of an interface, or the length of a CPU's queue, and in maps with values of 8 bytes a program that runs on the
packets that get there: stored by descriptor, shown by id. Nothing is sent anywhere here, so that program never runs. An interface
has to be one that the engine was told of; an XSKMAP takes sockets, of which there are none, and stays empty.

Values of 0 empty a slot of an array, and are refused by a DEVMAP_HASH.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from errno import E2BIG, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, EOVERFLOW
from typing import TYPE_CHECKING

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.maps import MapFlag, RedirectFlag, UpdateFlag
from bpfcrypto.abi.progs import AttachType
from bpfcrypto.embedded.engine_program import EmbeddedProgram
from bpfcrypto.embedded.map_guarded import GuardedMap
from bpfcrypto.embedded.map_objects import ObjectArray, check_home, descriptor_errno
from bpfcrypto.embedded.map_owner import Owner
from bpfcrypto.engine import RedirectTarget
from bpfcrypto.errors import MapTypeError

if TYPE_CHECKING:
    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.embedded.map_base import Surroundings
    from bpfcrypto.engine import Storable
    from bpfcrypto.spec import MapSpec

_WORD = 4
_MAX_QUEUE = 16384


class RedirectMap(GuardedMap):
    """A map that bpf_redirect_map takes.

    Attributes:
        flags: what its flags may be besides the fallback action.
    """

    flags = RedirectFlag(0)

    def number(self, _key: int) -> int | None:
        """What is stored under a key; None where nothing is."""
        return None


class TargetMap(RedirectMap):
    """Numbers by key, each perhaps with a program.

    Attributes:
        attach_type: what its programs must be loaded for.
        program_errno: the errno of any other.
    """

    attach_type: AttachType
    program_errno = EINVAL
    _takes_program_of_nothing = False

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self.owner: Owner = Owner(attach_type=False)
        self.values.region.writable = False
        self._slots: dict[int, int] = {}
        self._programs: dict[int, EmbeddedProgram] = {}

    def number(self, key: int) -> int | None:
        """What is stored under a key; None where nothing is."""
        slot = self._slots.get(key)
        return None if slot is None else int.from_bytes(self.values.read_part(slot, 0, _WORD), "little")

    def update(self, key: bytes, value: Storable, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Store a target: a RedirectTarget, or the bytes of a number and, in values of 8 bytes, of a descriptor, which must be 0.

        Raises:
            MapFullError: no room for another element, or an index beyond the last one.
            MapTypeError: no such interface, a program that is not made for it, or a key or value of the wrong length.
            MapError: NOEXIST, and there is such a key (EEXIST); no such CPU (ENODEV); the map is frozen or for reading only (EPERM).
        """
        if not isinstance(value, RedirectTarget):
            super().update(key, value, flags)
            return
        self._check_key(key)
        if value.program is not None and self._spec.value_size == _WORD:
            raise MapTypeError(f"map '{self.name}': values of {_WORD} bytes have no room for a program")
        self._check_mode("update", key, MapFlag.RDONLY)
        errno = EINVAL if flags & UpdateFlag.LOCK else self._put(key, value.number, value.program, flags)
        if errno:
            self._fail("update", key, errno)

    @abstractmethod
    def _check(self, key: int, number: int, flags: int) -> int:
        """The errno of what is wrong with an update before its program is looked at, or 0."""

    def _slot_count(self) -> int:
        return self._spec.max_entries

    def _read(self, key: bytes) -> bytes | int:
        slot = self._slots.get(int.from_bytes(key, "little"))
        return ENOENT if slot is None else self.values.read(slot)

    def _write(self, key: bytes, value: Bytes, flags: int, _cpu: int | None) -> int:
        descriptor = int.from_bytes(value[_WORD:], "little", signed=True)
        return self._put(key, int.from_bytes(value[:_WORD], "little"), descriptor if descriptor > 0 else None, flags)

    def _put(self, key: bytes, number: int, program: object, flags: int) -> int:
        """Store a number and a program; what is neither a program nor None is a descriptor of nothing."""
        index = int.from_bytes(key, "little")
        with self._lock:
            errno = EINVAL if flags > UpdateFlag.EXIST else self._check(index, number, flags)
            if errno:
                return errno
            if not number:
                return self._remove(key) if program is None or self._takes_program_of_nothing else EINVAL
            if program is not None and not self._takes(program):
                return self.program_errno
            slot = self._slot_for(index)
            if slot is None:
                return E2BIG
            self._fill(slot, index, number, program)
        return 0

    def _takes(self, program: object) -> bool:
        if not isinstance(program, EmbeddedProgram) or program.spec.attach_type is not self.attach_type:
            return False
        check_home(program.home, self.home, "a program of another collection")
        return self.owner.admits(program.spec)

    def _slot_for(self, index: int) -> int | None:
        """The value's place; None where there is no room."""
        return index

    def _fill(self, slot: int, index: int, number: int, program: object) -> None:
        name = 0
        self._programs.pop(index, None)
        if isinstance(program, EmbeddedProgram):
            self._programs[index] = program
            name = program.id
        value = number.to_bytes(_WORD, "little") + name.to_bytes(_WORD, "little")
        self.values.write(slot, value[: self._spec.value_size])
        self._slots[index] = slot

    def _remove(self, key: bytes, /) -> int:
        index = int.from_bytes(key, "little")
        if index >= self._spec.max_entries:
            return EINVAL
        with self._lock:
            self._slots.pop(index, None)
            self._programs.pop(index, None)
        return 0

    def _take(self, _key: bytes, /) -> bytes | int:
        return ENOTSUPP

    def _keys(self) -> Iterable[bytes]:
        with self._lock:
            return [index.to_bytes(4, "little") for index in sorted(self._slots)]


class DevMap(TargetMap):
    """Interfaces by index."""

    flags = RedirectFlag.BROADCAST | RedirectFlag.EXCLUDE_INGRESS
    attach_type = AttachType.XDP_DEVMAP

    def lookup_address(self, key: Bytes, _cpu: int) -> int:
        """Address of the value, which programs can only read; 0 where there is none."""
        slot = self._slots.get(int.from_bytes(key, "little"))
        return 0 if slot is None else self.values.address(slot)

    def _check(self, key: int, number: int, flags: int) -> int:
        if key >= self._spec.max_entries:
            return E2BIG
        if flags == UpdateFlag.NOEXIST:
            return EEXIST
        return EINVAL if number and number not in self._around.interfaces else 0


class DevHashMap(DevMap):
    """Interfaces by any key of 4 bytes."""

    def __init__(self, spec: MapSpec, around: Surroundings) -> None:
        super().__init__(spec, around)
        self._unused = iter(range(spec.max_entries))
        self._spare: list[int] = []

    def _check(self, key: int, number: int, flags: int) -> int:
        if not number:
            return EINVAL
        if flags == UpdateFlag.NOEXIST and key in self._slots:
            return EEXIST
        return EINVAL if number not in self._around.interfaces else 0

    def _slot_for(self, index: int) -> int | None:
        found = self._slots.get(index)
        if found is not None:
            return found
        return self._spare.pop() if self._spare else next(self._unused, None)

    def _remove(self, key: bytes, /) -> int:
        index = int.from_bytes(key, "little")
        with self._lock:
            slot = self._slots.pop(index, None)
            self._programs.pop(index, None)
            if slot is None:
                return ENOENT
            self._spare.append(slot)
        return 0


class CpuMap(TargetMap):
    """Queues by CPU. Programs cannot look into it."""

    attach_type = AttachType.XDP_CPUMAP
    program_errno = ENOMEM
    _takes_program_of_nothing = True

    def _check(self, key: int, number: int, flags: int) -> int:
        if key >= self._spec.max_entries:
            return E2BIG
        if flags == UpdateFlag.NOEXIST:
            return EEXIST
        if number > _MAX_QUEUE:
            return EOVERFLOW
        return ENODEV if key >= self._around.cpus else 0


class XskMap(ObjectArray[object], RedirectMap):
    """Sockets by receive queue: none, as the engine has no sockets."""

    takes_objects = False

    def lookup_address(self, _key: Bytes, _cpu: int) -> int:
        """0: nothing is in it."""
        return 0

    def _store(self, key: bytes, value: object, flags: int) -> int:
        if flags > UpdateFlag.EXIST:
            return EINVAL
        if int.from_bytes(key, "little") >= self._spec.max_entries:
            return E2BIG
        return descriptor_errno(value)

    def _accept(self, value: object) -> object | int:
        return descriptor_errno(value)

    def _id(self, _held: object) -> int:
        return 0

    def _read(self, _key: bytes) -> bytes | int:
        return EOPNOTSUPP

    def _keys(self) -> Iterable[bytes]:
        return (index.to_bytes(4, "little") for index in range(self._spec.max_entries))

    def _remove(self, key: bytes, /) -> int:
        return EINVAL if int.from_bytes(key, "little") >= self._spec.max_entries else 0
