"""Maps from their blueprints: creation with types, map-in-map templates, initial contents, freezing, and pins by name."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from bpfcrypto.abi.maps import RINGS, UNTYPED, MapFlag, MapType, Pinning
from bpfcrypto.abi.ringbuf import ring_size
from bpfcrypto.btf.types import Btf
from bpfcrypto.engine import Map
from bpfcrypto.errors import MapError, MapTypeError, ObjectError, SyscallError
from bpfcrypto.kernel import bpf, pin
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.info import map_info
from bpfcrypto.kernel.maps import KernelMap, possible_cpus
from bpfcrypto.kernel.maps_keyless import live_map
from bpfcrypto.kernel.maps_objects import KernelMapOfMaps
from bpfcrypto.spec import MapSpec

FIRST_KEY = bytes(4)


def create_maps(
    specs: Mapping[str, MapSpec],
    btf: Btf | None,
    btf_fd: Fd | None,
    *,
    pin_directory: str | os.PathLike[str] | None,
    reuse: Mapping[str, str | os.PathLike[str]] = MappingProxyType({}),
    given: Mapping[str, Map] = MappingProxyType({}),
) -> dict[str, KernelMap]:
    """Create every map of an object, filled as the object says; program arrays stay empty until their programs are loaded.

    Args:
        specs: the maps by name.
        btf: the object's types.
        btf_fd: the same types in the kernel; None creates maps without types.
        pin_directory: where maps that are pinned by name live: one that is there is used, one that is not is pinned. None: no
            map is pinned.
        reuse: pins by the names of maps: one that is there is used, one that is not stays away.
        given: live maps that stand in for some of them, as they are.

    Raises:
        ObjectError: there is no map of a name in ``reuse``.
        SyscallError: the kernel refuses a map.
        MapTypeError: a pinned map is of another shape.
    """
    maps: dict[str, KernelMap] = {}
    for name in reuse.keys() - specs.keys():
        raise ObjectError(f"there is no map '{name}'", hint=f"its maps: {', '.join(specs) or 'none'}")
    with ExitStack() as undo:
        kept = set()
        for name, spec in specs.items():
            found = _duplicate(given[name]) if name in given else None
            if found is None and name in reuse:
                found = _reuse(Path(reuse[name]), spec, btf)
            if found is not None:
                undo.callback(found.close)
                maps[name] = found
                kept.add(name)
                continue
            path = None if pin_directory is None or spec.pinning is not Pinning.BY_NAME else Path(pin_directory, name)
            made = (_reuse(path, spec, btf) if path else None) or _create(spec, btf, btf_fd)
            undo.callback(made.close)
            if isinstance(made, KernelMapOfMaps):
                made.set_template(_new, btf_fd)
            maps[name] = made
            if path and not path.exists():
                made.pin(path)
        for name, made in maps.items():
            if name not in kept:
                _fill_slots(made, maps)
                _fill_data(made, name)
        undo.pop_all()
    return maps


def _duplicate(given: Map) -> KernelMap:
    if not isinstance(given, KernelMap):
        raise MapTypeError(f"map '{given.name}' is of another engine", hint="load both collections with one engine")
    return live_map(given.fd.duplicate(), given.spec, given.btf)


def _create(spec: MapSpec, btf: Btf | None, btf_fd: Fd | None) -> KernelMap:
    with ExitStack() as template:
        inner = 0
        if spec.inner is not None:
            inner = template.enter_context(_new(spec.inner, btf_fd)).fileno()
        return live_map(_new(spec, btf_fd, inner), spec, btf)


def _new(spec: MapSpec, btf_fd: Fd | None, inner: int = 0) -> Fd:
    typed = btf_fd is not None and spec.type not in UNTYPED and (spec.key_type or spec.value_type)
    return bpf.map_create(
        spec.type,
        spec.key_size,
        spec.value_size,
        max_entries(spec),
        flags=spec.flags,
        name=spec.name,
        inner_map_fd=inner,
        numa_node=spec.numa_node if spec.flags & MapFlag.NUMA_NODE else 0,
        btf_fd=btf_fd.fileno() if typed and btf_fd is not None else 0,
        btf_key_type_id=spec.key_type if typed else 0,
        btf_value_type_id=spec.value_type if typed else 0,
        map_extra=spec.map_extra,
    )


def max_entries(spec: MapSpec) -> int:
    """The number of elements to ask for: as libbpf does, one per CPU for perf events, and for rings whole pages by powers of 2."""
    if spec.type is MapType.PERF_EVENT_ARRAY and not spec.max_entries:
        return possible_cpus()
    if spec.type in RINGS and spec.max_entries:
        return ring_size(spec.max_entries, mmap.PAGESIZE)
    return spec.max_entries


def _reuse(path: Path, spec: MapSpec, btf: Btf | None) -> KernelMap | None:
    """The map that is pinned at ``path``, if there is one."""
    try:
        fd = pin.open_pinned(path, "map")
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    info = map_info(fd)
    found = (info.type, info.key_size, info.value_size, info.max_entries, info.flags, info.map_extra)
    wanted = (spec.type, spec.key_size, spec.value_size, max_entries(spec), spec.flags, spec.map_extra)
    names = ("type", "key_size", "value_size", "max_entries", "flags", "map_extra")
    different = [f"{n} {a} is not {b}" for n, a, b in zip(names, found, map(int, wanted), strict=True) if a != b]
    if different:
        fd.close()
        raise MapTypeError(
            f"map '{spec.name}': '{path}' holds another map: {', '.join(different)}",
            hint="unlink the pin, or load the object with another pin directory",
        )
    return live_map(fd, spec, btf)


def _fill_slots(made: KernelMap, maps: Mapping[str, KernelMap]) -> None:
    if made.spec.type is MapType.PROG_ARRAY:
        return
    for index, name in made.spec.slots.items():
        if name not in maps:
            raise ObjectError(f"map '{made.name}': slot {index} is to hold map '{name}', which does not exist")
        put_fd(made, index, maps[name].fd)


def put_fd(made: KernelMap, index: int, fd: Fd) -> None:
    """Store a map or program in a slot."""
    made.update(index.to_bytes(4, "little"), fd.fileno().to_bytes(4, "little"))


def _fill_data(made: KernelMap, name: str) -> None:
    data = made.spec.data
    if data is not None and any(data):
        made.update(FIRST_KEY, data.ljust(made.value_bytes, b"\0"))
    if made.spec.frozen:
        try:
            made.freeze()
        except MapError as error:
            if error.errno != errno.EINVAL:  # kernels before 5.2 cannot
                raise MapError(f"map '{name}' cannot be frozen", errno=error.errno, hint=error.hint) from error
