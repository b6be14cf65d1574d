"""One object on its way into the kernel: what its programs share, and the clean-up when one of them fails.

The order is given: line records add strings to the types, so they come first; types before maps, whose values they describe; maps
before programs, which name them by descriptor; program arrays last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Self

from bpfcrypto.abi.maps import MapType
from bpfcrypto.engine import Map, Verdict
from bpfcrypto.errors import NotSupportedError, VerifierError
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.create import create_maps, put_fd
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.features import load_btf
from bpfcrypto.kernel.kconfig import with_configuration
from bpfcrypto.kernel.load import judge, load_program, load_with_log
from bpfcrypto.kernel.objbtf import ObjectBtf
from bpfcrypto.kernel.prepare import Infos, Prepared, pack_infos, prepare
from bpfcrypto.kernel.program import KernelProgram
from bpfcrypto.spec import CollectionSpec, ProgramSpec
from bpfcrypto.verifier.diag import explain


class Loading:
    """Creates an object's maps, then loads or judges programs. Leaving the ``with`` block drops what was not handed over.

    Args:
        spec: the object.
        chosen: the programs that will be loaded.
        pin_directory: where maps that are pinned by name live; None pins nothing.
        given: live maps that stand in for some of the object's.
        reuse: pins of maps, by name, to be used where there are such.
    """

    def __init__(
        self,
        spec: CollectionSpec,
        chosen: tuple[ProgramSpec, ...],
        *,
        pin_directory: str | os.PathLike[str] | None = None,
        given: Mapping[str, Map] = MappingProxyType({}),
        reuse: Mapping[str, str | os.PathLike[str]] = MappingProxyType({}),
    ) -> None:
        spec = self._spec = with_configuration(spec)
        self._given = given
        self._infos: dict[str, Infos] = {}
        self._programs: dict[str, KernelProgram] = {}
        with ExitStack() as undo:
            self._btf_fd = self._load_types(chosen)
            if self._btf_fd is not None:
                undo.callback(self._btf_fd.close)
            self._maps = create_maps(
                spec.maps, spec.btf, self._btf_fd, pin_directory=pin_directory, given=given, reuse=reuse
            )
            for made in self._maps.values():
                undo.callback(made.close)
            self._undo = undo.pop_all()

    def _load_types(self, chosen: tuple[ProgramSpec, ...]) -> Fd | None:
        if self._spec.btf is None:
            return None
        types = ObjectBtf(self._spec.btf.raw)
        types.drop_externs()
        self._infos = {program.name: pack_infos(program, types) for program in chosen}
        return load_btf(types)

    def load(self, program: ProgramSpec, *, log: bool = False) -> None:
        """Load one of the chosen programs; with ``log`` the verifier's log is kept."""
        ready = self.prepared(program)
        try:
            if log:
                fd, text = load_with_log(ready.request, absent=ready.absent)
            else:
                fd, text = load_program(ready.request, absent=ready.absent), ""
        except VerifierError as error:
            if error.diagnostic is None:
                error.diagnostic = found = explain(program, program.insns, error.message, error.log)
                error.hint = error.hint or found.suggestion
            raise
        self._undo.callback(fd.close)
        self._programs[program.name] = KernelProgram(fd, program, text)

    def check(self, program: ProgramSpec) -> Verdict:
        """The kernel's verdict on one of the chosen programs. A missing kfunc is a rejection with ESRCH, as libbpf has it."""
        try:
            ready = self.prepared(program)
        except NotSupportedError as error:
            text = f"{error.feature} is not known" if error.feature.startswith("kfunc ") else str(error)
            return Verdict(program.name, program.section, program.type, False, errno.ESRCH, text, log=text)
        said = judge(program, ready.request, absent=ready.absent)
        if said.accepted:
            return said
        return replace(said, diagnostic=explain(program, program.insns, said.message, said.log))

    def prepared(self, program: ProgramSpec) -> Prepared:
        """One of the chosen programs as the kernel takes it."""
        descriptors = {name: made.fd for name, made in self._maps.items()}
        return prepare(program, self._spec, descriptors, self._infos.get(program.name, Infos()), self._btf_fd)

    def finish(self) -> KernelCollection:
        """Hand over maps and programs; a slot of a program array whose program was not chosen stays empty."""
        for map_name, made in self._maps.items():
            if made.spec.type is MapType.PROG_ARRAY and map_name not in self._given:
                for index, name in made.spec.slots.items():
                    if name in self._programs:
                        put_fd(made, index, self._programs[name].fd)
        collection = KernelCollection(self._spec, self._maps, self._programs)
        self._undo.pop_all()
        if self._btf_fd is not None:
            self._btf_fd.close()
        return collection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()
