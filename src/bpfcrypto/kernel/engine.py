"""The kernel engine: an object's maps and programs in the running kernel, and the kernel's verdict on each program."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.engine import Capabilities, Map, Source, Verdict
from bpfcrypto.errors import BpfCryptoError
from bpfcrypto.kernel import pin
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.info import btf_data, map_info, program_info
from bpfcrypto.kernel.loading import Loading
from bpfcrypto.kernel.maps import KernelMap
from bpfcrypto.kernel.maps_keyless import live_map
from bpfcrypto.kernel.program import KernelProgram
from bpfcrypto.source import as_judged, check_given, choose_programs, read_source
from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec

if TYPE_CHECKING:
    from bpfcrypto.kernel.attachments import Attachment
    from bpfcrypto.kernel.clsact import FilterLink
    from bpfcrypto.kernel.links import KernelLink

PathLike = str | os.PathLike[str]


class KernelEngine:
    """Loads objects into the running kernel.

    Making one asks nothing of the machine: where bpf(2) is not to be had, ``capabilities.why_not`` says why, and loading raises.

    Args:
        pin_directory: where maps that are pinned by name live, in a BPF file system.
        log: keep the verifier's log of accepted programs too (``KernelProgram.log``).
    """

    def __init__(self, *, pin_directory: PathLike = pin.DEFAULT_DIRECTORY, log: bool = False) -> None:
        self._pin_directory = pin_directory
        self._log = log

    @property
    def name(self) -> str:
        return "kernel"

    @cached_property
    def capabilities(self) -> Capabilities:
        """What this kernel can do, found by probing it once."""
        from bpfcrypto.kernel.probe import capabilities

        return capabilities()

    def load(
        self,
        source: Source | CollectionSpec,
        *,
        programs: Iterable[str] | None = None,
        maps: Mapping[str, Map] | None = None,
        reuse: Mapping[str, PathLike] = MappingProxyType({}),
    ) -> KernelCollection:
        """Load an object's programs and create its maps.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to load; None loads every one that is marked for loading.
            maps: live maps that stand in for maps of the object; the collection has descriptors of its own to them.
            reuse: pins by the names of maps: where a map is pinned, the programs use it as it is, contexts included; where nothing
                is, a map is made and not pinned.

        Raises:
            ObjectError: the object cannot be used, or has no such program or map.
            MapTypeError: a live or pinned map is of another shape than the object's, or of another engine.
            VerifierError: the kernel rejects a program; the whole log is in the error.
            NotSupportedError: it needs a kfunc or feature that this kernel does not have.
            PrivilegeError: a capability is missing.
            SyscallError: the kernel refuses a map, the types or a program for another reason.
        """
        spec = read_source(source)
        chosen = choose_programs(spec, programs)
        check_given(spec, maps or {})
        with Loading(spec, chosen, pin_directory=self._pin_directory, given=maps or {}, reuse=reuse) as loading:
            for program in chosen:
                loading.load(program, log=self._log)
            return loading.finish()

    def check(self, source: Source | CollectionSpec, *, programs: Iterable[str] | None = None) -> tuple[Verdict, ...]:
        """The kernel's verdict on each program, in file order; a rejection is a result here, not an exception.

        A map that user space gives its number of elements before loading is taken to have one.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to judge; None judges every one that is marked for loading.

        Raises:
            ObjectError: the object cannot be used, or has no such program.
            PrivilegeError: a capability is missing.
            SyscallError: the kernel refuses a map or the types.
        """
        spec = as_judged(read_source(source))
        chosen = choose_programs(spec, programs)
        with Loading(spec, chosen) as loading:
            return tuple(loading.check(program) for program in chosen)

    def open_map(self, path: PathLike) -> KernelMap:
        """Open a pinned map. Its types are known where this process may read them (CAP_SYS_ADMIN).

        Raises:
            SyscallError: nothing is pinned there, or something else.
        """
        fd = pin.open_pinned(path, "map")
        info = map_info(fd)
        spec = MapSpec(
            name=info.name or Path(path).name,
            type=MapType(info.type),
            key_size=info.key_size,
            value_size=info.value_size,
            max_entries=info.max_entries,
            flags=MapFlag(info.flags),
            key_type=info.key_type,
            value_type=info.value_type,
            map_extra=info.map_extra,
        )
        try:
            types = read_btf(btf_data(info.btf_id), source=os.fspath(path)) if info.btf_id else None
        except BpfCryptoError:
            types = None
        return live_map(fd, spec, types)

    def open_program(self, path: PathLike) -> KernelProgram:
        """Open a pinned program. Its spec has a name and a type; instructions stay in the kernel.

        Raises:
            SyscallError: nothing is pinned there, or something else.
        """
        fd = pin.open_pinned(path, "prog")
        info = program_info(fd)
        return KernelProgram(fd, ProgramSpec(info.name or Path(path).name, "", ProgType(info.type), ()))

    def open_link(self, path: PathLike, netns: PathLike | None = None) -> KernelLink | FilterLink:
        """Open a pinned link.

        Args:
            path: its pin; a name without a slash is one in /sys/fs/bpf.
            netns: where to look for it on kernels without TCX, besides the caller's namespace and those with a name.

        Raises:
            SyscallError: nothing is pinned there, or something else.
            LinkError: it is not a link of an interface.
        """
        from bpfcrypto.kernel.links import open_link

        return open_link(path, netns)

    def attachments(self, netns: Iterable[str] = ()) -> tuple[Attachment, ...]:
        """All programs on interfaces, those of each hook in the order in which they run.

        Args:
            netns: namespaces to look at besides the caller's own and those with a name.

        Raises:
            LinkError: one of them does not exist.
            PrivilegeError: looking around needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
            NotSupportedError: pyroute2 is missing.
        """
        from bpfcrypto.kernel.attachments import attachments

        return attachments(netns)

    def close(self) -> None:
        """Nothing to give up: what was loaded belongs to its collections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
